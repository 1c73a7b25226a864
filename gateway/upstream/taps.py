"""Taps: what a response passes through on its way to the client, chunk by chunk.

A tap answers two questions while the bytes go by: which of them may be sent now, and what did the provider report
(usage, model). What `feed` holds back comes out of `finish`, after the closing record is durable: a stream's terminal
event, or the last byte of any other body. So a client that saw the end of an answer can rely on its record.
Nothing else is held, except the unfinished part of an event, which no client could use. Which event is terminal and
where usage stands is said by the provider that makes the tap.
Specification: docs/architecture.md, section 7, steps 8 and 9.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import orjson

from gateway.call import Usage
from gateway.upstream import sse

# A larger answer is relayed all the same, but its usage is not read.
MAX_DOCUMENT_BYTES = 16 * 1024 * 1024

ReadUsage = Callable[[dict[str, Any]], Usage | None]


class Tap(Protocol):
    """One response on its way through. `feed` may raise `sse.EventTooLargeError`."""

    usage: Usage | None
    model: str | None
    # The provider said inside its answer that it failed, as streams do whose status was sent long ago.
    failed: bool
    # The terminal event was seen: nothing of interest follows.
    ended: bool

    def feed(self, chunk: bytes, last: bool) -> bytes:
        """Take `chunk`; `last` if it is known that none follows. Returns what may be sent now."""
        ...

    def finish(self) -> bytes:
        """What was held back, to be sent once the closing record is durable."""
        ...


class DocumentTap:
    """A response of one document: holds back its last byte, or the whole of a body that came in one piece."""

    def __init__(self, read_usage: ReadUsage) -> None:
        self._read_usage = read_usage
        self._copy: list[bytes] = []
        self._size = 0
        self._held = b""
        self.usage: Usage | None = None
        self.model: str | None = None
        self.failed = False
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
        document = _object(b"".join(self._copy))
        if document is not None:
            self.usage = self._read_usage(document)
            self.model = _text(document.get("model"))
        return self._held


class EventTap:
    """A stream of events: holds back the terminal one and all that follows it.

    `hide_usage` removes exactly the events that carry nothing but usage (`is_usage_only`): the gateway asked for them,
    the client did not.
    """

    def __init__(
        self,
        *,
        terminal: bytes,
        read_usage: ReadUsage,
        is_usage_only: Callable[[dict[str, Any]], bool],
        hide_usage: bool = False,
    ) -> None:
        self._terminal = terminal
        self._read_usage = read_usage
        self._is_usage_only = is_usage_only
        self._hide_usage = hide_usage
        self._splitter = sse.EventSplitter()
        self._held = b""
        self.usage: Usage | None = None
        self.model: str | None = None
        self.failed = False
        self.ended = False

    def feed(self, chunk: bytes, last: bool) -> bytes:
        events = self._splitter.feed(chunk)
        if self.ended:
            self._held += b"".join(events)
            return b""
        now: list[bytes] = []
        for position, event in enumerate(events):
            if self._is_terminal(event):
                self.ended = True
                self._held = b"".join(events[position:])
                break
            if self._keep(event):
                now.append(event)
        return b"".join(now)

    def finish(self) -> bytes:
        # A stream may end without the blank line that would have ended its last event.
        rest = self._splitter.rest
        if rest and not self.ended and self._is_terminal(rest):
            self.ended = True
        if rest and not self.ended and not self._keep(rest):
            rest = b""
        return self._held + rest

    def _is_terminal(self, event: bytes) -> bool:
        # As SDKs see it: for them a stream has ended with whatever begins like that.
        return sse.data_of(event).lstrip().startswith(self._terminal)

    def _keep(self, event: bytes) -> bool:
        """Read what the event reports; False if the client must not see it."""
        # Most events report nothing: look before parsing.
        reports = event.count(b'"usage"') > event.count(b'"usage":null')
        if not reports and self.model is not None and b'"error"' not in event:
            return True
        document = _object(sse.data_of(event))
        if document is None:
            return True
        if self.model is None:
            self.model = _text(document.get("model"))
        if document.get("error"):
            self.failed = True
        usage = self._read_usage(document)
        if usage is None:
            return True
        self.usage = usage
        return not (self._hide_usage and self._is_usage_only(document))


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def _text(value: object) -> str | None:
    return value[:256] if isinstance(value, str) else None
