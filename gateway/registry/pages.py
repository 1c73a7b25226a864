"""Pages of the lists that may be long: agents and keys (docs/control-api.md). Each begins after an id."""

from __future__ import annotations

from sqlmodel import col, select

from gateway.registry import queries
from gateway.registry.database import Registry
from gateway.registry.models import Agent, ApiKey
from gateway.registry.records import AgentRecord, KeyRecord


def agents(
    registry: Registry,
    organization: str,
    *,
    after: str | None,
    limit: int,
    status: str | None = None,
    team: str | None = None,
) -> tuple[list[AgentRecord], bool]:
    """The next agents, the oldest first, also those that have ended; and whether there are more."""
    with registry.read() as session:
        owner = queries.find_organization(session, organization)
        mine = select(Agent).where(Agent.organization_id == owner.id)
        if after is not None:
            mine = mine.where(col(Agent.id) > after)
        if status is not None:
            mine = mine.where(Agent.status == status)
        if team is not None:
            mine = mine.where(Agent.team == team)
        rows = session.exec(mine.order_by(col(Agent.id)).limit(limit + 1)).all()
        return [queries.agent_record(owner, each) for each in rows[:limit]], len(rows) > limit


def keys(
    registry: Registry, organization: str, *, after: str | None, limit: int, agent: str | None = None
) -> tuple[list[KeyRecord], bool]:
    """The next keys of an organization or of one agent, the oldest first; and whether there are more."""
    with registry.read() as session:
        owner = queries.find_organization(session, organization)
        mine = select(ApiKey, Agent).join(Agent, col(Agent.id) == ApiKey.agent_id)
        mine = mine.where(ApiKey.organization_id == owner.id)
        if after is not None:
            mine = mine.where(col(ApiKey.id) > after)
        if agent is not None:
            mine = mine.where(ApiKey.agent_id == queries.find_agent(session, owner, agent).id)
        rows = session.exec(mine.order_by(col(ApiKey.id)).limit(limit + 1)).all()
        return [queries.key_record(owner, holder, key) for key, holder in rows[:limit]], len(rows) > limit


def key(registry: Registry, organization: str, reference: str) -> KeyRecord:
    """One key, named by its id or by the beginning of its text."""
    with registry.read() as session:
        owner = queries.find_organization(session, organization)
        found = queries.find_key(session, owner, reference)
        return queries.key_record(owner, queries.find_agent(session, owner, found.agent_id), found)
