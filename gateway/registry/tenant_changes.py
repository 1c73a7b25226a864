"""Suspending, resuming and revoking organizations and teams: one row, whatever the number of agents.

What else of an organization can be changed is here, too.

As in `changes.py`, each function is one transaction with a new version of the row and its audit entry, in force for the
next request when it returns. None is returned where nothing changes.
"""

from __future__ import annotations

import time
from typing import Final

from gateway.registry import agent_versions, queries, teams, tenant_states, tenants
from gateway.registry.changes import remember_organization
from gateway.registry.database import Registry
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


def update_organization(
    registry: Registry, *, actor: str, organization: str, review_days: int | None, reason: str = ""
) -> OrganizationRecord | None:
    """Have the owner of each agent confirm it within so many days; None or 0 for never."""
    days = agent_versions.check_review_days(review_days or None)
    with registry.write() as session:
        row = queries.find_organization(session, organization)
        tenant_states.check_alive(row)
        if row.review_days == days:
            return None
        row.review_days = days
        row.version += 1
        session.add(row)
        remember_organization(session, row, actor, "organization.updated", reason, time.time_ns())
        return tenants.organization_record(session, row)


def suspend_team(
    registry: Registry, *, actor: str, organization: str, team: str, reason: str = ""
) -> TeamRecord | None:
    return _team(registry, actor, organization, team, "suspended", reason)


def resume_team(registry: Registry, *, actor: str, organization: str, team: str, reason: str = "") -> TeamRecord | None:
    return _team(registry, actor, organization, team, "active", reason)


def revoke_team(registry: Registry, *, actor: str, organization: str, team: str, reason: str = "") -> TeamRecord | None:
    return _team(registry, actor, organization, team, "revoked", reason)


def _organization(
    registry: Registry, actor: str, organization: str, status: str, reason: str
) -> OrganizationRecord | None:
    with registry.write() as session:
        row = queries.find_organization(session, organization)
        if row.status == status:
            return None
        tenant_states.check_transition(row, status)
        row.status = status
        row.version += 1
        session.add(row)
        remember_organization(session, row, actor, f"organization.{_VERBS[status]}", reason, time.time_ns())
        return tenants.organization_record(session, row)


def _team(registry: Registry, actor: str, organization: str, team: str, status: str, reason: str) -> TeamRecord | None:
    with registry.write() as session:
        tenant = queries.find_organization(session, organization)
        row = teams.find_team(session, tenant, team)
        if row.status == status:
            return None
        tenant_states.check_transition(row, status)
        row.status = status
        row.version += 1
        row.updated_ns = time.time_ns()
        session.add(row)
        teams.remember(session, tenant, row, actor, f"team.{_VERBS[status]}", reason)
        return teams.team_record(session, tenant, row)
