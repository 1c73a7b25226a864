"""Calls that people must approve, over real sockets and with the real clients: they wait, run once, or are denied."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from typing import Any

import anthropic
import openai
import orjson
import pytest

from gateway.approvals import reviews, tending
from gateway.approvals.reviewers import Reviewer
from gateway.approvals.terms import Terms
from gateway.audit import grants, signer, verify
from gateway.policy import bundle as policy_bundle
from gateway.registry import outbox
from gateway.registry.agents.changes import suspend_agent
from gateway.registry.database import Registry
from gateway.registry.policies import activations
from gateway.registry.records import BundleRecord
from tests.gateway.dataplane.conftest import (
    ACTOR,
    COMPLETION,
    MANIFEST,
    ORG,
    POLICY,
    Gateway,
    Prepared,
    Start,
    answer,
    chat,
    stream,
    until,
)
from tests.rigs.dataplane import mcp

HUMAN = f"""{POLICY}
allow if startswith(input.resource.model, "claude-")

require_approval contains {{"reason": "big models cost much"}} if input.resource.model in {{"gpt-big", "claude-big"}}

require_approval contains {{
	"reason": "tools cost much",
	"scope": {{"uses": 20, "seconds": 7200, "pattern": sprintf("calls of gpt-tool, %s", [_size])}},
}} if input.resource.model == "gpt-tool"

default _size := "long"

_size := "short" if input.request.max_output_tokens < 100

deny contains "not today" if {{
	input.resource.model == "gpt-big"
	input.approval
	input.request.max_output_tokens == 13
}}
"""
OLGA = Reviewer("local:7", "local:7", "local:7")


@pytest.fixture(scope="module")
def prepared(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    path = tmp_path_factory.mktemp("approvals") / "data"
    shutil.copytree(prepared.path, path)
    from gateway.data_directory import DataDirectory

    data = DataDirectory(path)
    signer.create_key(data, "test")
    with closing(Registry.open(data)) as registry:
        digest = policy_bundle.publish(data.bundles, {".manifest": MANIFEST, "authz.rego": HUMAN.encode()})
        bundle = BundleRecord(name="bot", commit="d" * 40, digest=digest, author="dana", entrypoint="data.bot.authz")
        activations.activate(registry, actor=ACTOR, commit="d" * 40, author="dana", bundles=[bundle])
    return Prepared(path, prepared.key)


@pytest.fixture
async def gateway(start: Start) -> AsyncIterator[Gateway]:
    """A client is not held: it gets its refusal at once."""
    made = await start(approval_hold=0.0)
    yield made
    # Whatever a test has done: nothing ran without its approval.
    await drain(made)
    await asyncio.to_thread(made.settle)
    key = signer.load_verifier(signer.public_key_path(made.data))
    report = await asyncio.to_thread(verify.verify, made.data.audit_db, key)
    assert report.findings == []


async def drain(gateway: Gateway) -> None:
    await asyncio.to_thread(outbox.drain, gateway.registry, gateway.writer)


async def act(gateway: Gateway, work: Callable[..., Any], request: str, *more: Any) -> None:
    await asyncio.to_thread(work, gateway.registry, OLGA, ORG, request, *more)
    await drain(gateway)


def requests(gateway: Gateway, state: str = "") -> list[str]:
    return [each.id for each in reviews.listed(gateway.registry, ORG)[0] if state in ("", each.state)]


async def waiting(gateway: Gateway) -> str:
    """The one request that waits, once there is one."""
    await until(lambda: requests(gateway, "waiting"))
    (found,) = requests(gateway, "waiting")
    return found


async def test_a_call_asks_is_approved_and_runs_once(gateway: Gateway) -> None:
    first = await gateway.chat("gpt-big")
    assert (first.status, first.code) == (403, "approval_required")
    request = await waiting(gateway)
    message = first.json["error"]["message"]
    assert request in message
    assert "big models cost much" in message
    assert f"/dashboard/o/{ORG}/approvals/{request}" in message
    assert first.json["error"]["details"][0]["approval"] == request
    assert (first.headers["retry-after"], first.headers["x-should-retry"]) == ("10", "false")
    assert (await gateway.chat("gpt-big")).status == 403
    assert requests(gateway) == [request]
    assert gateway.upstream.seen == []
    await act(gateway, reviews.approve, request)
    assert (await gateway.chat("gpt-big")).json == COMPLETION
    assert requests(gateway, "used") == [request]
    assert (await gateway.chat("gpt-big")).status == 403
    assert len(gateway.upstream.seen) == 1
    assert len(requests(gateway)) == 2  # it asks anew
    decided = await gateway.entries("decided")
    asked, again, ran, more = decided
    assert [each["reason"] for each in decided] == ["approval_required"] * 2 + ["allowed", "approval_required"]
    assert asked["approval"] == again["approval"] == ran["approval"] == request != more["approval"]
    assert asked["approval_commitment"] == ran["approval_commitment"]
    assert json.loads(ran["approvals_json"])[0]["reason"] == "big models cost much"
    used = [each for each in await gateway.entries("change") if each["what"] == grants.USED]
    assert [each["decision"] for each in used] == [ran["id"]]


async def test_another_call_does_not_run(gateway: Gateway) -> None:
    """A byte more, another header, another agent's key: each asks for itself."""
    body = orjson.dumps(chat("gpt-big"))
    assert (await gateway.send(gateway.request(body))).status == 403
    await act(gateway, reviews.approve, await waiting(gateway))
    for other in (
        gateway.request(body + b" "),
        gateway.request(body.replace(b"hello", b"hellp")),
        gateway.request(body, "OpenAI-Beta: assistants=v2"),
        gateway.request(body, path="/v1/chat/completions?api-version=1"),
    ):
        assert (await gateway.send(other)).status in (400, 403)
    assert gateway.upstream.seen == []
    assert (await gateway.send(gateway.request(body))).status == 200
    assert [each.json for each in gateway.upstream.seen] == [chat("gpt-big")]


