"""Clients that stop reading, and handshakes that do not end: real sockets, and an application that a test chooses."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway.http import listener, tls
from gateway.http.connection import ConnectionLimits
from gateway.settings import Settings
from tests.gateway.dataplane.authority import Authority

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
    task = asyncio.create_task(listener.serve(app, opened, SETTINGS, ConnectionLimits.of(SETTINGS), stop))
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
async def test_a_client_that_stops_reading_loses_its_connection(app: Application) -> None:
    """Tells if its answer goes on, has ended or was broken off: its place goes to the next client."""
    async with serving(app) as address:
        _, stuck = await ask(address)
        try:
            async with asyncio.timeout(240):
                while not await admitted(address):  # noqa: ASYNC110  # nobody would set an event
                    await asyncio.sleep(0.1)
        finally:
            stuck.close()


async def admitted(address: tuple[str, int]) -> bool:
    """True if another client gets an answer, false if it is told that there is no place for it."""
    reader, writer = await ask(address)
    line = await reader.readline()
    writer.transport.abort()
    return b"200" in line


async def test_a_client_that_has_asked_nothing_yet_is_left_alone() -> None:
    async with serving(complete) as address:
        reader, writer = await asyncio.open_connection(*address)
        await asyncio.sleep(2 * SETTINGS.write_timeout)
        writer.write(REQUEST)
        assert b"200" in await reader.readline()
        writer.transport.abort()


async def test_a_slow_client_keeps_its_connection() -> None:
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


async def short(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def test_handshakes_that_do_not_end_count_for_their_address(tmp_path: Path) -> None:
    """The oldest ones end for newcomers beyond the address's share; all others are served, and one that ends late."""
    authority = Authority.make("servers")
    certificate, key = authority.server().write(tmp_path, "server")
    settings = Settings(tls_cert=certificate, tls_key=key, max_connections=8, header_timeout=300, drain_timeout=0)
    trusting = ssl.create_default_context(cadata=authority.pair.pem.decode())
    refused: list[str] = []
    opened: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def hold(address: tuple[str, int], count: int) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        opened.extend([await asyncio.open_connection(*address) for _ in range(count)])
        return opened[-count:]

    async def served(address: tuple[str, int], own: str) -> bool:
        reader, writer = await asyncio.open_connection(
            *address, ssl=trusting, server_hostname="localhost", local_addr=(own, 0)
        )
        writer.write(REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
        return head.startswith(b"HTTP/1.1 200")

    async def attack(address: tuple[str, int]) -> None:
        held = await hold(address, 40)
        await asyncio.wait_for(asyncio.gather(*(reader.read() for reader, _ in held[:36])), 60)
        assert not any(reader.at_eof() for reader, _ in held[36:]), "four are the share of one address"
        assert await served(address, "127.0.0.2")
        assert await served(address, "127.0.0.1"), "a newcomer has the place of the oldest one"
        assert await asyncio.wait_for(held[36][0].read(), 60) == b""
        held[37][1].write(b"no handshake at all")
        assert await asyncio.wait_for(held[37][0].read(), 60) == b""
        for _, writer in held:
            writer.close()
        held = await hold(address, 4)
        assert await served(address, "127.0.0.2"), "the places of those that failed or left are free again"
        assert not any(reader.at_eof() for reader, _ in held)

    async def main() -> None:
        listening = listener.listen("127.0.0.1", 0)
        stop = asyncio.Event()
        limits = ConnectionLimits.of(settings, refused.append)
        task = asyncio.create_task(listener.serve(short, listening, settings, limits, stop, tls=tls.context(settings)))
        try:
            await attack(listening.getsockname())
        finally:
            for _, writer in opened:
                writer.transport.abort()
            stop.set()
            await asyncio.wait_for(task, 60)

    uvloop.run(main())
    assert refused == []
