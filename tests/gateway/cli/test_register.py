"""`gateway teams`, and what the register says of an agent besides what policies see."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from gateway.cli import output
from gateway.registry import inventory
from gateway.registry.agents.fields import NAMES, TEXTS
from tests.gateway.conftest import Home, Run


@pytest.mark.slow
def test_teams(at: Run, home: Home) -> None:
    done = at("teams", "create", "support", "--owner", "dana@example.com", "--reason", "new")
    assert (done.code, done.out.startswith("created team support (tem_")) == (0, True)
    assert "team `support` exists already: to change it" in at("teams", "create", "support").complains()
    assert at("teams", "update", "support", "--description", "First level.").out.endswith("now version 2\n")
    assert at("teams", "update", "support", "--owner", "dana@example.com").out == "team support is like that already\n"
    assert "unknown team `suport`: did you mean `support`?" in at("teams", "show", "suport").complains()
    registered = at("agents", "register", "bot", "--team", "suport")
    assert "team suport is new (did you mean `support`?): say whose it is" in registered.err
    assert "team" not in at("agents", "register", "other", "--team", "support").err
    shown = at("teams", "show", "support", "--json").json
    assert (shown["owner"], shown["agents"], shown["status"]) == ("dana@example.com", ["other"], "active")
    assert "First level." in at("teams", "show", "support").out


def test_what_the_register_says_of_an_agent(at: Run, home: Home) -> None:
    at("agents", "register", "boss")
    at(
        *("agents", "register", "bot", "--purpose", "answers customers", "--description", "A bot.", "--parent", "boss"),
        *("--model-family", "gpt-4o", "--expires", "90d", "--reason", "asked for by dana"),
    )
    shown = at("agents", "show", "bot").out
    for text in ("answers customers", "A bot.", "boss (agt_", "gpt-4o", "expires"):
        assert text in shown
    assert at("agents", "update", "bot", "--expires", "never", "--parent", "", "--purpose", "").code == 0
    now = at("agents", "show", "bot", "--json").json
    assert (now["expires"], now["parent"], now["purpose"]) == (None, None, "")
    assert now["versions"][0]["reason"] == "asked for by dana"
    for text in ("soon", "2020-01-01", "0d"):
        line = at("agents", "update", "bot", "--expires", text).complains()
        assert "write 90d, 2027-06-30" in line or "must expire in the future" in line
    assert at("agents", "retire", "bot", "--reason", "replaced").out.startswith("retired agent bot (agt_")
    assert at("agents", "retire", "bot").out == "agent bot is retired already\n"
    assert "agent `bot` is retired: a retired agent cannot come back" in at("agents", "resume", "bot").complains()
    assert [each["status"] for each in at("agents", "list", "--json").json] == ["active", "retired"]


def test_every_text_of_an_agent_is_wherever_an_agent_is(at: Run, home: Home, tmp_path: Path) -> None:
    """A new one of `TEXTS` needs no other test."""

    def told(value: str) -> dict[str, str]:
        return {each.name: f"{value} {each.name}" for each in TEXTS}

    def options(texts: dict[str, str]) -> list[str]:
        return [part for name, text in texts.items() for part in (f"--{name.replace('_', '-')}", text)]

    at("agents", "register", "bot", *options(told("first")), "--environment", "")
    assert at("agents", "update", "bot", *options(told("second"))).code == 0
    shown = at("agents", "show", "bot").out.splitlines()
    for each in TEXTS:
        assert [f"second {each.name}" in line for line in shown if line.startswith(each.shown or each.name)] == [True]
    versions = at("agents", "history", "bot", "--json").json
    assert [{name: each[name] for name in NAMES} for each in versions] == [told("first"), told("second")]
    changed = at("agents", "history", "bot").out.splitlines()[2]
    assert all(f"{name.replace('_', ' ')}: first {name} → second {name}" in changed for name in NAMES)
    entries = [json.loads(line)["entry"] for line in at("audit", "list", "--json").out.splitlines()]
    assert told("second") in [{name: each.get(name) for name in NAMES} for each in entries]
    fleet = at("export").out
    assert all(f"{name}: second {name}" in fleet for name in NAMES)
    file = tmp_path / "fleet.yaml"
    file.write_text(fleet.replace("second ", "third "))
    assert at("apply", "-f", str(file)).code == 0
    now = at("agents", "show", "bot", "--json").json
    assert {name: now[name] for name in NAMES} == told("third")
    at("agents", "update", "bot", *options(dict.fromkeys(NAMES, "")))
    now = at("agents", "show", "bot", "--json").json
    assert {name: now[name] for name in NAMES} == dict.fromkeys(NAMES, "")


def test_what_is_no_text_of_an_agent(home: Home) -> None:
    with pytest.raises(TypeError, match="no text"):
        home.agent(colour="red")


@pytest.mark.slow
def test_an_agent_at_an_earlier_time(at: Run, home: Home) -> None:
    """Two agents had one name after another, and the team, the bundle's revision and a limit changed meanwhile."""
    home.activate("support", commit="a" * 40)
    at("agents", "register", "bot", "--team", "red", "--owner", "dana", "--reason", "the first")
    at("bind", "team:red", "support", "--reason", "all of red")
    at("limits", "set", "bot", "tokens_per_day", "100")
    time.sleep(0.002)
    then = output.timestamp(time.time_ns())
    time.sleep(0.002)
    home.activate("support", commit="b" * 40)
    at("agents", "update", "bot", "--team", "blue", "--owner", "", "--reason", "moved")
    at("limits", "set", "bot", "tokens_per_day", "200")
    at("agents", "update", "bot", "--name", "old-bot")
    at("agents", "register", "bot")
    before = at("agents", "show", "bot", "--at", then, "--json").json
    assert (before["version"], before["team"], before["owner"], before["reason"]) == (1, "red", "dana", "the first")
    assert [(each["commit"], each["reason"]) for each in before["bindings"]] == [("a" * 40, "all of red")]
    assert [each["in_force"] for each in before["limits"]] == [100]
    assert before["activation"]["commit"] == "a" * 40
    assert at("agents", "show", "bot", "--json").json["id"] != before["id"]
    shown = at("agents", "show", "bot", "--at", then).out
    for text in (
        "(the first)",
        "grant support@aaaaaaaaaaaa  by team red, since",
        "tokens_per_day 100, by estimates  by agent",
    ):
        assert text in shown
    assert "it was called `bot` then" in at("agents", "show", "old-bot", "--at", then).complains()
    assert "did not exist at that time" in at("agents", "show", "bot", "--at", "2h ago").complains()
    assert [each["name"] for each in at("agents", "list", "--at", then, "--json").json] == ["bot"]
    assert "is neither a time nor an age" in at("agents", "show", "bot", "--at", "yesterday").complains()


