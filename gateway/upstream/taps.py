"""Taps: a response passes through one on its way to the client, chunk by chunk.

A tap says which bytes may be sent now, and reads what the provider reports (usage, model, failure, created state). It
holds back a stream's terminal event, or the last byte of any other body, until `finish`, which is called when the
closing record is durable. So a client that saw the end of an answer can rely on its record. Nothing else is held back
but the unfinished part of an event, which no client could use. The provider that makes the tap knows which event is
terminal and where usage stands. Specification: architecture.md, section 7, steps 8 and 9.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from gateway.call import Reference, Usage
from gateway.upstream import sse

# A larger answer is relayed all the same, but nothing is read from it.
MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
MAX_VALUES = 500_000
# Brackets and white space behind which an array may end. The text of an array between two elements is shorter.
_MAX_END = 1024 * 1024
# An event of so few bytes has no data, not even with `data:` and a blank line. A flood of them must cost little.
_NO_DATA = 7


class TooManyValuesError(ValueError):
    """A document has more than `MAX_VALUES` values."""


@dataclass(slots=True)
class ProviderReport:
    """The facts that a provider reports in its answer."""

    usage: Usage | None = None
    # Tokens of its output that no answer holds and that no limit of the request holds back: those of a prediction.
    rejected: int = 0
    # Something in its usage that should be a number of tokens is none; what it has told until now lacks one.
    unsound: bool = False
    lacking: bool = False
    # The seconds of sound, where it is not counted in tokens.
    seconds: int | None = None
    # The number of images that it made.
    images: int | None = None
    # The tier by which the provider says it served the call, such as `flex`, where that changes the price.
    service_tier: str | None = None
    # The place where it served it, where that changes the price.
    region: str | None = None
    # The uses of its own tools that it charges for by the use, by their names in prices.
    tools: dict[str, int] = field(default_factory=dict)
    # The parts of `usage` that it charges by themselves: calls of its own to a model, None for the one that answered.
    further: tuple[tuple[str | None, Usage], ...] = ()
    # The charge that it reports for the call, in nano-dollars.
    charged: int | None = None
    model: str | None = None
    # It reports a failure inside a stream, whose status was sent long ago.
    failed: bool = False
    # The newest event with usage may be the last of its stream: some servers send no terminal one.
    finished: bool = False
    # State that it keeps from now on, and that later calls can refer to.
    created: list[Reference] = field(default_factory=list)


class Event(enum.Enum):
    """The treatment of one event of a stream. `PERHAPS_LAST` is held back until another follows or the body ends."""

    SHOW = enum.auto()
    HIDE = enum.auto()
    END = enum.auto()
    PERHAPS_LAST = enum.auto()


ReadDocument = Callable[[dict[str, Any], ProviderReport], None]
ReadEvent = Callable[[bytes, ProviderReport], Event]
Silent = Callable[[bytes, ProviderReport], bool]
"""True if `ReadEvent` would show every event in these bytes and read nothing from them."""


def nothing(document: dict[str, Any], report: ProviderReport) -> None:
    """Read a document that reports nothing."""


class Tap(Protocol):
    """One response on its way through. `feed` may raise `sse.EventTooLargeError`."""

    report: ProviderReport
    # The head is sent before the body begins, and the body may become shorter.
    streaming: bool
    # The answer is complete: a stream's terminal event was seen, a document was read to its end.
    ended: bool

    @property
    def kept(self) -> int:
        """The number of bytes of the answer that it holds in memory."""
        ...

    def forget(self) -> bool:
        """Hold nothing that is only there to be read, and read nothing from it; false if all of it must be sent."""
        ...

    def feed(self, chunk: bytes, last: bool) -> bytes:
        """Take `chunk`; `last` if it is known that none follows. Returns what may be sent now."""
        ...

    def finish(self) -> bytes:
        """The bytes that were held back. Send them once the closing record is durable."""
        ...


class DocumentTap:
    """A response of one document: holds back its last byte, or the whole of a body that came in one piece."""

    streaming = False

    def __init__(self, read: ReadDocument, *, expected: bool = False, opaque: bool = False) -> None:
        """`expected`: the upstream announces JSON, so that an unreadable document was cut off.

        `opaque`: nothing is read from the body, such as an image or a file.
        """
        self._read = read
        self._expected = expected
        self._copy: list[bytes] = []
        self._whole = not opaque  # true if the copy has everything until now
        self.kept = 0
        self._held = b""
        self.report = ProviderReport()
        self.ended = False

    def forget(self) -> bool:
        self._copy.clear()
        self._whole, self.kept = False, 0
        return True

    def feed(self, chunk: bytes, last: bool) -> bytes:
        if not chunk:
            return b""
        self._keep(chunk)
        if last:
            now, self._held = self._held, chunk
            return now
        now, self._held = self._held + chunk[:-1], chunk[-1:]
        return now

    def finish(self) -> bytes:
        self.ended = not self._expected or not self._whole
        try:
            document = _load(b"".join(self._copy))
        except TooManyValuesError:
            document = None
        except ValueError:
            return self._held
        finally:
            self._copy.clear()
        self.ended = True
        self._read_all(document)
        return self._held

    def _keep(self, chunk: bytes) -> None:
        if self._whole:
            self._copy.append(chunk)
            self.kept += len(chunk)
            if self.kept > MAX_DOCUMENT_BYTES:
                self.forget()

    def _read_all(self, document: object) -> None:
        if isinstance(document, dict):
            self._read(document, self.report)


class ArrayTap(DocumentTap):
    """One JSON array whose elements arrive as they are made: holds back the bracket that may be its end.

    Another document, such as an error, passes as it does elsewhere.
    """

    def __init__(self, read: ReadDocument, *, expected: bool = False) -> None:
        super().__init__(read, expected=expected)
        self._is_array: bool | None = None  # not known before its first character
        # The bytes that may be the end of the array; grows in place.
        self._end = bytearray()

    def feed(self, chunk: bytes, last: bool) -> bytes:
        if self._is_array is None and (begun := chunk.lstrip()):
            self._is_array = begun.startswith(b"[")
        if last or not self._is_array:
            before = bytes(self._end)
            self._end.clear()
            return before + super().feed(chunk, last)
        self._keep(chunk)
        shown = len(chunk.rstrip(b"] \t\r\n"))
        if shown:
            now, self._end = bytes(self._end) + chunk[:shown], bytearray(chunk[shown:])
            return now
        self._end += chunk
        if len(self._end) > _MAX_END:
            raise sse.EventTooLargeError
        return b""

    def finish(self) -> bytes:
        return bytes(self._end) + super().finish()

    def _read_all(self, document: object) -> None:
        for element in document if isinstance(document, list) else [document]:
            super()._read_all(element)


class EventTap:
    """A stream of events: holds back the terminal one and all that follows it.

    If a stream has no terminal event but ends with its body, the newest event that may be its last is held back.
    """

    streaming = True

    def __init__(self, read: ReadEvent, silent: Silent | None = None) -> None:
        """With `silent`, events that say nothing are passed on together, however many came in one piece."""
        self._read = read
        self._silent = silent
        self._splitter = sse.EventSplitter()
        self._held = bytearray()  # grows in place: a million comments may follow what may be the last event
        self.report = ProviderReport()
        self.ended = False

    @property
    def kept(self) -> int:
        return self._splitter.unfinished + len(self._held)

    def forget(self) -> bool:
        return False

    def feed(self, chunk: bytes, last: bool) -> bytes:
        if self.ended:
            self._held += chunk
            return b""
        if self._silent is not None and not self._held:
            passed = self._splitter.feed_whole(chunk, self._all_silent)
            if passed is not None:
                return passed
        events = self._splitter.feed(chunk)
        now: list[bytes] = []
        for position, event in enumerate(events):
            found = self._read(event, self.report) if len(event) > _NO_DATA else Event.SHOW
            if found is Event.END:
                self.ended = True
                self._held += b"".join(events[position:]) + self._splitter.take_rest()
                break
            if found is Event.HIDE:
                continue
            if self._held:
                if not sse.data_of(event):
                    self._held += event  # a comment does not show that the stream goes on
                    if len(self._held) > sse.MAX_EVENT_BYTES:
                        raise sse.EventTooLargeError
                    continue
                now.append(bytes(self._held))
                self._held.clear()
            if found is Event.SHOW:
                now.append(event)
            else:
                self._held += event
        return b"".join(now)

    def _all_silent(self, events: bytes) -> bool:
        assert self._silent is not None
        return self._silent(events, self.report)

    def finish(self) -> bytes:
        # A stream may end without the blank line that ends its last event.
        rest = self._splitter.rest
        if self.ended:
            return bytes(self._held) + rest
        # The event that is still held back was the last one, unless another has begun.
        begun = bool(sse.data_of(rest))
        self.ended = bool(self._held) and not begun
        self.report.finished = self.report.finished and not begun
        if rest:
            found = self._read(rest, self.report)
            self.ended = self.ended or found in (Event.END, Event.PERHAPS_LAST)
            rest = b"" if found is Event.HIDE else rest
        # A failure completes no answer.
        self.ended = (self.ended or self.report.finished) and not self.report.failed
        return bytes(self._held) + rest


def json_object(data: bytes) -> dict[str, Any] | None:
    """The JSON object in `data`; None if there is none, or more values than are worth reading."""
    try:
        document = _load(data)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _load(data: bytes) -> Any:
    """Parse what an upstream sent; `ValueError` if it is no JSON, or would stop the event loop for long."""
    if len(data) > MAX_VALUES and data.count(b",") + data.count(b"[") + data.count(b"{") > MAX_VALUES:
        raise TooManyValuesError
    return orjson.loads(data.removeprefix(sse.BYTE_ORDER_MARK))
