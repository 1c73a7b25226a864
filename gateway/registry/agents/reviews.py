"""The suspension of agents that nobody has confirmed: its version and its entry (agents.md).

An agent is refused from its time on, which `review_dates.py` computes, whether or not this has run. The version
written here says so in its history and in the log, and ends its calls under way.
The control process looks for such agents all
the time; a change that would move the time settles first what the rule of before has brought about. So a suspension is
recorded once, whoever comes first, and a review that is late does not undo it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sqlmodel import Session, col, select

from gateway.errors import ConflictError, Hint
from gateway.registry.agents import review_dates
from gateway.registry.agents import versions as agent_versions
from gateway.registry.database import Registry
from gateway.registry.models import Agent, Organization

ACTOR: Final = "gateway:review"
_AT_ONCE: Final = 500
"""Agents that are suspended in one transaction, so that a command never waits long."""


def suspend_unconfirmed(registry: Registry, now_ns: int) -> list[str]:
    """Suspend all agents that nobody has confirmed in time; returns them as `organization/name`."""
    with registry.read() as session:
        ruled = select(Organization).where(
            col(Organization.suspend_after_days).is_not(None), Organization.status != "revoked"
        )
        waiting = [each.id for each in session.exec(ruled) if _late(session, each, now_ns, 1)]
    found: list[str] = []
    for identifier in waiting:
        while True:
            with registry.write() as session:
                owner = session.get_one(Organization, identifier)
                done = [f"{owner.name}/{each}" for each in settle_all(session, owner, now_ns, _AT_ONCE)]
            found += done
            if len(done) < _AT_ONCE:
                break
    return found


def settle_all(session: Session, owner: Organization, now_ns: int, most: int | None = None) -> list[str]:
    """The same for one organization, inside the transaction of a change; returns the names."""
    rows = _late(session, owner, now_ns, most)
    for row in rows:
        _suspend(session, owner, row)
    return [each.name for each in rows]


def settle(session: Session, owner: Organization, row: Agent, now_ns: int) -> None:
    """The same for one agent, before it is changed."""
    if review_dates.status(row.status, review_dates.suspends_ns(row, owner, row.created_ns), now_ns) != row.status:
        _suspend(session, owner, row)


def late_names(session: Session, owner: Organization, now_ns: int) -> list[str]:
    """The agents that the rule would suspend as the organization's row has it now."""
    return [each.name for each in _late(session, owner, now_ns, None)]


def check_confirmed(owner: Organization, row: Agent, now_ns: int) -> None:
    """Raise if an agent must be reviewed before it may go on: otherwise it would be suspended again at once."""
    ends_ns = review_dates.suspends_ns(row, owner, row.created_ns)
    if ends_ns is not None and ends_ns <= now_ns:
        message = f"agent `{row.name}` was not reviewed in time, so it cannot be resumed"
        hint = Hint(
            f"type `gateway agents review {row.name}` first, if it is still wanted",
            api="review it first, if it is still wanted",
        )
        raise ConflictError("review_overdue", message, subject=row.id, hint=hint)


def _late(session: Session, owner: Organization, now_ns: int, most: int | None) -> list[Agent]:
    mine = select(Agent).where(Agent.organization_id == owner.id, review_dates.late(owner, now_ns))
    return list(session.exec(mine.order_by(col(Agent.id)).limit(most)))


def _suspend(session: Session, owner: Organization, row: Agent) -> None:
    due = review_dates.due_ns(row, owner, row.created_ns)
    assert due is not None
    when = datetime.fromtimestamp(due // 10**9, UTC).isoformat().replace("+00:00", "Z")
    days = owner.suspend_after_days
    after = "1 day" if days == 1 else f"{days} days"
    row.status = "suspended"
    session.add(row)
    why = f"nobody has confirmed it: its review was due at {when}, and {after} have passed since"
    agent_versions.add_version(session, owner, row, ACTOR, "agent.suspended", why)
