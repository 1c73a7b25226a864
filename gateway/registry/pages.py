"""Lists as the control API shows them (control-api.md).

Those of agents and keys may be long, so a page begins after an id. None names the agents that a team or a binding has:
that would be as long again. Callers ask for them: `members` of `GET /teams` and `GET /bindings`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy import or_
from sqlmodel import col, select

from gateway.identity.credentials import Method
from gateway.registry import queries, row_records
from gateway.registry.agents import review_dates
from gateway.registry.agents.states import ENDED
from gateway.registry.database import Registry
from gateway.registry.models import Agent, ApiKey, Binding, Team
from gateway.registry.organizations.teams import as_record
from gateway.registry.queries import reading
from gateway.registry.records import AgentRecord, BindingRecord, KeyRecord, TeamRecord


def agents(
    registry: Registry,
    organization: str,
    *,
    after: str | None,
    limit: int,
    status: str | None = None,
    team: str | None = None,
    owner: str | None = None,
    search: str | None = None,
) -> tuple[list[AgentRecord], bool]:
    """The next agents, the oldest first, also those that have ended; and whether there are more.

    `search` is a part of a name or owner, in any case, or the beginning of an id.
    """
    with reading(registry, organization) as (session, whole):
        mine = select(Agent).where(Agent.organization_id == whole.id)
        if after is not None:
            mine = mine.where(col(Agent.id) > after)
        if status is not None:
            mine = mine.where(review_dates.having(whole, status, time.time_ns()))
        if team is not None:
            mine = mine.where(Agent.team == team)
        if owner is not None:
            mine = mine.where(Agent.owner == owner)
        if search is not None:
            mine = mine.where(
                or_(
                    col(Agent.name).icontains(search, autoescape=True),
                    col(Agent.owner).icontains(search, autoescape=True),
                    col(Agent.id).startswith(search, autoescape=True),
                )
            )
        rows = session.exec(mine.order_by(col(Agent.id)).limit(limit + 1)).all()
        return [row_records.agent_record(whole, each) for each in rows[:limit]], len(rows) > limit


def keys_of(registry: Registry, organization: str, agents: Sequence[str]) -> dict[str, list[str]]:
    """The ids of the keys of each of these agents, by the agent's id; ids of no agent here are left out."""
    with registry.read() as session:
        owner = queries.find_organization(session, organization)
        mine = select(Agent.id, ApiKey.id).outerjoin(ApiKey, col(ApiKey.agent_id) == Agent.id)
        found: dict[str, list[str]] = {}
        for agent, key in session.exec(mine.where(Agent.organization_id == owner.id, col(Agent.id).in_(agents))):
            found.setdefault(agent, []).extend([] if key is None else [key])
        return found


def keys(
    registry: Registry,
    organization: str,
    *,
    after: str | None,
    limit: int,
    agent: str | None = None,
    method: Method | None = None,
) -> tuple[list[KeyRecord], bool]:
    """The next keys of an organization or of one agent, of all kinds or one, the oldest first; and whether there are
    more.
    """
    with reading(registry, organization) as (session, owner):
        mine = select(ApiKey, Agent).join(Agent, col(Agent.id) == ApiKey.agent_id)
        mine = mine.where(ApiKey.organization_id == owner.id)
        if after is not None:
            mine = mine.where(col(ApiKey.id) > after)
        if agent is not None:
            mine = mine.where(ApiKey.agent_id == queries.find_agent(session, owner, agent).id)
        if method is not None:
            mine = mine.where(queries.of_method(method))
        rows = session.exec(mine.order_by(col(ApiKey.id)).limit(limit + 1)).all()
        return [row_records.key_record(owner, holder, key) for key, holder in rows[:limit]], len(rows) > limit


def key(registry: Registry, organization: str, reference: str) -> KeyRecord:
    """One key, named by its id or by the beginning of its text."""
    with reading(registry, organization) as (session, owner):
        found = queries.find_key(session, owner, reference)
        return row_records.key_record(owner, queries.find_agent(session, owner, found.agent_id), found)


def teams(registry: Registry, organization: str) -> list[TeamRecord]:
    """Every team by name, without its agents and bundles."""
    with reading(registry, organization) as (session, owner):
        rows = session.exec(select(Team).where(Team.organization_id == owner.id).order_by(Team.name))
        return [as_record(owner, each, [], []) for each in rows]


def bindings(registry: Registry, organization: str, agent: str | None = None) -> list[BindingRecord]:
    """The bindings in force, oldest first: all, or those that apply to one agent. None says to whom it applies."""
    with reading(registry, organization) as (session, owner):
        named = select(Binding, Agent.name).outerjoin(Agent, col(Agent.id) == Binding.subject)
        mine = named.where(Binding.organization_id == owner.id, col(Binding.removed_ns).is_(None))
        mine = mine.where(or_(col(Binding.subject_kind) != "agent", col(Agent.status).not_in(ENDED)))
        if agent is not None:
            found = queries.find_agent(session, owner, agent)
            if found.status in ENDED:
                return []
            # No team is named like an id, so a subject cannot be taken for one of another kind.
            subjects = [found.id, owner.id] + ([found.team] if found.team else [])
            mine = mine.where(col(Binding.subject).in_(subjects))
        return [row_records.binding_record(owner, row, name) for row, name in session.exec(mine.order_by(Binding.id))]
