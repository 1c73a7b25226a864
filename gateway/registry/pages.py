"""Lists as the control API shows them (control-api.md).

Those of agents and keys may be long, so a page begins after an id. None names the agents that a team or a binding has:
that would be as long again. Callers ask for them: `members` of `GET /teams` and `GET /bindings`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, or_, text
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import Select as SelectOfTuple

from gateway.identity.credentials import Method
from gateway.registry import queries, row_records
from gateway.registry.agents import review_dates
from gateway.registry.agents.states import ENDED
from gateway.registry.database import Registry
from gateway.registry.models import NOT_ENDED, Agent, ApiKey, Binding, Organization, Team
from gateway.registry.organizations.teams import as_record
from gateway.registry.queries import reading
from gateway.registry.records import AgentRecord, BindingRecord, KeyRecord, TeamRecord

LOOKED_AT: Final = 50_000
"""Agents that one page of a search looks at."""


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
) -> tuple[list[AgentRecord], str | None]:
    """The next agents, the oldest first, also those that have ended; and the id after which there are more.

    `search` is a part of a name or owner, in any case, or the beginning of an id; the agent that has just this name
    comes first. No index finds these, nor states, so `LOOKED_AT` agents are looked at, and a page may be short.
    """
    with reading(registry, organization) as (session, whole):
        mine = select(Agent).where(Agent.organization_id == whole.id)
        if status is not None:
            mine = mine.where(review_dates.having(whole, status, time.time_ns()))
        if team is not None:
            mine = mine.where(Agent.team == team)
        if owner is not None:
            mine = mine.where(Agent.owner == owner)
        following = mine if after is None else mine.where(col(Agent.id) > after)
        end, named = None, None
        if search is not None or status is not None:
            end = _end(session, whole, after)
            following = following if end is None else following.where(col(Agent.id) <= end)
        if search is not None:
            named = session.exec(mine.where(Agent.name == search, text(NOT_ENDED))).one_or_none()
            following = following.where(_like(search))
        if named is not None:
            following = following.where(Agent.id != named.id)
        rows = session.exec(following.order_by(col(Agent.id)).limit(limit + 1)).all()
        last = rows[limit - 1].id if len(rows) > limit else end
        first = [named] if named is not None and after is None else []
        return [row_records.agent_record(whole, each) for each in [*first, *rows[:limit]]], last


def _end(session: Session, owner: Organization, after: str | None) -> str | None:
    """The last one of the next agents that are looked at; None if these are all."""
    mine = select(Agent.id).where(Agent.organization_id == owner.id)
    if after is not None:
        mine = mine.where(col(Agent.id) > after)
    return session.exec(mine.order_by(col(Agent.id)).offset(LOOKED_AT - 1).limit(1)).first()


def _like(search: str) -> ColumnElement[bool]:
    return or_(
        col(Agent.name).icontains(search, autoescape=True),
        col(Agent.owner).icontains(search, autoescape=True),
        col(Agent.id).startswith(search, autoescape=True),
    )


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


def bindings(
    registry: Registry, organization: str, *, after: str | None, limit: int, agent: str | None = None
) -> tuple[list[BindingRecord], bool]:
    """The next bindings in force, oldest first: all, or those that apply to one agent; and whether there are more.

    None says to whom it applies.
    """
    with reading(registry, organization) as (session, owner):
        mine = _bindings(owner)
        if after is not None:
            mine = mine.where(col(Binding.id) > after)
        if agent is not None:
            found = queries.find_agent(session, owner, agent)
            if found.status in ENDED:
                return [], False
            # No team is named like an id, so a subject cannot be taken for one of another kind.
            subjects = [found.id, owner.id] + ([found.team] if found.team else [])
            mine = mine.where(col(Binding.subject).in_(subjects))
        rows = session.exec(mine.order_by(Binding.id).limit(limit + 1)).all()
        return [row_records.binding_record(owner, row, name) for row, name in rows[:limit]], len(rows) > limit


def binding(registry: Registry, organization: str, identifier: str) -> BindingRecord | None:
    """The binding in force with this id."""
    with reading(registry, organization) as (session, owner):
        found = session.exec(_bindings(owner).where(Binding.id == identifier)).one_or_none()
        return None if found is None else row_records.binding_record(owner, *found)


def _bindings(owner: Organization) -> SelectOfTuple[Binding, str | None]:
    named = select(Binding, Agent.name).outerjoin(Agent, col(Agent.id) == Binding.subject)
    mine = named.where(Binding.organization_id == owner.id, col(Binding.removed_ns).is_(None))
    return mine.where(or_(col(Binding.subject_kind) != "agent", col(Agent.status).not_in(ENDED)))
