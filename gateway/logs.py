"""Log lines on standard error: for people on a terminal, otherwise one JSON object per line.

All of a message may come from a client, so it is escaped (a line stays a line, and no terminal is
steered) and anything that looks like one of the gateway's keys is cut to its public part.
Specification: architecture.md, section 16.
"""

from __future__ import annotations

import functools
import json
import logging
import re
import sys
import time

_KEY = re.compile(r"(aig_(?:sk|op)_[0-9A-Za-z]{12})_[0-9A-Za-z]+")
# Control characters, other ends of lines, and what turns the direction of a text around.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# uvicorn reports connections that the data plane closes on purpose, and asyncio warns of writing to them. An error that
# asyncio reports is an exception that nobody else sees. alembic tells which plugins it has.
_LEVELS = {
    "uvicorn.error": logging.CRITICAL,
    "uvicorn.access": logging.CRITICAL,
    "asyncio": logging.ERROR,
    "alembic": logging.WARNING,
}


def configure(process: str) -> None:
    """Set up logging for this process; `process` names it in every line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Terminal(process) if sys.stderr.isatty() else _Json(process))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for name, level in _LEVELS.items():
        logging.getLogger(name).setLevel(level)


def without_keys(text: str) -> str:
    """The text with every key of this gateway cut to its public part."""
    return _KEY.sub(r"\1_…", text)


def clean(text: str) -> str:
    """Text from anywhere as one harmless line without secrets."""
    text = without_keys(text)
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def stamp(seconds: float) -> str:
    """A time as it stands in a line: UTC, to the millisecond."""
    return f"{_second(int(seconds))}.{int(seconds % 1 * 1000):03d}Z"


@functools.lru_cache(maxsize=8)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


@functools.lru_cache(maxsize=8)
def clock(seconds: int) -> str:
    """A time as a person on a terminal reads it."""
    return time.strftime("%H:%M:%S", time.localtime(seconds))


class _Terminal(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        text = (
            f"{clock(int(record.created))} {record.levelname.lower():7} {self._process}: {clean(record.getMessage())}"
        )
        if record.exc_info:
            text += "".join(f"\n{clean(line)}" for line in self.formatException(record.exc_info).splitlines())
        return text


class _Json(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        level, more = record.levelname.lower(), {}
        if record.exc_info:
            more["traceback"] = without_keys(self.formatException(record.exc_info))
        return json_line(self._process, record.getMessage(), record.created, level, record.name, **more)


def json_line(
    process: str, message: str, seconds: float | None = None, level: str = "info", logger: str = "gateway", **more: str
) -> str:
    """A line for programs; `more` are members of a few lines only."""
    line = {
        "time": stamp(time.time() if seconds is None else seconds),
        "level": level,
        "process": process,
        "logger": logger,
        "message": clean(message),
        **more,
    }
    return json.dumps(line, ensure_ascii=False)
