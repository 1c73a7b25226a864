"""The states of an agent, its expiry, its parent, and the reasons of its changes."""

from __future__ import annotations

import time

import pytest

from gateway.errors import Denied, GatewayError
from gateway.identity.api_keys import ApiKeys
from gateway.identity.principals import Principals
from gateway.registry import queries
from gateway.registry.agents import states as agent_states
from gateway.registry.agents.changes import (
    AgentUpdate,
    resume_agent,
    retire_agent,
    revoke_agent,
    suspend_agent,
    update_agent,
)
from gateway.registry.policies.bindings import bind
from gateway.registry.reader import RegistryReader
from tests.gateway.conftest import ACTOR, ORG, Home, at_once
from tests.rigs.registry.changes import refusal

CHANGE = {
    "active": resume_agent,
    "suspended": suspend_agent,
    "revoked": revoke_agent,
    "retired": retire_agent,
}


def test_every_transition_is_as_the_table_says(home: Home) -> None:
    """Each state, entered anew by an agent of its own, and then every other one tried."""
    assert set(CHANGE) == set(agent_states.STATES)
    for before in CHANGE:
        for after in CHANGE:
            agent = home.agent(replace_revoked=True)  # the name is free again, or this fails
            if before != "active":
                assert CHANGE[before](home.registry, actor=ACTOR, organization=ORG, agent=agent) is not None
            if before == after:
                assert CHANGE[after](home.registry, actor=ACTOR, organization=ORG, agent=agent) is None
            elif after in agent_states.TRANSITIONS[before]:
                changed = CHANGE[after](home.registry, actor=ACTOR, organization=ORG, agent=agent)
                assert changed is not None
                assert changed.status == after
            else:
                with refusal(f"agent_{before}"):
                    CHANGE[after](home.registry, actor=ACTOR, organization=ORG, agent=agent)
                assert queries.agent(home.registry, ORG, agent).status == before
            if queries.agent(home.registry, ORG, agent).status not in agent_states.ENDED:
                retire_agent(home.registry, actor=ACTOR, organization=ORG, agent=agent)


def test_a_retired_agent_has_no_key_and_no_authority(home: Home) -> None:
    home.activate("support")
    agent, key = home.agent(), home.key()
    bind(home.registry, actor=ACTOR, organization=ORG, kind="agent", subject="bot", bundle="support")
    retire_agent(home.registry, actor=ACTOR, organization=ORG, agent="bot", reason="replaced")
    assert [each.status(time.time_ns()) for each in queries.keys(home.registry, ORG, agent)] == ["revoked"]
    assert queries.bindings(home.registry, ORG) == []
    for refused in (
        lambda: home.key(agent),
        lambda: bind(
            home.registry, actor=ACTOR, organization=ORG, kind="agent", subject=agent, bundle="support",
            effect="guard", other_effect=True,
        ),
        lambda: update_agent(
            home.registry, actor=ACTOR, organization=ORG, agent=agent, update=AgentUpdate(owner="x")
        ),
    ):  # fmt: skip
        with refusal("agent_retired"):
            refused()
    reader = RegistryReader(home.data.registry_db)
    with pytest.raises(Denied) as caught:
        at_once(Principals([ApiKeys(reader, home.peppers)]).get(home.credential(key), 1))
    assert (caught.value.code, caught.value.detail) == ("bad_credentials", "revoked")
    reader.close()


