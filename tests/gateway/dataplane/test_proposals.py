"""The answer of a model that has proposed a call of a tool: policies see it, and the log has it beside the call."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from gateway.policy import reexecution
from gateway.runtime import proposals
from gateway.runtime.proposals_status import ProposalsStatus
from tests.gateway.dataplane.conftest import COMPLETION, ORG, Gateway, Reply, Seen, answer, stream
from tests.gateway.dataplane.issuer import Issuer
from tests.gateway.dataplane.test_a2a import kept
from tests.gateway.dataplane.test_persons import for_person, person, trusted
from tests.rigs.dataplane.mcp import TOOLS, headers, message, result, serve
from tests.rigs.dataplane.obligations import put_into_force
from tests.rigs.dataplane.tokens import another, bearer
from tests.rigs.dataplane.workloads import with_issuer

Run = Callable[..., None]

ALL = "package bot.authz\n\nallow := true\n"
ARGUMENTS = {"repo": "acme/app", "number": 7}
TOOL = {"type": "function", "function": {"name": "get_issue", "parameters": {"type": "object"}}}
NEEDED = """package bot.authz

default allow := false

allow if input.action == "chat.completions"

allow if input.action in {"mcp.tools.list", "mcp.discover"}

allow if {
	input.action == "mcp.tools.call"
	input.resource.tool.proposed_by.same_arguments
	input.resource.tool.proposed_by.seconds < 60
}

