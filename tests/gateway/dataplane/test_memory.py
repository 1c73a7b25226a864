"""Calls leave nothing behind in a worker's memory, however they end.

Counted are objects and traced bytes, not what the process has from the system: the C library decides that, and
`tests/gateway/processes/test_children.py` is about it. The long run is `python -m tests.gateway.soak`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import uvicorn

import gateway as gateway_package
from gateway.body import SpooledBody
from gateway.dataplane.phases import Admitted, Carried, Judged, Observed, Reading, Request
from gateway.dataplane.relay import Relay
from gateway.errors import Denied
from gateway.outbound.client import Outgoing
from gateway.outbound.connection import UpstreamAnswer
from tests.rigs.dataplane.large_bodies import MEBIBYTE, image
from tests.rigs.dataplane.requests import DONE, HELLO
from tests.rigs.dataplane.resilience import add, ask, hang, reset, route

from .conftest import COMPLETION, Gateway, Handler, Seen, answer, chat, stream, until

Run = Callable[..., None]
Kind = Callable[[], Awaitable[None]]

# Everything that a call is held by while it is in progress.
OF_CALLS = (Request, Observed, Admitted, Reading, Judged, Carried, Relay, UpstreamAnswer, Outgoing, SpooledBody, Denied)
ROUNDS = 3
# Some memory differs from one moment to the next, such as the log's last batch; here it is spread over all calls.
BYTES_PER_CALL = 256
FILES = [tracemalloc.Filter(True, str(Path(package.__file__).parent / "*")) for package in (gateway_package, uvicorn)]


async def half(seen: Seen, writer: asyncio.StreamWriter) -> None:
    """Half of a document, and the end of the connection."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()


def kinds(gateway: Gateway) -> dict[str, Kind]:
    """One call of each kind, by what it is."""

    def call(handler: Handler, status: int, model: str = "gpt-4o", **members: object) -> Kind:
        async def make() -> None:
            gateway.upstream.handler = handler
            assert (await gateway.chat(model, **members)).status == status

        return make

    def raw(body: bytes, status: int, *lines: str) -> Kind:
        async def make() -> None:
            gateway.upstream.handler = answer(COMPLETION)
            assert (await gateway.send(gateway.request(body, *lines))).status == status

        return make

    def leave(data: bytes, *, abort: bool = False) -> Kind:
        """A client that leaves: in the middle of its body or, once a part of the answer has come, of that."""
        whole = gateway.request(chat(stream=True)) == data

        async def make() -> None:
            gateway.upstream.handler = stream(HELLO, 3600.0)
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(data)
            await writer.drain()
            if whole:
                await reader.readuntil(b"hel")
            if abort:
                writer.transport.abort()
            writer.close()

        return make

    async def too_late() -> None:
        usual, gateway.upstream.handler = gateway.plane._settings, hang
        gateway.plane._settings = replace(usual, upstream_first_byte_timeout=0.05)
        assert (await gateway.chat()).status == 504
        gateway.plane._settings = usual

    async def replaced() -> None:
        gateway.upstream.handler = reset
        assert (await ask(gateway)).status == 200

    async def unreachable() -> None:
        assert (await gateway.send(gateway.request(chat(), path="/dead/v1/chat/completions"))).status == 502

    large, denied = image(MEBIBYTE), image(MEBIBYTE, model="o3")
    begun = gateway.request(large)[:-1000]
    return {
        "answered": call(answer(COMPLETION), 200),
        "a stream": call(stream(HELLO, HELLO, DONE), 200, stream=True),
        "denied": call(answer(COMPLETION), 403, "o3"),
        "changed": call(answer(COMPLETION), 200, "gpt-capped"),
        "malformed": raw(b"{", 400),
        "a wrong key": raw(b"{}", 401, "Authorization: Bearer aig_nobody"),
        "an error": call(answer({"error": {}}, 500), 500),
        "half a stream": call(stream(HELLO, end=False), 200, stream=True),
        "half a document": call(half, 502),
        "a reset": call(reset, 502),
        "too late": too_late,
        "another upstream": replaced,
        "no upstream": unreachable,
        "an aborted stream": leave(gateway.request(chat(stream=True)), abort=True),
        "a closed stream": leave(gateway.request(chat(stream=True))),
        "large": raw(large, 200),
        "large and denied": raw(denied, 403),
        "large and malformed": raw(b"[" * 2 * MEBIBYTE, 413),
        "large and aborted": leave(begun, abort=True),
        "large and closed": leave(begun),
    }


class Left:
    """The objects of calls that are there besides those of earlier tests."""

    def __init__(self) -> None:
        gc.collect()
        self._before = self._count()

    def __call__(self) -> Counter[str]:
        return self._count() - self._before

    def _count(self) -> Counter[str]:
        return Counter(type(each).__name__ for each in gc.get_objects() if type(each) in OF_CALLS)


def held() -> int:
    """Bytes that were allocated by the gateway, its server and its client, and are still in use."""
    gc.collect()
    return sum(each.size for each in tracemalloc.take_snapshot().filter_traces(FILES).traces)


@asynccontextmanager
async def prepared(gateway: Gateway) -> AsyncIterator[dict[str, Kind]]:
    """All kinds of calls, with the upstreams that they need: a pool, and one where nothing listens."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        add(gateway, "dead", silent.getsockname()[1])
        async with route(gateway):
            yield kinds(gateway)


def test_no_call_waits_for_the_garbage_collector(run_as_worker: Run) -> None:
    async def test(gateway: Gateway) -> None:
        left = Left()
        async with prepared(gateway) as made:
            gc.disable()
            try:
                for make in made.values():
                    await make()
                await until(lambda: gateway.plane.load()[0] == 0)
                await until(lambda: not left())
            finally:
                gc.enable()

    run_as_worker(test, breaker_failures=0)


@pytest.mark.slow
def test_three_times_as_many_calls_hold_no_more(run_as_worker: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)  # pytest keeps what is logged

    async def test(gateway: Gateway) -> None:
        left = Left()
        async with prepared(gateway) as made:

            async def rounds(count: int) -> int:
                for _ in range(count):
                    for make in made.values():
                        await make()
                        await until(lambda: gateway.plane.load()[0] == 0)
                await until(lambda: not left())
                await asyncio.to_thread(gateway.settle)
                return held()

            tracemalloc.start()
            try:
                await rounds(1)  # everything that is imported and cached at the first call
                first = await rounds(ROUNDS)
                assert await rounds(2 * ROUNDS) < first + BYTES_PER_CALL * 2 * ROUNDS * len(made)
            finally:
                tracemalloc.stop()

    run_as_worker(test, breaker_failures=0)
