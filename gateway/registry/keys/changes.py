"""New keys of agents, and their end (key-rotation.md).

Those that take the place of another are in `rotation.py`, keys for many agents at once in `agents/registration.py`.
"""

from __future__ import annotations

import time
from typing import Any

from gateway.errors import ConflictError, Hint
from gateway.identifiers import new_id
from gateway.identity import credentials
from gateway.identity.key_scope import KeyScope
from gateway.registry import change_entries as entries
from gateway.registry import outbox
from gateway.registry.agents import states as agent_states
from gateway.registry.database import Registry
from gateway.registry.models import Agent, ApiKey
from gateway.registry.organizations import teams
from gateway.registry.queries import (
    find_agent,
    find_key,
    find_organization,
    live_keys,
)
from gateway.registry.records import (
    KeyRecord,
    NewKey,
)
from gateway.registry.row_records import key_record

MAX_LIVE_KEYS = 2
"""One in use and one that replaces it."""


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
    with registry.write() as session:
        tenant = find_organization(session, organization)
        holder = find_agent(session, tenant, agent)
        if holder.status in agent_states.ENDED:
            raise agent_states.ended(holder.name, holder.id, holder.status)
        teams.check_alive(session, tenant, holder.team)
        now = time.time_ns()
        live = live_keys(session, holder, now, "api_key")
        if len(live) >= MAX_LIVE_KEYS:
            raise ConflictError(
                "too_many_keys",
                f"agent `{holder.name}` has {MAX_LIVE_KEYS} live keys already",
                subject=holder.id,
                hint=Hint(
                    f"revoke one first: `gateway keys revoke {live[0].id}`", api="revoke a key of this agent first"
                ),
            )
        made = credentials.generate("agent")
        row = new_key(
            made.credential, peppers, holder, now, lifetime_ns, None if scope is None else scope.document(), actor
        )
        session.add(row)
        outbox.add_change(session, tenant, actor, "key.created", entries.key(holder, row), reason)
        return NewKey(record=key_record(tenant, holder, row), text=made.text)


def revoke_key(registry: Registry, *, actor: str, organization: str, key: str, reason: str = "") -> KeyRecord | None:
    """End one key, named by id or by the beginning of its text. None if it was revoked already."""
    with registry.write() as session:
        tenant = find_organization(session, organization)
        row = find_key(session, tenant, key)
        if row.revoked_ns is not None:
            return None
        row.revoked_ns = time.time_ns()
        holder = find_agent(session, tenant, row.agent_id)
        outbox.add_change(session, tenant, actor, "key.revoked", entries.key(holder, row), reason)
        return key_record(tenant, holder, row)


def new_key(
    credential: credentials.Credential,
    peppers: credentials.Peppers,
    holder: Agent,
    now_ns: int,
    lifetime_ns: int | None,
    scope: dict[str, Any] | None,
    actor: str | None = None,
) -> ApiKey:
    """The row of a key that was just made."""
    return ApiKey(
        id=new_id("key"),
        organization_id=holder.organization_id,
        agent_id=holder.id,
        credential_id=credential.id,
        digest=credentials.digest(credential, peppers.current),
        pepper=peppers.newest,
        created_ns=now_ns,
        expires_ns=None if lifetime_ns is None else now_ns + lifetime_ns,
        scope=scope,
        actor=actor,
    )
