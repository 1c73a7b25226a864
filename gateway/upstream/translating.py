"""Reads the answers of an upstream that speaks another era of its protocol, as those of the client's.

So to everybody else the upstream speaks as the client does. A document is held until it is whole, a stream event by
event. What is held counts as any other answer that is.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson

from gateway.errors import Denied
from gateway.identity.call_tokens import Bearer
from gateway.outbound.client import Outgoing, UpstreamClient
from gateway.outbound.connection import Answer, UpstreamAnswer
from gateway.upstream import sse
from gateway.upstream.taps import MAX_DOCUMENT_BYTES, json_object

_LARGE: Final = 64 * 1024
"""Larger documents are read beside the event loop."""
# They say something of bytes that are others now.
_OF_BYTES: Final = frozenset({b"content-length", b"content-md5", b"etag", b"digest", b"content-digest", b"repr-digest"})


class Session(Protocol):
    """A session with an upstream, in eras that have them. `begun` is what it has said at its beginning."""

    @property
    def begun(self) -> dict[str, Any]: ...

    def number(self) -> int:
        """A number that no request of the session had before."""
        ...

    def headers(self) -> dict[str, str]:
        """The headers by which the upstream knows it."""
        ...


class Translation(abc.ABC):
    """The translation of one call: plain functions, which know nothing of connections."""

    # The upstream's era has sessions, and the client's has none.
    sessions = False

    @abc.abstractmethod
    def told(self) -> Answer | None:
        """The answer to a message that the upstream is not sent; None if it is."""

    @abc.abstractmethod
    def outgoing(self, request: Outgoing, session: Session | None) -> Outgoing:
        """The request as the upstream's era has it."""

    @abc.abstractmethod
    def sent(self) -> None:
        """The answer has begun, so the request is not made again: bodies are large."""

    @abc.abstractmethod
    def status(self, status: int, found: Mapping[str, Any]) -> int:
        """The status of a document as the client's era has it."""

    @abc.abstractmethod
    def message(self, found: Mapping[str, Any], status: int) -> Mapping[str, Any] | None:
        """A message from the upstream as the client's era has it; None if the client gets nothing of it."""

    def begun(self, session: Session) -> Answer | None:
        """The answer that the beginning of the session was already."""
        return None

    def not_begun(self, status: int, why: str) -> Answer:
        """The answer if the upstream has refused to begin a session."""
        raise NotImplementedError

    def reply(self, found: Mapping[str, Any]) -> dict[str, Any] | None:
        """The gateway's own answer to a request of the upstream."""
        return None

    def cancelled(self) -> dict[str, Any] | None:
        """The message that says that nobody waits for the answer any longer."""
        return None


class Holding(Protocol):
    """The bytes of an answer that are held, of all that may be."""

    def hold(self, size: int) -> None:
        """Hold so many from now on; `Denied` if there are not so many left."""
        ...

    def release(self) -> None:
        """Hold none."""
        ...


@dataclass(frozen=True, slots=True)
class Link:
    """The way to the upstream of one call, and the memory for its answer."""

    client: UpstreamClient
    sent: Callable[[], None]
    reach: str
    idle: float | None
    holding: Holding
    # Its tokens, if the upstream gets one with each request.
    bearer: Bearer | None = None

    async def send(self, request: Outgoing) -> UpstreamAnswer:
        if self.bearer is not None:
            request = request.with_bearer(self.bearer.token(request.body))
        return await self.client.send(request, self.sent, self.reach, self.idle)


class Beside:
    """What an answer means for others: here nothing."""

    def tell(self, message: dict[str, Any]) -> None:
        """Send the upstream a message that gets no answer."""

    def done(self) -> None:
        """The answer is read, or nobody reads it any longer."""


_NOBODY: Final = Beside()


class TranslatedAnswer(Answer):
    """An upstream's answer as the client's era has it. What cannot be read passes as it came: others judge it."""

    __slots__ = ("_beside", "_closed", "_holding", "_of", "_splitter", "_translation")

    def __init__(self, of: UpstreamAnswer, translation: Translation, holding: Holding, beside: Beside) -> None:
        super().__init__(of.status, [each for each in of.headers if each[0] not in _OF_BYTES])
        self._of = of
        self._translation = translation
        self._holding = holding
        self._beside = beside
        self._closed = False
        self._splitter = sse.EventSplitter()

    async def open(self) -> None:
        """Read a document, whose status may depend on it. A stream is read as it comes."""
        if kind_of(self._of) != b"text/event-stream":
            await self._document()

    async def read(self) -> bytes:
        return await (super().read() if self.pieces or self.ended else self._events())

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._holding.release()
        if not self.ended and (message := self._translation.cancelled()) is not None:
            self._beside.tell(message)
        self._of.close()
        self._beside.done()

    async def _document(self) -> None:
        pieces, size = [], 0
        while piece := await self._of.read():
            pieces.append(piece)
            size += len(piece)
            if size > MAX_DOCUMENT_BYTES:
                raise Denied("upstream_error", "the answer is too large to be translated")
            self._holding.hold(size)
        whole = b"".join(pieces)
        del pieces
        whole, self.status = self._whole(whole) if size <= _LARGE else await asyncio.to_thread(self._whole, whole)
        self.pieces, self.ended = [whole] if whole else [], True

    def _whole(self, whole: bytes) -> tuple[bytes, int]:
        document = json_object(whole)
        found = None if document is None else self._translation.message(document, self.status)
        if found is None:
            return whole, self.status
        return _dumped(found), self._translation.status(self.status, found)

    async def _events(self) -> bytes:
        while piece := await self._of.read():
            try:
                events = self._splitter.feed(piece)
            except sse.EventTooLargeError:
                raise Denied("upstream_error", "an event of the stream is too large to be translated") from None
            self._holding.hold(self._splitter.unfinished)
            if passed := b"".join([self._event(each) for each in events]):
                return passed
        self.ended = True
        self._holding.release()
        rest = self._splitter.take_rest()
        return self._event(rest) if rest else b""

    def _event(self, event: bytes) -> bytes:
        data = sse.data_of(event)
        document = json_object(data) if data.strip() else None
        if document is None:
            return event
        if (reply := self._translation.reply(document)) is not None:
            self._beside.tell(reply)
        found = self._translation.message(document, self.status)
        if found is None:
            return b""
        if found is document:
            return event
        lines = [line for line in event.splitlines() if line and not line.startswith(b"data")]
        return b"\n".join([*lines, b"data: " + _dumped(found), b"", b""])


def _dumped(found: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(found)
    except orjson.JSONEncodeError:
        raise Denied("upstream_error", "the answer is nested too deeply to be translated") from None


def kind_of(answer: Answer) -> bytes:
    """The media type of an answer without its parameters."""
    return answer.header(b"content-type").partition(b";")[0].strip().lower()


async def send(translation: Translation, request: Outgoing, link: Link) -> Answer:
    """The answer to a call in the client's era, from an upstream without sessions."""
    return await answered(translation, await link.send(translation.outgoing(request, None)), link)


async def answered(translation: Translation, answer: UpstreamAnswer, link: Link, beside: Beside = _NOBODY) -> Answer:
    """The same of what the upstream has sent."""
    translation.sent()
    found = TranslatedAnswer(answer, translation, link.holding, beside)
    try:
        await found.open()
    except BaseException:
        found.close()
        raise
    return found
