"""Upstreams that break HTTP's rules or send floods: nobody gets another's answer, waits for nothing, or waits long."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import Any

import orjson
import pytest

from gateway.dataplane import relay
from gateway.dataplane.beside import beside
from gateway.shares import Shares
from tests.rigs.dataplane.requests import DONE, HELLO

from .conftest import COMPLETION, Gateway, Start, answer, until

STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def test_an_answer_that_nobody_waits_for_is_not_the_next_ones(gateway: Gateway) -> None:
    """It stayed in the pooled connection, and the next request on it, which may be another agent's, got it."""
    late = asyncio.Event()
    body = orjson.dumps({**COMPLETION, "id": "for nobody"})

    async def handle(seen: Any, writer: asyncio.StreamWriter) -> None:
        await answer(COMPLETION)(seen, writer)
        if len(gateway.upstream.seen) == 1:
            await writer.drain()
            await late.wait()
            await answer(body)(seen, writer)

    gateway.upstream.handler = handle
    assert (await gateway.chat()).json["id"] == COMPLETION["id"]
    late.set()
    await until(lambda: gateway.upstream.closed == 1)
    assert (await gateway.chat()).json["id"] == COMPLETION["id"]
    assert gateway.upstream.connections == 2


async def test_malformed_chunks_end_a_stream_at_once(gateway: Gateway) -> None:
    """The reader was not told, so that the call went on until all of its time was up."""

    async def handle(seen: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + chunk(HELLO))
        await writer.drain()
        await until(lambda: begun.is_set())
        writer.write(b"zz\r\n" + HELLO)

    begun = asyncio.Event()
    gateway.upstream.handler = handle
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(gateway.request(orjson.dumps({"model": "gpt-4o", "stream": True, "messages": [{"role": "user"}]})))
    got = await reader.readuntil(HELLO)
    begun.set()
    with suppress(asyncio.IncompleteReadError):
        got += await reader.read()
    writer.close()
    assert b"upstream_error" in got
    (completed,) = await gateway.entries("completed")
    assert (completed["outcome"], completed["status"]) == ("upstream_error", 200)


async def test_informational_heads_without_end(gateway: Gateway) -> None:
    hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"

    async def few(seen: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(hints * 8)
        await answer(COMPLETION)(seen, writer)

    async def many(seen: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(hints * 9)
        await answer(COMPLETION)(seen, writer)

    gateway.upstream.handler = few
    assert (await gateway.chat()).status == 200
    gateway.upstream.handler = many
    reply = await gateway.chat()
    assert (reply.status, reply.code) == (502, "upstream_error")
    *_, completed = await gateway.entries("completed")
    assert completed["detail"] == "too many informational answers"


@pytest.mark.slow
@pytest.mark.parametrize("event", [b"\n\n", b"\r\r", b": a\n\n", b'data: {"choices":[]}\n\n'])
async def test_others_get_a_turn_within_a_chunk(start: Start, monkeypatch: pytest.MonkeyPatch, event: bytes) -> None:
    """A chunk of a hundred thousand events was read in one step."""
    monkeypatch.setattr(relay, "_TURN", 0.0)
    flood = event * (90_000 // len(event))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    gateway = await start()
    feed = relay.Relay._feed
    at: list[int] = []

    def noting(self: relay.Relay, *arguments: Any) -> bytes:
        at.append(turns)
        return feed(self, *arguments)

    monkeypatch.setattr(relay.Relay, "_feed", noting)

    async def handle(seen: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + chunk(flood) + chunk(DONE) + b"0\r\n\r\n")

    gateway.upstream.handler = handle
    other = asyncio.create_task(others())
    reply = await gateway.chat(stream=True)
    other.cancel()
    assert (reply.complete, reply.body) == (True, flood + DONE)
    assert len(at) > 40
    assert len(set(at)) > len(at) - 5, "nearly every piece had a turn of its own"
    (completed,) = await gateway.entries("completed")
    assert completed["outcome"] == "ok"


def test_the_loop_gets_the_interpreter_back_soon_beside_long_work() -> None:
    ordinary = sys.getswitchinterval()
    one, two = Shares("turns", 1), Shares("turns", 1)

    async def test() -> None:
        seen = await asyncio.gather(beside(one, (), sys.getswitchinterval), beside(two, (), sys.getswitchinterval))
        assert max(seen) == pytest.approx(0.0005)
        with pytest.raises(ZeroDivisionError):
            await beside(one, (), lambda: 1 / 0)

    asyncio.run(test())
    assert sys.getswitchinterval() == ordinary
