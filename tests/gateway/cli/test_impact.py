"""`gateway policies impact`: exactly the calls that a change of policies would have decided otherwise."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from gateway.audit import signer, storage
from gateway.audit.intents import Completed, Decided
from gateway.audit.writer import AuditWriter
from gateway.cli import main
from gateway.identifiers import new_id
from tests.gateway.conftest import Home
from tests.gateway.control.dashboard.policies import FILES, INPUT, MANIFEST, POLICY, Policies

MODELS = ("gpt-4o", "gpt-4o-mini", "o3", "claude-sonnet-4")
TOOLS = ("web_search", "function", "code")
COST = 1_500_000


def _call(chance: random.Random) -> dict[str, Any]:
    model, tool = chance.choice(MODELS), chance.choice(TOOLS)
    return {
        **INPUT,
        "agent": {**INPUT["agent"], "name": chance.choice(("support", "research"))},
        "resource": {**INPUT["resource"], "model": model, "models": [model]},
        "request": {**INPUT["request"], "tools": [{"type": tool, "name": "" if tool == "web_search" else "x"}]},
    }


def _then(call: dict[str, Any]) -> tuple[bool, str, tuple[str, ...]]:
    """The verdict of `POLICY`, worked out without the engine."""
    if any(each["type"] == "web_search" for each in call["request"]["tools"]):
        return False, "policy_denied", ("no web search",)
    allow = call["resource"]["model"] in ("gpt-4o", "gpt-4o-mini")
    return allow, "allowed" if allow else "policy_denied", ()


class Log:
    """A log of calls that `POLICY` has judged."""

    def __init__(self, home: Home) -> None:
        storage.create(home.data)
        self.home, self.policies = home, Policies.made(home)
        (record,) = self.policies.activate()
        self.judges = json.dumps(
            [{"name": "starter", "digest": record.digest, "commit": record.commit, "effect": "grant"}]
        )
        self.commit = record.commit
        self.writer = AuditWriter(home.data, boot=new_id("boot"), deployment="test")

    def record(self, call: dict[str, Any], *, kept: bool = True, **other: Any) -> str:
        allow, code, reasons = _then(call)
        intent: dict[str, Any] = {"allow": allow, "reason": code, "reasons": reasons, "open": allow} | other
        decision = Decided(
            organization="default",
            event_id=new_id("dec"),
            agent="agt_" + call["agent"]["name"],
            key="key_one",
            private=json.dumps(call).encode() if kept else None,
            fields={
                "action": call["action"],
                "agent_name": call["agent"]["name"],
                "model": call["resource"]["model"],
                "bundles_json": self.judges,
                "policy_commit": self.commit,
            },
            **intent,
        )
        self.writer.write_sync(decision)
        if intent["open"]:
            self.writer.write_sync(
                Completed(
                    organization="default",
                    decision_id=decision.event_id,
                    agent=decision.agent,
                    outcome="ok",
                    fields={"cost_nanousd": COST},
                )
            )
        return decision.event_id


@pytest.fixture
def log(home: Home) -> Log:
    return Log(home)


def _impact(log: Log, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    log.writer.close()
    code = main(["policies", "impact", *map(str, arguments), "--data", str(log.home.data.path), "--json"])
    shown = capsys.readouterr()
    return code, json.loads(shown.out) if shown.out else shown.err


def _directory(path: Path, policy: str) -> Path:
    (path / "starter").mkdir(parents=True)
    (path / "starter/.manifest").write_text(MANIFEST)
    (path / "starter/authz.rego").write_text(policy)
    return path


def test_exactly_the_flips_of_a_change(log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The change allows `o3` and takes `gpt-4o` away; which calls that is about is worked out without the engine."""
    chance = random.Random(7)
    gained, lost = set(), set()
    for _ in range(150):
        call = _call(chance)
        identifier = log.record(call)
        searches = call["request"]["tools"][0]["type"] == "web_search"
        if not searches and call["resource"]["model"] == "o3":
            gained.add(identifier)
        if not searches and call["resource"]["model"] == "gpt-4o":
            lost.add(identifier)
    log.record(_call(chance), kept=False)
    candidate = _directory(tmp_path / "candidate", POLICY.replace('"gpt-4o", ', '"o3", '))
    code, found = _impact(log, capsys, candidate)
    assert code == 1
    assert {each["id"] for each in found["items"] if each["after"] == "allow"} == gained
    assert {each["id"] for each in found["items"] if each["after"] == "deny"} == lost
    assert (found["decisions"], found["flips"], found["unexpected"]) == (151, len(gained | lost), len(gained | lost))
    assert [(each["before"], each["after"]) for each in found["kinds"]] == [("deny", "allow"), ("allow", "deny")]
    assert found["kinds"][1]["cost_nanousd"] == len(lost) * COST
    assert [each["rules"] for each in found["rules"]] == [
        ["starter/authz.rego:6 allow"],
        ["starter/authz.rego:6 allow does not hold"],
    ]
    assert found["untold"] == {"the input of this decision is not kept": 1}
    assert sum(each["count"] for each in found["agents"]) == found["flips"]


