"""What Anthropic reports in its answers: usage, model, failure, kept state, a stream's end.

Usage: https://docs.claude.com/en/api/messages; events: https://docs.claude.com/en/docs/build-with-claude/streaming.
"""

from __future__ import annotations

from typing import Any

from gateway.call import Usage
from gateway.upstream import sse
from gateway.upstream.providers.reported import count, keep, text
from gateway.upstream.taps import Event, Report, json_object

_COUNTED = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_HOUR = "ephemeral_1h_input_tokens"  # in `cache_creation`

# In events that report something: their types, and a member. All others pass without a look inside.
_MARKS = (b"message_start", b"message_delta", b"message_stop", b"error", b"file_id")


class Answers:
    """Reads the answers to one call. `reports`: the call generates something, so usage and model are reported.

    `stores`: the provider keeps the message, so that later calls can name it.
    """

    def __init__(self, *, reports: bool, stores: bool) -> None:
        self._reports = reports
        self._stores = stores
        self._usage: dict[str, int] = {}
        # By the price, this is a tier; `service_tier` says whose capacity was used.
        self._speed = ""

    def document(self, document: dict[str, Any], report: Report) -> None:
        """Read an answer that is one document, or the message at the start of a stream."""
        if not self._reports:
            return
        if report.model is None:
            report.model = text(document.get("model"))
        if self._stores:
            keep(report, "message", document.get("id"))
        self._container(document, report)
        self._read_usage(document.get("usage"), report)
        content = document.get("content")
        for block in content if isinstance(content, list) else ():
            _read_files(block, report)

    def silent(self, events: bytes, report: Report) -> bool:
        """Whether nothing is read from any of these events, and none is the last one."""
        return not any(mark in events for mark in _MARKS)

    def event(self, event: bytes, report: Report) -> Event:
        """Read one event of a stream. What its `event` line and its data say is the same."""
        if self.silent(event, report):
            return Event.SHOW
        document = json_object(sse.data_of(event))
        if document is None:
            return Event.SHOW
        kind = document.get("type")
        if kind == "message_stop":
            return Event.END
        if kind == "message_start" and isinstance(message := document.get("message"), dict):
            self.document(message, report)
        elif kind == "message_delta":
            self._container(document.get("delta"), report)
            self._read_usage(document.get("usage"), report)
        elif kind == "content_block_start":
            _read_files(document.get("content_block"), report)
        elif kind == "error":
            report.failed = True
            return Event.PERHAPS_LAST  # SDKs read no further
        return Event.SHOW

    def _container(self, holder: object, report: Report) -> None:
        container = holder.get("container") if isinstance(holder, dict) else None
        if isinstance(container, dict):
            keep(report, "container", container.get("id"))

    def _read_usage(self, usage: object, report: Report) -> None:
        """Later values win: a stream reports what it knows at its start, and all of it at its end."""
        if not isinstance(usage, dict):
            return
        # Nothing else is remembered: a stream may send other names without end.
        found = {name: count(usage, name) for name in _COUNTED} | {_HOUR: count(usage.get("cache_creation"), _HOUR)}
        self._usage.update({name: value for name, value in found.items() if value is not None})
        if (speed := text(usage.get("speed"))) and speed != "standard":
            self._speed = speed
        report.service_tier = self._speed or text(usage.get("service_tier")) or report.service_tier
        known = self._usage
        if "input_tokens" not in known:
            return
        read, written = known.get("cache_read_input_tokens", 0), known.get("cache_creation_input_tokens", 0)
        report.usage = Usage(
            input=known["input_tokens"] + read + written,
            output=known.get("output_tokens", 0),
            cached=read,
            cache_write=written,
            cache_write_1h=known.get(_HOUR, 0),
        )


def _read_files(block: object, report: Report) -> None:
    """Files that code of the provider has written: later calls can name them."""
    waiting = [block]  # instead of recursion: what comes may be nested more deeply than calls can be
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            keep(report, "file", each.get("file_id"))
            content = each.get("content")
            waiting += reversed(content) if isinstance(content, list) else [content]
