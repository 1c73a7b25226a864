"""`gateway audit show` and `gateway explain` on the log of a data plane: what they print, and what they cannot."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from gateway.cli import main
from gateway.cli.advice import CHECKS
from gateway.control.server import ControlApi
from gateway.data_directory import DataDirectory
from gateway.errors import REASONS
from gateway.identity.credentials import Peppers
from gateway.policy import bundle as policy_bundle
from gateway.registry import outbox
from gateway.registry.agents.changes import AgentUpdate, update_agent
from gateway.registry.database import Registry
from gateway.registry.organizations import teams
from gateway.registry.policies import activations
from gateway.registry.records import BundleRecord
from gateway.secrets.vault import Vault
from tests.gateway.conftest import Home
from tests.gateway.dataplane.conftest import ACTOR, MANIFEST, ORG, Gateway
from tests.rigs.cli.remote import URL, Elsewhere, nowhere
from tests.rigs.dataplane.content import keep

Command = Callable[..., tuple[int, str, str]]
FORMS = ((), ("--json",))


@dataclass
class Log:
    """The remains of a gateway that has stopped."""

    data: Path
    decisions: dict[str, str] = field(default_factory=dict)
    """Decision ids by the model that was asked for."""
    kept: str = ""
    """One by a policy that reads content, with the content."""
    refusals: dict[str, str] = field(default_factory=dict)
    """Event ids by reason code."""

    def change(self, statement: str, *parameters: object) -> None:
        with closing(sqlite3.connect(self.data / "audit.db")) as db, db:
            assert db.execute(statement, parameters).rowcount == 1


READS_CONTENT = """\
package bot.authz

allow if contains(input.request.body.messages[0].content, "hello")
"""


@pytest.fixture
def log(run: Callable[..., None], tmp_path: Path) -> Log:
    found = Log(tmp_path / "data")

    async def test(gateway: Gateway) -> None:
        teams.create_team(gateway.registry, actor=ACTOR, organization=ORG, name="support")
        whose = AgentUpdate(owner="ada@example.com", team="support")
        update_agent(gateway.registry, actor=ACTOR, organization=ORG, agent="bot", update=whose)
        for model in ("gpt-4o", "o3", "gpt-secret", "gpt-capped"):
            reply = await gateway.chat(model)
            found.decisions[model] = reply.headers["x-decision-id"]
        await gateway.chat("gpt-4o", "Authorization: Bearer aig_sk_nonsense")
        await gateway.send(gateway.request({}, path="/chat"))
        files = {".manifest": MANIFEST, "authz.rego": READS_CONTENT.encode()}
        digest = policy_bundle.publish(gateway.data.bundles, files)
        bundle = BundleRecord(name="bot", commit="e" * 40, digest=digest, author="dana", entrypoint="data.bot.authz")
        await asyncio.to_thread(
            activations.activate, gateway.registry, actor=ACTOR, commit="e" * 40, author="dana", bundles=[bundle]
        )
        gateway.plane._policies.load(digest)
        found.decisions["content"] = (await gateway.chat("gpt-4o")).headers["x-decision-id"]
        await keep(gateway)
        found.kept = (await gateway.chat("gpt-4o")).headers["x-decision-id"]
        gateway.plane._teller._refusals.flush()
        await gateway.entries()
        await asyncio.to_thread(outbox.drain, gateway.registry, gateway.writer)
        found.refusals |= {each["reason"]: each["id"] for each in gateway.log("system") if each["kind"] == "refused"}

    run(test)
    return found


@pytest.fixture
def gateway(log: Log, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.setenv("AIG_DATA", str(log.data))

    def command(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        return code, *capsys.readouterr()

    return command


def test_a_denial_is_explained_by_its_rules(log: Log, gateway: Command) -> None:
    code, out, err = gateway("explain", log.decisions["o3"])
    assert (code, err) == (0, "")
    head, *fields = out.partition("\n\n")[0].splitlines()
    assert head == f"{log.decisions['o3']} denied policy_denied"
    assert any("POST /v1/chat/completions chat.completions o3 at openai" in each for each in fields)
    assert "  owner     ada@example.com, team support" in fields
    assert (
        out.partition("\n\n")[2]
        == """\
bot (grant, commit cccccccccccc): denied policy_denied
  rules that held:
    bot/authz.rego:3  default allow := false
  rules that did not hold:
    bot/authz.rego:5   allow
      failed at input.action == "models.list"
        input.action = "chat.completions"
    bot/authz.rego:7   allow
      failed at startswith(input.resource.model, "gpt-")
        input.resource.model = "o3"
    bot/authz.rego:9   allow
      failed at startswith(input.resource.model, "mock-")
        input.resource.model = "o3"
    bot/authz.rego:11  deny
      failed at input.resource.model == "gpt-secret"
        input.resource.model = "o3"
    bot/authz.rego:13  obligations
      failed at input.resource.model == "gpt-capped"
        input.resource.model = "o3"

