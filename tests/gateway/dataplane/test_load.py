"""The cost of large bodies and long judgements for others: memory has a budget, and the event loop goes on."""

from __future__ import annotations

import asyncio
import threading
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from gateway.dataplane import judgement, reading, recording
from gateway.dataplane.phases import Admitted, Reading
from gateway.policy import authorization
from gateway.registry.agents.registration import register_agent
from gateway.registry.keys.changes import create_key
from gateway.registry.policies.bindings import bind

from .conftest import ACTOR, COMPLETION, ORG, Gateway, Handler, Start, answer, read_reply, until


def large(size: int) -> bytes:
    return orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "x" * size}]})


async def test_bodies_share_a_budget(start: Start) -> None:
    gateway = await start(max_held_bytes=800_000)
    body = large(150_000)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(gateway.request(body)[:-10])
    await writer.drain()
    await until(lambda: gateway.plane._held.taken >= 150_000)
    refused = await gateway.send(gateway.request(large(100_000)))
    assert (refused.status, refused.code) == (503, "overloaded")
    assert (refused.headers["x-should-retry"], refused.headers["retry-after"]) == ("true", "1")
    assert (await gateway.chat()).status == 200
    writer.write(body[-10:])
    assert (await read_reply(reader)).status == 200
    writer.close()
    assert (await gateway.send(gateway.request(large(100_000)))).status == 200
    assert gateway.plane._held.taken == 0
    (entry,) = await gateway.entries("refused")
    assert entry["reason"] == "overloaded"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda gateway: gateway.request(large(100_000), "Authorization: Bearer x"), 401),
        (lambda gateway: gateway.request(b"[" + large(100_000)), 400),
        (lambda gateway: gateway.request(large(100_000).replace(b"gpt-4o", b"o3")), 403),
        (lambda gateway: gateway.request(large(400_000)), 413),
    ],
    ids=["no key", "no JSON", "denied", "too large"],
)
async def test_a_refused_body_is_given_back(start: Start, change: Callable[[Gateway], bytes], status: int) -> None:
    gateway = await start(max_body_bytes=300_000)
    assert (await gateway.send(change(gateway))).status == status
    assert gateway.plane._held.taken == 0


async def test_a_client_that_leaves_gives_its_bytes_back(gateway: Gateway) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(gateway.request(large(100_000))[:-10])
    await until(lambda: gateway.plane._held.taken > 0)
    writer.close()
    await until(lambda: gateway.plane._held.taken == 0)


async def test_a_body_is_not_kept_while_the_provider_thinks(start: Start) -> None:
    """Answers take minutes, and nobody needs the request again once it is sent."""
    size, count = 2_000_000, 8
    gateway = await start()
    think = asyncio.Event()

    async def handle(seen: Any, writer: asyncio.StreamWriter) -> None:
        seen.body = b""
        await think.wait()
        await answer(COMPLETION)(seen, writer)

    gateway.upstream.handler = handle
    data = gateway.request(large(size))
    tracemalloc.start()
    try:
        requests = [asyncio.create_task(gateway.send(data)) for _ in range(count)]
        await until(lambda: len(gateway.upstream.seen) == count)
        await asyncio.to_thread(gateway.settle)  # the log has written everything that it was given
        await until(lambda: tracemalloc.get_traced_memory()[0] < count * size / 4)
    finally:
        tracemalloc.stop()
    assert gateway.plane._held.taken == 0
    think.set()
    assert [reply.status for reply in await asyncio.gather(*requests)] == [200] * count


LONG = orjson.dumps({**COMPLETION, "pad": "x" * 300_000})
USED = (COMPLETION["usage"]["prompt_tokens"], COMPLETION["usage"]["completion_tokens"])  # type: ignore[index]


def in_two(body: bytes, kind: str, go: asyncio.Event) -> Handler:
    """An answer of which the second half comes when `go` is set."""

    async def handle(seen: object, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode())
        half = len(body) // 2
        writer.write(body[:half])
        await go.wait()
        writer.write(body[half:])

    return handle


async def test_what_is_held_of_an_answer_counts(start: Start) -> None:
    """An answer of one document is held to be read at its end: up to 16 MiB for each call, which nobody counted."""
    gateway = await start(max_held_bytes=800_000)
    go = asyncio.Event()
    gateway.upstream.handler = in_two(LONG, "application/json", go)
    first = asyncio.create_task(gateway.chat())
    await until(lambda: gateway.plane._held.taken > 80_000)
    assert (await gateway.send(gateway.request(large(330_000)))).code == "overloaded"
    go.set()
    assert (await first).body == LONG
    assert gateway.plane._held.taken == 0
    (completed,) = await gateway.entries("completed")
    assert (completed["outcome"], completed["input_tokens"], completed["output_tokens"]) == ("ok", *USED)


