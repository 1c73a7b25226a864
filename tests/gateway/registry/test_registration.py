"""Registering many agents at once: the same rows and entries as one by one."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest
from sqlmodel import SQLModel, select

from gateway.errors import GatewayError
from gateway.registry.agents import registration
from gateway.registry.agents import versions as agent_versions
from gateway.registry.agents.registration import register_agent
from gateway.registry.fleet import document
from gateway.registry.fleet.plan import Planner, Sources
from gateway.registry.models import Agent, AgentVersion, Organization, Outbox, Team, TeamVersion
from gateway.registry.organizations.changes import create_organization
from tests.gateway.conftest import ACTOR, ORG, Home

FAR_NS = time.time_ns() + 10**18
AGENTS: list[dict[str, Any]] = [
    {"name": "helper", "parent": "lead", "team": "support", "labels": {"b": "2", "a": "é"}, "expires_ns": FAR_NS},
    {"name": "lead", "owner": "dana", "team": "support", "capabilities": ["tools", "chat", "chat"], "review_days": 30},
    {"name": "third", "parent": "helper", "environment": "prod", "description": "x", "purpose": "y"},
    {"name": "fourth", "parent": "old", "model_family": "gpt-4o"},
]
DIFFERS = {"id", "agent_id", "team_id", "organization_id", "organization", "position", "event_id", "epoch", "parent"}
DIFFERS |= {name for model in (Agent, AgentVersion, Outbox) for name in model.model_fields if name.endswith("_ns")}
DIFFERS -= {"expires_ns", "reviewed_ns"}


def rows(home: Home, model: type[SQLModel], organization: str) -> list[dict[str, Any]]:
    """All rows of a table that are the organization's, by the names in them, without ids and times."""
    with home.registry.read() as session:
        names = {each.id: each.name for each in session.exec(select(Agent))}
        found = [each.model_dump() for each in session.exec(select(model))]
    kept = []
    for each in found:
        if organization in (each.get("organization"), each.get("organization_id")):
            entry = each.get("entry", {}).get("fields", {})
            for part in (each, entry):
                part.update({"named_parent": names.get(part.get("parent") or "")})
            for name in ("agent", "team_id", "parent"):
                entry.pop(name, None)
            kept.append({name: value for name, value in each.items() if name not in DIFFERS})
    return sorted(kept, key=repr)


def test_many_are_registered_like_one_by_one(home: Home) -> None:
    create_organization(home.registry, actor=ACTOR, name="other")
    with home.registry.read() as session:
        ids = {each.name: each.id for each in session.exec(select(Organization))}
    common: dict[str, Any] = {"actor": ACTOR, "reason": "new"}
    for organization in (ORG, "other"):
        register_agent(home.registry, organization=organization, name="old", **common)
    checked = [registration.checked(each, time.time_ns()) for each in AGENTS]
    registration.register_agents(home.registry, organization=ORG, agents=checked, **common)
    for each in sorted(AGENTS, key=lambda each: ["lead", "helper", "third", "fourth"].index(each["name"])):
        register_agent(home.registry, organization="other", **{**each, **common})
    for model in (Agent, AgentVersion, Team, TeamVersion):
        many, single = (rows(home, model, ids[name]) for name in (ORG, "other"))
        assert many == single, model
        assert len(many) == (5 if model in (Agent, AgentVersion) else 1)
    many, single = (
        [each for each in rows(home, Outbox, name) if each["entry"]["what"] != "organization.created"]
        for name in (ORG, "other")
    )
    assert many == single
    assert [each["entry"]["what"] for each in many].count("agent.registered") == 5


@pytest.mark.parametrize("at_once", [True, False])
def test_a_line_of_parents_may_be_as_long_as_for_one(at_once: bool, home: Home) -> None:
    most = agent_versions.MAX_PARENTS
    members = [{"name": f"a{n}", "parent": f"a{n - 1}" if n else None} for n in range(most + 2)]

    def register(chosen: list[dict[str, Any]]) -> None:
        for group in [chosen] if at_once else [[each] for each in chosen]:
            checked = [registration.checked(each, time.time_ns()) for each in group]
            registration.register_agents(home.registry, actor=ACTOR, organization=ORG, agents=checked)

    with pytest.raises(GatewayError, match="invalid_parent") as caught:
        register(members)
    assert caught.value.message == f"agent `a{most}` has {most} parents above it already"
    if at_once:
        register(members[: most + 1])
    with home.registry.read() as session:
        assert len(session.exec(select(Agent)).all()) == most + 1


def test_a_plan_is_made_again_only_if_the_registry_has_changed(home: Home) -> None:
    read = document.read(b"v: 1\nagents:\n- {name: a, team: t}\n- {name: b}\n", "f.yaml")
    planner = Planner(home.registry, read, ORG, home.vault, cast(Sources, None))
    first = planner.steps()
    assert [each.name for each in first] == ["t", "a", "b"]
    assert planner.steps() is first
    home.agent("b")
    assert [each.name for each in planner.steps()] == ["t", "a"]