✓ judged again, this is the verdict that was recorded
"""
    )


def test_what_held_is_shown_with_its_values(log: Log, gateway: Command) -> None:
    _, out, _ = gateway("audit", "explain", log.decisions["gpt-secret"])
    assert 'bot/authz.rego:11  deny contains "no secrets, please"' in out
    assert "reasons   no secrets, please" in out
    code, out, _ = gateway("explain", log.decisions["gpt-capped"], "--json")
    shown = json.loads(out)
    assert (code, shown["agrees"], shown["judged_again"]["reason"]) == (0, True, "allowed")
    (bundle,) = shown["bundles"]
    assert bundle["obligations"] == {"max_output_tokens": 50}
    held = [(each["rule"], each["line"], each["values"]) for each in bundle["rules"] if each["held"]]
    assert held == [
        ("data.bot.authz.allow", 7, [True]),
        ("data.bot.authz.obligations", 13, [{"max_output_tokens": 50}]),
    ]


def test_show_has_both_records_the_input_and_each_verdict(log: Log, gateway: Command) -> None:
    code, out, err = gateway("audit", "show", log.decisions["gpt-4o"])
    assert (code, err) == (0, "")
    assert "  end       ok 200 7+3 tokens $0.000048 by openai/gpt-4o@" in out  # 7 × $2.5 + 3 × $10 per million
    assert "  bot (grant, commit cccccccccccc): allowed\n" in out
    assert '    "model": "gpt-4o",\n' in out
    shown = json.loads(gateway("audit", "show", log.decisions["gpt-secret"], "--json")[1])
    assert shown["decided"]["entry"]["reasons"] == shown["bundles"][0]["reasons"] == ["no secrets, please"]
    assert shown["completed"] is None
    assert shown["input"]["resource"]["model"] == "gpt-secret"
    assert "body" not in shown["input"]["request"]
    completed = json.loads(gateway("audit", "show", log.decisions["gpt-4o"].replace("dec_", "end_"), "--json")[1])
    assert completed["completed"]["entry"]["outcome"] == "ok"
    assert not [
        name for part in ("decided", "completed") for name in completed[part]["entry"] if name.endswith("_json")
    ]


def test_an_entry_of_another_kind_is_shown_but_not_explained(log: Log, gateway: Command) -> None:
    change = json.loads(gateway("audit", "list", "--kind", "activation", "--json")[1].splitlines()[0])["entry"]
    code, out, _ = gateway("audit", "show", change["id"])
    assert (code, change["commit"] in out) == (0, True)
    code, out, err = gateway("explain", change["id"])
    assert (code, out) == (1, "")
    assert f"is no decision, but an entry of the kind `activation`: see `gateway audit show {change['id']}`" in err


def test_a_refusal_without_a_policy_names_the_check(log: Log, gateway: Command) -> None:
    code, out, _ = gateway("explain", log.refusals["bad_credentials"])
    assert (code, out.splitlines()[0]) == (
        0,
        f"{log.refusals['bad_credentials']} a request was refused: bad_credentials",
    )
    assert "check     what was sent is not a key of this gateway" in out
    _, out, _ = gateway("explain", log.refusals["unknown_route"])
    assert "no route has it" in out
    assert "base URL" in out
    shown = json.loads(gateway("explain", log.refusals["unknown_route"], "--json")[1])
    assert (shown["reason"], shown["count"], shown["advice"]["check"][:8]) == ("unknown_route", 1, "the path")


def test_every_reason_code_has_an_explanation() -> None:
    """Either rules explain it, or there is a check with a next step."""
    verdicts = {
        "policy_denied",
        "policy_undefined",
        "policy_error",
        "policy_deadline",
        "policy_bad_decision",
        "policy_unsupported",
    }
    assert REASONS.keys() == CHECKS.keys() | verdicts


def test_ids_may_be_short_and_mistakes_have_suggestions(log: Log, gateway: Command) -> None:
    decision = log.decisions["o3"]
    for text in (decision[:-3], decision.removeprefix("dec_"), f" {decision} "):
        assert gateway("explain", text)[1].startswith(f"{decision} ")
    wrong = decision[:-1] + ("0" if decision[-1] != "0" else "1")
    code, out, err = gateway("explain", wrong)
    assert (code, out) == (1, "")
    assert err == f"error: the log has no entry `{wrong}`: did you mean `{decision}`?\n"
    code, _, err = gateway("audit", "show", "dec_")
    assert (code, "is the beginning of several ids: dec_" in err) == (1, True)
    for text in ("nonsense", "", "%"):
        code, _, err = gateway("explain", text)
        assert (code, err.count("\n")) == (1, 1)
        assert "`gateway audit list` shows the ids" in err


def test_content_that_was_not_kept_is_said(log: Log, gateway: Command) -> None:
    code, out, _ = gateway("explain", log.decisions["content"])
    assert code == 0
    assert "content is not kept: this was evaluated without request.body.messages" in out
    assert "input.request.body.messages[0].content is undefined" in out
    assert "! judged again: policy_undefined: content is not kept, and policies read it: request.body.messages" in out


def test_what_is_gone_is_said(log: Log, gateway: Command) -> None:
    log.change("DELETE FROM private WHERE entry_id = (SELECT id FROM entry WHERE event_id = ?)", log.decisions["o3"])
    code, out, _ = gateway("explain", log.decisions["o3"])
    assert (code, "! it cannot be judged again: the input of this decision is not kept" in out) == (0, True)
    assert "  not kept" in gateway("audit", "show", log.decisions["o3"])[1]
    shutil.rmtree(log.data / "bundles")
    code, out, _ = gateway("explain", log.decisions["gpt-4o"])
    assert code == 0
    assert "! it cannot be judged again: cannot read bundle" in out or "there is no bundle in" in out


def test_a_record_that_policies_contradict_is_exit_1(log: Log, gateway: Command) -> None:
    """Somebody has changed what was decided: `verify` finds that, and `explain` too."""
    with closing(sqlite3.connect(log.data / "audit.db")) as db:
        (leaf,) = db.execute("SELECT leaf FROM entry WHERE event_id = ?", (log.decisions["o3"],)).fetchone()
    entry: dict[str, Any] = orjson.loads(leaf) | {"allow": True, "reason": "allowed"}
    changed = orjson.dumps(entry, option=orjson.OPT_SORT_KEYS)
    log.change("UPDATE entry SET leaf = ? WHERE event_id = ?", changed, log.decisions["o3"])
    code, out, _ = gateway("explain", log.decisions["o3"])
    assert code == 1
    assert "✗ allowed was recorded, and judged again it is policy_denied: see `gateway audit verify`" in out


@pytest.mark.slow
def test_a_decision_is_shown_the_same_elsewhere(
    log: Log, gateway: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also judged again there, with the content that only the gateway can open (remote.md)."""
    data = DataDirectory(log.data)
    registry = Registry.open(data)
    elsewhere = Elsewhere(
        Home(data, registry, Peppers.load(data.keys), Vault.load(data.keys)), ControlApi.open(nowhere, data, "1")
    )
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda _self, request: elsewhere.answer(request))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("AIG_TOKEN", elsewhere.token(role="auditor"))
    shown = {
        (name, form): gateway("audit", "show", id_, *form) for name, id_ in log.decisions.items() for form in FORMS
    }
    explained = {
        (id_, form): gateway("explain", id_, *form)
        for id_ in [*log.decisions.values(), *log.refusals.values()]
        for form in FORMS
    }
    refused = gateway("audit", "show", log.refusals["bad_credentials"])
    monkeypatch.delenv("AIG_DATA")
    for (name, form), expected in shown.items():
        assert gateway("--server", URL, "audit", "show", log.decisions[name], *form) == expected
    assert gateway("--server", URL, "audit", "show", log.refusals["bad_credentials"]) == refused
    for (id_, form), expected in explained.items():
        assert gateway("--server", URL, "explain", id_, *form) == expected
    kept, read = log.kept, ("--server", URL, "audit", "show", log.kept, "--content", "--json")
    refused = gateway(*read)
    assert (refused[0], "hello" in refused[1], "auditor" in refused[2]) == (1, False, True)
    assert "it cannot be read" in gateway("--server", URL, "explain", kept)[2]
    monkeypatch.setenv("AIG_TOKEN", elsewhere.token("owen"))
    done = gateway(*read)
    assert json.loads(done[1])["content"]["request"]["messages"] == [{"role": "user", "content": "hello"}]
    explained = gateway("--server", URL, "explain", kept)
    assert (explained[0], "judged again, this is the verdict" in explained[1]) == (0, True)
    _, out, _ = gateway("--server", URL, "audit", "list", "--kind", "change", "--json", "--limit", "2")
    entries = [json.loads(line)["entry"] for line in out.splitlines()]
    assert [(each["what"], each["content_of"]) for each in entries] == [("content.read", kept)] * 2
    elsewhere.api.close()
    registry.close()
