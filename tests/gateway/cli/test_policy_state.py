"""`gateway policies status COMMIT --wait`: how long it waits, and what it says of each end."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.audit import storage
from gateway.cli import main, policy_state
from gateway.registry import publication
from gateway.registry.policies import activations
from tests.gateway.conftest import Home

COMMIT = "e" * 40


@pytest.fixture
def at(home: Home, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    storage.create(home.data)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["policies", "status", *arguments, "--data", str(home.data.path)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def refuse(home: Home, outcome: str) -> None:
    refused: dict[str, Any] = {"actor": "gateway", "commit": COMMIT, "author": "sam", "detail": f"because of {outcome}"}
    activations.refuse_activation(home.registry, outcome=outcome, **refused)
    publication.publish(home.registry, home.data)


def test_it_waits_until_there_is_an_end(
    at: Callable[..., tuple[int, str, str]], home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that the gateway tries again by itself, and one that it has not looked at, have none yet."""
    home.activate("crm")
    steps: list[Callable[[], object]] = [
        lambda: refuse(home, "not_loaded"),
        lambda: home.activate("crm", commit=COMMIT),
    ]
    seen: list[float] = []

    def sleep(seconds: float) -> None:
        seen.append(seconds)
        steps[len(seen) - 1]()

    monkeypatch.setattr(policy_state.time, "sleep", sleep)
    code, out, err = at(COMMIT, "--wait", "5m")
    assert (code, out[:26], err, len(seen)) == (0, "commit eeeeeeeeeeee is in ", "", 2)
    home.activate("crm")
    publication.publish(home.registry, home.data)
    code, _, err = at("EEEEEEE", "--wait", "5m")
    assert (code, len(seen)) == (1, 2)
    assert err == "error: commit eeeeeeeeeeee was in force, and is not any more: commit cccccccccccc is\n"
    refuse(home, "tests_failed")
    code, out, err = at(COMMIT, "--wait", "5m")
    assert (code, out, len(seen)) == (1, "  because of tests_failed\n", 2)
    assert err == "error: commit eeeeeeeeeeee was refused, tests_failed: commit cccccccccccc stays in force\n"
    code, out, _ = at(COMMIT, "--json")
    assert (code, json.loads(out)["state"], json.loads(out)["in_force"]["commit"]) == (1, "refused", "c" * 40)
    code, out, _ = at()
    assert (code, "refused since: commit eeeeeeeeeeee of sam: tests_failed" in out) == (0, True)


def test_nothing_is_in_force_at_first(at: Callable[..., tuple[int, str, str]]) -> None:
    assert at()[:2] == (0, "no policies are in force: everything is denied\n")
    code, _, err = at(COMMIT)
    assert (code, "has not looked at commit" in err) == (1, True)
