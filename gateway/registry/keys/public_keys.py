"""Public keys of agents (signatures.md): a row of `api_key` that has a `public_key` and no hash of a secret.

They expire and are revoked as API keys are. A public key belongs to one agent of the deployment, and is never given
again: the name that signed requests use for it says whose they are.
"""

from __future__ import annotations

import time

from sqlmodel import Session, select

from gateway.errors import ConflictError, GatewayError, Hint
from gateway.identifiers import new_id
from gateway.identity import possession, public_keys
from gateway.identity.key_scope import KeyScope
from gateway.identity.message_signatures import PublicKey, thumbprint
from gateway.registry import change_entries as entries
from gateway.registry import outbox, queries
from gateway.registry.agents import states as agent_states
from gateway.registry.contests import ContestedError
from gateway.registry.database import Registry
from gateway.registry.keys.changes import MAX_LIVE_KEYS
from gateway.registry.models import Agent, ApiKey, Organization
from gateway.registry.operators import operators
from gateway.registry.organizations import teams
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
    proof: str | None = None,
    reason: str = "",
) -> KeyRecord:
    """Let an agent sign its requests with the private half of this key, from the next request on.

    An operator of one organization needs a proof that the agent has that half (`identity/possession.py`).
    """
    name = thumbprint(key)
    with registry.write() as session:
        tenant = find_organization(session, organization)
        holder = find_agent(session, tenant, agent)
        if holder.status in agent_states.ENDED:
            raise agent_states.ended(holder.name, holder.id, holder.status)
        teams.check_alive(session, tenant, holder.team)
        _check_proof(session, tenant, holder, actor, key, proof)
        known = session.exec(select(ApiKey).where(ApiKey.credential_id == name)).first()
        if known is not None:
            if known.agent_id == holder.id and known.revoked_ns is None:
                raise ConflictError(
                    "key_exists", f"agent `{holder.name}` has this public key already", subject=known.id
                )
            hint = "make another one: each agent has its own, and a revoked one does not come back"
            error = ConflictError("key_exists", "this public key was registered before", subject=name, hint=hint)
            if known.organization_id == tenant.id:
                raise error
            what = f"public key {name}"
            both = {"holder": known.organization_id, "claimant": tenant.id}
            raise ContestedError(error, actor=actor, what=what, credential=known.id, **both)
        now = time.time_ns()
        live = live_keys(session, holder, now, "signature")
        if len(live) >= MAX_LIVE_KEYS:
            raise ConflictError(
                "too_many_keys",
                f"agent `{holder.name}` has {MAX_LIVE_KEYS} live public keys already",
                subject=holder.id,
                hint=Hint(
                    f"revoke one first: `gateway keys revoke {live[0].id}`", api="revoke a key of this agent first"
                ),
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
        outbox.add_change(session, tenant, actor, "key.added", fields, reason)
        return key_record(tenant, holder, row)


def _check_proof(
    session: Session, tenant: Organization, holder: Agent, actor: str, key: PublicKey, proof: str | None
) -> None:
    """Raise unless the key may be this agent's as far as its private half is concerned."""
    if proof is None:
        if operators.is_of(session, tenant.name, actor):
            message = "a public key of an agent needs a proof that the agent has its private half"
            hint = Hint(
                "say --private-key FILE, or make a proof where the agent runs: `gateway keys prove`",
                api='send "proof", which `gateway keys prove` prints where the agent runs',
            )
            raise GatewayError("proof_needed", message, subject=holder.id, hint=hint)
        return
    place = {"deployment": queries.deployment_of(session), "organization": tenant.name}
    if not any(possession.proves(proof, key, agent=each, **place) for each in (holder.name, holder.id)):
        message = "this is no proof for this key, organization and agent"
        shown = " ".join(f"--{name} {value}" for name, value in place.items())
        hint = Hint(
            f"make it where the agent runs: `gateway keys prove --key FILE --agent {holder.name} {shown}`",
            api='send "proof", which `gateway keys prove` prints where the agent runs',
        )
        raise GatewayError("invalid_proof", message, subject=holder.id, hint=hint)
