"""Organizations as lists show them (docs/architecture.md, section 9)."""

from __future__ import annotations

from sqlmodel import select

from gateway.registry import queries
from gateway.registry.database import Registry
from gateway.registry.models import Organization
from gateway.registry.records import OrganizationRecord


def organization_records(registry: Registry) -> list[OrganizationRecord]:
    """Every organization with the number of its agents that have not ended, by name."""
    with registry.read() as session:
        return [
            OrganizationRecord(
                id=each.id,
                name=each.name,
                status=each.status,
                review_days=each.review_days,
                agents=len(queries.live_members(session, each, "organization", each.id)),
                created_ns=each.created_ns,
            )
            for each in session.exec(select(Organization).order_by(Organization.name))
        ]
