"""The agents of an organization at a glance: how many are in each state, and which of them need a person.

All is counted where the rows are, in a fixed number of statements, and of each sort only the first few are read: there
may be a hundred thousand of them. The states are those that `review_dates.py` and `reader.py` compute for one agent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, case, false, func, literal, or_, text
from sqlmodel import Session, col, select

from gateway.identity.legacy_keys import AGENT as LEGACY
from gateway.registry.agents import review_dates
from gateway.registry.models import NOT_ENDED, Agent, ApiKey, Binding, LegacyKey, Organization, Team

NAMED: Final = 3
"""So many of a sort are named; the others are counted."""
WARNING_NS: Final = 7 * review_dates.DAY_NS
"""So long before it an agent's suspension is told of, if its review is not due before that."""


@dataclass(frozen=True, slots=True)
class Some:
    """The number of things of a sort, and the names of the first ones."""

    many: int = 0
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, *names: str) -> Some:
        return cls(len(names), names[:NAMED])


@dataclass(frozen=True, slots=True)
class Agents:
    """The agents that have not ended by themselves. `states` counts them by status, which is also `expired` or, if
    their team or organization is, `revoked`.
    """

    states: dict[str, int] = field(default_factory=dict)
    # Active ones without a key that works, leaving out the one that stands for providers' keys; and without a grant.
    keyless: Some = field(default_factory=Some)
    ungranted: Some = field(default_factory=Some)
    # The one that stands for providers' keys is there, and has none.
    is_idle: bool = False
    # Those that will soon be suspended because nobody reviews them, the first ones first, and when.
    warned: Some = field(default_factory=Some)
    suspends_ns: tuple[int, ...] = ()
    # Those that were suspended for that, and others that were not reviewed in time.
    unconfirmed: Some = field(default_factory=Some)
    overdue: Some = field(default_factory=Some)


def look(session: Session, owner: Organization, now_ns: int) -> Agents:
    """Count all of them at once, then read the names of those that were found."""
    state = _state(owner, now_ns)
    mine = and_(col(Agent.organization_id) == owner.id, text(NOT_ENDED))
    ends = review_dates.due(owner) + (owner.suspend_after_days or 0) * review_dates.DAY_NS
    sorts = _sorts(owner, now_ns, state, ends)
    sums = [func.sum(case((condition, 1), else_=0)) for condition in sorts.values()]
    # By its name: to PostgreSQL the same expression with parameters of its own would be another one.
    counted = select(state.label("in_force"), func.count(), *sums).select_from(Agent).where(mine)
    rows = session.exec(counted.group_by(text("in_force"))).all()
    many = {sort: sum(int(row[2 + place]) for row in rows) for place, sort in enumerate(sorts)}

    def first(sort: str, *columns: Any) -> list[Any]:
        """The name, and more, of the first ones of a sort."""
        wanted = select(Agent.name, *columns).where(mine, sorts[sort]).order_by(*columns, Agent.name).limit(NAMED)
        return list(session.exec(wanted).all()) if many[sort] else []

    warned = first("warned", ends)
    named = {sort: Some(many[sort], tuple(first(sort))) for sort in ("keyless", "ungranted", "unconfirmed", "overdue")}
    return Agents(
        {row[0]: row[1] for row in rows},
        warned=Some(many["warned"], tuple(name for name, _ in warned)),
        suspends_ns=tuple(end for _, end in warned),
        is_idle=many["idle"] > 0,
        **named,
    )


def _sorts(owner: Organization, now_ns: int, state: ColumnElement[str], ends: Any) -> dict[str, ColumnElement[bool]]:
    """The conditions of agents that need a person."""
    active, late = state == "active", review_dates.due(owner) < now_ns
    idle = ~_has_key(owner, now_ns)
    soon: ColumnElement[bool] = false()
    over: ColumnElement[bool] = false()
    if owner.suspend_after_days is not None:
        soon = and_(active, ends > now_ns, or_(late, ends < now_ns + WARNING_NS))
        over = and_(state == "suspended", ends <= now_ns)
    return {
        "keyless": and_(active, col(Agent.name) != LEGACY, idle),
        "ungranted": and_(active, ~_is_granted(owner)),
        "idle": and_(col(Agent.name) == LEGACY, idle),
        "warned": soon,
        "unconfirmed": over,
        "overdue": and_(late, state != "revoked", ~or_(soon, over)),
    }


def _state(owner: Organization, now_ns: int) -> ColumnElement[str]:
    """The status in force, as a column."""
    if owner.status == "revoked":
        return literal("revoked")
    ended = select(Team.name).where(Team.organization_id == owner.id, Team.status == "revoked")
    return case(
        (col(Agent.team).in_(ended), "revoked"),
        (col(Agent.expires_ns) <= now_ns, "expired"),
        (review_dates.late(owner, now_ns), "suspended"),
        else_=col(Agent.status),
    )


def _has_key(owner: Organization, now_ns: int) -> ColumnElement[bool]:
    """Looked up among all keys of the organization, which takes an eighth of the time of a look for each agent."""
    keys = select(ApiKey.agent_id).where(
        ApiKey.organization_id == owner.id,
        col(ApiKey.revoked_ns).is_(None),
        or_(col(ApiKey.expires_ns).is_(None), col(ApiKey.expires_ns) > now_ns),
    )
    # Also a provider's key whose time is over: what is to be done about that is not a new key.
    shared = select(LegacyKey.agent_id).where(LegacyKey.organization_id == owner.id)
    return or_(
        col(Agent.id).in_(keys),
        col(Agent.id).in_(shared.where(col(LegacyKey.revoked_ns).is_(None))),
    )


def _is_granted(owner: Organization) -> ColumnElement[bool]:
    """True for agents to which a binding applies that grants something."""

    def subjects(kind: str) -> Any:
        return select(Binding.subject).where(
            Binding.organization_id == owner.id,
            Binding.subject_kind == kind,
            Binding.effect == "grant",
            col(Binding.shadow).is_(False),
            col(Binding.removed_ns).is_(None),
        )

    return or_(
        subjects("organization").exists(),
        col(Agent.team).in_(subjects("team")),
        col(Agent.id).in_(subjects("agent")),
    )
