"""Teams: rows with an owner and a description (agents.md).

Agents, bindings and limits name a team; naming one that has no row makes it. Each change is one transaction with a new
version of the team and its audit entry.
"""

from __future__ import annotations

import time

from sqlmodel import Session, col, select

from gateway.errors import ConflictError, Hint
from gateway.identifiers import new_id
from gateway.registry import change_entries as entries
from gateway.registry import names, outbox, queries
from gateway.registry.database import Registry
from gateway.registry.models import Binding, Organization, Team, TeamVersion
from gateway.registry.organizations import states as tenant_states
from gateway.registry.queries import reading, writing
from gateway.registry.records import TeamRecord, copied


def create_team(
    registry: Registry,
    *,
    actor: str,
    organization: str,
    name: str,
    owner: str = "",
    description: str = "",
    reason: str = "",
) -> TeamRecord:
    """A new team, with nobody in it."""
    with writing(registry, organization) as (session, tenant):
        if _row(session, tenant, name) is not None:
            hint = Hint(f"to change it: `gateway teams update {name}`")
            raise ConflictError("team_exists", f"team `{name}` exists already", subject=name, hint=hint)
        row = _create(session, tenant, name, actor, owner=owner, description=description, reason=reason)
        return team_record(session, tenant, row)


def update_team(
    registry: Registry,
    *,
    actor: str,
    organization: str,
    team: str,
    owner: str | None = None,
    description: str | None = None,
    reason: str = "",
) -> TeamRecord | None:
    """Change a team; None leaves a member as it is, and an empty text clears it. None if it is like that already."""
    with writing(registry, organization) as (session, tenant):
        row = find_team(session, tenant, team)
        before = row.owner, row.description
        if owner is not None:
            row.owner = names.check_text("owner", owner)
        if description is not None:
            row.description = names.check_description(description)
        if before == (row.owner, row.description):
            return None
        row.version += 1
        row.updated_ns = time.time_ns()
        remember(session, tenant, row, actor, "team.updated", reason)
        return team_record(session, tenant, row)


def team(registry: Registry, organization: str, name: str) -> TeamRecord:
    with reading(registry, organization) as (session, tenant):
        return team_record(session, tenant, find_team(session, tenant, name))


def teams(registry: Registry, organization: str) -> list[TeamRecord]:
    """Every team with its agents and bundles, by name."""
    with reading(registry, organization) as (session, tenant):
        bundles, agents = _bundles(session, tenant), _agents(session, tenant)
        rows = session.exec(select(Team).where(Team.organization_id == tenant.id).order_by(Team.name))
        return [as_record(tenant, each, agents.get(each.name, []), bundles.get(each.name, [])) for each in rows]


# --- within one transaction -------------------------------------------------------------------------------------------


def find_team(session: Session, tenant: Organization, name: str) -> Team:
    row = _row(session, tenant, name)
    if row is None:
        known = queries.team_names(session, tenant)
        see = Hint(f"type `gateway teams create {name}`, or `gateway teams list` to see them")
        raise names.unknown("team", name, known, see)
    return row


def ensure(session: Session, tenant: Organization, name: str, actor: str) -> None:
    """Create the team of this name unless it is there: somebody names it."""
    if name and _row(session, tenant, name) is None:
        _create(session, tenant, name, actor)


def check_alive(session: Session, tenant: Organization, *names: str) -> None:
    """Raise if the organization or one of its teams of these names is revoked: nothing may be given there."""
    tenant_states.check_alive(tenant, *(_row(session, tenant, name) for name in names))


def remember(session: Session, tenant: Organization, row: Team, actor: str, what: str, reason: str) -> None:
    """Add the version that `row` now is to the history, with its entry."""
    session.flush()  # the team's row first: the history refers to it
    since = {"team_id": row.id, "since_ns": row.updated_ns}
    session.add(copied(TeamVersion, row, **since, actor=actor, reason=reason))
    outbox.add_change(session, tenant, actor, what, entries.team(row), reason)


def _create(
    session: Session,
    tenant: Organization,
    name: str,
    actor: str,
    *,
    owner: str = "",
    description: str = "",
    reason: str = "",
) -> Team:
    now = time.time_ns()
    row = Team(
        id=new_id("tem"),
        organization_id=tenant.id,
        name=names.check_name("team", name),
        owner=names.check_text("owner", owner),
        description=names.check_description(description),
        version=1,
        created_ns=now,
        updated_ns=now,
    )
    session.add(row)
    remember(session, tenant, row, actor, "team.created", reason)
    return row


def _row(session: Session, tenant: Organization, name: str) -> Team | None:
    return session.exec(select(Team).where(Team.organization_id == tenant.id, Team.name == name)).one_or_none()


def _bundles(session: Session, tenant: Organization) -> dict[str, list[str]]:
    bound: dict[str, list[str]] = {}
    mine = select(Binding).where(Binding.organization_id == tenant.id, col(Binding.removed_ns).is_(None))
    for row in session.exec(mine.where(Binding.subject_kind == "team").order_by(Binding.bundle)):
        bound.setdefault(row.subject, []).append(row.bundle)
    return bound


def _agents(session: Session, tenant: Organization) -> dict[str, list[str]]:
    members: dict[str, list[str]] = {}
    for name, team in queries.living_names(session, tenant):
        members.setdefault(team, []).append(name)
    return members


def team_record(session: Session, tenant: Organization, row: Team) -> TeamRecord:
    session.flush()
    agents = [name for name, _ in queries.living_names(session, tenant, row.name)]
    return as_record(tenant, row, agents, _bundles(session, tenant).get(row.name, []))


def as_record(tenant: Organization, row: Team, agents: list[str], bundles: list[str]) -> TeamRecord:
    return copied(TeamRecord, row, organization=tenant.name, agents=agents, bundles=bundles)
