"""One HTTP/1.1 connection to an upstream, and the answer that arrives on it (RFC 9112).

llhttp parses answers, in its strict mode: no bare LF, no folded header, no length that could be read in two ways. This
file holds what a parser does not know: that one request waits for one answer, how much of it may wait to be read,
and what else an upstream may not do:

- Bytes that come while no request waits close the connection. They would be the answer to the next request, which may
  be another agent's.
- An answer comes after at most a few informational heads, and its head is of limited size.
- Trailers and the extensions of chunks are read and dropped, as far as they are small.

A broken rule ends the answer at once, as `Denied` of the reader with `upstream_error`. A connection serves
another request only if both sides have said all that they had to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import httptools

from gateway.errors import Denied

# Heads like `100 Continue` and `103 Early Hints`.
_MAX_INFORMATIONAL = 16
# Heads beyond these are an upstream's fault.
_MAX_HEAD_BYTES = 64 * 1024
_MAX_FIELD_BYTES = 16 * 1024
_MAX_HEADERS = 128
# The most bytes at a stretch without one of the body: trailers, extensions of chunks.
_MAX_SILENT_BYTES = 64 * 1024
# With more than this waiting to be read, nothing is taken from the upstream.
_MAX_WAITING_BYTES = 256 * 1024
_PIECE_BYTES = 48  # what a piece takes of memory beside its bytes


class Origin(NamedTuple):
    """The goal of connections. `host` is an address or a name in ASCII, `reach` says which addresses it may have."""

    host: str
    port: int
    secure: bool
    reach: str


class _BrokenError(Exception):
    """Raised in a callback of the parser; httptools wraps it. Its text says which rule the upstream broke."""


class _SurplusError(_BrokenError):
    """Another answer has come, for which nobody has asked. The first one is whole."""


class Answer:
    """A response whose head has arrived, and whose body is read piece by piece. Here all of it is there already."""

    __slots__ = ("ended", "headers", "pieces", "status")

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        # The bytes that have arrived and were not read.
        self.pieces: list[bytes] = []
        # The whole body has arrived.
        self.ended = False
        self.status = status
        # Names in lower case, as everywhere in the gateway.
        self.headers = headers

    @classmethod
    def told(cls, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> Answer:
        """An answer of the gateway itself."""
        found = cls(status, headers)
        found.pieces, found.ended = [body] if body else [], True
        return found

    def header(self, name: bytes) -> bytes:
        """The first value of a header, or nothing."""
        for key, value in self.headers:
            if key == name:
                return value
        return b""

    @property
    def complete(self) -> bool:
        """True if the whole body is known to be read; false if its end has not arrived yet."""
        return self.ended and not self.pieces

    async def read(self) -> bytes:
        """The next piece of the body; empty at the end."""
        found = b"".join(self.pieces)
        self.pieces.clear()
        return found

    def replace(self, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """Have `read` give this body after all, in place of the one that was read to its end."""
        assert self.complete
        self.pieces.append(body)
        self.headers = headers

    def close(self) -> None:
        """Read nothing more."""


class UpstreamAnswer(Answer):
    """An upstream's response on its connection."""

    __slots__ = (
        "_connection",
        "_failure",
        "_idle_timeout",
        "_loop",
        "_timer",
        "_waiter",
        "_waiting_since",
        "waiting_bytes",
    )

    def __init__(
        self, connection: UpstreamConnection, status: int, headers: list[tuple[bytes, bytes]], idle_timeout: float
    ) -> None:
        # As in `Answer`, which is not called for each request.
        self.pieces, self.ended, self.status, self.headers = [], False, status, headers
        self._connection = connection
        self._idle_timeout = idle_timeout
        self._loop = connection.loop
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        # Since when `read` has been waiting; None while it is not.
        self._waiting_since: float | None = None
        self._failure: tuple[str, str] | None = None
        self.waiting_bytes = 0

    async def read(self) -> bytes:
        """The next piece of the body, unchanged; empty at the end. `Denied` where the upstream breaks off."""
        while True:
            if self._failure is not None:
                raise Denied(*self._failure)
            if pieces := self.pieces:
                break
            if self.ended:
                return b""
            await self._wait()
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if self.waiting_bytes > _MAX_WAITING_BYTES:
            self._connection.go_on()
        self.waiting_bytes = 0
        return data

    def close(self) -> None:
        """Return the connection to the pool if the body was read to its end, else close it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._connection.end(self)

    # For the connection

    def fail(self, code: str, text: str) -> None:
        """The body breaks off: what was not read yet is not read any more."""
        if not self.ended and self._failure is None:
            self._failure = code, text
        self.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        loop = self._loop
        self._waiter, self._waiting_since = loop.create_future(), loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._idle_timeout, self._end_long_pause)
        try:
            await self._waiter
        finally:
            self._waiter = self._waiting_since = None

    def _end_long_pause(self) -> None:
        """Let a read fail that has waited too long. One timer looks now and then: setting one for each piece of a
        stream would cost more than reading it.
        """
        now = self._loop.time()
        ends = (now if self._waiting_since is None else self._waiting_since) + self._idle_timeout
        if now < ends:
            self._timer = self._loop.call_at(ends, self._end_long_pause)
        else:
            self.fail("upstream_timeout", "nothing came from the upstream")


class UpstreamConnection(asyncio.Protocol):
    """A connection. `finished` is called when it can serve another request, and `lost` when it is gone."""

    __slots__ = (
        "_answer",
        "_failure",
        "_finished",
        "_head",
        "_head_bytes",
        "_headers",
        "_idle_timeout",
        "_in_head",
        "_informational",
        "_lost",
        "_parser",
        "_paused",
        "_reading_paused",
        "_reusable",
        "_silent_bytes",
        "_surplus",
        "_transport",
        "_until_end",
        "_writer",
        "got_bytes",
        "idle_since",
        "loop",
        "origin",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        origin: Origin,
        finished: Callable[[UpstreamConnection], None],
        lost: Callable[[UpstreamConnection], None],
    ) -> None:
        self.loop = loop
        self.origin = origin
        self.idle_since = 0.0
        # Something of an answer has come since the request began.
        self.got_bytes = False
        self._finished, self._lost = finished, lost
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._in_head = False
        self._head_bytes = self._silent_bytes = self._informational = 0
        # Gets its result when `_answer` or `_failure` is set; None while no request waits for a head.
        self._head: asyncio.Future[None] | None = None
        self._answer: UpstreamAnswer | None = None
        self._failure: tuple[str, str] | None = None
        self._idle_timeout = 0.0
        # The body ends where the connection does; and whether another request may follow on it.
        self._until_end = self._reusable = False
        # Something follows the answer.
        self._surplus = False
        self._reading_paused = False
        # While the transport takes nothing more; and the task that writes a large body.
        self._paused: asyncio.Future[None] | None = None
        self._writer: asyncio.Task[None] | None = None

    # Requests

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def tls(self) -> str:
        """The version of TLS, such as `TLSv1.3`; empty for plain HTTP."""
        found = None if self._transport is None else self._transport.get_extra_info("ssl_object")
        return "" if found is None else str(found.version())

    def begin(self, data: bytes, idle_timeout: float) -> None:
        """Begin a request with these bytes of it: its head, and the body if that is small."""
        assert self._transport is not None
        self._head = self.loop.create_future()
        self._answer = self._failure = None
        self.got_bytes = False
        self._informational = self._silent_bytes = 0
        self._idle_timeout = idle_timeout
        self._transport.write(data)

    def write_beside(self, writer: asyncio.Task[None]) -> None:
        """`writer` writes the rest of the request while its answer is waited for."""
        self._writer = writer

    async def write(self, data: bytes) -> None:
        """Write some more of the request, and wait while the upstream takes nothing."""
        if self._transport is not None:
            self._transport.write(data)
        if self._paused is not None:
            await self._paused

    async def head(self) -> UpstreamAnswer:
        """The answer, once its head has arrived. `Denied` with `upstream_error`."""
        assert self._head is not None
        try:
            await self._head
        except asyncio.CancelledError:
            self._answer = None
            self.abort()
            raise
        finally:
            self._head = None
        if self._answer is None:
            raise Denied(*(self._failure or ("upstream_error", "the upstream did not answer")))
        return self._answer

    def fail(self, text: str) -> None:
        """The request or its answer cannot go on."""
        self._fail(text)
        self.abort()

    def go_on(self) -> None:
        """Take more of the answer."""
        if self._reading_paused and self._transport is not None and not self._transport.is_closing():
            self._reading_paused = False
            self._transport.resume_reading()

    def end(self, answer: UpstreamAnswer) -> None:
        """Nobody reads this answer any longer."""
        if self._answer is not answer:
            return
        self._answer = None
        writer, self._writer = self._writer, None
        if writer is not None and not writer.done():
            writer.cancel()
        elif answer.complete and self._reusable and self.open:
            self._finished(self)
            return
        self.abort()

    def abort(self) -> None:
        """Close at once. Bytes that were not written are dropped: nobody waits for their answer."""
        if self._writer is not None:
            self._writer.cancel()
            self._writer = None
        if self._transport is not None:
            self._transport.abort()

    # The transport's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # which is a full one

    def data_received(self, data: bytes) -> None:
        parser, head = self._parser, self._head
        answer = self._answer
        if parser is None or (head is None and (answer is None or answer.ended)):
            self.abort()  # nobody has asked
            return
        self.got_bytes = True
        before = answer.waiting_bytes if answer is not None else 0
        try:
            parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._break_off(error)
        if self._surplus:
            self.abort()
        answer = self._answer
        if answer is None:
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD_BYTES:
                self.fail("the head of the answer is too large")
            return
        if answer.waiting_bytes > before:
            self._silent_bytes = 0
            if answer.waiting_bytes > _MAX_WAITING_BYTES and not answer.ended and not self._reading_paused:
                self._pause_reading()
        elif not answer.ended:
            self._silent_bytes += len(data)
            if self._silent_bytes > _MAX_SILENT_BYTES:
                self.fail("the answer's framing is larger than allowed")
        if head is not None and not head.done():
            head.set_result(None)
        else:
            answer.wake()

    def _pause_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        self._paused = self.loop.create_future()

    def resume_writing(self) -> None:
        paused, self._paused = self._paused, None
        if paused is not None and not paused.done():
            paused.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        # The parser refers to this object: without it, nothing is left for the garbage collector.
        self._parser = self._transport = None
        answer = self._answer
        if answer is not None and self._until_end and error is None and not answer.ended:
            answer.ended = True
            answer.wake()
        elif answer is None:
            self._fail("the upstream closed the connection before its answer")
        else:
            self._fail("the upstream closed the connection in the middle of its answer")
        if self._writer is not None:
            self._writer.cancel()
        self.resume_writing()
        self._lost(self)

    # The parser's callbacks

    def on_message_begin(self) -> None:
        if self._answer is not None:
            self._surplus = True
            return
        self._headers = []
        self._in_head = True
        self._head_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer: it must not join the head that was looked at
        if len(self._headers) >= _MAX_HEADERS:
            raise _BrokenError("the answer has too many headers")
        if len(name) + len(value) > _MAX_FIELD_BYTES:
            raise _BrokenError("a header of the answer is too large")
        self._headers.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        parser = self._parser
        assert parser is not None
        if self._surplus:
            raise _SurplusError
        self._in_head = False
        status = parser.get_status_code()
        if status < 200:
            self._informational += 1
            if status == 101:
                raise _BrokenError("the upstream changes the protocol")
            if self._informational > _MAX_INFORMATIONAL:
                raise _BrokenError("too many informational answers")
            return
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise _BrokenError("the upstream does not speak HTTP/1.1")
        coding: list[bytes] = []
        lengths, length = 0, b""
        for name, value in self._headers:
            if name == b"content-length":
                lengths, length = lengths + 1, value
            elif name == b"transfer-encoding":
                coding.append(value)
        if coding and (lengths or version == "1.0" or len(coding) > 1 or coding[0].lower() != b"chunked"):
            raise _BrokenError("the length of the answer can be read in two ways")
        if lengths > 1:
            raise _BrokenError("the answer has more than one length")
        if status == 204 and length.strip(b"0"):
            raise _BrokenError("an answer without content has a length")
        self._until_end = not coding and not lengths and status not in (204, 304)
        # An answer that announces chunks and can have none may send an end of them, which would fall into the next
        # answer.
        self._reusable = not (self._until_end or (coding and status == 204)) and parser.should_keep_alive()
        self._answer = UpstreamAnswer(self, status, self._headers, self._idle_timeout)

    def on_body(self, piece: bytes) -> None:
        answer = self._answer
        if answer is not None:
            answer.pieces.append(piece)
            answer.waiting_bytes += len(piece) + _PIECE_BYTES

    def on_message_complete(self) -> None:
        if self._answer is not None:  # an informational head has no answer
            self._answer.ended = True

    # Failures

    def _break_off(self, error: httptools.HttpParserError) -> None:
        """The upstream broke a rule of HTTP, or one of ours. The parser quotes nothing of the answer."""
        broken = error.__context__
        # With their tracebacks the errors would keep all that this call refers to.
        error.__traceback__ = None
        text = "the answer is not valid HTTP"
        if isinstance(broken, _BrokenError):
            broken.__traceback__ = None
            text = str(broken)
        answer = self._answer
        if answer is not None and answer.status != 204 and not isinstance(broken, _SurplusError):
            answer.ended = False  # what follows is no answer, so the end of this one is in doubt
        self.fail(text)

    def _fail(self, text: str) -> None:
        if self._answer is not None:
            self._answer.fail("upstream_error", text)
            if self._head is not None and not self._head.done():
                self._head.set_result(None)
        elif self._head is not None and not self._head.done():
            self._failure = "upstream_error", text
            self._head.set_result(None)
