"""One request and its answer, between a connection and the ASGI application (ASGI 3.0, HTTP; RFC 9112).

The connection puts pieces of the body in, the application takes them with `receive` and answers with `send`. The
application is the gateway's own: names of headers are in lower case and hold nothing but the characters of names. Their
values may come from elsewhere.

If the application fails, the exception is logged and the client gets a 500 that does not say what failed. Such an
exception is not one of the refusals in `gateway/errors.py`, so the answer has no reason code. If an answer had begun,
the connection is closed without its end, so that no client can take it for a whole answer.

The head of an answer with a `content-length` is written together with the first piece of its body, which follows at
once. Without one the body may take its time, as streams do, so the head is written by itself.
"""

from __future__ import annotations

import asyncio
import functools
import http
import logging
import re
from collections.abc import Callable, Iterable
from typing import Final

from starlette.types import ASGIApp, Message, Scope

from gateway.http import refusal

logger = logging.getLogger("gateway.http.cycle")

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
# Control characters that no head may hold, but for the ends of its lines, which are counted.
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_FAILED: Final = refusal.document("the gateway failed", None)
_FAILED_HEADERS: Final = (
    (b"content-type", b"application/json"),
    (b"content-length", b"%d" % len(_FAILED)),
    # The provider may have carried the request out, and SDKs send a failed one again.
    (b"x-should-retry", b"false"),
)


# With more than this of a body waiting to be taken, nothing more is read.
_HIGH_WATER: Final = 64 * 1024


class FlowControl:
    """Whether one connection reads, and whether its peer takes what is written."""

    __slots__ = ("_transport", "_writable", "read_paused", "write_paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.read_paused = self.write_paused = False
        self._writable: asyncio.Event | None = None  # while writing is paused

    async def drain(self) -> None:
        if self._writable is not None:
            await self._writable.wait()

    def pause_reading(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self.read_paused:
            self.read_paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        if not self.write_paused:
            self.write_paused, self._writable = True, asyncio.Event()

    def resume_writing(self) -> None:
        writable, self._writable, self.write_paused = self._writable, None, False
        if writable is not None:
            writable.set()


class Cycle:
    """Owned by the event loop's thread. `finished` is called when the whole answer was written."""

    __slots__ = (
        "_arrived",
        "_body",
        "_chunked",
        "_default_headers",
        "_finished",
        "_flow",
        "_head",
        "_held",
        "_left",
        "_loop",
        "_more_body",
        "_transport",
        "_waiter",
        "disconnected",
        "expects_continue",
        "keep_alive",
        "response_complete",
        "response_started",
        "scope",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.Transport,
        flow: FlowControl,
        scope: Scope,
        default_headers: Iterable[tuple[bytes, bytes]],
        finished: Callable[[], None],
        *,
        expects_continue: bool,
        keep_alive: bool,
    ) -> None:
        self.scope = scope
        self.keep_alive = keep_alive
        # The client has gone, or was told already that its request is refused.
        self.disconnected = False
        self.response_started = self.response_complete = False
        self._loop, self._transport, self._flow = loop, transport, flow
        self._default_headers, self._finished = default_headers, finished
        # The client waits to be told before it sends the body.
        self.expects_continue = expects_continue
        # The part of the body that has come and was not taken, and its size; true if more of it follows.
        self._body: list[bytes] = []
        self._held = 0
        self._more_body = True
        # Something has happened that `receive` has not told yet; and what it waits for.
        self._arrived = False
        self._waiter: asyncio.Future[None] | None = None
        # The framing of the answer: in chunks, or with so many bytes left of its length.
        self._chunked = False
        self._left = 0
        # The head, while it waits for the first piece of the body.
        self._head = b""

    # For the connection

    def add(self, piece: bytes) -> None:
        """A piece of the body. With much of it waiting to be taken, nothing more is read."""
        self._body.append(piece)
        self._held += len(piece)
        if self._held > _HIGH_WATER:
            self._flow.pause_reading()
        self._wake()

    def end_body(self) -> None:
        self._more_body = False
        self._wake()

    def disconnect(self) -> None:
        """The client takes nothing more of the answer."""
        self.disconnected = True
        self._wake()

    def _wake(self) -> None:
        self._arrived = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def run(self, app: ASGIApp) -> None:
        """Have the request answered, whatever the application does."""
        try:
            await app(self.scope, self.receive, self.send)
        except BaseException as error:
            logger.error("a request failed or was cancelled", exc_info=error)
        if self.response_complete or self.disconnected:
            return
        if self.response_started:
            self._transport.close()
        else:
            self.keep_alive = False
            await self.send({"type": "http.response.start", "status": 500, "headers": _FAILED_HEADERS})
            await self.send({"type": "http.response.body", "body": _FAILED})

    # For the application

    async def receive(self) -> Message:
        if self.expects_continue and not self._transport.is_closing():
            self._transport.write(_CONTINUE)
            self.expects_continue = False
        if not self.disconnected and not self.response_complete:
            self._flow.resume_reading()
            if not self._arrived:
                self._waiter = self._loop.create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None
            self._arrived = False
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        pieces = self._body
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._body, self._held = [], 0
        return {"type": "http.request", "body": body, "more_body": self._more_body}

    async def send(self, message: Message) -> None:
        """`RuntimeError` where the message is not the next part of a valid answer."""
        if self._flow.write_paused and not self.disconnected:
            await self._flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if not self.response_started:
            if kind != "http.response.start":
                raise RuntimeError(f"an answer begins with http.response.start, not with {kind}")
            head = self._framed_head(message["status"], message["headers"])
            self.response_started = True
            self.expects_continue = False
            if self._chunked:
                self._transport.write(head)
            else:
                self._head = head
        elif self.response_complete or kind != "http.response.body":
            raise RuntimeError(f"{kind} does not follow an answer's {'end' if self.response_complete else 'head'}")
        else:
            self._write_body(message.get("body", b""), last=not message.get("more_body", False))

    def _framed_head(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """The head of the answer, whose framing it decides. `RuntimeError` where a value would be two headers."""
        lines = [_status_line(status)]
        chunked, left, closes = self.scope["method"] != "HEAD" and status not in (204, 304), 0, False
        for name, value in (*self._default_headers, *headers):
            lines.append(b"%b: %b\r\n" % (name, value))
            if name == b"content-length":
                chunked, left = False, int(value)
            elif name == b"connection":
                closes = value.lower() == b"close"
        if closes:
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append(b"connection: close\r\n")
        if chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        head = b"".join(lines)
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or _CONTROL.search(head):
            raise RuntimeError("a header of the answer holds a control character")
        self._chunked, self._left = chunked, left
        return head + b"\r\n"

    def _write_body(self, body: bytes, *, last: bool) -> None:
        if self._chunked:
            framed = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            self._transport.write(framed + b"0\r\n\r\n" if last else framed)
        else:
            if self.scope["method"] == "HEAD":
                body, self._left = b"", 0
            self._left -= len(body)
            if self._left < 0:
                raise RuntimeError("the answer is longer than its content-length")
            self._transport.write(self._head + body if self._head else body)
            self._head = b""
        if last:
            if self._left:
                raise RuntimeError("the answer is shorter than its content-length")
            self.response_complete = True
            self._wake()
            if not self.keep_alive:
                self._transport.close()
            self._finished()


@functools.cache
def _status_line(status: int) -> bytes:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()