async def test_a_hundred_retries_at_once_run_it_once(gateway: Gateway) -> None:
    assert (await gateway.chat("gpt-big")).status == 403
    await act(gateway, reviews.approve, await waiting(gateway))
    replies = await asyncio.gather(*(gateway.chat("gpt-big") for _ in range(100)))
    assert sorted({each.status for each in replies}) == [200, 403]
    assert sum(each.status == 200 for each in replies) == len(gateway.upstream.seen) == 1


async def test_a_hundred_retries_at_once_run_it_as_often_as_the_approval_says(gateway: Gateway) -> None:
    assert (await gateway.chat("gpt-tool", max_tokens=9)).status == 403
    await act(gateway, reviews.approve, request := await waiting(gateway), "", Terms(uses=7))
    replies = await asyncio.gather(*(gateway.chat("gpt-tool", max_tokens=9) for _ in range(100)))
    assert sorted({each.status for each in replies}) == [200, 403]
    assert sum(each.status == 200 for each in replies) == len(gateway.upstream.seen) == 7
    numbers = [each["number"] for each in await gateway.entries("change") if each["what"] == grants.USED]
    assert numbers == list(range(1, 8))
    assert requests(gateway, "used") == [request]


async def test_a_pattern_lets_calls_run_that_nobody_has_looked_at(gateway: Gateway) -> None:
    """Those that the policy of that moment calls alike, and no others."""
    assert (await gateway.chat("gpt-tool", max_tokens=9)).status == 403
    await act(gateway, reviews.approve, request := await waiting(gateway), "", Terms(20, 7200, for_pattern=True))
    for number in range(10, 15):
        assert (await gateway.chat("gpt-tool", max_tokens=number)).status == 200
    assert (await gateway.chat("gpt-tool", max_tokens=100)).code == "approval_required"
    assert (await gateway.chat("gpt-big", max_tokens=9)).code == "approval_required"
    assert len(gateway.upstream.seen) == 5
    ran = [each for each in await gateway.entries("decided") if each["allow"]]
    assert {each["approval"] for each in ran} == {request}
    assert len({each["approval_commitment"] for each in ran}) == 5
    assert len({each["pattern_commitment"] for each in ran}) == 1
    await act(gateway, reviews.revoke, request)
    assert (await gateway.chat("gpt-tool", max_tokens=9)).code == "approval_required"


