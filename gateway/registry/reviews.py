"""Agents that nobody has confirmed in time: who they are, and their suspension where an organization wants it.

Nobody is suspended without a warning. An agent that is found overdue gets one first, as an entry of the log and in
`gateway status`, and is suspended `suspend_after_days` later, counted from the warning and not from the day that was
missed. So a rule that is new, a shorter period or a gateway that was off for weeks suspends nobody at once. A review
takes the warning away, and so does every change of the rule (docs/agents.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, func
from sqlmodel import Session, cast, col, delete, select

from gateway.audit.intents import Fields
from gateway.errors import GatewayError
from gateway.identity.legacy_keys import AGENT as LEGACY
from gateway.registry import outbox
from gateway.registry.agent_versions import add_version
from gateway.registry.database import Registry
from gateway.registry.models import Agent, Organization, ReviewWarning

MAX_SUSPEND_AFTER_DAYS: Final = 366
_DAY_NS: Final = 86_400 * 10**9
_AT_ONCE: Final = 500
"""Agents that are warned or suspended in one transaction, so that a command never waits long."""


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """The agents that one step has warned or suspended, by `organization/name`."""

    warned: list[str]
    suspended: list[str]


def check_suspend_after_days(days: int | None) -> int | None:
    if days is not None and not 1 <= days <= MAX_SUSPEND_AFTER_DAYS:
        message = f"unconfirmed agents are suspended 1 to {MAX_SUSPEND_AFTER_DAYS} days after a warning"
        raise GatewayError("invalid_suspend_after_days", message)
    return days


def overdue(agent: Agent, owner: Organization, now_ns: int) -> bool:
    """Whether nobody has confirmed an agent for longer than its `review_days`."""
    days = agent.review_days or owner.review_days
    since_ns = agent.reviewed_ns or agent.created_ns
    return days is not None and now_ns - since_ns > days * _DAY_NS


def warnings(session: Session, owner: Organization) -> dict[str, int]:
    """When the agents (their ids) that were warned will be suspended."""
    mine = select(ReviewWarning).where(ReviewWarning.organization_id == owner.id)
    return {each.agent_id: each.suspend_ns for each in session.exec(mine)}


def forget_warnings(session: Session, owner: Organization, agent: Agent | None = None) -> None:
    """Begin anew with an organization whose rule has changed, or with one agent of it that was reviewed."""
    mine = delete(ReviewWarning).where(col(ReviewWarning.organization_id) == owner.id)
    session.exec(mine if agent is None else mine.where(col(ReviewWarning.agent_id) == agent.id))


def suspend_unconfirmed(registry: Registry, *, actor: str, now_ns: int) -> Unconfirmed:
    """Warn of agents that are overdue, and suspend those that were warned long enough ago."""
    with registry.read() as session:
        ruled = select(Organization.id).where(
            col(Organization.suspend_after_days).is_not(None), Organization.status != "revoked"
        )
        due = [each for each in session.exec(ruled) if _due(session, each, now_ns)]
    done = Unconfirmed([], [])
    for identifier in due:
        with registry.write() as session:
            owner = session.get_one(Organization, identifier)
            if owner.suspend_after_days is not None:
                _step(session, owner, actor, now_ns, done)
    return done


def _due(session: Session, organization: str, now_ns: int) -> bool:
    """Whether anything is to be done in an organization; mostly there is not, and then nothing is written."""
    owner = session.get_one(Organization, organization)
    found = {each.id for each in _overdue_agents(session, owner, now_ns)}
    warned = warnings(session, owner)
    return found != warned.keys() or any(each <= now_ns for each in warned.values())


def _step(session: Session, owner: Organization, actor: str, now_ns: int, done: Unconfirmed) -> None:
    assert owner.suspend_after_days is not None
    found = {each.id: each for each in _overdue_agents(session, owner, now_ns)}
    warned = warnings(session, owner)
    suspended = [each for each in found.values() if warned.get(each.id, now_ns + 1) <= now_ns][:_AT_ONCE]
    for each in suspended:
        each.status = "suspended"
        session.add(each)
        reason = "nobody has confirmed it: review it, then resume it"
        add_version(session, owner, each, actor, "agent.suspended", reason)
    gone = warned.keys() - found.keys() | {each.id for each in suspended}
    for identifier in gone:
        session.delete(session.get_one(ReviewWarning, identifier))
    suspend_ns = now_ns + owner.suspend_after_days * _DAY_NS
    new = [each for each in found.values() if each.id not in warned][:_AT_ONCE]
    session.add_all(ReviewWarning(agent_id=each.id, organization_id=owner.id, suspend_ns=suspend_ns) for each in new)
    if new:
        fields = [_warning(each, suspend_ns) for each in new]
        outbox.add_changes(session, organization=owner.name, actor=actor, what="agent.review_overdue", fields=fields)
    done.warned.extend(f"{owner.name}/{each.name}" for each in new)
    done.suspended.extend(f"{owner.name}/{each.name}" for each in suspended)


def _warning(agent: Agent, suspend_ns: int) -> Fields:
    return {"agent": agent.id, "agent_name": agent.name, "owner": agent.owner, "suspend_ns": str(suspend_ns)}


def _overdue_agents(session: Session, owner: Organization, now_ns: int) -> list[Agent]:
    """The active agents that are overdue, but for the one whose calls are those of many programs."""
    days: Any = func.coalesce(col(Agent.review_days), owner.review_days)
    since: Any = func.coalesce(col(Agent.reviewed_ns), col(Agent.created_ns))
    mine = select(Agent).where(Agent.organization_id == owner.id, Agent.status == "active", Agent.name != LEGACY)
    return list(session.exec(mine.where(since < now_ns - cast(days, BigInteger) * _DAY_NS).order_by(col(Agent.id))))
