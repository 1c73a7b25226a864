"""One connection of a client, with guards for what no ASGI application can see in time.

A cap and a deadline for the head, a least rate and a deadline for the body, a deadline for clients that stop reading,
one request at a time, a share of the connections (`connections.py`), and no parser leniency. The checks of a whole
head (Host, Content-Length, path) are step 1 of `gateway/dataplane/proxy.py`. One request of a connection is a
`Cycle` (`cycle.py`). Specification: architecture.md, section 7.

No provider is known at this point, so refusals made here have the neutral shape of `refusal.py`. The connection is
closed after each of them: once a peer's framing is in doubt, nothing that follows can be trusted.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import httptools
from starlette.types import ASGIApp

from gateway.errors import Denied
from gateway.http import refusal
from gateway.http.connections import Connections
from gateway.http.cycle import Cycle, FlowControl
from gateway.http.departure import Departure
from gateway.identity.certificates import Certificate
from gateway.settings import Settings
from gateway.shares import Holder, NoShareError

_MAX_HEADERS = 100

# The factor by which chunked framing may be larger than the body: one-byte chunks pass, endless chunk extensions do
# not.
_FRAMING_BYTES = 64 * 1024
_FRAMING_PER_BYTE = 8

# The pause before it is looked again whether a body comes that nobody has asked for yet.
_NOT_ASKED_SECONDS = 1.0

# A peer that takes less than this of an answer, within the time that it has for it, counts as one that stopped reading.
_LEAST_TAKEN = 16 * 1024

_ASGI = {"version": "3.0", "spec_version": "2.3"}

_REASONS = {400: b"Bad Request", 413: b"Content Too Large", 503: b"Service Unavailable"}


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits of one listener's connections; `refused` is called with the reason code of every refusal made here."""

    header_bytes: int
    header_seconds: float
    body_seconds: float
    body_rate: int
    write_seconds: float
    connections: int
    refused: Callable[[str], None] = lambda code: None

    @classmethod
    def of(cls, settings: Settings, refused: Callable[[str], None] = lambda code: None) -> ConnectionLimits:
        return cls(
            settings.max_header_bytes,
            settings.header_timeout,
            settings.body_timeout,
            settings.body_rate,
            settings.write_timeout,
            settings.max_connections,
            refused,
        )


@dataclass(slots=True, eq=False)
class Listener:
    """What the connections of one listener share."""

    app: ASGIApp
    limits: ConnectionLimits
    peers: Connections
    # The seconds for which an idle connection is kept, and for which it is once the server stops.
    keep_alive: float
    linger: float = 0.0
    connections: set[GuardedProtocol] = field(default_factory=set)
    # The requests that are not answered yet.
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    # Of every answer: the date, once a second.
    default_headers: list[tuple[bytes, bytes]] = field(default_factory=list)


class _RefusedError(Exception):
    """Raised in a callback of the parser; httptools wraps it, and `data_received` sends the refusal."""


