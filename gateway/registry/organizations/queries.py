"""Organizations as lists show them (architecture.md, section 9)."""

from __future__ import annotations

from sqlalchemy import func, text
from sqlmodel import Session, col, select

from gateway.identity.standing import Standing
from gateway.registry import emergency_stops, queries
from gateway.registry.database import Registry
from gateway.registry.models import NOT_ENDED, Agent, Organization, OrganizationVersion, Team
from gateway.registry.queries import reading
from gateway.registry.records import OrganizationRecord, OrganizationVersionRecord, copied


def organization_records(registry: Registry, name: str | None = None) -> list[OrganizationRecord]:
    """Every organization, or the one of a name, with the number of its agents that have not ended; by name."""
    with registry.read() as session:
        wanted = select(Organization).order_by(Organization.name)
        if name is not None:
            wanted = wanted.where(Organization.name == name)
        return [organization_record(session, each) for each in session.exec(wanted).all()]


def organization(registry: Registry, name: str) -> OrganizationRecord:
    with registry.read() as session:
        return organization_record(session, queries.find_organization(session, name))


def organization_record(session: Session, row: Organization) -> OrganizationRecord:
    # The names, which all have, lead to the index of names in use: it is counted, and no agent is read.
    mine = select(func.count()).select_from(Agent).where(Agent.organization_id == row.id, col(Agent.name) > "")
    living = mine.where(text(NOT_ENDED))
    return copied(OrganizationRecord, row, agents=session.exec(living).one())


def versions(registry: Registry, name: str) -> list[OrganizationVersionRecord]:
    """All versions of an organization, oldest first."""
    with reading(registry, name) as (session, owner):
        mine = select(OrganizationVersion).where(OrganizationVersion.organization_id == owner.id)
        rows = session.exec(mine.order_by(col(OrganizationVersion.version)))
        return [copied(OrganizationVersionRecord, each) for each in rows]


def suspended_by(session: Session, name: str) -> str | None:
    """The actor who has suspended an organization; None if it is not suspended."""
    owner = queries.find_organization(session, name)
    mine = select(OrganizationVersion).where(OrganizationVersion.organization_id == owner.id)
    found = None
    for each in session.exec(mine.order_by(col(OrganizationVersion.version).desc())):
        if each.status != "suspended":
            break
        found = each.actor  # of the oldest one: what came later changed something else
    return found


def standing(registry: Registry, organization: str, team: str) -> Standing:
    """The states that decide over the agents of a team (or of none: empty), beside their own."""
    with reading(registry, organization) as (session, owner):
        row = session.exec(select(Team).where(Team.organization_id == owner.id, Team.name == team)).one_or_none()
        stopped = {each.organization for each in emergency_stops.in_force(session)}
        scope = "all" if None in stopped else "organization" if owner.name in stopped else None
        return Standing(owner.status, None if row is None else row.status, scope)
