"""When an agent's review is due, and when the agent is suspended because nobody has confirmed it (agents.md).

Both follow from the rows of the agent and of its organization and from the clock, as an expiry does: nothing must be
written for an agent to be refused in time. Data workers compute the same in `reader.py`. The entry and the version of
the suspension follow from `reviews.py`.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from sqlalchemy import BigInteger, ColumnElement, and_, cast, false, func, or_
from sqlmodel import col

from gateway.errors import GatewayError
from gateway.registry.agents.states import ENDED
from gateway.registry.models import Agent, AgentVersion, NewAgent, Organization, OrganizationVersion

MAX_SUSPEND_AFTER_DAYS: Final = 366
DAY_NS: Final = 86_400 * 10**9

Row: TypeAlias = AgentVersion | NewAgent


def check_suspend_after_days(days: int | None) -> int | None:
    if days is not None and not 1 <= days <= MAX_SUSPEND_AFTER_DAYS:
        message = f"unconfirmed agents are suspended 1 to {MAX_SUSPEND_AFTER_DAYS} days after their review was due"
        raise GatewayError("invalid_suspend_after", message)
    return days


def due_ns(row: Row, rule: Organization | OrganizationVersion, created_ns: int) -> int | None:
    """When the owner must have confirmed an agent; None if nobody has to."""
    days = row.review_days or rule.review_days
    return None if days is None else (row.reviewed_ns or created_ns) + days * DAY_NS


def suspends_ns(row: Row, rule: Organization | OrganizationVersion, created_ns: int) -> int | None:
    """From when on an agent is suspended unless it is reviewed; None if it has ended, or no rule says so."""
    due = due_ns(row, rule, created_ns)
    if due is None or rule.suspend_after_days is None or row.status in ENDED:
        return None
    return due + rule.suspend_after_days * DAY_NS


def status(stored: str, suspends_ns: int | None, now_ns: int) -> str:
    """An agent's status in force: one that is active in its row is suspended once it is too late to confirm it."""
    return "suspended" if stored == "active" and suspends_ns is not None and suspends_ns <= now_ns else stored


def due(owner: Organization) -> ColumnElement[int]:
    """What `due_ns` says of the agents of an organization, as a column."""
    days: Any = func.coalesce(col(Agent.review_days), owner.review_days)
    since: ColumnElement[int] = func.coalesce(col(Agent.reviewed_ns), col(Agent.created_ns))
    return since + cast(days, BigInteger) * DAY_NS


def late(owner: Organization, now_ns: int) -> ColumnElement[bool]:
    """The agents of an organization that are active in their rows, but suspended: as a condition of a query."""
    if owner.suspend_after_days is None:
        return false()
    end = due(owner) + owner.suspend_after_days * DAY_NS
    return and_(col(Agent.status) == "active", end.is_not(None), end <= now_ns)


def having(owner: Organization, wanted: str, now_ns: int) -> ColumnElement[bool]:
    """The agents of an organization that have this status in force: as a condition of a query."""
    stored, is_late = col(Agent.status) == wanted, late(owner, now_ns)
    if wanted == "suspended":
        return or_(stored, is_late)
    return and_(stored, ~is_late) if wanted == "active" else stored