async def test_a_client_that_is_held_runs_by_the_pattern_of_another_call(start: Start) -> None:
    gateway = await start(approval_hold=600.0)
    first = asyncio.ensure_future(gateway.chat("gpt-tool", max_tokens=9))
    request = await waiting(gateway)
    second = asyncio.ensure_future(gateway.chat("gpt-tool", max_tokens=8))
    await until(lambda: len(requests(gateway, "waiting")) == 2)
    await act(gateway, reviews.approve, request, "", Terms(2, for_pattern=True))
    assert [each.status for each in await asyncio.gather(first, second)] == [200, 200]


async def test_a_denial_stands(gateway: Gateway) -> None:
    await gateway.chat("gpt-big")
    await act(gateway, reviews.deny, await waiting(gateway), "no")
    denied = await gateway.chat("gpt-big")
    assert (denied.status, denied.code) == (403, "approval_required")
    assert "a person has denied this call" in denied.json["error"]["message"]
    assert len(requests(gateway)) == 1


async def test_the_bundles_of_that_moment_have_the_last_word(gateway: Gateway) -> None:
    assert (await gateway.chat("gpt-big", max_tokens=13)).code == "approval_required"
    await act(gateway, reviews.approve, request := await waiting(gateway))
    denied = await gateway.chat("gpt-big", max_tokens=13)
    assert denied.code == "policy_denied"
    assert "not today" in denied.json["error"]["message"]
    assert requests(gateway, "approved") == [request]


async def test_what_was_revoked_or_whose_agent_is_suspended_does_not_run(gateway: Gateway) -> None:
    await gateway.chat("gpt-big")
    await act(gateway, reviews.approve, request := await waiting(gateway))
    await act(gateway, reviews.revoke, request)
    assert (await gateway.chat("gpt-big")).status == 403
    await act(gateway, reviews.approve, await waiting(gateway))
    suspend_agent(gateway.registry, actor=ACTOR, organization=ORG, agent="bot")
    assert (await gateway.chat("gpt-big")).code == "agent_suspended"
    assert gateway.upstream.seen == []


async def test_what_cannot_be_reviewed_is_denied(gateway: Gateway) -> None:
    large = await gateway.chat("gpt-big", user="x" * (1 << 20))
    assert (large.status, large.code) == (403, "approval_required")
    assert "nobody can review it" in large.json["error"]["message"]
    assert requests(gateway) == []


async def test_a_registry_edited_by_hand_approves_nothing(gateway: Gateway) -> None:
    """Somebody with the file marks a request as approved, or puts the digest of one call into another's row."""
    import sqlite3

    await gateway.chat("gpt-big")
    request = await waiting(gateway)
    db = sqlite3.connect(gateway.data.registry_db, isolation_level=None)
    db.execute("UPDATE approval_request SET state = 'approved'")
    denied = await gateway.chat("gpt-big")
    assert denied.status == 403
    assert "the log has no such approval" in denied.json["error"]["message"]
    db.execute("UPDATE approval_request SET state = 'waiting'")
    await act(gateway, reviews.approve, request)
    await gateway.chat("gpt-big", user="eve")
    digest = db.execute("SELECT digest FROM approval_request WHERE state = 'waiting'").fetchone()
    db.execute("DELETE FROM approval_request WHERE state = 'waiting'")
    db.execute("UPDATE approval_request SET digest = ? WHERE id = ?", (*digest, request))
    db.close()
    denied = await gateway.chat("gpt-big", user="eve")
    assert denied.status == 403
    assert "for another call" in denied.json["error"]["message"]
    assert gateway.upstream.seen == []


CHUNK = {
    "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-big",
    "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}],
}  # fmt: skip
MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-big", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "hi"}], "usage": {"input_tokens": 1, "output_tokens": 1},
}  # fmt: skip
EVENTS = [
    {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
    {"type": "message_stop"},
]


async def _openai(port: int, key: str, streamed: bool) -> str:
    async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=key) as client:
        asked: Any = {"model": "gpt-big", "messages": [{"role": "user", "content": "x"}]}
        if not streamed:
            return str((await client.chat.completions.create(**asked)).choices[0].message.content)
        chunks = [each async for each in await client.chat.completions.create(**asked, stream=True)]
        return "".join(each.choices[0].delta.content or "" for each in chunks if each.choices)


