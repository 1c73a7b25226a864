"""`gateway permissions`: who could make a call, by the policies of the time."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.conftest import Home, Run
from tests.rigs.cli.permissions import activate, moment


@pytest.fixture
def fleet(at: Run, home: Home) -> str:
    """Four agents, one of them in no team, one without a key; returns a time before the policy changed."""
    activate(home, "a" * 40, '"gpt-4o", "o3"')
    for name in ("one", "two", "keyless"):
        home.agent(name, team="red", environment="prod")
    home.agent("lonely", environment="prod")
    for name in ("one", "two", "lonely"):
        home.key(name)
    at("bind", "team:red", "models")
    then = moment()
    activate(home, "b" * 40, '"gpt-4o-mini", "o3"')
    at("bind", "org:default", "names", "--effect", "guard")
    at("agents", "update", "two", "--env", "dev")
    return then


def codes(found: Any) -> dict[str, str]:
    return {each["agent"]: each["code"] for each in found["permissions"]}


def test_who_could_and_what_made_it_so(fleet: str, at: Run) -> None:
    before = at("permissions", "--model", "gpt-4o", "--at", fleet, "--json").json
    assert codes(before) == {"one": "allowed", "two": "allowed", "keyless": "no_key", "lonely": "no_policy"}
    assert before["calls"] == [
        {"action": "chat.completions", "upstream": "openai", "provider": "openai", "model": "gpt-4o", "tools": []}
    ]
    assert before["activation"]["commit"] == "a" * 40
    one = next(each for each in before["permissions"] if each["agent"] == "one")
    assert [(each["bundle"], each["commit"], each["subject"], each["code"]) for each in one["bindings"]] == [
        ("models", "a" * 40, "red", "allowed")
    ]
    assert codes(at("permissions", "--model", "gpt-4o", "--json").json)["one"] == "policy_denied"
    now = at("permissions", "--model", "o3", "--json").json
    assert codes(now) == {"one": "allowed", "two": "policy_denied", "keyless": "no_key", "lonely": "no_policy"}
    two = next(each for each in now["permissions"] if each["agent"] == "two")
    assert two["reasons"] == ["two is not prod"]
    assert {each["bundle"]: each["code"] for each in two["bindings"]} == {"models": "allowed", "names": "policy_denied"}


@pytest.mark.slow
def test_the_table_lists_who_could(fleet: str, at: Run) -> None:
    done = at("permissions", "--model", "o3")
    asked, heading, *rows = done.out.splitlines()
    assert asked == "asked about chat.completions o3 at openai"
    assert heading.split() == ["AGENT", "TEAM", "CALL", "VERDICT", "BY", "REASONS"]
    assert [row.split()[0] for row in rows] == ["one"]
    assert "grant models@bbbbbbbbbbbb of team red: allowed" in rows[0]
    assert "1 of 4 agents could; --all lists the others" in done.err
    assert "two is not prod" in at("permissions", "--model", "o3", "--all").out


@pytest.mark.slow
def test_every_combination_is_asked(fleet: str, at: Run) -> None:
    found = at("permissions", "--model", "o3", "--model", "gpt-4o", "--tool", "shell", "--tool", "ls", "--json").json
    assert len(found["calls"]) == 4
    assert [each["code"] for each in found["permissions"] if each["agent"] == "one"] == [
        "policy_denied", "allowed", "policy_denied", "policy_denied",
    ]  # fmt: skip


@pytest.mark.slow
def test_states_and_keys_count(fleet: str, at: Run, home: Home) -> None:
    at("agents", "suspend", "one")
    assert codes(at("permissions", "--model", "o3", "--json").json)["one"] == "agent_suspended"
    assert codes(at("permissions", "--model", "gpt-4o", "--at", fleet, "--json").json)["one"] == "allowed"
    at("agents", "resume", "one")
    at("teams", "suspend", "red")
    assert codes(at("permissions", "--model", "o3", "--json").json)["one"] == "team_suspended"
    at("teams", "resume", "red")
    at("keys", "create", "keyless", "--model", "gpt-4o*", "--network", "10.0.0.0/8")
    found = at("agents", "permissions", "keyless", "--model", "o3", "--model", "gpt-4o-mini", "--json").json
    assert [each["code"] for each in found["permissions"]] == ["key_scope", "allowed"]
    at("agents", "retire", "keyless")
    assert "keyless" not in codes(at("permissions", "--model", "o3", "--json").json)


@pytest.mark.slow
def test_a_revision_that_is_lost_is_said(fleet: str, at: Run, home: Home) -> None:
    for path in home.data.bundles.iterdir():
        for each in sorted(path.rglob("*"), reverse=True):
            each.rmdir() if each.is_dir() else each.unlink()
    found = at("agents", "permissions", "one", "--model", "o3", "--json").json["permissions"][0]
    assert found["code"] == "policy_not_loaded"
    assert found["reasons"]


@pytest.mark.slow
def test_what_cannot_be_asked(fleet: str, at: Run) -> None:
    for arguments, says in (
        (("--action", "chat.completion"), "has no action `chat.completion`: did you mean `chat.completions`?"),
        (("--upstream", "opnai"), "unknown upstream `opnai`"),
        (("--at", "yesterday"), "is neither a time nor an age"),
    ):
        assert says in at("permissions", "--model", "o3", *arguments).complains()
    assert (
        "unknown agent `lonly`: did you mean `lonely`?"
        in at("agents", "permissions", "lonly", "--model", "o3").complains()
    )


def test_the_models_of_one_agent_need_no_name(at: Run, fleet: str) -> None:
    """Those that policies in force compare a call's with; the log has no calls yet."""
    found = at("agents", "permissions", "one", "--json").json
    answers = {found["calls"][each["call"]]["model"]: each["code"] for each in found["permissions"]}
    assert answers == {"gpt-4o-mini": "allowed", "o3": "allowed"}
    assert at("permissions").code == 2, "of all agents there is no such list"
