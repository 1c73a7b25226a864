"""Sends a call whose upstream speaks another era of its protocol, so that to everybody else it speaks the client's.

A document is held until it is whole, a stream event by event. What is held counts as any other answer that is.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

import orjson

from gateway.errors import Denied
from gateway.outbound.client import Outgoing
from gateway.outbound.connection import Answer, UpstreamAnswer
from gateway.upstream import sse
from gateway.upstream.taps import MAX_DOCUMENT_BYTES, json_object

_LARGE: Final = 64 * 1024
"""Larger documents are read beside the event loop."""
# They say something of bytes that are others now.
_OF_BYTES: Final = frozenset({b"content-length", b"content-md5", b"etag", b"digest", b"content-digest", b"repr-digest"})


class Translation(abc.ABC):
    """The translation of one call: plain functions, which know nothing of connections."""

    @abc.abstractmethod
    def told(self) -> Answer | None:
        """The answer to a message that the upstream is not sent; None if it is."""

    @abc.abstractmethod
    def outgoing(self, request: Outgoing) -> Outgoing:
        """The request as the upstream's era has it."""

    @abc.abstractmethod
    def status(self, status: int) -> int:
        """The status of a JSON document as the client's era has it."""

    @abc.abstractmethod
    def message(self, found: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """A message from the upstream as the client's era has it; None if the client gets nothing of it."""


class Holding(Protocol):
    """The bytes of an answer that are held, of all that may be."""

    def hold(self, size: int) -> None:
        """Hold so many from now on; `Denied` if there are not so many left."""
        ...

    def release(self) -> None:
        """Hold none."""
        ...


Send = Callable[[Outgoing], Awaitable[UpstreamAnswer]]


class TranslatedAnswer(Answer):
    """An upstream's answer as the client's era has it. What cannot be read passes as it came: others judge it."""

    __slots__ = ("_holding", "_of", "_splitter", "_streams", "_translation")

    def __init__(self, of: UpstreamAnswer, translation: Translation, holding: Holding) -> None:
        kind = of.header(b"content-type").partition(b";")[0].strip().lower()
        status = translation.status(of.status) if kind == b"application/json" else of.status
        super().__init__(status, [each for each in of.headers if each[0] not in _OF_BYTES])
        self._of = of
        self._translation = translation
        self._holding = holding
        self._streams = kind == b"text/event-stream"
        self._splitter = sse.EventSplitter()

    async def read(self) -> bytes:
        if self.pieces or self.ended:
            return await super().read()
        return await (self._events() if self._streams else self._document())

    def close(self) -> None:
        self._holding.release()
        self._of.close()

    async def _document(self) -> bytes:
        pieces, size = [], 0
        while piece := await self._of.read():
            pieces.append(piece)
            size += len(piece)
            if size > MAX_DOCUMENT_BYTES:
                raise Denied("upstream_error", "the answer is too large to be translated")
            self._holding.hold(size)
        self.ended = True
        whole = b"".join(pieces)
        del pieces
        found = self._whole(whole) if size <= _LARGE else await asyncio.to_thread(self._whole, whole)
        self._holding.release()
        return found

    def _whole(self, whole: bytes) -> bytes:
        document = json_object(whole)
        found = None if document is None else self._translation.message(document)
        return whole if found is None else orjson.dumps(found)

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
        found = self._translation.message(document)
        if found is None:
            return b""
        if found is document:
            return event
        lines = [line for line in event.splitlines() if line and not line.startswith(b"data")]
        return b"\n".join([*lines, b"data: " + orjson.dumps(found), b"", b""])


async def send(translation: Translation, request: Outgoing, over: Send, holding: Holding) -> Answer:
    """The answer to a call in the client's era; `over` sends a request to the upstream."""
    told = translation.told()
    if told is not None:
        request.take_body()
        return told
    return TranslatedAnswer(await over(translation.outgoing(request)), translation, holding)
