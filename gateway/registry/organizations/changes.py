"""Suspending, resuming and revoking organizations and teams: one row, whatever the number of agents.

The other changes of an organization are here, too.

Each function is one transaction with a new version of the row and its audit entry, in force for the next request when
it returns. None is returned where nothing changes.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from typing import Final

from sqlmodel import Session, select

from gateway.errors import ConflictError, Hint
from gateway.identifiers import new_id
from gateway.registry import change_entries as entries
from gateway.registry import names, outbox, queries
from gateway.registry.agents import review_dates, reviews
from gateway.registry.agents import versions as agent_versions
from gateway.registry.agents.states import VERBS
from gateway.registry.database import Registry
from gateway.registry.limits import usage_limits
from gateway.registry.models import Organization, OrganizationVersion
from gateway.registry.organizations import queries as tenants
from gateway.registry.organizations import states as tenant_states
from gateway.registry.organizations import teams
from gateway.registry.records import OrganizationRecord, TeamRecord, copied
from gateway.usage import zones

_NAMED: Final = 5  # agents that an error lists


def create_organization(registry: Registry, *, actor: str, name: str, reason: str = "") -> str:
    """A new tenant; returns its id."""
    names.check_organization(name)
    with registry.write() as session:
        if session.exec(select(Organization).where(Organization.name == name)).first() is not None:
            raise names.taken("organization", name)
        row = Organization(id=new_id("org"), name=name, created_ns=time.time_ns())
        session.add(row)
        remember_organization(session, row, actor, "organization.created", reason, row.created_ns)
        return row.id


def remember_organization(
    session: Session, row: Organization, actor: str, what: str, reason: str, since_ns: int
) -> None:
    """Add the version that `row` now is to the history, with its entry."""
    session.flush()  # the organization's row first: the history refers to it
    since = {"organization_id": row.id, "since_ns": since_ns}
    session.add(copied(OrganizationVersion, row, **since, actor=actor, reason=reason))
    outbox.add_change(session, row, actor, what, entries.organization(row), reason)


def update_organization(
    registry: Registry,
    *,
    actor: str,
    organization: str,
    review_days: int | None = None,
    suspend_after_days: int | None = None,
    zone: str | None = None,
    suspend_now: bool = False,
    reason: str = "",
) -> OrganizationRecord | None:
    """Change what is given; None leaves it as it is.

    Owners must confirm each agent within `review_days`, 0 for never. An agent that nobody has confirmed
    `suspend_after_days` later is suspended, 0 for never. Raises `would_suspend` if the change would suspend agents at
    once, unless `suspend_now`. Days and months begin at midnight of `zone`. Windows of limits that have begun end as
    they would have; the zone holds for those that begin later.
    """
    if zone is not None:
        zones.find(zone)
    with registry.write() as session:
        row = queries.find_organization(session, organization)
        tenant_states.check_alive(row)
        now_ns = time.time_ns()
        before = row.review_days, row.suspend_after_days, row.zone
        reviews.settle_all(session, row, now_ns)
        if review_days is not None:
            row.review_days = agent_versions.check_review_days(review_days or None)
        if suspend_after_days is not None:
            row.suspend_after_days = review_dates.check_suspend_after_days(suspend_after_days or None)
        if zone is not None and zone != row.zone:
            usage_limits.check_zone_change(session, row, actor)
            row.zone = zone
        if (row.review_days, row.suspend_after_days, row.zone) == before:
            return None
        if not suspend_now:
            _check_nobody_late(reviews.late_names(session, row, now_ns))
        row.version += 1
        session.add(row)
        remember_organization(session, row, actor, "organization.updated", reason, now_ns)
        reviews.settle_all(session, row, now_ns)
        return tenants.organization_record(session, row)


def _check_nobody_late(late: Sequence[str]) -> None:
    if late:
        shown = ", ".join(f"`{each}`" for each in late[:_NAMED])
        more = f" and {len(late) - _NAMED} more" if len(late) > _NAMED else ""
        hint = Hint(
            "review them first (`gateway agents review`), or add --yes if that is meant",
            api='review them first, or send "suspend_now": true if that is meant',
        )
        raise ConflictError("would_suspend", f"this would suspend agents at once: {shown}{more}", hint=hint)


def _organization_becomes(
    registry: Registry, *, actor: str, organization: str, status: str, reason: str = ""
) -> OrganizationRecord | None:
    with registry.write() as session:
        row = queries.find_organization(session, organization)
        if row.status == status:
            return None
        tenant_states.check_transition(row, status)
        row.status = status
        row.version += 1
        session.add(row)
        what = f"organization.{VERBS.get(status, status)}"
        remember_organization(session, row, actor, what, reason, time.time_ns())
        return tenants.organization_record(session, row)


suspend_organization = functools.partial(_organization_becomes, status="suspended")
resume_organization = functools.partial(_organization_becomes, status="active")
revoke_organization = functools.partial(_organization_becomes, status="revoked")


def _team_becomes(
    registry: Registry, *, actor: str, organization: str, team: str, status: str, reason: str = ""
) -> TeamRecord | None:
    with queries.writing(registry, organization) as (session, tenant):
        row = teams.find_team(session, tenant, team)
        if row.status == status:
            return None
        tenant_states.check_transition(row, status)
        row.status = status
        row.version += 1
        row.updated_ns = time.time_ns()
        session.add(row)
        teams.remember(session, tenant, row, actor, f"team.{VERBS.get(status, status)}", reason)
        return teams.team_record(session, tenant, row)


suspend_team = functools.partial(_team_becomes, status="suspended")
resume_team = functools.partial(_team_becomes, status="active")
revoke_team = functools.partial(_team_becomes, status="revoked")
