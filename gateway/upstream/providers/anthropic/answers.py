"""Reads Anthropic's answers: usage, model, failure, kept state, a stream's end.

Usage: https://docs.claude.com/en/api/messages; events: https://docs.claude.com/en/docs/build-with-claude/streaming.
"""

from __future__ import annotations

from typing import Any

from gateway.call import Usage
from gateway.upstream import sse
from gateway.upstream.providers.reported import check, count, keep, text, used
from gateway.upstream.taps import Event, ProviderReport, json_object

_COUNTED = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_HOUR = "ephemeral_1h_input_tokens"  # in `cache_creation`
_THOUGHTS = "thinking_tokens"  # in `output_tokens_details`

# Iterations whose tokens are in the numbers beside them, unless they are attempts by another model than the last. Those
# of a compaction and of an advisor are not; what else there may be is charged by itself, too.
_ATTEMPTS = frozenset({"message", "fallback_message"})
_MOST_ITERATIONS = 1000

# The places where tokens cost what they usually do.
_ANYWHERE = frozenset({"", "global", "not_available"})

# Tools that run in a container, which is charged by its time unless they serve a search or a page that was fetched.
_CODE = frozenset({"code_execution", "bash_code_execution", "text_editor_code_execution"})
_SEARCH, _FETCH, _CONTAINER = "web_search", "web_fetch", "code_execution"

# In events that report something: their types, and a member. All others pass without a look inside.
_MARKS = (b"message_start", b"message_delta", b"message_stop", b"error", b"file_id", b"code_execution")


class AnthropicAnswers:
    """Reads the answers to one call. `reports`: the call generates something, so usage and model are reported.

    `stores`: the provider keeps the message, so that later calls can name it.
    """

    def __init__(self, *, reports: bool, stores: bool) -> None:
        self._reports = reports
        self._stores = stores
        self._usage: dict[str, int] = {}
        self._runs_code = self._reads_web = False
        # By the price, this is a tier; `service_tier` says whose capacity was used.
        self._speed = ""

    def document(self, document: dict[str, Any], report: ProviderReport) -> None:
        """Read an answer that is one document, or the message at the start of a stream."""
        if not self._reports:
            return
        if report.model is None:
            report.model = text(document.get("model"))
        if self._stores:
            keep(report, "message", document.get("id"))
        self._container(document, report)
        content = document.get("content")
        for block in content if isinstance(content, list) else ():
            self._block(block, report)
        self._read_usage(document.get("usage"), report)

    def silent(self, events: bytes, report: ProviderReport) -> bool:
        """True if nothing is read from any of these events, and none is the last one."""
        return not any(mark in events for mark in _MARKS)

    def event(self, event: bytes, report: ProviderReport) -> Event:
        """Read one event of a stream. Its `event` line and its data say the same."""
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
            self._block(document.get("content_block"), report)
        elif kind == "error":
            report.failed = True
            return Event.PERHAPS_LAST  # SDKs read no further
        return Event.SHOW

    def _container(self, holder: object, report: ProviderReport) -> None:
        container = holder.get("container") if isinstance(holder, dict) else None
        if isinstance(container, dict):
            keep(report, "container", container.get("id"))

    def _block(self, block: object, report: ProviderReport) -> None:
        """A block of content: files, and whether code has run."""
        _read_files(block, report)
        if isinstance(block, dict) and block.get("type") == "server_tool_use" and text(block.get("name")) in _CODE:
            self._runs_code = True
            self._tools(report)

    def _tools(self, report: ProviderReport) -> None:
        """Code that has run is charged, unless the same answer has read the web."""
        if self._runs_code and not self._reads_web:
            report.tools[_CONTAINER] = 1
        else:
            report.tools.pop(_CONTAINER, None)

    def _read_usage(self, usage: object, report: ProviderReport) -> None:
        """Later values win: a stream reports what it knows at its start, and all of it at its end."""
        if not isinstance(usage, dict):
            return
        # Nothing else is remembered: a stream may send other names without end.
        self._usage.update(_counts(usage))
        check(report, usage, whole={"input_tokens", "output_tokens"} <= self._usage.keys())
        if (speed := text(usage.get("speed"))) and speed != "standard":
            self._speed = speed
        report.service_tier = self._speed or text(usage.get("service_tier")) or report.service_tier
        if (region := (text(usage.get("inference_geo")) or "").lower()) and region not in _ANYWHERE:
            report.region = region
        if isinstance(tools := usage.get("server_tool_use"), dict):
            used(report, _SEARCH, count(tools, f"{_SEARCH}_requests"))
            self._reads_web = any(count(tools, f"{name}_requests") for name in (_SEARCH, _FETCH))
            self._tools(report)
        if isinstance(iterations := usage.get("iterations"), list):
            _read_iterations(iterations, report)
        known = self._usage
        if "input_tokens" not in known:
            return
        report.usage = _usage(known)
        for _, each in report.further:
            report.usage = report.usage.plus(each)


def _usage(known: dict[str, int]) -> Usage:
    read, written = known.get("cache_read_input_tokens", 0), known.get("cache_creation_input_tokens", 0)
    return Usage(
        input=known["input_tokens"] + read + written,
        output=known.get("output_tokens", 0),
        cached=read,
        cache_write=written,
        reasoning=known.get(_THOUGHTS, 0),
        cache_write_1h=known.get(_HOUR, 0),
    )


def _counts(usage: dict[str, Any]) -> dict[str, int]:
    """The counts in these numbers that are there."""
    found = {name: count(usage, name) for name in _COUNTED}
    found[_HOUR] = count(usage.get("cache_creation"), _HOUR)
    found[_THOUGHTS] = count(usage.get("output_tokens_details"), _THOUGHTS)
    return {name: value for name, value in found.items() if value is not None}


def _read_iterations(iterations: list[Any], report: ProviderReport) -> None:
    """The calls to models that one answer took, of which the numbers of the whole have some only."""
    if len(iterations) > _MOST_ITERATIONS:
        report.tools["iterations"] = len(iterations)  # a cost without some of them would be too low
    listed = [each for each in iterations[:_MOST_ITERATIONS] if isinstance(each, dict)]
    for each in listed:
        if each.get("type") == "fallback_message":
            report.model = text(each.get("model")) or report.model  # a stream begins with the model that was asked
    further: list[tuple[str | None, Usage]] = []
    for each in listed:
        model, kind = text(each.get("model")), text(each.get("type"))
        known = _counts(each)
        if kind in _ATTEMPTS:
            # One that was declined before it said anything is not charged.
            apart = model is not None and model != report.model and bool(known.get("output_tokens"))
        else:
            apart = True
        if apart and "input_tokens" in known:
            further.append((model if model != report.model else None, _usage(known)))
    report.further = tuple(further)


def _read_files(block: object, report: ProviderReport) -> None:
    """Files that code of the provider has written: later calls can name them."""
    waiting = [block]  # instead of recursion: what comes may be nested more deeply than calls can be
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            keep(report, "file", each.get("file_id"))
            content = each.get("content")
            waiting += reversed(content) if isinstance(content, list) else [content]