class GuardedProtocol(asyncio.Protocol):
    """One connection; all state belongs to the event loop's thread."""

    def __init__(self, server: Listener) -> None:
        self._server = server
        self.limits, self.peers = server.limits, server.peers
        self._loop = asyncio.get_running_loop()
        # None until the connection is made, with TLS until the handshake is over.
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self._flow: FlowControl = None  # type: ignore[assignment]
        self._client: tuple[str, int] | None = None
        self._scheme = "http"
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        # The cycle of the newest request; at most one request is not answered yet.
        self._cycle: Cycle | None = None
        self._departure: Departure | None = None
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._expects_continue = False
        # The parser's place: inside a head, inside the body after it, or, if both are false, between messages.
        self._in_head = False
        self._in_body = False
        self._head_bytes = 0
        self._fields_bytes = 0
        self._raw_bytes = 0
        self._body_bytes = 0
        self._refusal: Denied | None = None
        # Set once nothing more is read from this peer.
        self._ignoring_input = False
        # The server stops: the next answer is the last one.
        self._leaving = False
        self._deadline: asyncio.TimerHandle | None = None
        # When the body was first waited for, by the loop's clock.
        self._body_since = 0.0
        # Since when the next request is waited for, of which nothing has come; None while it is not. Looking every
        # second costs less than a timer for each answer.
        self._idle_since: float | None = None
        # The bytes left to send when this peer last made progress, and that time; None while it need not hurry.
        self._untaken: tuple[int, float] | None = None
        # To be called when the handshake of TLS is over, if there is one.
        self.handshake_ended: Callable[[], None] | None = None
        # The client's certificate, if it has presented one, which the handshake has verified then.
        self._certificate: Certificate | None = None

    @property
    def _answered(self) -> bool:
        """There is no request whose answer is not complete."""
        return self._cycle is None or self._cycle.response_complete

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # it is a full one
        self._server.connections.add(self)
        self.transport = transport
        self._flow = FlowControl(transport)
        peer = transport.get_extra_info("peername")
        self._client = (str(peer[0]), int(peer[1])) if peer else None
        self._scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        self._certificate = _client_certificate(transport)
        self._leaving = bool(self._server.linger)  # the handshake ended while the server stops
        if self.handshake_ended is not None:
            self.handshake_ended()
        try:
            self.peers.arrive(self, self._client[0] if self._client else "")
        except NoShareError as error:
            self._refuse(Denied("overloaded", reasons=[error.advice]))
        else:
            self._arm(self.limits.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self.peers.leave(self)
        self._server.connections.discard(self)
        if self._cycle is not None and not self._cycle.response_complete:
            self._cycle.disconnect()
        self._flow.resume_writing()
        # Both refer to this object: without them, nothing is left for the garbage collector.
        self._parser = self._cycle = None
        if self._departure is not None:
            self._departure.happened()
            self._departure = None

    def _known(self, holders: tuple[Holder, ...]) -> None:
        self.peers.known(self, holders)

    def can_be_spared(self, *, known: bool) -> bool:
        if self._departure is not None and self._departure.waits:
            return True
        if known:
            return self._answered and not self._in_body and not self.transport.get_write_buffer_size()
        return self._answered or self._in_body

    def give_up(self) -> None:
        self._ignoring_input = True
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self._idle_since = None
        if self._ignoring_input or self._parser is None:
            return
        # A head that begins inside this piece is not counted yet: most of the piece may be the end of a body.
        head_continues = self._in_head
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The application refuses the upgrade; what follows would be in another protocol.
            self._stop_reading()
        except httptools.HttpParserError:
            if not self._ignoring_input:
                self._refuse(self._refusal or Denied("bad_request", reasons=["the request is not valid HTTP"]))
        if self._ignoring_input:
            return
        if self._in_body:
            self._raw_bytes += len(data)
            if self._raw_bytes - self._body_bytes > _FRAMING_BYTES + _FRAMING_PER_BYTE * self._body_bytes:
                self._refuse(Denied("bad_request", reasons=["the body's framing is larger than the body"]))
            elif self._deadline is None:
                self._expect_body()
            return
        if head_continues and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.header_bytes:
                self._refuse(_too_large_head())
                return
        # A client must finish its head before the deadline, even if it sends only blank lines.
        if self._answered and self._deadline is None and self._idle_since is None:
            self._arm(self.limits.header_seconds)

    def pause_writing(self) -> None:
        self._flow.pause_writing()

    def resume_writing(self) -> None:
        self._flow.resume_writing()
        self._untaken = None  # the peer has taken nearly everything

    def shutdown(self) -> None:
        """The server stops. A client is told so with its next answer, if there is one soon, and connects anew."""
        self._leaving = bool(self._server.linger)
        if self._cycle is not None and not self._cycle.response_complete:
            self._cycle.keep_alive = False  # the answer's head says so, if it was not sent yet
        elif self._server.linger:
            self._idle_since = idle = self._loop.time()
            self._loop.call_later(self._server.linger, self._close_if_idle, idle)
        else:
            self.transport.close()

    def _close_if_idle(self, since: float) -> None:
        """Close the connection if nothing has come on it since that time."""
        if self._idle_since == since:
            self.transport.close()

    @property
    def closed_and_flushed(self) -> bool:
        """True if only the end of the connection is still to come."""
        return self.transport.is_closing() and not self.transport.get_write_buffer_size()

    def close_if_unused(self, now: float) -> None:
        """Close the connection if it was idle for too long. The server calls this every second with the loop's time."""
        if self._idle_since is not None and now - self._idle_since >= self._server.keep_alive:
            self.transport.close()

    def abort_if_stuck(self, now: float) -> None:
        """End the connection if its peer has stopped reading. The server calls this every second.

        A peer makes progress when it takes all that was written, or `_LEAST_TAKEN` bytes, within the deadline. It is
        waited for while the answer is paused because of it, or has ended; `close` alone would wait for it for ever.
        """
        left = self.transport.get_write_buffer_size()
        ended = self.transport.is_closing() or (self._cycle is not None and self._cycle.response_complete)
        if not left or not (ended or self._flow.write_paused):
            self._untaken = None
        elif self._untaken is None or self._untaken[0] - left >= _LEAST_TAKEN:
            self._untaken = left, now
        elif now - self._untaken[1] >= self.limits.write_seconds:
            self.transport.abort()

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        if not self._answered:
            # A second request before the first is answered: no SDK does that, but request smuggling does. The first is
            # answered and the connection closed, which HTTP allows; a client then sends the second one again.
            self._stop_reading()
            raise _RefusedError
        self._in_head = True
        self._head_bytes = self._fields_bytes = 0
        self._url, self._headers, self._expects_continue = b"", [], False

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # otherwise it is a trailer, which must not join the head that was judged
            self._fields_bytes += len(name) + len(value) + 4
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self._expects_continue = True
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        parser, url = self._parser, self._url
        assert parser is not None
        if len(url) + self._fields_bytes > self.limits.header_bytes or len(self._headers) > _MAX_HEADERS:
            self._refusal = _too_large_head()
            raise _RefusedError
        if parser.get_http_version() != "1.1":
            # Answers are streamed in chunks, which HTTP/1.0 does not have.
            self._refusal = Denied("bad_request", reasons=["only HTTP/1.1 is spoken here"])
            raise _RefusedError
        if not url.startswith(b"/") or b"#" in url:
            # Others would take the path out of an absolute target, and cut off a fragment.
            self._refusal = Denied("bad_request", reasons=["the request target must be a plain path"])
            raise _RefusedError
        self._in_head = False
        self._in_body = True
        self._raw_bytes = self._body_bytes = 0
        self._disarm()
        raw_path, _, query = url.partition(b"?")
        path = raw_path.decode("ascii")
        self._departure = Departure(self._known)
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": "1.1",
            "server": None,
            "client": self._client,
            "scheme": self._scheme,
            "root_path": "",
            "method": parser.get_method().decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": self._headers,
            Departure.KEY: self._departure,
        }
        if self._certificate is not None:
            scope[Certificate.KEY] = self._certificate
        cycle = self._cycle = Cycle(
            self._loop,
            self.transport,
            self._flow,
            scope,
            self._server.default_headers,
            self._response_complete,
            expects_continue=self._expects_continue,
            keep_alive=parser.should_keep_alive() and not self._leaving,
        )
        task = self._loop.create_task(cycle.run(self._server.app))
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        assert self._cycle is not None
        if not self._cycle.response_complete:
            self._cycle.add(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        self._disarm()
        assert self._cycle is not None
        if not self._cycle.response_complete:
            self._cycle.end_body()
        elif not self.transport.is_closing():
            # The request was answered before its body had arrived: from here on the connection is idle.
            self._idle_since = self._loop.time()

    def _response_complete(self) -> None:
        if self.transport.is_closing():
            return
        self.peers.used(self)
        self._flow.resume_reading()
        if not self._in_body:
            self._idle_since = self._loop.time()
        elif self._expects_continue and not self._body_bytes:
            # The client was never told to send the body, and may or may not do so: nothing can follow here.
            self.transport.close()
        else:
            # Read and drop the rest of the body, for a limited time, so that the client gets to read the answer.
            self._arm(self.limits.header_seconds)

    # Refusing

    def _refuse(self, denied: Denied) -> None:
        """Send the refusal, unless an answer has begun, and close. The application sees a disconnect."""
        self._ignoring_input = True
        self._disarm()
        self.limits.refused(denied.code)
        if self._answered or (self._cycle is not None and not self._cycle.response_started):
            if self._cycle is not None:
                self._cycle.disconnected = True
            self.transport.write(_response(denied))
        self.transport.close()

    def _stop_reading(self) -> None:
        """Let the request in progress be answered, then close."""
        self._ignoring_input = True
        self._disarm()
        if self._cycle is not None:
            self._cycle.keep_alive = False

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._deadline = self._loop.call_later(seconds, self._deadline_passed)

    def _expect_body(self) -> None:
        """Look again when the body is late by what has come of it until now."""
        self._body_since = self._loop.time()
        self._deadline = self._loop.call_later(self._body_time(), self._look_at_body)

    def _body_time(self) -> float:
        """The time for the body in all: as long as a head and, for what has come, as its least rate allows."""
        longest, rate = self.limits.body_seconds, self.limits.body_rate
        return min(longest, self.limits.header_seconds + self._body_bytes / rate) if rate else longest

    def _look_at_body(self) -> None:
        waited = self._loop.time() - self._body_since
        left = self._body_time() - waited
        if left <= 0 and waited < self.limits.body_seconds and self._keeps_client_waiting():
            left = _NOT_ASKED_SECONDS
        if left > 0:
            self._deadline = self._loop.call_later(left, self._look_at_body)
        else:
            self._deadline_passed()

    def _keeps_client_waiting(self) -> bool:
        """True if it is not the client that is slow: nothing more is read now, or it was not told to go on."""
        assert self._cycle is not None
        return bool(self._flow.read_paused) or self._cycle.expects_continue

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _deadline_passed(self) -> None:
        self._deadline = None
        if self._in_head:
            self._refuse(Denied("bad_request", reasons=["the request's head did not come in time"]))
        elif self._in_body and not self._answered:
            self._refuse(Denied("bad_request", reasons=["the request's body did not come in time"]))
        else:
            self.transport.close()


def _too_large_head() -> Denied:
    return Denied("bad_request", reasons=["the request's head is too large"])


def _response(denied: Denied) -> bytes:
    body = refusal.body(denied)
    status = denied.reason.status
    return (
        b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
        b"x-should-retry: %s\r\nconnection: close\r\n\r\n%s"
        % (status, _REASONS[status], len(body), b"true" if denied.reason.retry else b"false", body)
    )


def _client_certificate(transport: asyncio.Transport) -> Certificate | None:
    found: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    der = None if found is None else found.getpeercert(binary_form=True)
    return None if der is None else Certificate(der)
