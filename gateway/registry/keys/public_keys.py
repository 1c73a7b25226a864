"""Public keys of agents (signatures.md): a row of `api_key` that has a `public_key` and no hash of a secret.

They expire and are revoked as API keys are. A public key belongs to one agent of the deployment, and is never given
again: the name that signed requests use for it says whose they are.
"""

from __future__ import annotations

from sqlmodel import Session, select

from gateway.errors import ConflictError, GatewayError, Hint
from gateway.identity import possession, public_keys
from gateway.identity.key_scope import KeyScope
from gateway.identity.message_signatures import PublicKey, thumbprint
from gateway.registry import contests, queries
from gateway.registry.database import Registry
from gateway.registry.keys.changes import add_row, holder_of, new_row
from gateway.registry.models import Agent, ApiKey, Organization
from gateway.registry.operators import operators
from gateway.registry.queries import writing
from gateway.registry.records import KeyRecord


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
    with writing(registry, organization) as (session, tenant):
        holder = holder_of(session, tenant, agent)
        _check_proof(session, tenant, holder, actor, key, proof)
        known = session.exec(select(ApiKey).where(ApiKey.credential_id == name)).first()
        if known is not None:
            if known.agent_id == holder.id and known.revoked_ns is None:
                raise ConflictError(
                    "key_exists", f"agent `{holder.name}` has this public key already", subject=known.id
                )
            hint = "make another one: each agent has its own, and a revoked one does not come back"
            error = ConflictError("key_exists", "this public key was registered before", subject=name, hint=hint)
            whose = {"credential": known.id, "holder": known.organization_id}
            contests.refuse(error, tenant, actor=actor, what=f"public key {name}", **whose)
        end = {"lifetime_ns": lifetime_ns, "expires_ns": expires_ns}
        row = new_row(session, holder, "signature", actor, **end, scope=scope)
        row.credential_id, row.public_key = name, public_keys.encode(key)
        return add_row(session, tenant, holder, row, "key.added", reason)


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
