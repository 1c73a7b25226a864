"""The HTTP client of the hot path, and of all else that must keep to the address rules: HTTP/1.1, over a pool.

It follows no redirect, keeps no cookie, uses no proxy and decodes nothing: requests and answers pass byte by byte.
Failures are `Denied` with `upstream_error` or `upstream_timeout`; `NotConnectedError` says that nothing was sent. A
request is sent again only where a kept connection turns out to be closed, no byte of an answer has come, and its method
is one that can be repeated (RFC 9110, section 9.2.2).
Specification: architecture.md, section 7, steps 7 and 8.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from yarl import URL

from gateway.body import Body
from gateway.errors import Denied
from gateway.outbound.addresses import RefusedAddressError
from gateway.outbound.connection import Origin, UpstreamAnswer, UpstreamConnection
from gateway.outbound.pool import ConnectionPool, target_of
from gateway.settings import Settings

_KEEP_IDLE = 30.0  # seconds
# A larger body is written in pieces, and released when the last one is written.
_PIECE = 64 * 1024
_REPEATABLE = frozenset({"GET", "PUT", "DELETE"})


@dataclass(slots=True)
class Outgoing:
    """One request as it goes upstream. `headers` hold a credential; the body is there until it is taken."""

    method: str
    url: URL
    headers: Mapping[str, str] = field(repr=False)
    body: Body = field(repr=False)

    def with_bearer(self, token: str) -> Outgoing:
        """The same with this token as its only credential in `Authorization`."""
        kept = {name: value for name, value in self.headers.items() if name.lower() != "authorization"}
        return Outgoing(self.method, self.url, {**kept, "Authorization": f"Bearer {token}"}, self.body)

    def take_body(self) -> Body:
        """The body, which is not kept here any longer: bodies are large and answers take their time."""
        body, self.body = self.body, b""
        return body


class NotConnectedError(Denied):
    """No connection could be made, so nothing was sent: the call may be sent again, whatever it does.

    `why` says so without the address; `refused` is true if the host has an address that may not be connected to.
    """

    def __init__(self, code: str, origin: Origin, why: str, *, refused: bool = False) -> None:
        text = why if code == "upstream_timeout" else f"cannot connect to {origin.host}:{origin.port}: {why}"
        # No entry of the log can hold half of a surrogate pair, and the call's closing must not fail for one.
        super().__init__(code, _sound(text))
        self.why, self.refused = _sound(why), refused


class UpstreamClient:
    """Owns the connections. Create it inside the loop that uses it, close it before the loop ends."""

    def __init__(self, *, connect_timeout: float, idle_timeout: float, tls: ssl.SSLContext | None = None) -> None:
        """Seconds for a connection, its address and TLS included, and for a pause within an answer.

        `tls` takes the place of the context that verifies certificates by the authorities of this machine.
        """
        self._connect_timeout = connect_timeout
        self._idle_timeout = idle_timeout
        self._pool = ConnectionPool(_KEEP_IDLE, connect_timeout, tls)

    @classmethod
    def of(cls, settings: Settings) -> UpstreamClient:
        return cls(connect_timeout=settings.upstream_connect_timeout, idle_timeout=settings.upstream_idle_timeout)

    async def send(
        self, request: Outgoing, sent: Callable[[], None], reach: str, idle_timeout: float | None = None
    ) -> UpstreamAnswer:
        """Send one request and wait for the head of its answer. Cancelling closes the connection.

        `reach` says which addresses its host may have (`outbound/addresses.py`).
        The body is taken out of `request` once there is a connection; `sent` is called when all of it was written. The
        caller limits the wait for the head and the total time, because it records what happened.
        """
        body, method, idle_timeout = request.body, request.method, idle_timeout or self._idle_timeout
        target = target_of(request.url, reach)
        head = _head(method, target.line, request.headers, len(body))
        connection = self._pool.take(target.origin)
        kept = connection is not None
        if connection is None:
            connection = await self._connect(target.origin)
        if isinstance(body, bytes) and len(body) <= _PIECE:
            request.take_body()
            connection.begin(head + body, idle_timeout)
            answer = None
            try:
                answer = await connection.head()
            except Denied:
                if not kept or connection.got_bytes or method not in _REPEATABLE:
                    raise
            if answer is None:
                connection = await self._connect(target.origin)
                connection.begin(head + body, idle_timeout)
                answer = await connection.head()
        else:
            del body
            connection.begin(head, idle_timeout)
            connection.write_beside(asyncio.create_task(_write_body(connection, request, sent)))
            answer = await connection.head()
        sent()
        return answer

    async def connect(self, url: URL, reach: str) -> UpstreamConnection:
        """A connection that nothing was sent on, for the caller to abort. Raises `OSError`, or `ValueError`."""
        return await self._pool.connect(target_of(url, reach).origin)

    async def close(self) -> None:
        await self._pool.close()

    async def _connect(self, origin: Origin) -> UpstreamConnection:
        try:
            return await self._pool.connect(origin)
        except TimeoutError:
            why = f"no connection to {origin.host}:{origin.port} within {self._connect_timeout:g} s"
            found = NotConnectedError("upstream_timeout", origin, why)
        except (OSError, ValueError) as error:
            # Names that cannot be names are a ValueError. These texts name hosts and ports and nothing secret.
            refused = isinstance(error, RefusedAddressError)
            found = NotConnectedError("upstream_error", origin, _why(error), refused=refused)
            # Event loops keep such an error for a while, and with its traceback all that the call refers to.
            error.__traceback__ = None
        raise found


def _sound(text: str) -> str:
    return text.encode("utf-8", "replace").decode()[:512]


def _why(error: OSError | ValueError) -> str:
    """The system's own words for an error that has a number; asyncio's have the address again, as Python writes it."""
    plain = isinstance(error, OSError) and not isinstance(error, ssl.SSLError | socket.gaierror)
    number = error.errno if plain and isinstance(error, OSError) else None
    return os.strerror(number).lower() if number else str(error)


def _head(method: str, line: str, headers: Mapping[str, str], size: int) -> bytes:
    """The head of a request: its bytes, whatever stands in the values. `ValueError` where that would be two headers."""
    fields = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    count = len(headers)
    if fields.count("\r") != count or fields.count("\n") != count or "\0" in fields:
        raise ValueError("a header of the request holds a line break")
    if size or method != "GET":
        return f"{method}{line}{fields}Content-Length: {size}\r\n\r\n".encode()
    return f"{method}{line}{fields}\r\n".encode()


async def _write_body(connection: UpstreamConnection, request: Outgoing, sent: Callable[[], None]) -> None:
    """Write a large body, in its own task: the upstream may answer before it has taken all of it."""
    try:
        if isinstance(request.body, bytes):
            body = request.take_body()
            assert isinstance(body, bytes)
            for at in range(0, len(body), _PIECE):
                await connection.write(body[at : at + _PIECE])
            del body
            sent()
        else:
            async for piece in request.body.open_stream():
                await connection.write(piece)
    except (OSError, ValueError) as error:
        error.__traceback__ = None
        connection.fail("the body of the request cannot be read")
