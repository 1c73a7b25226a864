"""An upstream of raw sockets, whose answers are bytes, and the client that asks it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import uvloop
from yarl import URL

from gateway.outbound.addresses import ANYWHERE
from gateway.outbound.client import Outgoing, UpstreamAnswer, UpstreamClient

OK = b"HTTP/1.1 200 OK\r\n"

Act = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Upstream:
    """A server on 127.0.0.1 that does what `act` says with each request, whose head and body it has read."""

    act: Act
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    closed: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    server: asyncio.Server | None = None
    # False: the body is left to `act`.
    reads_bodies: bool = True

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)

    async def stop(self) -> None:
        assert self.server is not None
        self.server.close()
        for writer in self.writers:
            writer.transport.abort()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for each in others:
            each.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.01)

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110  # what is waited for may be anything
            await asyncio.sleep(0.01)

    @property
    def port(self) -> int:
        assert self.server is not None
        port: int = self.server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
                if self.reads_bodies:
                    self.bodies.append(await reader.readexactly(length))
                await self.act(reader, writer)
                await writer.drain()
                if writer.is_closing():
                    break
        self.closed += 1
        writer.close()


def run(
    act: Act,
    test: Callable[[Upstream, UpstreamClient], Coroutine[Any, Any, None]],
    *,
    idle: float = 30.0,
    **members: Any,
) -> None:
    async def whole() -> None:
        upstream = Upstream(act, **members)
        await upstream.start()
        client = UpstreamClient(connect_timeout=5.0, idle_timeout=idle)
        try:
            async with asyncio.timeout(60):
                await test(upstream, client)
        finally:
            await client.close()
            await upstream.stop()

    uvloop.run(whole())


def saying(*pieces: bytes, close: bool = False) -> Act:
    """Writes these pieces one after the other, each in a segment of its own."""

    async def act(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            if len(pieces) > 1:
                await asyncio.sleep(0.001)
        if close:
            writer.close()

    return act


def outgoing(port: int, method: str = "POST", body: Any = b"{}", path: str = "/v1/x", **headers: str) -> Outgoing:
    return Outgoing(method, URL(f"http://127.0.0.1:{port}{path}", encoded=True), headers, body)


def nothing() -> None: ...


async def fetch(client: UpstreamClient, request: Outgoing, *, head_only: bool = False) -> tuple[UpstreamAnswer, bytes]:
    answer = await client.send(request, nothing, ANYWHERE)
    assert not head_only, f"a head with status {answer.status} was not refused"
    try:
        body = b""
        while piece := await answer.read():
            body += piece
        assert answer.complete
        return answer, body
    finally:
        answer.close()
