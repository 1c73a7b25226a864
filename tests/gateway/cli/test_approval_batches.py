"""`gateway approvals approve` and `deny` of many requests: what is told, what is asked first, and how they fail."""

from __future__ import annotations

import io
import json

import pytest

from gateway.approvals import batches
from gateway.policy.approvals import Requirement
from tests.gateway.approvals.asked import asked
from tests.gateway.cli.test_lifecycle import Terminal
from tests.gateway.conftest import Home, Run


def made(home: Home, many: int, agent: str = "bot", *demanded: Requirement) -> list[str]:
    identifier = home.agent(agent)
    return [asked(home, identifier, *demanded, body=b"%d" % number) for number in range(many)]


def states(at: Run) -> dict[str, str]:
    return {each["id"]: each["state"] for each in at("approvals", "list", "--json").json["approvals"]}


def test_several_are_approved_that_somebody_has_looked_at(at: Run, home: Home) -> None:
    first, second, third = made(home, 3)
    for each in (first, third):
        assert at("approvals", "show", each, "--call").code == 0
    assert at("approvals", "show", second).code == 0  # without the call, so that is no look
    done = at("approvals", "approve", first, second, third, "--reason", "fine")
    assert done.code == 1
    assert done.out.splitlines() == [
        f"{first} is approved",
        f"{second} is left as it was: you have not looked at its call: look at it first: "
        f"`gateway approvals show {second} --call`, its page, or POST /approvals/{second}/look",
        f"{third} is approved",
    ]
    assert states(at) == {first: "approved", second: "waiting", third: "approved"}
    at("approvals", "show", second, "--call")
    made_known = json.loads(at("approvals", "approve", second, first, "--json").out)["items"]
    assert [each["state"] for each in made_known] == ["approved", None]


def test_several_are_approved_for_their_very_calls_alone(at: Run, home: Home) -> None:
    first, second = made(home, 2)
    for option in (["--uses", "2"], ["--for", "2h"], ["--pattern"]):
        assert "one request at a time" in at("approvals", "approve", first, second, *option).complains()


def test_several_are_denied(at: Run, home: Home) -> None:
    first, second = made(home, 2, "bot", Requirement("big", denials=2))
    (third,) = made(home, 1, "other")
    done = at("approvals", "deny", third, first, second, first, "--reason", "no")
    assert (done.code, done.out.splitlines()) == (
        0,
        [f"{third} is denied", f"{first} needs more who deny it", f"{second} needs more who deny it"],
    )
    done = at("approvals", "deny", first, third, "--reason", "no")
    assert (done.code, [line.partition(": ")[2] for line in done.out.splitlines()]) == (
        1,
        ["you have reviewed it already", "it is denied already"],
    )


def test_more_than_one_step_of_them(at: Run, home: Home) -> None:
    unknown = [f"apr_{number}" for number in range(150)]
    done = at("approvals", "deny", *unknown, "--reason", "no", "--json")
    assert (done.code, [each["id"] for each in json.loads(done.out)["items"]]) == (1, unknown)


def test_all_are_denied_once_it_is_confirmed_how_many(at: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST", 2)
    mine, others = made(home, 5), made(home, 2, "other")
    assert "the reason is empty" in at("approvals", "deny", "--all").complains()
    deny = ("approvals", "deny", "--all", "--reason", "no")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))  # a pipe: nobody is there to be asked
    line = at(*deny).complains()
    assert "7 calls of 2 agents would be denied" in line
    assert line.endswith("add --yes if that is meant")
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    done = at(*deny, "--agent", "bot")
    assert (done.code, "5 calls of 1 agent will be denied. Deny them?" in done.err) == (1, True)
    assert set(states(at).values()) == {"waiting"}
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert at(*deny, "--agent", "bot").out.endswith("5 calls are denied\n")
    assert states(at) == dict.fromkeys(mine, "denied") | dict.fromkeys(others, "waiting")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert at(*deny, "--matching", "nothing of that", "--yes").out == "no call waits that you may review\n"
    assert [each["state"] for each in at(*deny, "--yes", "--json").json["items"]] == ["denied"] * 2
    assert at(*deny, "--yes").out == "no call waits that you may review\n"


def test_those_that_a_denial_of_all_did_not_end_are_named(at: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """One needs another person, and the agent of one was suspended after it was counted."""
    (more,) = made(home, 1, "bot", Requirement("big", denials=2))
    (plain,) = made(home, 1, "plain")
    (closed,) = made(home, 1, "closed")
    at("agents", "suspend", "closed")
    done = at("approvals", "deny", "--all", "--yes", "--reason", "no")
    assert (done.code, done.out.splitlines()) == (
        1,
        [
            f"{more} needs more who deny it",
            f"{closed} is left as it was: its agent is not active",
            "1 call is denied",
        ],
    )
    assert states(at)[plain] == "denied"


def test_either_ids_or_all(at: Run, home: Home) -> None:
    for arguments in ([], ["apr_x", "--all"], ["apr_x", "--agent", "bot"], ["apr_x", "--team", "t"]):
        assert "all" in at("approvals", "deny", *arguments, "--reason", "no").complains()
