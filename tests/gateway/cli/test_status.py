"""`gateway status`: what it shows of a real gateway, and each thing that needs a person, with what to do about it."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.audit.intents import SYSTEM, Changed
from gateway.audit.writer import AuditWriter
from gateway.data_directory import DataDirectory
from gateway.identifiers import new_id
from gateway.processes.creation import create
from gateway.registry import inventory
from gateway.registry.database import Registry
from gateway.registry.policies import activations
from tests.gateway.conftest import Done, Run
from tests.gateway.dataplane.processes import COMMAND, POLICY, Live, environment, write_policy

# Real processes, which take their time.
pytestmark = pytest.mark.slow


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    found = Live(tmp_path)
    yield found
    found.close()


def status(live: Live, code: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(live.run("status", "--json", code=code))
    assert found["needs_a_person"] == (code == 1)
    return found


def problems(found: dict[str, Any]) -> list[str]:
    return [each["message"] for each in found["findings"] if each["level"] == "problem"]


def ask(live: Live) -> int:
    answer = httpx.post(
        f"{live.base_url}/chat/completions",
        json={"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}]},
        headers={"authorization": f"Bearer {live.key}"},
        timeout=240,
    )
    return answer.status_code


def test_a_day_with_a_gateway(live: Live) -> None:
    stopped = status(live, 1)
    assert (stopped["gateway"]["running"], problems(stopped)) == (False, ["the gateway is not running"])
    live.start()
    assert live.up is not None
    # All is well.
    found = status(live, 0)
    gateway = found["gateway"]
    assert (gateway["running"], gateway["pid"]) == (True, live.up.process.pid)
    assert (gateway["data_plane"] + "/v1", gateway["not_ready"]) == (live.base_url, {})
    assert (found["workers"]["wanted"], len(found["workers"]["alive"])) == (1, 1)
    assert found["activation"]["commit"] == found["policies"]["head"]
    assert (found["activation"]["author"], found["refused"]) == ("Dana <dana@acme.example>", None)
    assert {each["organization"] for each in found["log"]["logs"]} == {"default", "system"}
    shown = live.run("status")
    assert "workers        1 of 1" in shown
    assert shown.endswith("\nnothing needs a person\n")
    # An upstream is used.
    assert ask(live) == 200
    live.wait(lambda: status(live, 0)["upstreams"][0]["last_success"] is not None)
    # It dies, and is replaced by one at another address, which has not failed yet.
    live.provider.stop()
    assert ask(live) == 502
    live.wait(lambda: json.loads(_any(live))["needs_a_person"])
    failed = status(live, 1)
    assert "cannot connect" in failed["upstreams"][0]["last_error"]["message"]
    assert problems(failed)[0].startswith("the last call to upstream `mock`, ")
    live.run("upstreams", "add", "mock", "--base-url", "http://127.0.0.1:9/v1", "--no-key", "--replace")
    assert problems(status(live, 0)) == []
    # A commit is refused, and corrected.
    before = found["activation"]["commit"]
    write_policy(live.data / "policies", POLICY.replace("input.action", "inptu.action"))
    live.wait(lambda: json.loads(_any(live))["refused"])
    refused = status(live, 1)
    assert refused["activation"]["commit"] == before
    assert refused["refused"]["commit"] == refused["policies"]["head"] != before
    assert (refused["refused"]["outcome"], refused["refused"]["place"]) == ("compile_failed", "starter/authz.rego:5")
    assert [each["todo"].partition(";")[0] for each in refused["findings"]] == ["correct that and commit again"]
    write_policy(live.data / "policies", POLICY + "\n# corrected\n")
    live.wait(lambda: json.loads(_any(live))["activation"]["commit"] != before)
    assert status(live, 0)["refused"] == refused["refused"], "the last one is still shown, but asks for nothing"
    live.stop()
    assert problems(status(live, 1)) == ["the gateway is not running"]


def _any(live: Live) -> str:
    """The status, whatever its exit code."""
    command = [*COMMAND, "status", "--json"]
    done = subprocess.run(command, cwd=live.directory, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


Show = Callable[..., Done]


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    create(tmp_path / "data", "bot")
    return DataDirectory(tmp_path / "data")


@pytest.fixture
def at(run: Run, data: DataDirectory) -> Run:
    return lambda *arguments, **variables: run(*arguments, "--data", str(data.path), **variables)


UPSTREAM = ("upstreams", "add", "openai", "--key-env", "KEY", "--base-url", "http://127.0.0.1:9/v1")

CASES: list[tuple[str, list[tuple[str, ...]], str]] = [
    ("nothing to send requests to", [], "organization `default` has no upstream: type `gateway upstreams add openai"),
    ("no key", [("keys", "revoke", "KEY_ID")], "agent `bot` has no key that works: type `gateway keys create bot"),
    ("no grant", [("unbind", "bot", "starter")], "agent `bot` has no grant, so every request is denied `no_policy`: "),
    (
        "several agents",
        [("agents", "register", "two"), ("keys", "revoke", "KEY_ID")],
        "agents `bot` and `two` have no key",
    ),
    ("nobody at all", [("agents", "revoke", "bot")], "no agent is registered: type `gateway agents register NAME"),
    ("an unused bundle", [("unbind", "bot", "starter")], "remark: bundle `starter` is in force, but nobody is bound"),
    (
        "a guard of an empty team",
        [("bind", "team:none", "starter", "--effect", "guard", "--create")],
        "the guard `starter` of team:none applies to nobody: type `gateway agents update AGENT --team none",
    ),
    (
        "a grant of an empty organization",
        [("orgs", "create", "acme"), ("bind", "org:acme", "starter", "--create")],
        "the grant `starter` of org:acme applies to nobody: type `gateway agents register NAME --org acme",
    ),
    (
        "a team that its last agent left",
        [
            ("agents", "update", "bot", "--team", "t"),
            ("bind", "team:t", "starter", "--effect", "guard"),
            ("agents", "update", "bot", "--team", ""),
        ],
        "the guard `starter` of team:t applies to nobody",
    ),
]


@pytest.mark.parametrize(("commands", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_needs_a_person(commands: list[tuple[str, ...]], expected: str, at: Run) -> None:
    key_id = at("keys", "list", "--json").json[0]["key_id"]
    for command in commands:
        done = at(*[word.replace("KEY_ID", key_id) for word in command], KEY="sk-x")
        assert done.code == 0, done.err
    shown = at("status")
    assert (shown.code, shown.err) == (1, "")
    assert expected in shown.out


def test_another_key_than_the_one_that_sealed(at: Run, data: DataDirectory) -> None:
    assert at(*UPSTREAM, KEY="sk-x").code == 0
    (data.keys / "kek").write_bytes(b"k" * 32)
    line = next(line for line in at("status").out.splitlines() if line.startswith("problem: upstream"))
    assert "`openai` cannot be used" in line
    assert "it was sealed under another key; restore the `keys/kek` that belongs to it" in line
    assert "sk-x" not in line


def test_a_suspended_agent_is_meant(at: Run) -> None:
    at("unbind", "bot", "starter")
    at("agents", "suspend", "bot")
    shown = at("status").out
    assert "0 active, 1 suspended" in shown
    assert "no grant" not in shown


def test_what_ended_with_its_team_or_expired_needs_nothing(at: Run, data: DataDirectory) -> None:
    at("teams", "create", "gone")
    at("agents", "register", "lost", "--team", "gone")
    at("bind", "team:gone", "starter")
    at("teams", "revoke", "gone", "--yes")
    shown = at("status").out
    assert " 1 active\n" in shown
    assert not any(name in shown for name in ("`lost`", "team:gone"))
    at("agents", "register", "late", "--expires", "1h")
    registry = Registry.open(data)
    [later] = inventory.take(registry, time.time_ns() + 2 * 3600 * 10**9).tenants
    registry.close()
    assert later.agents.states == {"active": 1, "expired": 1, "revoked": 1}


def test_entries_that_are_owed(at: Run, data: DataDirectory) -> None:
    registry = Registry.open(data)
    activations.refuse_activation(registry, actor="x", commit="d" * 40, author="x", outcome="tests_failed", detail="x")
    registry.close()
    assert at("status", "--json").code == 1
    assert json.loads(at("status", "--json").out)["log"]["owed_entries"] == 1


@pytest.mark.parametrize("damage", ["policies", "audit.db", "runtime.db", "signer-state"])
def test_what_cannot_be_read_is_said(damage: str, at: Run, data: DataDirectory) -> None:
    path = data.path / damage
    if path.is_dir():
        path.rename(data.path / "away")
    else:
        path.write_bytes(b"garbage" * 1000)
    shown = at("status")
    assert (shown.code, shown.err) == (1, "")
    if damage == "policies":
        assert "is not a git repository" in shown.out
    if damage == "audit.db":
        assert "the audit log cannot be read: " in shown.out


def test_no_gateway_there(run: Run) -> None:
    assert run("status").complains() == "no gateway in ./.gateway: type `gateway init`"


def test_a_clock_that_was_ahead_is_told_of_everywhere_and_can_be_accepted(live: Live) -> None:
    live.start()
    assert ask(live) == 200
    ahead = 587 * 1_000_000_000
    writer = AuditWriter(
        DataDirectory(live.data), boot=new_id("boot"), deployment="dev", clock=lambda: time.time_ns() + ahead
    )
    for organization in ("default", SYSTEM):
        change = Changed(organization=organization, event_id=new_id("chg"), actor="local:0", what="test.of_the_clock")
        writer.write_sync(change)
    writer.close()
    assert ask(live) == 503
    found = status(live, 1)
    told = [each for each in problems(found) if "behind the log" in each]
    assert len(told) == 2
    assert "its requests are refused, until 20" in told[0]
    live.wait(lambda: readiness(found) == [503, 503])
    live.stop()
    live.start()
    assert live.up is not None
    assert re.search(r"the clock is 5\d\d s behind the log `default`.*gateway audit accept-clock", live.up.text)
    found = status(live, 1)
    assert readiness(found) == [503, 503]
    live.run("audit", "accept-clock", "--reason", "the virtual machine came from a snapshot")
    assert ask(live) == 200
    live.wait(lambda: readiness(found) == [200, 200])
    assert [each for each in problems(status(live, 0)) if "clock" in each] == []
    live.stop()
    live.run("audit", "verify")


def readiness(found: dict[str, Any]) -> list[int]:
    addresses = (found["gateway"][name] for name in ("data_plane", "control_plane"))
    return [httpx.get(f"{address}/readyz", timeout=240).status_code for address in addresses]
