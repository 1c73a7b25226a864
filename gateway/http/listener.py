"""The HTTP listener: accepts connections (`connection.py`), looks after them, and ends them when it stops.

Specification: architecture.md, section 7.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from email.utils import formatdate

from starlette.types import ASGIApp

from gateway.http import proxies
from gateway.http.connection import ConnectionLimits, GuardedProtocol, Listener
from gateway.http.connections import Connections
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
_POLL_SECONDS = 0.05


async def serve(
    app: ASGIApp,
    listener: socket.socket,
    settings: Settings,
    limits: ConnectionLimits,
    stop: asyncio.Event,
    replaced: asyncio.Event | None = None,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Serve until `stop` is set, then let running requests end within the drain time and cancel the rest.

    If `replaced` is set by then, another process listens on this address: clients that stay connected for a moment are
    told to connect anew. A cancelled request still has its closing record to write, so it gets `CLOSING_SECONDS`,
    whatever the drain time is. Signals are the process's matter: it has records to close before it ends.
    """
    shared = Listener(proxies.in_front_of(app, settings), limits, Connections(limits.connections), settings.keep_alive)
    handshakes: set[Handshake] = set()

    def connection() -> asyncio.Protocol:
        made = GuardedProtocol(shared)
        return made if tls is None else Handshake(made, tls, handshakes)

    _look_after(shared)
    server = await asyncio.get_running_loop().create_server(connection, sock=listener, backlog=BACKLOG)
    try:
        while not stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await stop.wait()
            _look_after(shared)
        server.close()
        listener.close()
        if replaced is not None and replaced.is_set():
            shared.linger = min(LINGER_SECONDS, settings.drain_timeout)
            if tls is not None:
                await _until_none(handshakes, limits.header_seconds)
        await _drain(shared, settings.drain_timeout, server.wait_closed)
    finally:
        server.close()
        if shared.tasks:
            await asyncio.wait(shared.tasks, timeout=CLOSING_SECONDS)


def _look_after(shared: Listener) -> None:
    """End connections that are idle or stuck for too long; called every second."""
    shared.default_headers = [(b"date", formatdate(time.time(), usegmt=True).encode())]
    now, loop_now = time.monotonic(), asyncio.get_running_loop().time()
    for each in tuple(shared.connections):
        each.abort_if_stuck(now)
        each.close_if_unused(loop_now)


async def _drain(shared: Listener, seconds: float, closed: Callable[[], Awaitable[None]]) -> None:
    """Wait until no connection and no request is left, and cancel the requests that are left after this time."""
    for each in tuple(shared.connections):
        each.shutdown()
    parting = asyncio.create_task(_part(shared))
    await asyncio.sleep(_POLL_SECONDS)
    try:
        async with asyncio.timeout(seconds):
            while shared.connections or shared.tasks:  # noqa: ASYNC110
                await asyncio.sleep(_POLL_SECONDS)
            await closed()
    except TimeoutError:
        for task in tuple(shared.tasks):
            task.cancel()
    finally:
        parting.cancel()


async def _part(shared: Listener) -> None:
    """Wait no longer for the farewell in TLS of clients that have taken all of their answers."""
    since: dict[GuardedProtocol, float] = {}
    while True:
        now = time.monotonic()
        for each in tuple(shared.connections):
            if not each.closed_and_flushed:
                since.pop(each, None)
            elif now - since.setdefault(each, now) >= _FAREWELL_SECONDS:
                each.transport.abort()
        await asyncio.sleep(_POLL_SECONDS)


async def _until_none(handshakes: Collection[Handshake], seconds: float) -> None:
    """Wait for those that have begun, within their deadline."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        await asyncio.sleep(_POLL_SECONDS)  # at least once: what was just accepted has yet to begin
        if not handshakes:
            return


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening socket: the kernel queues connections from now on, even before anybody accepts them."""
    listener = bind(host, port, shared=shared)
    listener.listen(BACKLOG)
    return listener
