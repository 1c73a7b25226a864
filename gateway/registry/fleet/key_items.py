"""SPIFFE IDs and public keys as a fleet file says them, and as the registry has them.

Both are no secrets, so they can stand in a file. The facts about one do not change later: it is revoked and given
anew, and a revoked public key does not come back.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlmodel import col, select

from gateway.errors import ConflictError, GatewayError, Hint
from gateway.identity import key_scope, public_keys
from gateway.identity.certificates import check_spiffe_id
from gateway.identity.key_scope import KeyScope
from gateway.identity.message_signatures import thumbprint
from gateway.registry import queries
from gateway.registry.database import Registry
from gateway.registry.documents import parse_time
from gateway.registry.fleet import agent_item
from gateway.registry.keys.public_keys import add_public_key
from gateway.registry.keys.spiffe_ids import add_spiffe_id
from gateway.registry.models import Agent, ApiKey
from gateway.registry.queries import reading
from gateway.registry.records import KeyRecord

Noun = Literal["SPIFFE ID", "public key"]

NOUNS: Final[dict[str, Noun]] = {"spiffe_ids": "SPIFFE ID", "public_keys": "public key"}
"""By the sections of a file."""

_METHODS: Final = {"spiffe_ids": "mtls", "public_keys": "signature"}


@dataclass(frozen=True, slots=True)
class Said:
    """A file's item of one. `key_id` is its name, as in a record."""

    key_id: str
    agent: str
    scope: KeyScope | None
    expires_ns: int | None

    def difference(self, record: KeyRecord) -> str:
        """The members that the registry has otherwise; empty if there are none."""
        if record.agent != self.agent:
            return f"it belongs to agent `{record.agent}`"
        if record.scope != (None if self.scope is None else self.scope.document()):
            return "what it is for is something else"
        return "" if _end(record.expires_ns) == _end(self.expires_ns) else "its end is another one"


def read(item: Mapping[str, Any]) -> Said:
    """Raises `GatewayError` for what is no such thing."""
    spiffe_id, pem = item.get("spiffe_id"), item.get("public_key", "")
    key_id = check_spiffe_id(spiffe_id) if spiffe_id is not None else thumbprint(public_keys.parse_public(pem))
    scope = key_scope.scope(*(item.get(each, ()) for each in ("actions", "models", "networks", "upstreams")))
    expires = item.get("expires")
    return Said(key_id, item["agent"], scope, parse_time(expires) if expires else None)


def known(registry: Registry, organization: str, section: str) -> dict[str, KeyRecord]:
    """Those that were not revoked, also if they have expired, by their names."""
    found = queries.keys(registry, organization)
    return {each.key_id: each for each in found if each.method == _METHODS[section] and each.revoked_ns is None}


def check_return(registry: Registry, organization: str, said: Said, *, meant: bool | str) -> None:
    """Raise if a SPIFFE ID that was revoked, or whose agent was, would come back and nobody has said so.

    The command for one is typed by somebody who means this name; a file may be applied every night. A public key does
    not come back anyway. `meant` is true, or the id under which it was revoked.
    """
    if meant is True or not said.key_id.startswith("spiffe://"):
        return
    with reading(registry, organization) as (session, tenant):
        mine = select(ApiKey, Agent.status).join(Agent)
        found = session.exec(
            mine.where(ApiKey.organization_id == tenant.id, ApiKey.spiffe_id == said.key_id).order_by(
                col(ApiKey.revoked_ns).desc()
            )
        ).first()
    # One that ended with an agent whose work was done is free.
    if found is not None and found[1] != "retired" and found[0].id != meant:
        hint = Hint(
            f"add --replace-revoked if it is to come back, or in a file `replaces: {found[0].id}`",
            api='send "replace_revoked": true if that is meant',
        )
        raise ConflictError("name_revoked", f"it was revoked ({found[0].id})", subject=found[0].id, hint=hint)


def add(registry: Registry, item: Mapping[str, Any], *, actor: str, organization: str, reason: str) -> None:
    """Give an agent what the file says."""
    said = read(item)
    if said.expires_ns is not None and said.expires_ns <= time.time_ns():
        raise GatewayError("invalid_expiry", "its end is in the past", hint="leave it out, or choose a later `expires`")
    common: dict[str, Any] = {"actor": actor, "organization": organization, "agent": said.agent, "reason": reason}
    common |= {"scope": said.scope, "expires_ns": said.expires_ns}
    if "spiffe_id" in item:
        add_spiffe_id(registry, said.key_id, **common)
    else:
        add_public_key(registry, public_keys.parse_public(item["public_key"]), proof=item.get("proof"), **common)


def exported(registry: Registry, organization: str, section: str) -> list[dict[str, Any]]:
    """All that work, as a file says them."""
    now_ns = time.time_ns()
    working = [each for each in known(registry, organization, section).values() if each.works(now_ns)]
    pems = _pems(registry, organization) if section == "public_keys" else {}
    return [_item(each, pems.get(each.id)) for each in working]


def _item(record: KeyRecord, pem: str | None) -> dict[str, Any]:
    name = {"spiffe_id": record.key_id} if pem is None else {"public_key": pem}
    end = {"expires": _end(record.expires_ns)} if record.expires_ns is not None else {}
    return {"agent": record.agent, **name, **end, **(record.scope or {})}


def _end(expires_ns: int | None) -> str:
    """As a file says it, which knows milliseconds."""
    return "" if expires_ns is None else agent_item.time_text(expires_ns)


def _pems(registry: Registry, organization: str) -> dict[str, str]:
    with reading(registry, organization) as (session, owner):
        mine = select(ApiKey.id, ApiKey.public_key).where(
            ApiKey.organization_id == owner.id, col(ApiKey.public_key).is_not(None), col(ApiKey.revoked_ns).is_(None)
        )
        return {
            identifier: public_keys.public_pem(public_keys.decode(stored))
            for identifier, stored in session.exec(mine)
            if stored is not None
        }
