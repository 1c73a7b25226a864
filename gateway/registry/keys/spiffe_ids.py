"""SPIFFE IDs of agents (mtls.md): a row of `api_key` that has a `spiffe_id` and no hash of a secret.

They expire and are revoked as API keys are. A SPIFFE ID belongs to one agent of the deployment at a time: the name in a
certificate says whose requests they are. When it was revoked, another agent can have it.
"""

from __future__ import annotations

import time
from typing import Final

from sqlmodel import col, select

from gateway.errors import ConflictError, GatewayError, Hint
from gateway.identifiers import new_id
from gateway.identity.certificates import check_spiffe_id
from gateway.identity.key_scope import KeyScope
from gateway.registry import change_entries as entries
from gateway.registry import outbox
from gateway.registry.agents import states as agent_states
from gateway.registry.contests import ContestedError
from gateway.registry.database import Registry
from gateway.registry.models import ApiKey
from gateway.registry.organizations import given_names, teams
from gateway.registry.queries import find_agent, find_organization, live_keys
from gateway.registry.records import KeyRecord
from gateway.registry.row_records import key_record

MAX_LIVE_NAMES: Final = 16


def add_spiffe_id(
    registry: Registry,
    spiffe_id: str,
    *,
    actor: str,
    organization: str,
    agent: str,
    lifetime_ns: int | None = None,
    expires_ns: int | None = None,
    scope: KeyScope | None = None,
    reason: str = "",
) -> KeyRecord:
    """Let clients with a certificate of this name be an agent, from the next request on."""
    check_spiffe_id(spiffe_id)
    with registry.write() as session:
        tenant = find_organization(session, organization)
        holder = find_agent(session, tenant, agent)
        if holder.status in agent_states.ENDED:
            raise agent_states.ended(holder.name, holder.id, holder.status)
        teams.check_alive(session, tenant, holder.team)
        given_names.check_spiffe(session, tenant, actor, spiffe_id)
        given = select(ApiKey).where(ApiKey.spiffe_id == spiffe_id, col(ApiKey.revoked_ns).is_(None))
        before = session.exec(given).first()
        if before is not None:
            error = _taken(before, tenant.id, holder.id, spiffe_id)
            if before.organization_id == tenant.id:
                raise error
            both = {"holder": before.organization_id, "claimant": tenant.id}
            raise ContestedError(error, actor=actor, what=f"SPIFFE ID {spiffe_id}", credential=before.id, **both)
        now = time.time_ns()
        live = live_keys(session, holder, now, "mtls")
        if len(live) >= MAX_LIVE_NAMES:
            message = f"agent `{holder.name}` has {MAX_LIVE_NAMES} SPIFFE IDs already"
            hint = Hint(f"revoke one first: `gateway keys revoke {live[0].id}`", api="revoke a key of this agent first")
            raise ConflictError("too_many_keys", message, subject=holder.id, hint=hint)
        name = new_id("key")
        row = ApiKey(
            id=name,
            organization_id=tenant.id,
            agent_id=holder.id,
            credential_id=name,
            digest=b"",
            pepper=0,
            spiffe_id=spiffe_id,
            created_ns=now,
            expires_ns=expires_ns if lifetime_ns is None else now + lifetime_ns,
            scope=None if scope is None else scope.document(),
            actor=actor,
        )
        session.add(row)
        fields = entries.key(holder, row)
        outbox.add_change(session, tenant, actor, "key.added", fields, reason)
        return key_record(tenant, holder, row)


def _taken(before: ApiKey, organization_id: str, agent_id: str, spiffe_id: str) -> GatewayError:
    """Who has the name already; nothing of another organization is told."""
    if before.organization_id != organization_id:
        message, hint = "another organization has this SPIFFE ID", "ask whoever runs the gateway"
    elif before.agent_id == agent_id:
        message, hint = "the agent has this SPIFFE ID already", "`gateway keys list` shows it, also if it has expired"
    else:
        message, hint = "another agent has this SPIFFE ID", f"revoke it there first: `gateway keys revoke {before.id}`"
    return ConflictError("key_exists", message, subject=spiffe_id, hint=hint)
