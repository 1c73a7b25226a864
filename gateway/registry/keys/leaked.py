"""Keys that were found where they must not be: they are revoked, whichever organization they belong to.

Only a whole key is believed: its id stands in lists and logs, its secret does not. Each function is one transaction,
with an entry for each key in the log of its organization.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from sqlmodel import Session, select

from gateway.audit.intents import SYSTEM
from gateway.identity.credentials import Credential, Peppers, label, matches
from gateway.registry import change_entries as entries
from gateway.registry import outbox
from gateway.registry.database import Registry
from gateway.registry.models import Agent, ApiKey, Operator, OperatorToken, Organization

Fate: TypeAlias = Literal["revoked", "was revoked", "unknown"]
"""Revoked now, revoked before, or not a key of this gateway."""


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
            row = _row(session, each.id) if each.kind == "agent" else _token(session, each.id)
            pepper = peppers.get(row.pepper) if row is not None else None
            if row is None or pepper is None or not matches(each, row.digest, pepper):
                fates.append(Leaked(label(each.kind, each.id), "unknown"))
            elif isinstance(row, ApiKey):
                fates.append(_revoke(session, row, actor, {}))
            else:
                fates.append(_revoke_token(session, row, actor))
    return fates


def revoke_reported(registry: Registry, *, actor: str, reports: Iterable[tuple[str, str]]) -> list[Leaked]:
    """Revoke keys, named by their public ids, of which somebody had the whole text: checked already, by a worker.

    With each id comes the address that reported it.
    """
    with registry.write() as session:
        rows = [(_row(session, credential), peer) for credential, peer in reports]
        return [_revoke(session, row, actor, {"reported_from": peer}) for row, peer in rows if row is not None]


def _token(session: Session, credential: str) -> OperatorToken | None:
    return session.exec(select(OperatorToken).where(OperatorToken.credential_id == credential)).one_or_none()


def _revoke_token(session: Session, row: OperatorToken, actor: str) -> Leaked:
    holder = session.exec(select(Operator).where(Operator.id == row.operator_id)).one()
    tenant = session.get(Organization, row.organization_id) if row.organization_id is not None else None
    fate: Fate = "was revoked"
    if row.revoked_ns is None:
        row.revoked_ns = time.time_ns()
        outbox.add_change(
            session, tenant, actor, "operator_token.revoked", entries.operator_token(holder, row), "leaked"
        )
        fate = "revoked"
    return Leaked(
        label("operator", row.credential_id), fate, holder.name, SYSTEM if tenant is None else tenant.name, row.id
    )


def _row(session: Session, credential: str) -> ApiKey | None:
    return session.exec(select(ApiKey).where(ApiKey.credential_id == credential)).one_or_none()


def _revoke(session: Session, row: ApiKey, actor: str, more: dict[str, str]) -> Leaked:
    mine = select(Agent, Organization).join(Organization).where(Agent.id == row.agent_id)
    holder, tenant = session.exec(mine).one()
    fate: Fate = "was revoked"
    if row.revoked_ns is None:
        row.revoked_ns = time.time_ns()
        fields = {**entries.key(holder, row), **more}
        outbox.add_change(session, tenant, actor, "key.revoked", fields, "leaked")
        fate = "revoked"
    return Leaked(label("agent", row.credential_id), fate, holder.name, tenant.name, row.id)
