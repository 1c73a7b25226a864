"""Obligations on their way through the data plane: what the upstream gets, and what the log says of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.cli.audit_reexecute import judged_again
from gateway.data_directory import DataDirectory
from tests.gateway.dataplane.conftest import UPSTREAM_KEY, Gateway, chat
from tests.rigs.dataplane.obligations import POLICY, put_into_force


def function(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {}}}


# Asks for another header once the model is the other one.
CHANGES_AGAIN = POLICY + '\nobligations.set_headers["x-purpose"] := "again" if input.resource.model == "gpt-4o-mini"\n'


async def test_what_the_upstream_gets(gateway: Gateway) -> None:
    put_into_force(gateway)
    tools = [function("find_order"), function("delete_order")]
    reply = await gateway.chat("gpt-4o", tools=tools, tool_choice="auto", temperature=0.5)
    assert reply.status == 200, reply.body
    seen = gateway.upstream.seen[-1]
    assert seen.json == chat("gpt-4o-mini", tools=tools[:1], tool_choice="auto", temperature=0.5)
    assert seen.headers["x-data-class"] == "internal use"
    assert seen.headers["authorization"] == f"Bearer {UPSTREAM_KEY}"
    decided, _ = await gateway.entries()
    assert (decided["model"], decided["forwarded_model"]) == ("gpt-4o", "gpt-4o-mini")
    assert json.loads(decided["edits_json"]) == ["strip_tools", "model"]
    assert json.loads(decided["obligations_json"]) == {
        "model": "gpt-4o-mini",
        "set_headers": {"x-data-class": "internal use"},
        "strip_tools": ["delete_order"],
    }
    assert decided["forwarded_commitment"] != decided["request_commitment"]
    assert decided["max_output_tokens"] is None


async def test_an_upstreams_own_headers_go_with_every_call(gateway: Gateway) -> None:
    project = {"OpenAI-Project": "proj_1"}
    gateway.add_upstream("openai", "openai", "/v1", secret=UPSTREAM_KEY, replace=True, headers=project)
    reply = await gateway.send(gateway.request(chat("gpt-4o"), "OpenAI-Project: proj_other", "OpenAI-Organization: o"))
    assert reply.status == 200
    seen = gateway.upstream.seen[-1]
    assert (seen.headers["openai-project"], seen.headers.get("openai-organization")) == ("proj_1", None)
    assert b"proj_other" not in seen.head


async def test_headers_alone_change_no_byte_of_the_body(gateway: Gateway) -> None:
    put_into_force(gateway)
    raw = b'{ "model": "gpt-x",  "messages": [{"role": "user", "content": "hello"}] }'
    # A client cannot set the header itself, under no spelling.
    reply = await gateway.send(gateway.request(raw, "X-Data-Class: public", "x-team: a"))
    assert reply.status == 200
    seen = gateway.upstream.seen[-1]
    assert seen.body == raw
    assert (seen.headers["x-data-class"], seen.headers.get("x-team")) == ("internal use", None)
    assert b"public" not in seen.head
    decided, _ = await gateway.entries()
    assert "edits_json" not in decided
    assert "forwarded_model" not in decided
    assert json.loads(decided["obligations_json"]) == {"set_headers": {"x-data-class": "internal use"}}


async def test_policies_that_contradict_themselves_forward_nothing(gateway: Gateway) -> None:
    put_into_force(gateway, CHANGES_AGAIN)
    reply = await gateway.chat("gpt-4o")
    assert (reply.status, reply.code) == (403, "policy_bad_decision")
    assert "have changed already; whoever writes the policies has to mend that (" in reply.json["error"]["message"]
    assert gateway.upstream.seen == []
    (decided,) = await gateway.entries()
    assert (decided["allow"], decided["model"], decided["forwarded_model"]) == (False, "gpt-4o", "gpt-4o-mini")
    assert "obligations_json" not in decided


def test_the_log_shows_and_explains_it(
    run: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids: list[str] = []

    async def test(gateway: Gateway) -> None:
        put_into_force(gateway)
        tools = [function("delete_order"), function("delete_all")]
        assert (await gateway.chat("gpt-4o", tools=tools)).status == 200
        assert (await gateway.chat("gpt-x")).status == 200
        # More answers than tokens: one that nothing can change, and one that is changed as far as possible.
        for tokens in (1, 100):
            reply = await gateway.chat("gpt-x", stream=True, n=60, max_tokens=tokens)
            assert (reply.status, reply.code) == (403, "policy_unsupported")
            asked = "`max_output_tokens` is 50, and the request asks for 60: ask for fewer answers (`n`)"
            assert asked in reply.json["error"]["message"]
        put_into_force(gateway, CHANGES_AGAIN)
        assert (await gateway.chat("gpt-4o")).status == 403
        ids.extend(entry["id"] for entry in await gateway.entries("decided"))

    run(test)
    monkeypatch.setenv("AIG_DATA", str(tmp_path / "data"))
    assert main(["audit", "show", ids[0]]) == 0
    shown = capsys.readouterr().out
    assert '"strip_tools": ["delete_all", "delete_order"]' in shown
    assert "strip_tools, model (gpt-4o-mini)" in shown
    problems = []
    for each in ids:
        assert main(["explain", each, "--json"]) == 0
        again = json.loads(capsys.readouterr().out)
        problems.append((again["agrees"], again["problem"]))
    twice = "the policies allow it; once more they would have changed the request, in a way that is not kept"
    assert problems == [(True, None)] * 4 + [(None, twice)]
    decisions = judged_again(tmp_path / "data" / "audit.db", DataDirectory(tmp_path / "data"))
    assert decisions.document() == {"agree": 4, "apart": {twice: 1}, "otherwise": []}
    candidate = tmp_path / "candidate/bot"
    candidate.mkdir(parents=True)
    manifest = {"roots": ["bot"], "metadata": {"gateway": {"entrypoint": "data.bot.authz", "models": True}}}
    (candidate / ".manifest").write_text(json.dumps(manifest))
    (candidate / "authz.rego").write_text("package bot.authz\n\nallow if input.action\n")
    assert main(["policies", "impact", str(candidate.parent), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert {each["id"] for each in found["items"]} == set(ids[2:4]), "without a cap they could have been forwarded"
    assert (found["otherwise"], found["untold"]) == ({"other obligations": 2}, {twice: 1})


@pytest.mark.slow
async def test_a_cap_denies_what_cannot_be_capped(gateway: Gateway) -> None:
    body = {"model": "gpt-4o", "input": "a long conversation"}
    put_into_force(gateway, "package bot.authz\n\nallow := true\n")
    assert (await gateway.send(gateway.request(body, path="/v1/responses/compact"))).status == 200
    put_into_force(gateway, "package bot.authz\n\nallow := true\n\nobligations.max_output_tokens := 50\n")
    reply = await gateway.send(gateway.request(body, path="/v1/responses/compact"))
    assert (reply.status, reply.code) == (403, "policy_unsupported")