def test_a_report_is_signed(log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signer.create_key(log.home.data, "test")
    log.record({**INPUT, "request": {**INPUT["request"], "tools": []}})
    found = _impact(log, capsys, _directory(tmp_path / "denial", POLICY + 'deny contains "all"\n'))[1]
    report = tmp_path / "impact.json"

    def verified(document: Any) -> int:
        report.write_text(json.dumps(document, indent=1))
        return main(["policies", "verify-impact", str(report), "--data", str(log.home.data.path)])

    assert found["flips"] == 1
    assert verified(found) == 0
    assert verified({**found, "same": 1}) == 1
    assert verified({**found, "flips": 0}) == 1
    assert verified({**found, "signature": None}) == 1
    assert verified({"signature": found["signature"]}) == 2


def test_a_reason_that_is_gone_is_told_by_its_rule(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    log.record(
        _call(random.Random(1)) | {"request": {**INPUT["request"], "tools": [{"type": "web_search", "name": ""}]}}
    )
    commit = log.policies.commit(
        {
            "starter/authz.rego": POLICY.replace('"web_search"', '"code"').replace(
                '{"gpt-4o"', '{"o3", "claude-sonnet-4", "gpt-4o"'
            )
        }
    )
    code, found = _impact(log, capsys, commit[:8])
    assert (code, found["candidate"]["commit"]) == (1, commit)
    (group,) = found["rules"]
    assert (group["before"], group["after"]) == ("deny", "allow")
    assert (group["rules"], group["reasons"]) == (["starter/authz.rego:8 deny"], ["no web search"])


def test_expected_flips_are_no_failure(log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = {**INPUT, "resource": {**INPUT["resource"], "model": "o3", "models": ["o3"]}}
    call["request"] = {**INPUT["request"], "tools": []}
    for _ in range(3):
        log.record(call)
    candidate = _directory(tmp_path / "candidate", POLICY.replace('{"gpt-4o"', '{"o3", "gpt-4o"'))
    expect, comment = tmp_path / "impact.toml", tmp_path / "comment.md"
    expect.write_text('[[expect]]\nfrom = "deny"\nto = "allow"\nagent = "support-*"\nmodel = "o3"\n')
    code, found = _impact(log, capsys, candidate, "--expect", expect, "--comment", comment)
    assert (code, found["flips"], found["unexpected"]) == (0, 3, 0)
    assert "| **deny → allow** | 3 | 0 |" in comment.read_text("utf-8")
    expect.write_text(expect.read_text() + "at_most = 2\n")
    code, found = _impact(log, capsys, candidate, "--expect", expect)
    assert (code, found["unexpected"], found["expected"][0]["matched"]) == (1, 1, 2)


def test_what_nobody_can_tell_is_counted_with_the_reason(
    log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Content that is not kept, usage that was not recorded, and a limit that was used up."""
    call = {**INPUT, "request": {**INPUT["request"], "tools": []}, "usage": {}}
    log.record(call)
    log.record(call, allow=False, open=False, reason="limit_exceeded", reasons=("requests_per_day",))
    content = _directory(tmp_path / "content", POLICY + 'deny contains "x" if input.request.body.x == 1\n')
    usage = _directory(tmp_path / "usage", POLICY + 'deny contains "x" if input.usage.tokens.day > 1\n')
    denial = _directory(tmp_path / "denial", POLICY + 'deny contains "all" if input.action\n')
    found = _impact(log, capsys, content)[1]
    assert found["untold"] == {"content is not kept, and policies read it: request.body.x": 2}
    found = _impact(log, capsys, usage)[1]
    assert found["untold"] == {"usage was not recorded, because no policy read it then: input.usage": 2}
    found = _impact(log, capsys, denial)[1]
    assert (found["flips"], found["same"], found["untold"]) == (1, 1, {})


def test_an_obligation_changes_the_call_and_no_outcome(
    log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log.record({**INPUT, "request": {**INPUT["request"], "tools": []}})
    capped = _directory(tmp_path / "capped", POLICY + 'obligations := {"max_output_tokens": 10}\n')
    code, found = _impact(log, capsys, capped)
    assert (code, found["flips"], found["otherwise"]) == (0, 0, {"other obligations": 1})


def test_a_candidate_that_does_not_compile(log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = _directory(tmp_path / "broken", "package starter.authz\nallow if nothing\n")
    code, told = _impact(log, capsys, broken)
    assert (code, "does not compile" in told) == (2, True), told
    code, told = _impact(log, capsys, "nowhere")
    assert (code, "no commit, branch or tag `nowhere`" in told) == (2, True), told
    assert FILES
