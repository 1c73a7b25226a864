"""Keys that were found where they must not be: they are revoked, whichever organization they belong to.

Only a whole key is believed: its id stands in lists and logs, its secret does not. Each function is one transaction,
with an entry for each key in the log of its organization.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

from sqlmodel import Session, select

from gateway.audit.intents import SYSTEM
from gateway.identity.credentials import Credential, Peppers, label, matches
from gateway.registry import change_entries as entries
from gateway.registry import outbox
from gateway.registry.database import Registry
from gateway.registry.models import Agent, ApiKey, Operator, OperatorToken, Organization

Fate: TypeAlias = Literal["revoked", "was revoked", "unknown"]
"""Revoked now, revoked before, or not a key of this gateway."""

_Key = TypeVar("_Key", ApiKey, OperatorToken)


@dataclass(frozen=True, slots=True)
class Leaked:
    """A key that was found, and what became of it. `holder`, an agent or an operator, is empty for an unknown one."""

    key_id: str
    fate: Fate
    holder: str = ""
    organization: str = ""
    id: str = ""


def revoke_found(registry: Registry, peppers: Peppers, *, actor: str, found: Iterable[Credential]) -> list[Leaked]:
    """Revoke those of the found keys that are keys of this gateway."""
    fates: list[Leaked] = []
    with registry.write() as session:
        for each in found:
            row: ApiKey | OperatorToken | None = _row(session, ApiKey, each.id)
            row = row if each.kind == "agent" else _row(session, OperatorToken, each.id)
            pepper = peppers.get(row.pepper) if row is not None else None
            if row is None or pepper is None or not matches(each, row.digest, pepper):
                fates.append(Leaked(label(each.kind, each.id), "unknown"))
            else:
                fates.append(_revoke(session, row, actor, {}))
    return fates


def revoke_reported(registry: Registry, *, actor: str, reports: Iterable[tuple[str, str]]) -> list[Leaked]:
    """Revoke keys, named by their public ids, of which somebody had the whole text: checked already, by a worker.

    With each id comes the address that reported it.
    """
    with registry.write() as session:
        rows = [(_row(session, ApiKey, credential), peer) for credential, peer in reports]
        return [_revoke(session, row, actor, {"reported_from": peer}) for row, peer in rows if row is not None]


def _row(session: Session, kind: type[_Key], credential: str) -> _Key | None:
    return session.exec(select(kind).where(kind.credential_id == credential)).one_or_none()


def _revoke(session: Session, row: ApiKey | OperatorToken, actor: str, more: dict[str, str]) -> Leaked:
    tenant = None if row.organization_id is None else session.get_one(Organization, row.organization_id)
    holder: Agent | Operator
    if isinstance(row, ApiKey):
        holder = agent = session.get_one(Agent, row.agent_id)
        what, shown, fields = "key.revoked", label("agent", row.credential_id), entries.key(agent, row)
    else:
        holder = operator = session.get_one(Operator, row.operator_id)
        what, shown = "operator_token.revoked", label("operator", row.credential_id)
        fields = entries.operator_token(operator, row)
    fate: Fate = "was revoked"
    if row.revoked_ns is None:
        row.revoked_ns, fate = time.time_ns(), "revoked"
        outbox.add_change(session, tenant, actor, what, {**fields, **more}, "leaked")
    return Leaked(shown, fate, holder.name, SYSTEM if tenant is None else tenant.name, row.id)
