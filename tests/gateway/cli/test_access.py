"""`gateway audit access`: granted beside used, and a guard that allows just what was used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.intents import Decided
from gateway.audit.writer import AuditWriter
from gateway.cli import main
from gateway.identifiers import new_id
from gateway.policy.access import CallKind, Trial, guard
from tests.gateway.conftest import Home, Run
from tests.gateway.control.dashboard.policies import INPUT, Policies


def _call(model: str, action: str = "chat.completions", **more: Any) -> dict[str, Any]:
    resource = {**INPUT["resource"], "model": model, "models": [model], **more}
    return {**INPUT, "action": action, "resource": resource, "request": {**INPUT["request"], "tools": []}}


def _record(home: Home, agent: str, calls: list[tuple[Mapping[str, Any], bool]]) -> list[str]:
    writer = AuditWriter(home.data, boot=new_id("boot"), deployment="test")
    made = []
    for call, allow in calls:
        made.append(new_id("dec"))
        writer.write_sync(
            Decided(
                organization="default",
                event_id=made[-1],
                agent=agent,
                key="key_one",
                allow=allow,
                reason="allowed" if allow else "policy_denied",
                private=json.dumps(call).encode(),
            )
        )
    writer.close()
    return made


def test_granted_beside_used(at: Run, home: Home, tmp_path: Path) -> None:
    Policies.made(home).activate()
    mine, other = home.agent("support"), home.agent("research")
    home.key("support")
    assert at("bind", "support", "starter").code == 0
    assert at("upstreams", "add", "openai", "--no-key").code == 0
    calls = _record(home, mine, [(_call("gpt-4o"), True), (_call("gpt-4o"), True), (_call("o3"), False)])
    _record(home, other, [(_call("gpt-4o-mini"), True), (_call("o3"), True)])
    done = at("audit", "access", "support", "--write", str(tmp_path), "--json")
    found = done.json
    assert [(each["model"], each["allowed"], each["refused"], each["granted"]) for each in found["used"]] == [
        ("gpt-4o", 2, 0, True),
        ("o3", 0, 1, False),
    ]
    assert found["used"][0]["last"]["id"] == calls[1]
    assert [each["model"] for each in found["unused"]] == ["gpt-4o-mini"]
    suggestion = found["suggestion"]
    assert (suggestion["tried"], suggestion["denied"]) == (2, 0)
    assert (suggestion["others"], suggestion["others_allowed"]) == (2, 0)
    assert main(["policies", "check", str(tmp_path)]) == 0, "a gateway would take it"
    assert "granted, not used: chat.completions openai gpt-4o-mini" in at("audit", "access", "support").out
    assert at("audit", "access", "nobody").code == 1
    again = at("audit", "access", "support", "--write", str(tmp_path))
    assert (again.code, "file exists: remove it" in again.err) == (1, True)


@pytest.mark.parametrize(
    ("call", "denied"),
    [
        (_call("a"), False),
        (_call("c"), True),
        (_call("a", action="embeddings"), True),
        (_call("a", upstream="other"), True),
        (_call("a", tool={"name": "x", "approved": True}), True),
        (_call("a", models=["a", "c"]), True),
        (_call("a", models=["a", "b"]), False),
        (_call("", models=[], action="models.list"), False),
        (_call("", action="mcp.tools.call", models=[], tool={"name": 'q"t', "approved": True}), False),
        (_call("", action="mcp.tools.call", models=[], tool={"name": "other", "approved": True}), True),
    ],
)
def test_the_guard_allows_the_kinds_it_was_made_of(call: dict[str, Any], denied: bool) -> None:
    kinds = [
        CallKind("chat.completions", "openai", "a", ""),
        CallKind("chat.completions", "openai", "b", ""),
        CallKind("models.list", "openai", "", ""),
        CallKind("mcp.tools.call", "openai", "", 'q"t'),
    ]
    trial = Trial(*guard("agt_one", "Agent ünder Test", kinds))
    assert trial.denies(call) is denied
