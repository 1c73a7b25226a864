"""Connections to upstreams: made where they are needed, kept while they are idle, one list for each origin.

Only addresses that `addresses.py` lets through are connected to. They are tried as RFC 8305 says (Happy Eyeballs),
certificates are verified, and the name goes along (SNI). No proxy is used and no environment variable is read, except
by Python and OpenSSL: `SSL_CERT_FILE`, `SSL_CERT_DIR` for the authorities to trust, `SSLKEYLOGFILE`.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import socket
import ssl
from dataclasses import dataclass
from typing import Any

import aiohappyeyeballs
from yarl import URL

from gateway.outbound import addresses
from gateway.outbound.addresses import RefusedAddressError
from gateway.outbound.connection import Origin, UpstreamConnection

# The time that the addresses of a name are used, and the time that one of them may try alone.
_ADDRESSES_SECONDS = 10.0
_ALONE_SECONDS = 0.25
_MAX_NAMES = 1024  # that are remembered


@dataclass(frozen=True, slots=True)
class UrlTarget:
    """A URL's parts for the connection and the request's head."""

    origin: Origin
    # The text after the method in a request's head: ` /path HTTP/1.1`, and the host.
    line: str


@functools.lru_cache(maxsize=1024)
def target_of(url: URL, reach: str) -> UrlTarget:
    """`ValueError` if no request could be sent to this URL as it is written."""
    host, port = url.raw_host, url.port
    if not host or port is None or url.scheme not in ("http", "https"):
        raise ValueError("the upstream's URL has no host")
    path, name = url.raw_path_qs, url.host_port_subcomponent
    if not all(each and each.isascii() and each.isprintable() and " " not in each for each in (path, name)):
        raise ValueError("the upstream's URL has characters that must be escaped")
    return UrlTarget(
        Origin(host.rstrip("."), port, url.scheme == "https", reach), f" {path} HTTP/1.1\r\nHost: {name}\r\n"
    )


@functools.lru_cache(maxsize=4)
def _verifying(*_authorities: str | None) -> ssl.SSLContext:
    """The context of the authorities that the environment names; reading them costs more than a request."""
    made = ssl.create_default_context()
    made.set_alpn_protocols(["http/1.1"])
    return made


class ConnectionPool:
    """Belongs to one event loop."""

    def __init__(self, keep_idle: float, connect_timeout: float, tls: ssl.SSLContext | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._keep_idle = keep_idle
        self._connect_timeout = connect_timeout
        self._open: set[UpstreamConnection] = set()
        # The newest last: it is used first, so that those that are not needed any more grow old.
        self._idle: dict[Origin, dict[UpstreamConnection, None]] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._addresses: dict[tuple[str, int], tuple[float, asyncio.Future[list[Any]]]] = {}
        self._turns = itertools.count()
        self._tls = tls or _verifying(*map(os.environ.get, ("SSL_CERT_FILE", "SSL_CERT_DIR")))

    def take(self, origin: Origin) -> UpstreamConnection | None:
        """An idle connection, or None."""
        idle = self._idle.get(origin)
        while idle:
            connection, _ = idle.popitem()
            if connection.open:
                if self._loop.time() - connection.idle_since < self._keep_idle:
                    return connection
                connection.abort()
        return None

    async def connect(self, origin: Origin) -> UpstreamConnection:
        """A new connection. Raises `OSError`, which includes `TimeoutError` and TLS errors."""
        async with asyncio.timeout(self._connect_timeout):
            opened = await aiohappyeyeballs.start_connection(
                await self._resolve(origin), happy_eyeballs_delay=_ALONE_SECONDS, interleave=1, loop=self._loop
            )
            try:
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                _, connection = await self._loop.create_connection(
                    lambda: UpstreamConnection(self._loop, origin, self._keep, self._forget),
                    sock=opened,
                    ssl=self._tls if origin.secure else None,
                    server_hostname=origin.host if origin.secure else None,
                )
            except BaseException:
                opened.close()
                raise
        self._open.add(connection)
        return connection

    async def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connection in tuple(self._open):
            connection.abort()
        self._idle.clear()
        # Closed transports finish in the next iteration of the loop.
        await asyncio.sleep(0)

    def _keep(self, connection: UpstreamConnection) -> None:
        connection.idle_since = self._loop.time()
        self._idle.setdefault(connection.origin, {})[connection] = None
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(self._keep_idle, self._sweep)

    def _forget(self, connection: UpstreamConnection) -> None:
        """The connection is gone."""
        self._open.discard(connection)
        idle = self._idle.get(connection.origin)
        if idle is not None:
            idle.pop(connection, None)

    def _sweep(self) -> None:
        """Close what has been idle for too long; once for each time that this can be, while there is anything."""
        self._sweeping = None
        now = self._loop.time()
        for origin, idle in tuple(self._idle.items()):
            for connection in [each for each in idle if now - each.idle_since >= self._keep_idle]:
                del idle[connection]
                connection.abort()
            if not idle:
                del self._idle[origin]
        if self._idle:
            oldest = min(each.idle_since for idle in self._idle.values() for each in idle)
            self._sweeping = self._loop.call_at(oldest + self._keep_idle, self._sweep)

    async def _resolve(self, origin: Origin) -> list[Any]:
        """The addresses of a host, each time beginning with another one. All that wait for a name share one look-up."""
        key, now = (origin.host, origin.port), self._loop.time()
        until, lookup = self._addresses.get(key, (0.0, None))
        if lookup is None or now >= until or (lookup.done() and (lookup.cancelled() or lookup.exception())):
            if len(self._addresses) > _MAX_NAMES:
                self._addresses.clear()
            lookup = asyncio.ensure_future(
                self._loop.getaddrinfo(*key, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
            )
            self._addresses[key] = now + _ADDRESSES_SECONDS, lookup
        try:
            found = addresses.checked(origin.host, await asyncio.shield(lookup), origin.reach)
        except (socket.gaierror, UnicodeError):
            if origin.reach == addresses.PUBLIC:
                raise RefusedAddressError(addresses.not_public(origin.host)) from None
            raise
        first = next(self._turns) % len(found)
        return found[first:] + found[:first]
