"""`gateway stop` and `resume`, and `suspend`, `resume` and `revoke` of teams and organizations."""

from __future__ import annotations

import pytest

from gateway.registry import emergency_stops
from tests.gateway.conftest import ORG, Home, Run


@pytest.mark.slow
def test_a_stop_and_its_end(at: Run, home: Home) -> None:
    home.agent()
    home.key()
    done = at("stop", "--all", "--reason", "key leak")
    assert done.out.startswith("stopped all agents (stp_")
    assert done.err == "next: `gateway resume --all` lets them go on\n"
    assert at("stop", "--all", "--reason", "again").out.endswith("by local:0: key leak\n")
    assert at("agents", "show", "bot").out.splitlines()[4].split(maxsplit=1) == ["refused", "all agents are stopped"]
    shown = at("status")
    assert shown.code == 1
    assert shown.out.startswith("STOPPED     all agents, ")
    assert "problem: all agents were stopped by local:0 and are refused: key leak: `gateway resume --all" in shown.out
    assert at("stop", "--org", ORG, "--reason", "drill", "--json").json["stop"]["organization"] == ORG
    done = at("decide", "--agent", "bot", "--route", "GET /v1/models")
    assert done.out.splitlines()[:2] == [
        "denied agent_suspended (a dry run: nothing was sent)",
        "  reasons   all agents are stopped",
    ]
    done = at("resume", "--all", "--reason", "over")
    assert done.out == "resumed all agents\n"
    assert f"still stopped: all agents of organization {ORG}, by local:0: drill" in done.err
    at("agents", "suspend", "bot")
    assert "refused all the same: all agents of its organization are stopped" in at("agents", "resume", "bot").err
    at("orgs", "suspend", ORG)
    assert "organization default is suspended" in at("resume", "--org", ORG).err
    assert at("resume", "--all").out == "there is no stop of all agents\n"
    assert at("resume", "--all", "--json").json == {"stop": None, "changed": False, "in_force": []}
    assert "remark: organization `default` is suspended: `gateway orgs resume default" in at("status").out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["stop", "--reason", "x"], "say either --all or --organization NAME"),
        (["stop", "--all", "--org", "default", "--reason", "x"], "say either --all or --organization NAME"),
        (["stop", "--all"], "missing option '--reason'"),
        (["resume"], "say either --all or --organization NAME"),
    ],
)
def test_a_stop_says_whose_and_why(arguments: list[str], expected: str, at: Run, home: Home) -> None:
    assert expected in at(*arguments).complains(2)


def test_a_stop_does_not_wait_for_the_log(at: Run, home: Home) -> None:
    home.data.audit_db.unlink()
    done = at("stop", "--all", "--reason", "leak")
    assert done.code == 0
    assert "warning: the change is in force, but not in the audit log yet" in done.err
    assert len(emergency_stops.stops(home.registry)) == 1
    # A change that lets them go on again must be recorded.
    assert "there is no audit log" in at("resume", "--all").complains()
    assert len(emergency_stops.stops(home.registry)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("noun", ["teams", "orgs"])
def test_suspending_and_revoking_many(noun: str, at: Run, home: Home) -> None:
    home.agent(team="support")
    what, name = ("team", "support") if noun == "teams" else ("organization", ORG)
    assert at(noun, "suspend", name, "--reason", "leak").out == f"suspended {what} {name}\n"
    assert at(noun, "suspend", name).out == f"{what} {name} is suspended already\n"
    assert at(noun, "list", "--json").json[0]["status"] == "suspended"
    assert f"its {what} is suspended" in at("agents", "show", "bot").out
    assert at(noun, "resume", name).out == f"resumed {what} {name}\n"
    assert at(noun, "resume", name).out == f"{what} {name} is not suspended\n"
    expected = f"{what} `{name}` has 1 agent, which would be ended for good: add --yes if that is meant"
    assert expected in at(noun, "revoke", name).complains()
    assert at(noun, "revoke", name, "--yes", "--json").json == {what: name, "status": "revoked", "changed": True}
    assert at(noun, "revoke", name, "--yes").out == f"{what} {name} is revoked already\n"
    assert f"{what} `{name}` is revoked" in at(noun, "resume", name).complains()
    assert f"unknown {what} `x`" in at(noun, "suspend", "x").complains()
