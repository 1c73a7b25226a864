"""Public keys of agents (docs/signatures.md): a row of `api_key` that has a `public_key` and no hash of a secret.

They expire and are revoked as API keys are. A public key belongs to one agent of the deployment, and is never given
again: the name that signed requests use for it says whose they are.
"""

from __future__ import annotations

import time

from sqlmodel import select

from gateway.errors import GatewayError
from gateway.identifiers import new_id
from gateway.identity import public_keys
from gateway.identity.key_scope import KeyScope
from gateway.identity.message_signatures import PublicKey, thumbprint
from gateway.registry import agent_states, outbox, teams
from gateway.registry import change_entries as entries
from gateway.registry.changes import MAX_LIVE_KEYS
from gateway.registry.database import Registry
from gateway.registry.models import ApiKey
from gateway.registry.queries import find_agent, find_organization, live_keys
from gateway.registry.records import KeyRecord
from gateway.registry.row_records import key_record


def add_public_key(
    registry: Registry,
    key: PublicKey,
    *,
    actor: str,
    organization: str,
    agent: str,
    lifetime_ns: int | None = None,
    expires_ns: int | None = None,
    scope: KeyScope | None = None,
    reason: str = "",
) -> KeyRecord:
    """Let an agent sign its requests with the private half of this key, from the next request on."""
    name = thumbprint(key)
    with registry.write() as session:
        tenant = find_organization(session, organization)
        holder = find_agent(session, tenant, agent)
        if holder.status in agent_states.ENDED:
            raise agent_states.ended(holder.name, holder.id, holder.status)
        teams.check_alive(session, tenant, holder.team)
        known = session.exec(select(ApiKey).where(ApiKey.credential_id == name)).first()
        if known is not None:
            if known.agent_id == holder.id and known.revoked_ns is None:
                raise GatewayError("key_exists", f"agent `{holder.name}` has this public key already", subject=known.id)
            hint = "make another one: each agent has its own, and a revoked one does not come back"
            raise GatewayError("key_exists", "this public key was registered before", subject=name, hint=hint)
        now = time.time_ns()
        live = live_keys(session, holder, now, "signature")
        if len(live) >= MAX_LIVE_KEYS:
            raise GatewayError(
                "too_many_keys",
                f"agent `{holder.name}` has {MAX_LIVE_KEYS} live public keys already",
                subject=holder.id,
                hint=f"revoke one first: `gateway keys revoke {live[0].id}`",
            )
        row = ApiKey(
            id=new_id("key"),
            organization_id=tenant.id,
            agent_id=holder.id,
            credential_id=name,
            digest=b"",
            pepper=0,
            public_key=public_keys.encode(key),
            created_ns=now,
            expires_ns=expires_ns if lifetime_ns is None else now + lifetime_ns,
            scope=None if scope is None else scope.document(),
            actor=actor,
        )
        session.add(row)
        fields = entries.key(holder, row)
        outbox.add_change(
            session, organization=tenant.name, actor=actor, what="key.added", fields=fields, reason=reason
        )
        return key_record(tenant, holder, row)
