"""SPIFFE IDs of agents (mtls.md): a row of `api_key` that has a `spiffe_id` and no hash of a secret.

They expire and are revoked as API keys are. A SPIFFE ID belongs to one agent of the deployment at a time: the name in a
certificate says whose requests they are. When it was revoked, another agent can have it.
"""

from __future__ import annotations

from sqlmodel import col, select

from gateway.errors import ConflictError, GatewayError, Hint
from gateway.identity.certificates import check_spiffe_id
from gateway.identity.key_scope import KeyScope
from gateway.registry import contests
from gateway.registry.database import Registry
from gateway.registry.keys.changes import add_row, holder_of, new_row
from gateway.registry.models import ApiKey
from gateway.registry.organizations import given_names
from gateway.registry.queries import writing
from gateway.registry.records import KeyRecord


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
    with writing(registry, organization) as (session, tenant):
        holder = holder_of(session, tenant, agent)
        given_names.check_spiffe(session, tenant, actor, spiffe_id)
        given = select(ApiKey).where(ApiKey.spiffe_id == spiffe_id, col(ApiKey.revoked_ns).is_(None))
        before = session.exec(given).first()
        if before is not None:
            error = _taken(before, tenant.id, holder.id, spiffe_id)
            whose = {"credential": before.id, "holder": before.organization_id}
            contests.refuse(error, tenant, actor=actor, what=f"SPIFFE ID {spiffe_id}", **whose)
        end = {"lifetime_ns": lifetime_ns, "expires_ns": expires_ns}
        row = new_row(session, holder, "mtls", actor, **end, scope=scope)
        row.credential_id, row.spiffe_id = row.id, spiffe_id
        return add_row(session, tenant, holder, row, "key.added", reason)


def _taken(before: ApiKey, organization_id: str, agent_id: str, spiffe_id: str) -> GatewayError:
    """The error that says who has the name already; it tells nothing of another organization."""
    if before.organization_id != organization_id:
        message, hint = "another organization has this SPIFFE ID", "ask whoever runs the gateway"
    elif before.agent_id == agent_id:
        message = "the agent has this SPIFFE ID already"
        shown = "shows it, also if it has expired"
        hint = Hint(f"`gateway keys list` {shown}", api=f"GET /api/v1/keys {shown}")
    else:
        message, first = "another agent has this SPIFFE ID", "revoke it there first: "
        hint = Hint(f"{first}`gateway keys revoke {before.id}`", api=f"{first}POST /api/v1/keys/{before.id}/revoke")
    return ConflictError("key_exists", message, subject=spiffe_id, hint=hint)