async def _anthropic(port: int, key: str, streamed: bool) -> str:
    async with anthropic.AsyncAnthropic(base_url=f"http://127.0.0.1:{port}/anthropic", api_key=key) as client:
        asked: Any = {"model": "claude-big", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
        if not streamed:
            return (await client.messages.create(**asked)).content[0].text  # type: ignore[no-any-return]
        async with client.messages.stream(**asked) as events:
            return str(await events.get_final_text())


def _serve(gateway: Gateway, ask: object, streamed: bool) -> None:
    if ask is _openai:
        events = [b"data: %s\n\n" % orjson.dumps(CHUNK), b"data: [DONE]\n\n"]
        gateway.upstream.handler = stream(*events) if streamed else answer(COMPLETION)
        return
    gateway.add_upstream("anthropic", "anthropic", secret="sk-ant")
    named = [b"event: %s\ndata: %s\n\n" % (str(each["type"]).encode(), orjson.dumps(each)) for each in EVENTS]
    gateway.upstream.handler = stream(*named) if streamed else answer(MESSAGE)


CLIENTS = [
    pytest.param(_openai, False, openai.PermissionDeniedError, id="openai"),
    pytest.param(_openai, True, openai.PermissionDeniedError, id="openai, a stream"),
    pytest.param(_anthropic, False, anthropic.PermissionDeniedError, id="anthropic"),
    pytest.param(_anthropic, True, anthropic.PermissionDeniedError, id="anthropic, a stream"),
]
Client = Callable[[int, str, bool], Awaitable[str]]


@pytest.mark.parametrize(("ask", "streamed", "error"), CLIENTS)
async def test_a_client_that_is_held_sees_nothing_of_it(
    start: Start, ask: Client, streamed: bool, error: type[Exception]
) -> None:
    """Approved within the hold: the call returns. Denied within it: the client's own error."""
    gateway = await start(approval_hold=600.0)
    _serve(gateway, ask, streamed)
    call = asyncio.ensure_future(ask(gateway.port, gateway.key, streamed))
    request = await waiting(gateway)
    await until(lambda: gateway.plane.load()[0] == 0)  # it holds no place among the requests in progress
    await act(gateway, reviews.approve, request)
    assert await call == "hi"
    call = asyncio.ensure_future(ask(gateway.port, gateway.key, streamed))
    await act(gateway, reviews.deny, await waiting(gateway), "no")
    with pytest.raises(error, match="a person has denied this call"):
        await call
    assert len(gateway.upstream.seen) == 1


@pytest.mark.parametrize(("ask", "streamed", "error"), CLIENTS)
async def test_a_client_that_is_not_held_comes_again(
    gateway: Gateway, ask: Client, streamed: bool, error: type[Exception]
) -> None:
    _serve(gateway, ask, streamed)
    with pytest.raises(error) as caught:
        await ask(gateway.port, gateway.key, streamed)
    request = await waiting(gateway)
    assert request in str(caught.value)
    assert f"/dashboard/o/{ORG}/approvals/{request}" in str(caught.value)
    await act(gateway, reviews.approve, request)
    assert await ask(gateway.port, gateway.key, streamed) == "hi"
    assert len(gateway.upstream.seen) == 1


async def test_a_held_client_that_leaves_leaves_nothing_behind(start: Start) -> None:
    gateway = await start(approval_hold=600.0)
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(gateway.request(chat("gpt-big")))
    request = await waiting(gateway)
    await until(lambda: gateway.plane.load()[0] == 0)
    writer.close()
    approvals = gateway.plane._approvals
    assert approvals is not None
    await until(lambda: not approvals._waiting and approvals._held.taken == 0)
    await act(gateway, reviews.approve, request)
    assert gateway.upstream.seen == []
    assert gateway.open_decisions() == 0


def tend(gateway: Gateway, seconds: int = 11) -> None:
    """The control process looks, so many seconds later."""
    tending.tend(gateway.registry, lambda _: "", time.time_ns() + seconds * 10**9)


async def leave(gateway: Gateway) -> str:
    """A client asks, is held and goes; the request that it has made."""
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(gateway.request(chat("gpt-big")))
    request = await waiting(gateway)
    await until(lambda: gateway.plane.load()[0] == 0)
    writer.close()
    with closing(sqlite3.connect(gateway.data.registry_db)) as db:
        await until(lambda: db.execute("SELECT left_ns FROM approval_request").fetchall() != [(None,)])
    return request


async def test_the_request_of_a_client_that_has_gone_is_closed(start: Start) -> None:
    gateway = await start(approval_hold=600.0)
    request = await leave(gateway)
    tend(gateway, seconds=5)  # it may come again
    assert requests(gateway, "waiting") == [request]
    tend(gateway)
    assert requests(gateway, "closed") == [request]
    await drain(gateway)
    [told] = [each for each in await gateway.entries("change") if each["what"] == grants.DECIDED]
    assert (told["outcome"], told["reason"]) == ("closed", "its client has gone")


async def test_the_request_of_a_client_that_has_gone_stays_for_whoever_else_waits(start: Start) -> None:
    gateway = await start(approval_hold=600.0)
    request = await leave(gateway)
    second = asyncio.create_task(gateway.chat("gpt-big"))
    with closing(sqlite3.connect(gateway.data.registry_db)) as db:
        await until(lambda: db.execute("SELECT left_ns FROM approval_request").fetchall() == [(0,)])
    tend(gateway)
    await act(gateway, reviews.approve, request)
    assert (await second).json == COMPLETION
    assert requests(gateway, "used") == [request]


async def test_the_request_of_a_client_that_had_its_answer_stays(gateway: Gateway) -> None:
    assert (await gateway.chat("gpt-big")).status == 403
    tend(gateway, seconds=3000)
    await act(gateway, reviews.approve, await waiting(gateway))
    assert (await gateway.chat("gpt-big")).status == 200


async def test_a_stop_while_its_use_is_noted_closes_the_record(start: Start) -> None:
    """From its decision on a call has an end in the log, also while lists are yet to show that its approval is used."""
    gateway = await start(approval_hold=0.0, drain_timeout=0.0)
    assert (await gateway.chat("gpt-big")).status == 403
    await act(gateway, reviews.approve, await waiting(gateway))
    with closing(sqlite3.connect(gateway.data.registry_db, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        running = asyncio.create_task(gateway.chat("gpt-big"))
        await until(gateway.open_decisions)
        gateway.stop.set()
        await gateway.serving
        other.execute("ROLLBACK")
    await asyncio.gather(running, return_exceptions=True)
    assert gateway.upstream.seen == []
    assert [each["outcome"] for each in await gateway.entries("completed")] == ["gateway_stopped"]
    assert gateway.open_decisions() == 0


async def test_the_call_of_a_tool_is_the_same_with_another_id(gateway: Gateway) -> None:
    """Clients count the ids of their messages up, so an approval holds for what is called, and how."""
    policy = """package bot.authz

    allow := true

    require_approval contains {"reason": "look first"} if input.action == "mcp.tools.call"
    """
    mcp.serve(gateway, policy=policy)
    gateway.upstream.handler = answer(mcp.result({"content": []}, 9))
    asked = {"name": "get_issue", "arguments": {"repo": "acme/app", "number": 7}}
    first = await mcp.ask(gateway, "tools/call", asked, of=1)
    error = first.json["error"]
    assert (first.status, first.json["id"], error["data"]["reason"]) == (403, 1, "approval_required")
    request = await waiting(gateway)
    assert request in error["message"]
    await act(gateway, reviews.approve, request)
    other = await mcp.ask(gateway, "tools/call", {**asked, "arguments": {"repo": "acme/app", "number": 8}}, of=1)
    assert other.status == 403
    body = mcp.message("tools/call", asked, 9, progressToken="p-9")
    ran = await gateway.send(gateway.request(body, *mcp.headers(body), path="/github/mcp"))
    assert (ran.status, ran.json) == (200, mcp.result({"content": []}, 9))
    again = await mcp.ask(gateway, "tools/call", asked, of=10)
    assert again.json["error"]["data"]["reason"] == "approval_required"
