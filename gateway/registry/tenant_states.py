"""The states of organizations and teams: they decide over all agents in them, by one row (docs/revocation.md).

    active ⇄ suspended        every agent in it is refused for now; each keeps its own state
    both → revoked            every agent in it is refused for good

As in `changes.py`, each function is one transaction with a new version of the row and its audit entry, in force for the
next request when it returns. None is returned where nothing changes.
"""

from __future__ import annotations

import time
from typing import Final

from gateway.errors import GatewayError
from gateway.registry import queries, teams, tenants
from gateway.registry.changes import remember_organization
from gateway.registry.database import Registry
from gateway.registry.models import Organization, Team
from gateway.registry.records import OrganizationRecord, TeamRecord

_VERBS: Final = {"suspended": "suspended", "active": "resumed", "revoked": "revoked"}


def suspend_organization(
    registry: Registry, *, actor: str, organization: str, reason: str = ""
) -> OrganizationRecord | None:
    return _organization(registry, actor, organization, "suspended", reason)


def resume_organization(
    registry: Registry, *, actor: str, organization: str, reason: str = ""
) -> OrganizationRecord | None:
    return _organization(registry, actor, organization, "active", reason)


def revoke_organization(
    registry: Registry, *, actor: str, organization: str, reason: str = ""
) -> OrganizationRecord | None:
    return _organization(registry, actor, organization, "revoked", reason)


def suspend_team(
    registry: Registry, *, actor: str, organization: str, team: str, reason: str = ""
) -> TeamRecord | None:
    return _team(registry, actor, organization, team, "suspended", reason)


def resume_team(
    registry: Registry, *, actor: str, organization: str, team: str, reason: str = ""
) -> TeamRecord | None:
    return _team(registry, actor, organization, team, "active", reason)


def revoke_team(
    registry: Registry, *, actor: str, organization: str, team: str, reason: str = ""
) -> TeamRecord | None:
    return _team(registry, actor, organization, team, "revoked", reason)


def _organization(
    registry: Registry, actor: str, organization: str, status: str, reason: str
) -> OrganizationRecord | None:
    with registry.write() as session:
        row = queries.find_organization(session, organization)
        if row.status == status:
            return None
        _check(row, "organization")
        row.status = status
        row.version += 1
        session.add(row)
        remember_organization(session, row, actor, f"organization.{_VERBS[status]}", reason, time.time_ns())
        return tenants.organization_record(session, row)


def _team(
    registry: Registry, actor: str, organization: str, team: str, status: str, reason: str
) -> TeamRecord | None:
    with registry.write() as session:
        tenant = queries.find_organization(session, organization)
        row = teams.find_team(session, tenant, team)
        if row.status == status:
            return None
        _check(row, "team")
        row.status = status
        row.version += 1
        row.updated_ns = time.time_ns()
        session.add(row)
        teams.remember(session, tenant, row, actor, f"team.{_VERBS[status]}", reason)
        return teams.team_record(session, tenant, row)


def _check(row: Organization | Team, what: str) -> None:
    if row.status == "revoked":
        raise revoked(what, row.name)


def revoked(what: str, name: str) -> GatewayError:
    """The error for a change that would bring agents of a revoked organization or team back."""
    hint = f"a revoked {what} cannot come back: create another one"
    return GatewayError(f"{what}_revoked", f"{what} `{name}` is revoked", subject=name, hint=hint)
