"""Server-sent events, cut out of a byte stream without changing a byte (the WHATWG HTML standard, section 9.2).

An event ends at a blank line; lines end with LF, CRLF or CR. This file only finds the boundaries and reads the `data`
field. Providers know which event ends a stream.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# Atomic groups: without them CRLF would also match as CR followed by LF, an empty line that is not there.
_BLANK_LINE = re.compile(rb"(?>\r\n|\r|\n)(?>\r\n|\r|\n)")

# Some servers begin a document or a stream with it; readers of JSON and of events skip it.
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# An event can hold a large image. The sum of what a worker holds has a limit of its own.
MAX_EVENT_BYTES = 32 * 1024 * 1024

# Providers' events have two or three lines. Each line is an object of its own while an event is read, so that millions
# of short ones would take seconds and twenty times their size.
MAX_EVENT_LINES = 10_000

# `feed_whole` copies an unfinished event with each chunk that follows: only one that is as short as this.
_SHORT = 4 * 1024


class EventTooLargeError(Exception):
    """An upstream sent more than `MAX_EVENT_BYTES` or `MAX_EVENT_LINES` without ending an event."""


class EventSplitter:
    """Turns chunks into whole events (their bytes, terminator included); `rest` is the unfinished event.

    All events and the final `rest`, joined together, are exactly the bytes that were fed.
    """

    __slots__ = ("_buffer", "_lines", "_searched")

    def __init__(self) -> None:
        self._buffer = bytearray()  # grows in place: an event in a million pieces costs no more than one in a thousand
        self._searched = 0
        self._lines = 0  # at least those of the unfinished event: CRLF may count as two

    @property
    def rest(self) -> bytes:
        return bytes(self._buffer)

    def take_rest(self) -> bytes:
        """The unfinished event, which is over: what follows is no part of it."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._searched = self._lines = 0
        return rest

    @property
    def unfinished(self) -> int:
        """The number of bytes of `rest`."""
        return len(self._buffer)

    def feed_whole(self, chunk: bytes, silent: Callable[[bytes], bool]) -> bytes | None:
        """As `feed`, but all events in one piece, if `silent` says of it that nobody need look at each of them.

        None, and nothing is taken, if `silent` says no, no event ends here, or lines do not plainly end with LF.
        """
        if len(self._buffer) > _SHORT:
            return None
        data = bytes(self._buffer) + chunk if self._buffer else chunk
        end = data.rfind(b"\n\n") + 2
        if end < 2 or data.find(b"\r") >= 0 or not silent(events := data[:end]):
            return None
        self._buffer[:] = data[end:]
        self._searched = max(0, len(self._buffer) - 3)
        self._lines = self._buffer.count(b"\n")
        return events

    def feed(self, chunk: bytes) -> list[bytes]:
        buffer, before = self._buffer, len(self._buffer)
        if not buffer and chunk.find(b"\n\n") == len(chunk) - 2 >= 0 and chunk.find(b"\r") < 0:
            return [chunk]  # one whole event, as most pieces of most streams are
        data: bytes | bytearray = chunk
        if buffer:
            buffer += chunk
            data = buffer
        events: list[bytes] = []
        start, search = 0, self._searched
        # The part that was searched before holds no end of an event, so its line ends do not matter any more.
        if data.find(b"\r", search) < 0:
            # Nearly every stream: only LF ends lines, and finding two of them is much quicker than the expression.
            while (found := data.find(b"\n\n", search)) >= 0:
                events.append(_cut(data, start, found + 2))
                start = search = found + 2
        else:
            while (match := _BLANK_LINE.search(data, search)) is not None:
                events.append(_cut(data, start, match.end()))
                start = search = match.end()
        if events:
            before = self._lines = 0
        if data is buffer:
            del buffer[:start]
        else:
            buffer += data[start:]
        self._lines += buffer.count(b"\n", before) + buffer.count(b"\r", before)
        # A terminator has at most four bytes, so only the last three may be the beginning of one.
        self._searched = max(0, len(buffer) - 3)
        if len(buffer) > MAX_EVENT_BYTES or self._lines > 2 * MAX_EVENT_LINES:
            raise EventTooLargeError
        return events


def _cut(data: bytes | bytearray, begin: int, end: int) -> bytes:
    """The bytes that stand there, copied once."""
    with memoryview(data) as view:
        return bytes(view[begin:end])


def data_of(event: bytes) -> bytes:
    """The `data` field of one event: its lines joined with LF; empty for comments and events without data."""
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2 and b"\r" not in event:
        return event[6:-2]  # by far the most frequent shape
    every = event.removeprefix(BYTE_ORDER_MARK).splitlines()  # of bytes: LF, CRLF and CR end them
    lines = (line for line in every if line.startswith(b"data:"))
    return b"\n".join(line[6:] if line.startswith(b"data: ") else line[5:] for line in lines)
