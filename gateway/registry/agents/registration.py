"""New agents: one, or many thousand in one transaction; and keys for many (fleet.md).

Many at once are checked and recorded like one, with one look at the registry for all instead of one for each.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NewType

from sqlalchemy import insert
from sqlmodel import Session, col, select

from gateway.errors import GatewayError
from gateway.identifiers import new_id
from gateway.registry import names
from gateway.registry.agents import fields as agent_fields
from gateway.registry.agents import states as agent_states
from gateway.registry.agents import versions as agent_versions
from gateway.registry.database import Registry
from gateway.registry.models import Agent, NewAgent, Organization, table
from gateway.registry.organizations import teams
from gateway.registry.queries import find_organization, writing
from gateway.registry.records import AgentRecord
from gateway.registry.row_records import agent_record

_TOGETHER: Final = 500  # values of one statement


Checked = NewType("Checked", dict[str, Any])
"""The members of a new agent that `checked` has accepted."""


def checked(members: Mapping[str, Any], now_ns: int) -> Checked:
    """The members of a new agent as its row has them: what is left out has its default.

    `name`; `owner`, `team`, `environment` and those of `agent_fields.TEXTS`; `capabilities`, `labels`; `parent` (the
    name or id of another agent), `expires_ns`, `review_days`; `replaces`, the id of the revoked agent whose name it is
    to get. Raises `GatewayError` for what is no such member's value, and `TypeError` for another one.
    """
    return Checked(_checked(now_ns, **members))


def _checked(
    now_ns: int,
    *,
    name: str,
    capabilities: Iterable[str] = (),
    labels: Mapping[str, str] | None = None,
    parent: str | None = None,
    expires_ns: int | None = None,
    review_days: int | None = None,
    replaces: str = "",
    **texts: str,
) -> dict[str, Any]:
    return {
        "name": names.check_name("agent", name),
        **agent_fields.checked({"owner": "", "team": "", "environment": "", **texts}),
        "capabilities": names.check_capabilities(capabilities),
        "labels": names.check_labels(labels or {}),
        "parent": parent,
        "expires_ns": agent_versions.check_expiry(expires_ns, now_ns),
        "review_days": agent_versions.check_review_days(review_days),
        "replaces": replaces,
    }


def register_agent(
    registry: Registry,
    *,
    actor: str,
    organization: str,
    replace_revoked: bool = False,
    reason: str = "",
    **members: Any,
) -> AgentRecord:
    """A new agent at version 1. It has no key and no binding, so it can do nothing yet.

    `members` are those that `checked` takes. A team that has no row yet gets one. Only with `replace_revoked` the agent
    may have the name of one that was revoked.
    """
    found = checked(members, time.time_ns())
    with writing(registry, organization) as (session, tenant):
        (row,) = _register(session, tenant, actor, [found], replace_revoked, reason)
        return agent_record(tenant, row)


def register_agents(
    registry: Registry,
    *,
    actor: str,
    organization: str,
    agents: Sequence[Checked],
    replace_revoked: bool = False,
    reason: str = "",
) -> None:
    """New agents at version 1, all or none, each with an entry. A parent may be another one of them."""
    with registry.write() as session:
        _register(session, find_organization(session, organization), actor, agents, replace_revoked, reason)


def _register(
    session: Session,
    tenant: Organization,
    actor: str,
    agents: Sequence[Checked],
    replace_revoked: bool,
    reason: str,
) -> list[NewAgent]:
    _check_free(session, tenant, [each["name"] for each in agents])
    before = agent_versions.predecessors(session, tenant, [each["name"] for each in agents])
    for each in agents:
        agent_versions.check_return(before.get(each["name"]), meant=replace_revoked or each["replaces"])
    named = sorted({each["team"] for each in agents if each["team"]})
    teams.check_alive(session, tenant, *named)
    for team in named:
        teams.ensure(session, tenant, team, actor)
    rows = _rows(session, tenant, agents)
    # Plain rows past the ORM. Pydantic's own way to a dictionary takes much longer than `vars`.
    session.execute(insert(table(Agent)), [vars(each) for each in rows])
    agent_versions.remember_all(session, tenant, rows, actor, "agent.registered", reason, before)
    return rows


def _check_free(session: Session, tenant: Organization, wanted: Sequence[str]) -> None:
    mine = select(Agent.name).where(Agent.organization_id == tenant.id, col(Agent.status).not_in(agent_states.ENDED))
    taken = set(session.exec(mine))
    for name in wanted:
        if name in taken:
            raise agent_versions.taken(name)
        taken.add(name)


def _parents_first(agents: Sequence[Checked]) -> Iterator[Sequence[Checked]]:
    """The agents in groups: the parents of each are in an earlier group, or in the registry."""
    waiting = agents
    new = {each["name"] for each in agents}
    while waiting:
        ready = [each for each in waiting if each["parent"] not in new]
        if not ready:
            names_ = ", ".join(f"`{each['name']}`" for each in waiting[:5])
            raise GatewayError("invalid_parent", f"the parents of {names_} lead in a circle")
        yield ready
        new = new - {each["name"] for each in ready}
        waiting = [each for each in waiting if each["name"] in new]


def _rows(session: Session, tenant: Organization, agents: Sequence[Checked]) -> list[NewAgent]:
    """Their rows, parents first."""
    now_ns = time.time_ns()
    rows: list[NewAgent] = []
    # For each parent its id and the number of agents in a line from it upwards.
    lines: dict[str, tuple[str, int]] = {}
    for group in _parents_first(agents):
        for members in group:
            parent, above = None, 0
            if members["parent"]:
                parent, above = _line(session, tenant, members["parent"], lines)
            row = NewAgent(
                **{name: value for name, value in members.items() if name not in ("parent", "replaces")},
                parent=parent,
                id=new_id("agt"),
                organization_id=tenant.id,
                version=1,
                status="active",
                created_ns=now_ns,
                updated_ns=now_ns,
            )
            rows.append(row)
            lines[row.name] = row.id, above + 1
    return rows


def _line(session: Session, tenant: Organization, parent: str, lines: dict[str, tuple[str, int]]) -> tuple[str, int]:
    """The line of a parent in `lines`, which is looked up in the registry if it is not new."""
    if parent not in lines:
        line = agent_versions.line_of(session, tenant, parent)
        lines[parent] = line[0].id, len(line)
    if lines[parent][1] > agent_versions.MAX_PARENTS:
        raise agent_versions.line_too_long(parent, lines[parent][0])
    return lines[parent]
