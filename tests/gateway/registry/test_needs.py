"""A look at the agents and bindings of an organization, in as many statements for a thousand agents as for a few."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import insert

from gateway.data_directory import DataDirectory
from gateway.identifiers import new_id
from gateway.processes import status_answer
from gateway.processes.creation import create
from gateway.registry import inventory, queries
from gateway.registry.agents import changes
from gateway.registry.agents.needs import Some
from gateway.registry.database import Registry
from gateway.registry.inventory import Tenant
from gateway.registry.models import Agent, ApiKey, table
from gateway.registry.organizations import teams
from gateway.registry.organizations.changes import revoke_team, update_organization
from gateway.registry.organizations.queries import organization
from gateway.registry.policies import bound
from gateway.registry.policies.bindings import bind
from gateway.settings import load_settings
from tests.gateway.conftest import ACTOR, ORG, Home
from tests.gateway.control.dashboard.visits import Counter, counting

BY = {"actor": ACTOR, "organization": ORG}
DAY = 86_400 * 10**9


def tenant(home: Home, days: float = 0) -> Tenant:
    (found,) = inventory.take(home.registry, time.time_ns() + int(days * DAY)).tenants
    return found


def test_agents_by_what_they_lack(home: Home) -> None:
    home.activate("support")
    for name in ("bare", "fine", "keyless"):
        home.agent(name)
    for name in ("bare", "fine"):
        home.key(name)
    for name in ("fine", "keyless"):
        bind(home.registry, **BY, kind="agent", subject=name, bundle="support")
    home.agent("asleep")
    changes.suspend_agent(home.registry, **BY, agent="asleep", reason="")
    home.agent("over")
    changes.retire_agent(home.registry, **BY, agent="over", reason="")
    found = tenant(home).agents
    assert found.states == {"active": 3, "suspended": 1}
    assert (found.keyless, found.ungranted) == (Some.of("keyless"), Some.of("bare"))
    home.key("keyless", lifetime_ns=DAY)
    assert tenant(home).agents.keyless == Some()
    assert tenant(home, days=2).agents.keyless == Some.of("keyless")
    # A guard and a shadow grant nothing; what the organization grants is for everybody.
    bind(home.registry, **BY, kind="agent", subject="bare", bundle="support", effect="guard")
    assert tenant(home).agents.ungranted == Some.of("bare")
    bind(home.registry, **BY, kind="organization", subject=ORG, bundle="support")
    assert tenant(home).agents.ungranted == Some()


def test_agents_that_nobody_has_reviewed(home: Home) -> None:
    for number in range(5):
        home.agent(f"bot{number}")
    home.agent("often", review_days=10)
    update_organization(home.registry, **BY, review_days=20, suspend_after_days=None, reason="")
    found = tenant(home, days=21).agents
    assert (found.overdue, found.warned) == (Some(6, ("bot0", "bot1", "bot2")), Some())
    update_organization(home.registry, **BY, review_days=20, suspend_after_days=10, reason="")
    assert tenant(home, days=9).agents.warned == Some()
    found = tenant(home, days=19).agents
    assert (found.warned, len(found.suspends_ns)) == (Some.of("often"), 1)
    assert found.overdue == Some()
    found = tenant(home, days=24).agents
    assert found.unconfirmed == Some.of("often")
    assert found.states == {"active": 5, "suspended": 1}
    assert found.warned == Some(5, ("bot0", "bot1", "bot2"))
    assert tenant(home, days=40).agents.states == {"suspended": 6}


def test_bindings_of_bundles_that_are_missing_and_of_nobody(home: Home) -> None:
    home.activate("support", "other")
    home.agent("bot", team="desk")
    for team in ("desk", "empty", "ended"):
        if team != "desk":
            teams.create_team(home.registry, **BY, name=team)
        bind(home.registry, **BY, kind="team", subject=team, bundle="support", effect="guard")
    revoke_team(home.registry, **BY, team="ended", reason="")
    bind(home.registry, **BY, kind="agent", subject="bot", bundle="other")
    with home.registry.read() as session:
        found = bound.look(session, queries.find_organization(session, ORG), ())
    assert found.bundles == {"support", "other"}
    assert found.missing == {"support": Some.of("team:desk"), "other": Some.of("bot")}
    assert [each.named for each in found.idle] == ["team:empty"]
    assert tenant(home).bound.missing == {}
    changes.retire_agent(home.registry, **BY, agent="bot", reason="")
    found = tenant(home).bound
    assert (found.bundles, [each.named for each in found.idle]) == ({"support"}, ["team:desk", "team:empty"])


def _add(registry: Registry, many: int) -> None:
    """More agents like the first one, each with a key, straight into the tables."""
    with registry.write() as session:
        row = session.connection().execute(table(Agent).select()).mappings().first()
        key = session.connection().execute(table(ApiKey).select()).mappings().first()
        assert row is not None
        assert key is not None
        agents = [{**row, "id": new_id("agt"), "name": f"{row['name']}-{new_id('agt')}"} for _ in range(many)]
        session.execute(insert(table(Agent)), agents)
        keys = [{**key, "agent_id": each["id"], "id": new_id("key"), "credential_id": new_id("key")} for each in agents]
        session.execute(insert(table(ApiKey)), keys)


def test_a_status_costs_as_many_statements_whatever_the_number_of_agents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is more read: rows are counted in the database, and of each sort three are named."""
    # It compares rows with the log, whose entries these agents do not have.
    monkeypatch.setattr("gateway.processes.status._COMPARED", -1)
    data = DataDirectory(tmp_path / "gateway")
    create(data.path, "bot")
    settings = load_settings({"data": data.path}, {})

    def cost(counter: Counter) -> tuple[int, float]:
        took = []
        for _ in range(3):
            counter.statements, counter.on = [], True
            before = time.process_time()
            told = status_answer.answer(settings, None, registry)
            organization(registry, ORG)
            took.append(time.process_time() - before)
            counter.on = False
        assert told["agents"]["active"] == agents
        return len(counter.statements), min(took)

    with counting() as counter, closing(Registry.open(data)) as registry:
        agents = 200
        _add(registry, agents - 1)
        few = cost(counter)
        agents = 2000
        _add(registry, agents - 200)
        many = cost(counter)
    assert many[0] == few[0] > 20
    assert many[1] < 3 * few[1], "ten times as many agents"
