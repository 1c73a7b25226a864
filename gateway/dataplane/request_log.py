"""A line for each request, on standard error: columns for a person on a terminal, otherwise one JSON object.

It is no record: the audit log is. It is there so that the person who started the gateway sees that it works, and what
happens. So nothing may wait for it: a request leaves a few values in a list, and a thread of this class's own formats
and writes what has gathered since the last time. A terminal that is stopped stops that thread alone; lines beyond
`_MAX_WAITING` are then counted instead of kept.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple, Protocol

import orjson

from gateway.dataplane.phases import Observed
from gateway.logs import clean, clock, stamp
from gateway.usage.prices import dollars

SECONDS = 0.1
"""The time that lines gather before they are written."""

CLOSING_SECONDS = 5.0
"""The time that the end of a worker waits for somebody to take its last lines."""

_MAX_WAITING = 2000
# A write of at most this many bytes to a pipe is one piece, whatever other processes write there (PIPE_BUF).
_PIECE = 4096
_MAX_TEXT = 128
_GREEN, _YELLOW, _RED, _PLAIN = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[0m"


class Line(NamedTuple):
    """The fields of one line. `request` is the method and the path, `decision` empty if none was recorded."""

    time: float
    agent: str | None
    request: str
    model: str | None
    outcome: str
    status: int | None
    input_tokens: int | None
    output_tokens: int | None
    cost_nanousd: int | None
    milliseconds: int
    decision: str

    @property
    def subject(self) -> str:
        """The model that was asked, or the request where there is none."""
        return self.model or self.request


class RequestLog:
    """The lines of one worker. `add` belongs to its event loop's thread."""

    def __init__(self, process: str, descriptor: int | None = None) -> None:
        self._descriptor = sys.stderr.fileno() if descriptor is None else descriptor
        terminal = os.isatty(self._descriptor)
        self._form: _Form = _Columns("NO_COLOR" not in os.environ) if terminal else _Json(process)
        self._lines: list[Line] = []
        self._lost = 0
        self._timer: asyncio.TimerHandle | None = None
        self._batches: queue.SimpleQueue[tuple[list[Line], int] | None] = queue.SimpleQueue()
        self._writing = False  # the thread has a batch
        self._thread = threading.Thread(target=self._write_batches, name="request log", daemon=True)
        self._thread.start()

    def add(self, observed: Observed, request: str, began_ns: int) -> None:
        """Note that a request has ended; `request` is its method and path, `began_ns` by the monotonic clock."""
        if len(self._lines) < _MAX_WAITING:
            self._lines.append(_line(observed, request, began_ns))
        else:
            self._lost += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SECONDS, self._hand_over)

    def close(self) -> None:
        """Write what is left, unless nobody takes it."""
        if self._timer is not None:
            self._timer.cancel()
        self._batches.put((self._lines, self._lost))
        self._batches.put(None)
        self._thread.join(CLOSING_SECONDS)

    def _hand_over(self) -> None:
        self._timer = None
        if self._writing:
            self._timer = asyncio.get_running_loop().call_later(SECONDS, self._hand_over)
            return
        self._writing = True
        self._batches.put((self._lines, self._lost))
        self._lines, self._lost = [], 0

    def _write_batches(self) -> None:
        while (batch := self._batches.get()) is not None:
            lines, lost = batch
            texts = [self._form.line(line) for line in lines]
            if lost:
                texts.append(self._form.remark(f"{lost} more requests"))
            for piece in _pieces(texts):
                with suppress(OSError):  # the log's reader may have gone
                    os.write(self._descriptor, piece)
            self._writing = False


class _Form(Protocol):
    """The form of a line."""

    def line(self, line: Line) -> str: ...

    def remark(self, text: str) -> str: ...


class _Json:
    def __init__(self, process: str) -> None:
        self._process = process

    def line(self, line: Line) -> str:
        document = self._head(line.time, f"{line.agent or '-'} {line.subject}: {line.outcome}")
        document["agent"] = line.agent
        document["request"] = line.request
        document["model"] = line.model
        document["outcome"] = line.outcome
        document["status"] = line.status
        document["input_tokens"] = line.input_tokens
        document["output_tokens"] = line.output_tokens
        document["cost_nanousd"] = line.cost_nanousd
        document["milliseconds"] = line.milliseconds
        document["decision"] = line.decision or None
        return orjson.dumps(document).decode()

    def remark(self, text: str) -> str:
        return orjson.dumps(self._head(time.time(), text)).decode()

    def _head(self, when: float, message: str) -> dict[str, str | int | None]:
        return {
            "time": stamp(when),
            "level": "info",
            "process": self._process,
            "logger": "gateway.requests",
            "message": message,
        }


class _Columns:
    def __init__(self, colours: bool) -> None:
        self._colours = colours

    def line(self, line: Line) -> str:
        tokens = "" if line.input_tokens is None else f"{line.input_tokens}+{line.output_tokens} tokens"
        if line.cost_nanousd is not None:
            tokens += f" {dollars(line.cost_nanousd)}"
        outcome = self._coloured(f"{line.outcome:20}", line)
        status = "" if line.status is None else line.status
        text = f"{clock(int(line.time))} {line.agent or '-':16} {line.subject:26} {outcome} {status:3} {tokens:>26}"
        # The decision's id is for looking up why.
        return f"{text} {line.milliseconds:6} ms  {'' if line.outcome == 'ok' else line.decision}".rstrip()

    def remark(self, text: str) -> str:
        return f"{clock(int(time.time()))} … {text}"

    def _coloured(self, text: str, line: Line) -> str:
        if not self._colours:
            return text
        denied = line.status is not None and line.status < 500
        return f"{_GREEN if line.outcome == 'ok' else _YELLOW if denied else _RED}{text}{_PLAIN}"


def _line(observed: Observed, request: str, began_ns: int) -> Line:
    usage, principal, model = observed.report.usage, observed.principal, observed.model
    # By position, which is faster: this is done for each request.
    return Line(
        time.time(),
        None if principal is None else principal.name,
        _short(request),
        None if model is None else _short(model),
        observed.outcome,
        observed.status,
        None if usage is None else usage.input,
        None if usage is None else usage.output,
        observed.cost_nanousd,
        (time.monotonic_ns() - began_ns) // 1_000_000,
        observed.decision_id if observed.recorded else "",
    )


def _short(text: str) -> str:
    """Text of a client as a short and harmless one."""
    text = text[:_MAX_TEXT]
    # Nearly every text is harmless as it is, and this is the event loop's time.
    return text if text.isprintable() and "aig_" not in text else clean(text)


def _pieces(texts: Iterable[str]) -> Iterator[bytes]:
    """The texts as lines, as many in a piece as fit: a line that is split could be torn apart by another process's."""
    piece = b""
    for text in texts:
        line = text.encode("utf-8", "replace") + b"\n"
        if piece and len(piece) + len(line) > _PIECE:
            yield piece
            piece = b""
        piece += line
    if piece:
        yield piece