@pytest.mark.slow
def test_the_history_of_an_agent(at: Run, home: Home) -> None:
    at("agents", "register", "bot", "--owner", "dana", "--capability", "chat")
    at("agents", "update", "bot", "--owner", "", "--add-capability", "tools", "--reason", "dana left")
    at("agents", "suspend", "bot")
    lines = [line.split("  ") for line in at("agents", "history", "bot").out.splitlines()]
    told = [[cell.strip() for cell in line if cell.strip()][3:] for line in lines[1:]]
    assert told == [
        ["registered", "-"],
        ["owner: dana → none; capabilities: chat → chat, tools", "dana left"],
        ["status: active → suspended", "-"],
    ]
    assert [each["version"] for each in at("agents", "history", "bot", "--json").json] == [1, 2, 3]


def test_an_expired_agent_is_denied_beforehand(at: Run, home: Home) -> None:
    soon = time.time_ns() + 10**9
    home.agent(expires_ns=soon)
    time.sleep(max(0, soon - time.time_ns()) / 10**9 + 0.01)
    call = home.data.path / "call.json"
    call.write_text('{"action": "chat.completions"}')
    done = at("decide", "--agent", "bot", "-i", str(call))
    assert (done.code, "the agent of the key has expired" in done.out) == (1, True)


@pytest.mark.slow
def test_an_agent_is_reviewed_in_time_or_remarked(at: Run, home: Home) -> None:
    at("agents", "register", "bot", "--review-days", "30")
    at("agents", "register", "other")

    def overdue(days: int) -> tuple[str, ...]:
        (tenant,) = inventory.take(home.registry, time.time_ns() + days * 86400 * 10**9).tenants
        return tenant.agents.overdue.names

    assert (overdue(29), overdue(31)) == ((), ("bot",))
    assert at("agents", "review", "bot", "--reason", "still wanted").out.endswith("now version 2\n")
    with home.registry.write() as session:
        session.connection().exec_driver_sql("UPDATE agent SET created_ns = 1")
    assert (overdue(29), overdue(31)) == ((), ("bot",))
    assert at("agents", "show", "bot", "--json").json["reason"] == "still wanted"
    at("agents", "update", "bot", "--review-days", "0")
    assert overdue(400) == ()
    assert "every 1 to 3660 days" in at("agents", "update", "bot", "--review-days", "-1").complains()
    at("agents", "retire", "bot")
    assert "agent `bot` is retired" in at("agents", "review", "bot").complains()
