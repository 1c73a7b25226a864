"""Calls under way whose agent loses its authority: they end, with the refusal that the agent's next request gets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import openai
import orjson
import pytest

from gateway.dataplane import watch
from gateway.errors import Denied
from gateway.registry.agents.changes import AgentUpdate, resume_agent, revoke_agent, suspend_agent, update_agent
from gateway.registry.agents.registration import register_agent
from gateway.registry.keys.changes import create_key, revoke_key
from gateway.registry.policies.bindings import bind, unbind
from tests.rigs.dataplane.revoked_calls import OPENAI, Streaming, endless, refusal

from .conftest import ACTOR, COMPLETION, ORG, Gateway, Reply, Start, chat, stream, until, without_decision

REVOKED, SUSPENDED = Denied("bad_credentials", "revoked"), Denied("agent_suspended")
NEVER = 600.0

RESPONSES = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"hel"}\n\n'
ANTHROPIC = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"text":"hel"}}\n\n'
GEMINI = b'data: {"candidates":[{"content":{"parts":[{"text":"hel"}]}}]}\n\n'


def upstream(gateway: Gateway, provider: str) -> None:
    gateway.add_upstream(provider, provider, secret="upstream-secret")


def another_agent(gateway: Gateway, name: str = "other") -> str:
    """Register an agent with the same binding; returns its key."""
    agent = register_agent(gateway.registry, actor=ACTOR, organization=ORG, name=name)
    bind(gateway.registry, actor=ACTOR, organization=ORG, kind="agent", subject=agent.id, bundle="bot")
    return create_key(gateway.registry, gateway.peppers, actor=ACTOR, organization=ORG, agent=agent.id).text


async def closings(gateway: Gateway) -> list[tuple[str, str, int | None]]:
    entries = await gateway.entries("completed")
    return [(entry["outcome"], entry.get("detail", ""), entry["status"]) for entry in entries]


async def test_streams_of_a_revoked_agent_end_with_the_providers_error_event(gateway: Gateway) -> None:
    upstream(gateway, "anthropic")
    upstream(gateway, "gemini")
    models = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 9, "stream": True}
    begun: list[tuple[Streaming, bytes]] = []
    for body, first, path, end in (
        (chat(stream=True), OPENAI, "", refusal("openai", REVOKED)),
        ({"model": "gpt-4o", "input": "hi", "stream": True}, RESPONSES, "/v1/responses",
         refusal("openai", REVOKED, "/responses")),
        ({"model": "mock-1", **models}, ANTHROPIC, "/anthropic/v1/messages",
         refusal("anthropic", REVOKED, "/messages")),
        ({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}, GEMINI,
         "/gemini/v1beta/models/mock-1:streamGenerateContent?alt=sse",
         refusal("gemini", REVOKED, ":streamGenerateContent")),
    ):  # fmt: skip
        gateway.upstream.handler = endless(first)
        each = Streaming(gateway, body, first, path)
        await each.begin()
        begun.append((each, end))
    gateway.upstream.handler = endless(OPENAI)
    untouched = Streaming(gateway, chat(stream=True), OPENAI, key=another_agent(gateway))
    await untouched.begin()
    revoke_agent(gateway.registry, actor=ACTOR, organization=ORG, agent="bot")
    for each, end in begun:
        rest = await each.rest()
        assert rest.endswith(end + b"\r\n")  # of the chunk
        assert b"\r\n0\r\n" not in rest  # the answer has no end
    assert await closings(gateway) == [("revoked", "revoked", 200)] * 4
    # Nothing else was ended: the other agent's stream still runs.
    assert gateway.open_decisions() == 1
    await until(lambda: gateway.upstream.closed == 4)
    revoke_agent(gateway.registry, actor=ACTOR, organization=ORG, agent="other")
    assert refusal("openai", REVOKED) in await untouched.rest()


async def test_a_call_that_waits_for_its_answer_is_refused_as_the_next_one_is(gateway: Gateway) -> None:
    arrived = asyncio.Event()

    async def silent(seen: object, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await asyncio.sleep(NEVER)

    async def refused(restrict: Callable[[], object]) -> Reply:
        arrived.clear()
        waiting = asyncio.create_task(gateway.chat())
        await arrived.wait()
        await asyncio.to_thread(restrict)
        return await waiting

    gateway.upstream.handler = silent
    who: Any = {"actor": ACTOR, "organization": ORG}
    reply = await refused(lambda: suspend_agent(gateway.registry, agent="bot", **who))
    assert (reply.status, reply.code) == (403, "agent_suspended")
    assert reply.headers["x-should-retry"] == "false"
    assert "x-decision-id" in reply.headers
    resume_agent(gateway.registry, agent="bot", **who)
    reply = await refused(lambda: revoke_key(gateway.registry, key=gateway.key[:19], **who))
    assert (reply.status, reply.code) == (401, "bad_credentials")
    assert await closings(gateway) == [("revoked", "suspended", 403), ("revoked", "revoked", 401)]
    again = await gateway.chat()
    assert (again.status, without_decision(again.body)) == (401, without_decision(reply.body))


@pytest.mark.slow
async def test_a_document_that_has_begun_is_broken_off(gateway: Gateway) -> None:
    body = orjson.dumps(COMPLETION | {"pad": "x" * 300_000})

    async def halting(seen: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body))
        writer.write(body[:200_000])
        await asyncio.sleep(NEVER)

    gateway.upstream.handler = halting
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(gateway.request(chat()))
    head = await reader.readuntil(b"\r\n\r\n")
    revoke_agent(gateway.registry, actor=ACTOR, organization=ORG, agent="bot")
    rest = await reader.read()
    writer.close()
    assert head.startswith(b"HTTP/1.1 200")
    assert body.startswith(rest)
    assert await closings(gateway) == [("revoked", "revoked", 200)]


@pytest.mark.slow
async def test_other_changes_end_no_call(gateway: Gateway) -> None:
    """Not even the loss of a binding: what was decided stays decided."""
    who: Any = {"actor": ACTOR, "organization": ORG}
    go_on, end = asyncio.Event(), b"data: [DONE]\n\n"

    async def halting(seen: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        writer.write(b"%x\r\n%s\r\n" % (len(OPENAI), OPENAI))
        await go_on.wait()
        writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(end), end))

    gateway.upstream.handler = halting
    call = Streaming(gateway, chat(stream=True), OPENAI)
    await call.begin()
    unbind(gateway.registry, kind="agent", subject="bot", bundle="bot", **who)
    update_agent(gateway.registry, agent="bot", update=AgentUpdate(team="support"), **who)
    await gateway.plane.watch.look()
    go_on.set()
    assert end in await call.rest_until_done()
    assert [outcome for outcome, *_ in await closings(gateway)] == ["ok"]


@pytest.mark.slow
async def test_calls_end_when_revocations_cannot_be_seen(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "INTERVAL", 0.01)
    gateway = await start()
    gateway.upstream.handler = stream(OPENAI, NEVER)
    call = Streaming(gateway, chat(stream=True), OPENAI)
    await call.begin()
    gateway.data.registry_db.rename(gateway.data.path / "elsewhere.db")
    assert refusal("openai", Denied("registry_unavailable")) in await call.rest()
    ((outcome, detail, status),) = await closings(gateway)
    assert (outcome, status) == ("registry_unavailable", 200)
    assert "moved" in detail


@pytest.mark.slow
async def test_a_revoked_call_is_not_tried_elsewhere(start: Start) -> None:
    """It would be refused there too, and the client must not be told that the upstream has failed."""
    gateway = await start(upstream_retries=3)

    async def silent(seen: object, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(NEVER)

    gateway.upstream.handler = silent
    waiting = asyncio.create_task(gateway.chat("gpt-4o", "Idempotency-Key: 1"))
    await until(lambda: gateway.upstream.seen)
    revoke_agent(gateway.registry, actor=ACTOR, organization=ORG, agent="bot")
    reply = await waiting
    assert (reply.status, reply.code) == (401, "bad_credentials")
    assert len(gateway.upstream.seen) == 1


@pytest.mark.slow
async def test_the_providers_own_packages_raise_their_exceptions(start: Start) -> None:
    import anthropic  # takes seconds, which every worker would wait for

    gateway = await start()
    upstream(gateway, "anthropic")
    base_url = f"http://127.0.0.1:{gateway.port}"

    async def of_openai(arrived: asyncio.Event) -> None:
        async with openai.AsyncOpenAI(base_url=f"{base_url}/v1", api_key=gateway.key, max_retries=0) as client:
            messages: Any = [{"role": "user", "content": "hello"}]
            async for _ in await client.chat.completions.create(model="gpt-4o", messages=messages, stream=True):
                arrived.set()

    async def of_anthropic(arrived: asyncio.Event) -> None:
        url = f"{base_url}/anthropic"
        async with anthropic.AsyncAnthropic(base_url=url, api_key=gateway.key, max_retries=0) as client:
            messages: Any = [{"role": "user", "content": "hello"}]
            async for _ in await client.messages.create(model="mock-1", messages=messages, max_tokens=9, stream=True):
                arrived.set()

    running: list[asyncio.Task[None]] = []
    for first, use in ((OPENAI, of_openai), (ANTHROPIC, of_anthropic)):
        gateway.upstream.handler, arrived = endless(first), asyncio.Event()
        running.append(asyncio.create_task(use(arrived)))
        await arrived.wait()
    revoke_agent(gateway.registry, actor=ACTOR, organization=ORG, agent="bot")
    text = "the credentials are missing or not valid"
    with pytest.raises(openai.APIError, match=text) as of_one:
        await running[0]
    assert of_one.value.code == "bad_credentials"
    with pytest.raises(anthropic.APIStatusError, match=text):
        await running[1]
