"""New keys of agents, and their end (key-rotation.md).

Those that take the place of another are in `rotation.py`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlmodel import Session, col, select

from gateway.errors import ConflictError, GatewayError, Hint
from gateway.identifiers import new_id
from gateway.identity import credentials
from gateway.identity.credentials import Method
from gateway.identity.key_scope import KeyScope
from gateway.registry import change_entries as entries
from gateway.registry import outbox
from gateway.registry.agents.states import ENDED
from gateway.registry.database import Registry
from gateway.registry.models import Agent, ApiKey, Organization
from gateway.registry.organizations import teams
from gateway.registry.queries import find_agent, find_key, find_living, find_organization, live_keys, writing
from gateway.registry.records import KeyRecord, NewKey
from gateway.registry.row_records import key_record

MAX_LIVE_KEYS: Final = 2
"""One in use and one that replaces it."""
MAX_LIVE_NAMES: Final = 16
"""SPIFFE IDs of one agent."""

_MOST: Final[Mapping[Method, tuple[int, str]]] = {
    "api_key": (MAX_LIVE_KEYS, "live keys"),
    "signature": (MAX_LIVE_KEYS, "live public keys"),
    "mtls": (MAX_LIVE_NAMES, "SPIFFE IDs"),
}
_TOGETHER: Final = 500  # values of one statement


def create_key(
    registry: Registry,
    peppers: credentials.Peppers,
    *,
    actor: str,
    organization: str,
    agent: str,
    lifetime_ns: int | None = None,
    reason: str = "",
    scope: KeyScope | None = None,
) -> NewKey:
    """A key for an agent, or for a part of what it may do. The returned text is its only copy."""
    with writing(registry, organization) as (session, tenant):
        holder = holder_of(session, tenant, agent)
        made = credentials.generate("agent")
        row = new_row(session, holder, "api_key", actor, lifetime_ns=lifetime_ns, scope=scope)
        _set_secret(row, made.credential, peppers)
        return NewKey(record=add_row(session, tenant, holder, row, "key.created", reason), text=made.text)


def create_keys(
    registry: Registry,
    peppers: credentials.Peppers,
    *,
    actor: str,
    organization: str,
    agents: Sequence[str],
    texts: Mapping[str, str] | None = None,
    reason: str = "",
) -> list[NewKey]:
    """A key for each of these agents, which have none that is live. The returned texts are the only copies.

    `texts` are keys that were made elsewhere, by agent; raises `invalid_key` for what is none, or not new.
    """
    given = {} if texts is None else _given(texts, agents)
    with registry.write() as session:
        _check_new(session, given.values())
        tenant = find_organization(session, organization)
        mine = select(Agent).where(Agent.organization_id == tenant.id, col(Agent.status).not_in(ENDED))
        holders = {each.name: each for each in session.exec(mine)}
        teams.check_alive(session, tenant, *{holders[name].team for name in agents})
        now_ns = time.time_ns()
        made = []
        for name in agents:
            new = given[name] if given else credentials.generate("agent")
            row = new_key(new.credential, peppers, holders[name], now_ns, None, None, actor)
            made.append((holders[name], row, new.text))
        session.add_all(row for _, row, _ in made)
        fields = [entries.key(holder, row) for holder, row, _ in made]
        outbox.add_changes(session, tenant, actor, "key.created", fields, reason)
        return [NewKey(record=key_record(tenant, holder, row), text=text) for holder, row, text in made]


def revoke_key(registry: Registry, *, actor: str, organization: str, key: str, reason: str = "") -> KeyRecord | None:
    """End one key, named by id or by the beginning of its text. None if it was revoked already."""
    with writing(registry, organization) as (session, tenant):
        row = find_key(session, tenant, key)
        if row.revoked_ns is not None:
            return None
        row.revoked_ns = time.time_ns()
        holder = find_agent(session, tenant, row.agent_id)
        outbox.add_change(session, tenant, actor, "key.revoked", entries.key(holder, row), reason)
        return key_record(tenant, holder, row)


# --- within one transaction -------------------------------------------------------------------------------------------


def holder_of(session: Session, tenant: Organization, reference: str) -> Agent:
    """The agent of this name or id, if it can be given a key."""
    holder = find_living(session, tenant, reference)
    teams.check_alive(session, tenant, holder.team)
    return holder


def new_row(
    session: Session,
    holder: Agent,
    method: Method,
    actor: str,
    *,
    lifetime_ns: int | None = None,
    expires_ns: int | None = None,
    scope: KeyScope | None = None,
) -> ApiKey:
    """The row of a new key of an agent, which has room for it, without what its method needs."""
    most, what = _MOST[method]
    now_ns = time.time_ns()
    live = live_keys(session, holder, now_ns, method)
    if len(live) >= most:
        message = f"agent `{holder.name}` has {most} {what} already"
        hint = Hint(f"revoke one first: `gateway keys revoke {live[0].id}`", api="revoke a key of this agent first")
        raise ConflictError("too_many_keys", message, subject=holder.id, hint=hint)
    until_ns = expires_ns if lifetime_ns is None else now_ns + lifetime_ns
    return _row(holder, now_ns, until_ns, None if scope is None else scope.document(), actor)


def add_row(session: Session, tenant: Organization, holder: Agent, row: ApiKey, what: str, reason: str) -> KeyRecord:
    """Add a new key with its entry."""
    session.add(row)
    outbox.add_change(session, tenant, str(row.actor), what, entries.key(holder, row), reason)
    return key_record(tenant, holder, row)


def new_key(
    credential: credentials.Credential,
    peppers: credentials.Peppers,
    holder: Agent,
    now_ns: int,
    lifetime_ns: int | None,
    scope: dict[str, Any] | None,
    actor: str,
) -> ApiKey:
    """The row of a secret key that was just made, however many the agent has."""
    row = _row(holder, now_ns, None if lifetime_ns is None else now_ns + lifetime_ns, scope, actor)
    return _set_secret(row, credential, peppers)


def _row(holder: Agent, now_ns: int, expires_ns: int | None, scope: dict[str, Any] | None, actor: str) -> ApiKey:
    return ApiKey(
        id=new_id("key"),
        organization_id=holder.organization_id,
        agent_id=holder.id,
        credential_id="",
        digest=b"",
        pepper=0,
        created_ns=now_ns,
        expires_ns=expires_ns,
        scope=scope,
        actor=actor,
    )


def _set_secret(row: ApiKey, credential: credentials.Credential, peppers: credentials.Peppers) -> ApiKey:
    row.credential_id, row.pepper = credential.id, peppers.newest
    row.digest = credentials.digest(credential, peppers.current)
    return row


def _given(texts: Mapping[str, str], agents: Sequence[str]) -> dict[str, credentials.NewCredential]:
    """The keys of these agents. No message has them."""
    found: dict[str, credentials.NewCredential] = {}
    for name in agents:
        text = texts.get(name, "")
        parsed = credentials.parse(text)
        if parsed is None or parsed.kind != "agent":
            raise GatewayError("invalid_key", f"what was given for agent `{name}` is no new key of an agent")
        found[name] = credentials.NewCredential(parsed, text)
    if len({each.credential.id for each in found.values()}) < len(found):
        raise GatewayError("invalid_key", "two of the new keys have the same id", hint="make them anew")
    return found


def _check_new(session: Session, made: Iterable[credentials.NewCredential]) -> None:
    ids = [each.credential.id for each in made]
    for start in range(0, len(ids), _TOGETHER):
        some = col(ApiKey.credential_id).in_(ids[start : start + _TOGETHER])
        if session.exec(select(ApiKey.id).where(some).limit(1)).first() is not None:
            raise GatewayError("invalid_key", "one of the new keys is taken", hint="make them anew")