async def test_an_answer_that_cannot_be_held_is_relayed_unread(start: Start) -> None:
    gateway = await start(max_held_bytes=200_000)
    go = asyncio.Event()
    go.set()
    gateway.upstream.handler = in_two(LONG, "application/json", go)
    reply = await gateway.chat()
    assert (reply.complete, reply.body) == (True, LONG)
    assert gateway.plane._held.taken == 0
    (completed,) = await gateway.entries("completed")
    assert (completed["outcome"], completed["input_tokens"]) == ("ok", None)
    assert completed["detail"] == "nothing was read from the answer: no memory was left to hold it"


async def test_an_event_that_cannot_be_held_ends_its_stream(start: Start) -> None:
    """It has to be held until its end, because what it says may have to be kept from the client."""
    gateway = await start(max_held_bytes=200_000)
    go = asyncio.Event()
    go.set()
    gateway.upstream.handler = in_two(b"data: " + LONG * 8 + b"\n\ndata: [DONE]\n\n", "text/event-stream", go)
    reply = await gateway.chat(stream=True)
    assert (reply.status, reply.complete) == (200, False)
    assert gateway.plane._held.taken == 0
    (completed,) = await gateway.entries("completed")
    assert completed["outcome"] == "upstream_error"
    assert completed["detail"] == "an event of the stream is larger than the memory that is left"


class Where:
    """Notes on which thread a function runs."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.beside: list[bool] = []
        self._function = function

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.beside.append(threading.current_thread() is not threading.main_thread())
        return self._function(*arguments, **options)


async def test_a_large_body_is_read_beside_the_event_loop(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Where(reading._read)
    monkeypatch.setattr(reading, "_read", read)
    record = Where(recording.evidence.decided)
    monkeypatch.setattr(recording.evidence, "decided", record)
    gateway = await start()
    for size, status in ((1_000, 200), (100_000, 200)):
        assert (await gateway.send(gateway.request(large(size)))).status == status
    assert (await gateway.send(gateway.request(b"[" + b"[]," * 1_000_000 + b"[]]"))).status == 413
    assert (read.beside, record.beside) == ([False, True, True], [False, True])


async def test_large_bodies_of_agents_are_read_in_turns(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """One agent with many of them kept all others waiting until the last of its own was read."""
    go, order = threading.Event(), []
    read = reading._read

    def slowly(admitted: Admitted) -> Reading:
        go.wait(60)
        order.append(admitted.principal.name)
        return read(admitted)

    gateway = await start()
    agent = register_agent(gateway.registry, actor=ACTOR, organization=ORG, name="other")
    bind(gateway.registry, actor=ACTOR, organization=ORG, kind="agent", subject=agent.id, bundle="bot")
    key = create_key(gateway.registry, gateway.peppers, actor=ACTOR, organization=ORG, agent=agent.id)
    monkeypatch.setattr(reading, "_read", slowly)
    body = large(100_000)
    greedy = [asyncio.create_task(gateway.send(gateway.request(body))) for _ in range(8)]
    await until(lambda: gateway.plane.load()[1] >= 8 * len(body))
    other = asyncio.create_task(gateway.send(gateway.request(body, f"Authorization: Bearer {key.text}")))
    await until(lambda: gateway.plane.load()[1] >= 9 * len(body))
    go.set()
    assert {each.status for each in await asyncio.gather(*greedy, other)} == {200}
    assert order.index("other") <= 2, "the one that was read, and the one that has waited longest"


async def test_bundles_that_take_long_judge_beside_the_event_loop(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide = Where(authorization.decide)

    def slowly(judges: Any, principal: Any, call: Any, *arguments: Any, **options: Any) -> Any:
        found = decide(judges, principal, call, *arguments, **options)
        if call.model == "gpt-slow":
            time.sleep(0.4)
        return found

    monkeypatch.setattr(authorization, "decide", slowly)
    # Far from both, so that a busy machine does not decide what is long.
    monkeypatch.setattr(judgement, "_LONG_JUDGEMENT", 0.3)
    gateway = await start()
    for model in ("gpt-4o", "gpt-slow", "gpt-slow", "gpt-4o", "gpt-4o"):
        reply = await gateway.chat(model)
        assert reply.status == 200, reply.body
    # It takes one long judgement to know, and a short one to forget.
    assert decide.beside == [False, False, True, True, False]


async def test_a_second_judgement_has_the_rest_of_the_first_ones_time(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had a whole deadline of its own, so that a request could take twice as long as the settings say."""
    decide = authorization.decide
    ends: list[float] = []

    def noting(*arguments: Any, **options: Any) -> Any:
        ends.append(options["ends"])
        found = decide(*arguments, **options)
        time.sleep(1)  # as a slow policy
        return found

    monkeypatch.setattr(authorization, "decide", noting)
    gateway = await start(policy_deadline_ms=30_000)
    reply = await gateway.chat("gpt-capped")
    assert reply.status == 200, reply.body
    first, second = ends
    # Only the time of the bound between the two is given back.
    assert first <= second < first + 1
