"""Taps: what a response passes through on its way to the client, chunk by chunk.

A tap answers two questions while the bytes go by: which of them may be sent now, and what did the provider report
(usage, model, failure, created state). What `feed` holds back comes out of `finish`, after the closing record is
durable: a stream's terminal event, or the last byte of any other body. So a client that saw the end of an answer can
rely on its record. Nothing else is held, except the unfinished part of an event, which no client could use. Which event
is terminal and where usage stands is said by the provider that makes the tap.
Specification: docs/architecture.md, section 7, steps 8 and 9.
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


@dataclass(slots=True)
class Report:
    """What a provider says in its answer about the answer."""

    usage: Usage | None = None
    model: str | None = None
    # It says that it failed, as streams do whose status was sent long ago.
    failed: bool = False
    # What it keeps from now on and later calls can refer to.
    created: list[Reference] = field(default_factory=list)


class Event(enum.Enum):
    """What happens to one event of a stream."""

    SHOW = enum.auto()
    HIDE = enum.auto()
    END = enum.auto()


ReadDocument = Callable[[dict[str, Any], Report], None]
ReadEvent = Callable[[bytes, Report], Event]


class Tap(Protocol):
    """One response on its way through. `feed` may raise `sse.EventTooLargeError`."""

    report: Report
    # The head goes out before the body has begun, and the body may get shorter on its way.
    streaming: bool
    # The provider has said all: a stream's terminal event was seen, a document could be read to its end.
    ended: bool

    def feed(self, chunk: bytes, last: bool) -> bytes:
        """Take `chunk`; `last` if it is known that none follows. Returns what may be sent now."""
        ...

    def finish(self) -> bytes:
        """What was held back, to be sent once the closing record is durable."""
        ...


class DocumentTap:
    """A response of one document: holds back its last byte, or the whole of a body that came in one piece."""

    streaming = False

    def __init__(self, read: ReadDocument, *, expected: bool = False) -> None:
        """`expected`: the upstream says that this is JSON, so that anything else is an answer that was cut off."""
        self._read = read
        self._expected = expected
        self._copy: list[bytes] = []
        self._size = 0
        self._held = b""
        self.report = Report()
        self.ended = False

    def feed(self, chunk: bytes, last: bool) -> bytes:
        if not chunk:
            return b""
        self._size += len(chunk)
        if self._size <= MAX_DOCUMENT_BYTES:
            self._copy.append(chunk)
        else:
            self._copy.clear()
        if last:
            now, self._held = self._held, chunk
            return now
        now, self._held = self._held + chunk[:-1], chunk[-1:]
        return now

    def finish(self) -> bytes:
        self.ended = not self._expected or self._size > MAX_DOCUMENT_BYTES
        try:
            document = orjson.loads(b"".join(self._copy))
        except orjson.JSONDecodeError:
            return self._held
        self.ended = True
        if isinstance(document, dict):
            self._read(document, self.report)
        return self._held


class EventTap:
    """A stream of events: holds back the terminal one and all that follows it."""

    streaming = True

    def __init__(self, read: ReadEvent) -> None:
        self._read = read
        self._splitter = sse.EventSplitter()
        self._held = b""
        self.report = Report()
        self.ended = False

    def feed(self, chunk: bytes, last: bool) -> bytes:
        events = self._splitter.feed(chunk)
        if self.ended:
            self._held += b"".join(events)
            return b""
        now: list[bytes] = []
        for position, event in enumerate(events):
            found = self._read(event, self.report)
            if found is Event.END:
                self.ended = True
                self._held = b"".join(events[position:])
                break
            if found is Event.SHOW:
                now.append(event)
        return b"".join(now)

    def finish(self) -> bytes:
        # A stream may end without the blank line that would have ended its last event.
        rest = self._splitter.rest
        if rest and not self.ended:
            found = self._read(rest, self.report)
            self.ended = found is Event.END
            rest = b"" if found is Event.HIDE else rest
        return self._held + rest


def json_object(data: bytes) -> dict[str, Any] | None:
    """The JSON object in `data`; None for whatever else is there."""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None
