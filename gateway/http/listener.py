"""The HTTP listener: uvicorn's server, with connections of our own (`connection.py`).

It relies on the insides of uvicorn's server, which may change with any release. So uvicorn is pinned exactly, and
`tests/gateway/http/test_uvicorn.py` lists the parts.
Specification: architecture.md, section 7.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from gateway.http import proxies
from gateway.http.connection import GuardedProtocol, Limits, protocol_class
from gateway.http.handshakes import Handshake
from gateway.http.sockets import bind
from gateway.settings import Settings

BACKLOG = 2048
CLOSING_SECONDS = 8.0
"""The time for a cancelled request to write its closing record: longer than anybody waits for the log's lock."""

LINGER_SECONDS = 2.0
"""The time that a worker being replaced keeps idle connections, on which a request may be on its way already."""

# The time that a stopping server waits for a client's farewell in TLS, which many clients never send.
_FAREWELL_SECONDS = 2.0


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        # Those that have not ended.
        self._handshakes: set[Handshake] = set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # The process itself decides what a signal means: it has records to close before it ends.
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """With TLS uvicorn's own would leave clients a minute for the handshake, and count none of them."""
        context = self.config.ssl
        if context is None:
            await super().startup(sockets)
            return
        protocol = cast(Any, self.config.http_protocol_class)

        def connection() -> Handshake:
            made: GuardedProtocol = protocol(config=self.config, server_state=self.server_state, app_state={})
            return Handshake(made, context, self._handshakes)

        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(cast(Any, connection), sock=each, backlog=BACKLOG) for each in sockets or ()
        ]
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.config.ssl is None:
            await super().shutdown(sockets)
            return
        if cast("type[GuardedProtocol]", self.config.http_protocol_class).linger:
            for each in (*self.servers, *(sockets or ())):
                each.close()
            await self._finish_handshakes()
        parting = asyncio.create_task(self._part())
        try:
            await super().shutdown(sockets)
        finally:
            parting.cancel()

    async def _finish_handshakes(self) -> None:
        """Wait for those that have begun, within their deadline: uvicorn does not know of these connections yet."""
        ends = time.monotonic() + cast("type[GuardedProtocol]", self.config.http_protocol_class).limits.header_seconds
        while time.monotonic() < ends:
            await asyncio.sleep(0.05)  # at least once: what was just accepted has yet to begin
            if not self._handshakes:
                return

    async def _part(self) -> None:
        """Wait no longer for the farewell of clients that have taken all of their answers."""
        since: dict[GuardedProtocol, float] = {}
        while True:
            now = time.monotonic()
            for each in tuple(self.server_state.connections):
                connection = cast(Any, each)
                if not connection.closed_and_flushed:
                    since.pop(connection, None)
                elif now - since.setdefault(connection, now) >= _FAREWELL_SECONDS:
                    connection.transport.abort()
            await asyncio.sleep(0.1)

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
        if counter % 10 == 0:
            now, loop_now = time.monotonic(), asyncio.get_running_loop().time()
            for each in tuple(self.server_state.connections):
                connection = cast(Any, each)
                connection.abort_if_stuck(now)
                connection.close_if_unused(loop_now)
        return await super().on_tick(counter)


async def serve(
    app: ASGIApp,
    listener: socket.socket,
    settings: Settings,
    limits: Limits,
    stop: asyncio.Event,
    replaced: asyncio.Event | None = None,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Serve until `stop` is set, then let running requests end within the drain time and cancel the rest.

    If `replaced` is set by then, another process listens on this address: clients that stay connected for a moment are
    told to connect anew. A cancelled request still has its closing record to write, so it gets `CLOSING_SECONDS`,
    whatever the drain time is.
    """
    protocol = protocol_class(limits)
    config = uvicorn.Config(
        proxies.in_front_of(app, settings),
        http=protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=math.ceil(settings.keep_alive),
        timeout_graceful_shutdown=math.ceil(settings.drain_timeout),
        ssl_context_factory=None if tls is None else lambda config, default: tls,
    )
    server = _Server(config)

    async def watch() -> None:
        await stop.wait()
        if replaced is not None and replaced.is_set():
            protocol.linger = min(LINGER_SECONDS, settings.drain_timeout)
        server.should_exit = True

    watcher = asyncio.create_task(watch())
    try:
        await server.serve(sockets=[listener])
    finally:
        watcher.cancel()
        if server.server_state.tasks:
            await asyncio.wait(server.server_state.tasks, timeout=CLOSING_SECONDS)


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening socket: the kernel queues connections from now on, even before anybody accepts them."""
    listener = bind(host, port, shared=shared)
    listener.listen(BACKLOG)
    return listener