def test_an_agent_expires_without_any_change(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns()
    home.agent(expires_ns=now + 3600 * 10**9)
    key = home.key()
    reader = RegistryReader(home.data.registry_db)
    principals = Principals([ApiKeys(reader, home.peppers)])

    def admitted() -> str:
        try:
            epoch = at_once(reader.epochs()).authority
            principal = at_once(principals.get(home.credential(key), epoch))
            return at_once(principals.refresh(principal, epoch)).name
        except Denied as denied:
            return f"{denied.code} {denied.detail}"

    assert admitted() == "bot"
    clock = [now + 3601 * 10**9]
    monkeypatch.setattr("gateway.identity.principals.time.time_ns", lambda: clock[0])
    assert admitted() == "bad_credentials agent_expired", "from the cache"
    principals = Principals([ApiKeys(reader, home.peppers)])
    assert admitted() == "bad_credentials agent_expired", "read anew"
    monkeypatch.undo()
    found = queries.agent(home.registry, ORG, "bot")
    assert (found.status, found.state(now), found.state(clock[0])) == ("active", "active", "expired")
    update_agent(home.registry, actor=ACTOR, organization=ORG, agent="bot", update=AgentUpdate(expires_ns=0))
    monkeypatch.setattr("gateway.identity.principals.time.time_ns", lambda: clock[0])
    assert admitted() == "bot"
    reader.close()


def test_what_an_expiry_must_not_be(home: Home) -> None:
    for expires_ns in (time.time_ns() - 1, 1, 2**63):
        with refusal("invalid_expiry"):
            home.agent(expires_ns=expires_ns)


def test_parents(home: Home) -> None:
    top = home.agent("top")
    middle = home.agent("middle", parent="top")
    assert queries.agent(home.registry, ORG, "middle").parent == top
    bottom = home.agent("bottom", parent=middle)

    def set_parent(agent: str, parent: str) -> str | None:
        update_agent(home.registry, actor=ACTOR, organization=ORG, agent=agent, update=AgentUpdate(parent=parent))
        return queries.agent(home.registry, ORG, agent).parent

    for parent in ("top", "middle", bottom):
        with refusal("invalid_parent"):
            set_parent("top", parent)
    assert set_parent("bottom", "") is None
    assert set_parent("top", "bottom") == bottom
    with refusal("unknown_agent"):
        set_parent("top", "nobody")
    revoke_agent(home.registry, actor=ACTOR, organization=ORG, agent="top")
    with refusal("agent_revoked"):
        home.agent("child", parent=top)


def test_a_line_of_parents_has_an_end(home: Home) -> None:
    home.agent("bot-0")
    with refusal("invalid_parent"):
        for number in range(1, 20):
            home.agent(f"bot-{number}", parent=f"bot-{number - 1}")
    assert len(queries.agents(home.registry, ORG)) == 9


def test_each_version_says_who_and_why(home: Home) -> None:
    home.agent(purpose="answers customers", reason="asked for by dana")
    update = AgentUpdate(texts={"purpose": "", "description": "An agent.", "model_family": "gpt-4o"}, review_days=30)
    update_agent(home.registry, actor="local:7", organization=ORG, agent="bot", update=update, reason="audit 12")
    suspend_agent(home.registry, actor="local:8", organization=ORG, agent="bot")
    versions = queries.agent_versions(home.registry, ORG, "bot")
    assert [(each.actor, each.reason, each.purpose, each.description) for each in versions] == [
        (ACTOR, "asked for by dana", "answers customers", ""),
        ("local:7", "audit 12", "", "An agent."),
        ("local:8", "", "", "An agent."),
    ]
    with refusal("invalid_reason"):
        resume_agent(home.registry, actor=ACTOR, organization=ORG, agent="bot", reason="two\nlines")
    assert queries.agent(home.registry, ORG, "bot").status == "suspended"


def test_a_description_that_is_too_long(home: Home) -> None:
    for member, length in (("description", 1001), ("purpose", 201), ("model_family", 201)):
        with pytest.raises(GatewayError, match="is not acceptable"):
            home.agent(**{member: "x" * length})


def test_an_agent_is_found_by_an_index(home: Home) -> None:
    """Among 100,000 that is a thousand times quicker than to look at each."""
    with home.registry.read() as session:
        owner = queries.find_organization(session, ORG)
        statement = queries.live_agent(owner, "bot").compile(
            session.connection(), compile_kwargs={"literal_binds": True}
        )
        plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}").all()
    assert [each[3] for each in plan] == ["SEARCH agent USING INDEX agent_live_name (organization_id=? AND name=?)"]


def test_a_name_means_the_living_agent_or_else_the_last(home: Home) -> None:
    first = home.agent("bot")
    revoke_agent(home.registry, actor=ACTOR, organization=ORG, agent="bot")
    assert queries.agent(home.registry, ORG, "bot").id == first
    second = home.agent("bot", replace_revoked=True)
    suspend_agent(home.registry, actor=ACTOR, organization=ORG, agent="bot")
    assert queries.agent(home.registry, ORG, "bot").id == second
    retire_agent(home.registry, actor=ACTOR, organization=ORG, agent="bot")
    third = home.agent("other")
    update_agent(home.registry, actor=ACTOR, organization=ORG, agent="other", update=AgentUpdate(name="bot"))
    assert queries.agent(home.registry, ORG, "bot").id == third
    assert queries.agent(home.registry, ORG, first).id == first
    revoke_agent(home.registry, actor=ACTOR, organization=ORG, agent="bot")
    assert queries.agent(home.registry, ORG, "bot").id == third