deny contains "no model has asked for this" if {
	input.action == "mcp.tools.call"
	not input.resource.tool.proposed_by
}
"""


def begin(gateway: Gateway, policy: str = ALL) -> None:
    """One upstream is both the model and the server of tools."""
    serve(gateway, policy=policy)

    async def handle(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if b"/mcp" in seen.head.partition(b"\r\n")[0]:
            found = {"tools": [*TOOLS.values()]} if seen.json["method"] == "tools/list" else {"content": []}
            await answer(result({**found, "resultType": "complete"}))(seen, writer)
        else:
            await gateway.extra["model"](seen, writer)

    gateway.upstream.handler = handle


def proposing(*calls: tuple[str, str], streamed: bool = False) -> Any:
    """A model's answer with these calls."""
    functions = [{"name": name, "arguments": text} for name, text in calls]
    if streamed:
        deltas = [{"tool_calls": [{"index": n, "function": each}]} for n, each in enumerate(functions)]
        pieces = [orjson.dumps({"choices": [{"index": 0, "delta": each}]}) for each in deltas]
        return stream(*(b"data: " + each + b"\n\n" for each in pieces), b"data: [DONE]\n\n")
    listed = [{"id": f"c{n}", "type": "function", "function": each} for n, each in enumerate(functions)]
    message = {"role": "assistant", "content": None, "tool_calls": listed}
    return answer({**COMPLETION, "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]})


async def think(
    gateway: Gateway, *calls: tuple[str, str], line: str = "", streamed: bool = False, tools: Any = TOOL
) -> str:
    """Let the model propose these calls; returns the id of the decision."""
    gateway.extra["model"] = proposing(*calls, streamed=streamed)
    more: dict[str, Any] = {} if tools is None else {"tools": [tools]}
    reply = await gateway.chat("gpt-4o", *([line] if line else []), stream=streamed, **more)
    assert reply.status == 200, reply.body
    return reply.headers["x-decision-id"]


async def call(gateway: Gateway, arguments: Any = None, *, tool: str = "get_issue", line: str = "") -> Reply:
    body = message("tools/call", {"name": tool, "arguments": ARGUMENTS if arguments is None else arguments})
    lines = [*headers(body), *([line] if line else [])]
    return await gateway.send(gateway.request(body, *lines, path="/github/mcp"))


async def seen_by_policies(gateway: Gateway) -> Any:
    """What policies saw of the last decision."""
    *_, last = await gateway.entries("decided")
    found = kept(gateway, last["id"])["resource"]["tool"].get("proposed_by")
    assert last["proposed_by"] == (None if found is None else found["decision"])
    assert last.get("proposed_otherwise", False) is (found is not None and not found["same_arguments"])
    return found


async def test_a_call_that_a_model_has_proposed(gateway: Gateway) -> None:
    begin(gateway)
    decision = await think(gateway, ("list_issues", "{}"), ("get_issue", '{"number":7,"repo":"acme/app"}'))
    assert (await call(gateway)).status == 200
    found = await seen_by_policies(gateway)
    assert found == {"decision": decision, "model": "gpt-4o", "same_arguments": True, "seconds": found["seconds"]}
    assert found["seconds"] < 60
    *_, last = await gateway.entries("decided")
    again = reexecution.judge_again(gateway.data.bundles, last, kept(gateway, last["id"]))
    assert (again.agrees, again.problem) == (True, "")


async def test_a_stream_proposes_too(gateway: Gateway) -> None:
    begin(gateway)
    decision = await think(gateway, ("mcp__github__get_issue", json.dumps(ARGUMENTS)), streamed=True)
    await call(gateway)
    assert (await seen_by_policies(gateway))["decision"] == decision


async def test_which_calls_are_the_same(gateway: Gateway) -> None:
    begin(gateway)
    decision = await think(gateway, ("get_issue", '{"number": 7.0, "repo": "acme/app"}'))
    for arguments, same in (
        ({"repo": "acme/app", "number": 7}, True),
        ({"number": 7, "repo": "acme/app"}, True),
        ({"repo": "acme/app", "number": 8}, False),
        ({"repo": "acme/app"}, False),
        ({"repo": "acme/app", "number": 7, "force": True}, False),
    ):
        await call(gateway, arguments)
        found = await seen_by_policies(gateway)
        assert (found["decision"], found["same_arguments"]) == (decision, same), arguments
    for tool in ("list_issues", "delete_repo"):
        await call(gateway, tool=tool)
        assert await seen_by_policies(gateway) is None
    later = await think(gateway, ("get_issue", '{"repo": "acme/app", "number": 9}'))
    await call(gateway)
    assert (await seen_by_policies(gateway))["decision"] == decision  # the one with these arguments
    await call(gateway, {"repo": "acme/app"})
    assert (await seen_by_policies(gateway))["decision"] == later


@pytest.mark.parametrize(
    "text",
    [
        '{"number": 123456789012345678901234567890}',
        '{"number": -9223372036854775809, "x": 1e400}',
        '{"number": "\\ud800"}',
        '{"number": 1e15, "x": 0.1}',
        '{"x": %s}' % ("[" * 50 + "]" * 50),
    ],
)
async def test_arguments_of_every_kind(gateway: Gateway, text: str) -> None:
    begin(gateway)
    decision = await think(gateway, ("get_issue", text), ("get_issue", '{"x": %s}' % ("[" * 900 + "]" * 900)))
    body = message("tools/call", {"name": "get_issue", "arguments": {}})
    raw = orjson.dumps(body).replace(b'"arguments":{}', b'"arguments":' + text.encode())
    reply = await gateway.send(gateway.request(raw, *headers(body), path="/github/mcp"))
    if reply.status == 400:  # the gateway takes no such body
        assert await gateway.entries("decided")
        return
    assert reply.status == 200, reply.body
    found = await seen_by_policies(gateway)
    assert (found["decision"], found["same_arguments"]) == (decision, True)


async def test_nobody_has_proposed_it(gateway: Gateway) -> None:
    begin(gateway)
    await call(gateway)
    assert await seen_by_policies(gateway) is None
    await think(gateway, ("get_issue", json.dumps(ARGUMENTS)), tools=None)  # no tools were offered: the answer is text
    await think(gateway, ("get_issue", "no JSON"), ("xget_issue", json.dumps(ARGUMENTS)), ("get_issue", "[]"))
    await call(gateway)
    assert await seen_by_policies(gateway) is None


async def test_what_was_proposed_to_another_agent_is_not_for_this_one(gateway: Gateway) -> None:
    begin(gateway)
    _, other = another(gateway, "other")
    await think(gateway, ("get_issue", json.dumps(ARGUMENTS)))
    await call(gateway, line=bearer(other))
    assert await seen_by_policies(gateway) is None
    await call(gateway)
    assert await seen_by_policies(gateway) is not None


def test_what_was_proposed_for_one_person_is_not_for_another(run: Run) -> None:
    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trusted(gateway, issuer)
        begin(gateway)
        dana, erik = [bearer(await for_person(gateway, person(issuer, sub=each))) for each in ("dana", "erik")]
        await think(gateway, ("get_issue", json.dumps(ARGUMENTS)), line=dana)
        for line, proposed in ((dana, True), (erik, False), ("", False)):
            await call(gateway, line=line)
            assert (await seen_by_policies(gateway) is not None) is proposed
        store = gateway.plane._proposals._store
        [row] = store.rows("SELECT * FROM proposal")
        assert "dana" not in str(row)
        assert "acme" not in str(row)

    run(with_issuer(test))


async def test_a_policy_lets_only_proposed_calls_through(gateway: Gateway) -> None:
    begin(gateway, NEEDED)
    denied = await call(gateway)
    assert (denied.status, denied.json["error"]["data"]["reason"]) == (403, "policy_denied")
    assert "no model has asked for this" in denied.json["error"]["message"]
    await think(gateway, ("get_issue", json.dumps(ARGUMENTS)))
    assert (await call(gateway)).status == 200
    assert (await call(gateway, {"repo": "acme/other"})).status == 403
    # A list is the same question without a call: the tool may be allowed.
    body = message("tools/list")
    listed = await gateway.send(gateway.request(body, *headers(body), path="/github/mcp"))
    assert {each["name"] for each in listed.json["result"]["tools"]} == set(TOOLS)


async def test_proposals_are_forgotten(gateway: Gateway) -> None:
    begin(gateway)
    await think(gateway, ("get_issue", json.dumps(ARGUMENTS)))
    store = gateway.plane._proposals._store
    store.run("UPDATE proposal SET time_ns = time_ns - ?", ((proposals.KEEP_SECONDS + 1) * 10**9,))
    await call(gateway)
    assert await seen_by_policies(gateway) is None
    assert proposals.forget_old(store, 0) == 0
    assert proposals.forget_old(store, time.time_ns()) == 1


async def test_calls_that_nobody_has_proposed_are_a_finding(gateway: Gateway) -> None:
    begin(gateway)

    def counted() -> list[tuple[str, int]]:
        return [(each.decision, each.calls) for each in proposals.counted(gateway.data.runtime_db)]

    await call(gateway)  # no model proposes anything to this agent here
    assert counted() == []
    await think(gateway, ("list_issues", "{}"))
    await call(gateway, tool="list_issues")
    assert counted() == []
    replies = [await call(gateway), await call(gateway, {"repo": "acme/app"})]
    assert counted() == [(replies[-1].headers["x-decision-id"], 2)]
    put_into_force(gateway, NEEDED)
    assert (await call(gateway)).status == 403  # what was denied is no finding
    [(decision, calls)] = counted()
    assert calls == 2
    tenant = SimpleNamespace(name=ORG)
    part = ProposalsStatus(gateway.data, gateway.registry)
    [row] = part.rows(tenant)  # type: ignore[arg-type]
    assert (row["agent"], row["calls"], row["decision"]) == ("bot", 2, decision)
    [finding] = part.findings(tenant, "")  # type: ignore[arg-type]
    assert "agent `bot` has called tools 2 times since" in finding.message
    assert decision in finding.todo
    store = gateway.plane._proposals._store
    store.run("UPDATE unproposed_call SET last_ns = last_ns - ?", ((proposals.COUNTED_SECONDS + 1) * 10**9,))
    proposals.forget_old(store, time.time_ns())
    assert counted() == []
