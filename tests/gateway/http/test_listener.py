"""What the listener does about clients that stop reading: real sockets, and an application that a test chooses."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.http import listener
from gateway.http.connection import Limits
from gateway.settings import Settings

pytestmark = pytest.mark.slow

Application = Callable[[Any, Any, Any], Awaitable[None]]

PIECE = b"x" * 65536
WHOLE = 256 * len(PIECE)
"""More than the kernel's buffers on both sides hold."""

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % WHOLE)]}
SETTINGS = Settings(write_timeout=1.0, keep_alive=3600, max_connections=1, drain_timeout=0)


async def endless(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while (await asyncio.sleep(0)) is None:
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})


async def complete(scope: Any, receive: Any, send: Any) -> None:
    await send(HEAD)
    await send({"type": "http.response.body", "body": PIECE * 256})


async def broken_off(scope: Any, receive: Any, send: Any) -> None:
    await send(HEAD)
    await send({"type": "http.response.body", "body": PIECE * 255, "more_body": True})


@asynccontextmanager
async def serving(app: Application) -> AsyncIterator[tuple[str, int]]:
    """The address of a listener that grants one connection at a time."""
    opened = listener.listen("127.0.0.1", 0)
    address = opened.getsockname()
    stop = asyncio.Event()
    task = asyncio.create_task(listener.serve(app, opened, SETTINGS, Limits.of(SETTINGS), stop))
    try:
        yield address
    finally:
        stop.set()
        await task


async def ask(address: tuple[str, int]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(*address, limit=1024)
    writer.write(REQUEST)
    return reader, writer


@pytest.mark.parametrize("app", [endless, complete, broken_off])
def test_a_client_that_stops_reading_loses_its_connection(app: Application) -> None:
    """Whether its answer goes on, has ended or was broken off: its place goes to the next client."""

    async def main() -> None:
        async with serving(app) as address:
            _, stuck = await ask(address)
            try:
                async with asyncio.timeout(240):
                    while not await admitted(address):  # noqa: ASYNC110  # nobody would set an event
                        await asyncio.sleep(0.1)
            finally:
                stuck.close()

    asyncio.run(main())


async def admitted(address: tuple[str, int]) -> bool:
    """Whether another client gets an answer, or is told that there is no place for it."""
    reader, writer = await ask(address)
    line = await reader.readline()
    writer.transport.abort()
    return b"200" in line


def test_a_client_that_has_asked_nothing_yet_is_left_alone() -> None:
    async def main() -> None:
        async with serving(complete) as address:
            reader, writer = await asyncio.open_connection(*address)
            await asyncio.sleep(2 * SETTINGS.write_timeout)
            writer.write(REQUEST)
            assert b"200" in await reader.readline()
            writer.transport.abort()

    asyncio.run(main())


def test_a_slow_client_keeps_its_connection() -> None:
    async def main() -> None:
        async with serving(complete) as address:
            loop = asyncio.get_running_loop()
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                client.setblocking(False)
                await loop.sock_connect(client, address)
                await loop.sock_sendall(client, REQUEST)
                taken = 0
                while taken < WHOLE:
                    data = await loop.sock_recv(client, 1 << 20)
                    assert data, f"the connection ended after {taken} bytes"
                    taken += len(data)
                    await asyncio.sleep(0.01)

    asyncio.run(main())
