"""The bindings of an organization at a glance: which bundles they need, and which of them apply to nobody.

As `agents/needs.py` does, it counts where the rows are: a hundred thousand agents may have a binding each.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, and_, case, exists, func, or_, text
from sqlmodel import Session, col, select

from gateway.registry import row_records
from gateway.registry.agents.needs import NAMED, Some
from gateway.registry.models import NOT_ENDED, Agent, Binding, Organization, Team
from gateway.registry.records import BindingRecord


@dataclass(frozen=True, slots=True)
class Bound:
    """`bundles` are those that anything is bound to. `missing` are the bundles that are not in force although agents
    need them, with the subjects that are bound to them; `idle` the bindings of teams and organizations without agents.
    """

    bundles: frozenset[str] = frozenset()
    missing: dict[str, Some] = field(default_factory=dict)
    idle: list[BindingRecord] = field(default_factory=list)


def look(session: Session, owner: Organization, in_force: Collection[str]) -> Bound:
    mine, matters, applies = _conditions(owner)
    needing = and_(col(Binding.pinned).is_(None), matters, applies)
    counted = select(Binding.bundle, func.sum(case((needing, 1), else_=0))).where(mine)
    needed = dict(session.exec(counted.group_by(Binding.bundle).order_by(func.min(Binding.id))).all())
    return Bound(
        frozenset(needed),
        {
            bundle: Some(int(many), _subjects(session, owner, bundle))
            for bundle, many in needed.items()
            if many and bundle not in in_force
        },
        _idle(session, owner),
    )


def _conditions(owner: Organization) -> tuple[ColumnElement[bool], ColumnElement[bool], ColumnElement[bool]]:
    """Bindings in force of subjects that have not ended; those that matter; those that apply to any agent.

    Each statement has its own: compiling one marks the selects in it, and others would not be found compiled.
    """
    kind, subject = col(Binding.subject_kind), col(Binding.subject)
    living = and_(col(Agent.organization_id) == owner.id, text(NOT_ENDED))
    ended = select(Team.name).where(Team.organization_id == owner.id, Team.status == "revoked")
    return (
        and_(
            col(Binding.organization_id) == owner.id,
            col(Binding.removed_ns).is_(None),
            or_(kind != "agent", subject.in_(select(Agent.id).where(living))),
        ),
        # A team that has ended needs nothing, and nobody has to end its bindings.
        or_(kind != "team", subject.not_in(ended)),
        or_(
            kind == "agent",
            and_(kind == "team", exists().where(living, col(Agent.team) == subject)),
            and_(kind == "organization", exists().where(living)),
        ),
    )


def _idle(session: Session, owner: Organization) -> list[BindingRecord]:
    mine, matters, applies = _conditions(owner)
    rows = session.exec(select(Binding).where(mine, matters, ~applies).order_by(Binding.id))
    return [row_records.binding_record(owner, each, None) for each in rows]


def _subjects(session: Session, owner: Organization, bundle: str) -> tuple[str, ...]:
    """The first subjects that need a bundle, as commands name them."""
    mine, matters, applies = _conditions(owner)
    needing = select(Binding).where(mine, matters, applies, col(Binding.pinned).is_(None), Binding.bundle == bundle)
    found = []
    for row in session.exec(needing.order_by(Binding.id).limit(NAMED)).all():
        agent = session.get(Agent, row.subject) if row.subject_kind == "agent" else None
        found.append(row_records.binding_record(owner, row, agent.name if agent else None).named)
    return tuple(found)
