"""Organizations and teams as lists show them: who is in them, and what is bound (docs/architecture.md, section 9)."""

from __future__ import annotations

from sqlmodel import col, select

from gateway.registry import queries
from gateway.registry.database import Registry
from gateway.registry.models import Binding, Organization
from gateway.registry.records import OrganizationRecord, TeamRecord


def organization_records(registry: Registry) -> list[OrganizationRecord]:
    """Every organization with the number of its agents that are not revoked, by name."""
    with registry.read() as session:
        return [
            OrganizationRecord(
                id=each.id,
                name=each.name,
                agents=len(queries.live_members(session, each, "organization", each.id)),
                created_ns=each.created_ns,
            )
            for each in session.exec(select(Organization).order_by(Organization.name))
        ]


def teams(registry: Registry, organization: str) -> list[TeamRecord]:
    """Every team that has agents or bindings, by name, with both."""
    with registry.read() as session:
        owner = queries.find_organization(session, organization)
        bound: dict[str, list[str]] = {}
        mine = select(Binding).where(Binding.organization_id == owner.id, col(Binding.removed_ns).is_(None))
        for row in session.exec(mine.where(Binding.subject_kind == "team").order_by(Binding.bundle)):
            bound.setdefault(row.subject, []).append(row.bundle)
        return [
            TeamRecord(
                name=name,
                organization=owner.name,
                agents=[agent.name for agent in queries.live_members(session, owner, "team", name)],
                bundles=bound.get(name, []),
            )
            for name in sorted({*bound, *queries.team_names(session, owner)})
        ]
