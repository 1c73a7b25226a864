"""Reads answers of the Responses API: usage, model, failure, kept state, a stream's end."""

from __future__ import annotations

from typing import Any

from gateway.call import Usage
from gateway.upstream import sse
from gateway.upstream.providers.openai import response_tools
from gateway.upstream.providers.openai.answers import read_charge
from gateway.upstream.providers.reported import check, count, keep, text
from gateway.upstream.taps import Event, ProviderReport, json_object

_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})
# Marks of the events that are worth parsing: ends, failures, and output that later calls can refer to.
_MARKS = (b"response.created", b"response.completed", b"response.incomplete", b"response.failed", b'"error"')
_ITEMS = b"response.output_item.done"
_DONE = b"[DONE]"  # some compatible servers end like chat completions


class ResponseAnswers:
    """Reads the answers to one call. `stores`: what the answer names is kept by the provider.

    `reports`: the call generates something; else the answer only repeats what another call has been charged for.
    `charges`: where the server says what it has charged (`Dialect.charges`).
    """

    def __init__(self, *, stores: bool, reports: bool, charges: tuple[str, int] | None = None) -> None:
        self._stores = stores
        self._reports = reports
        self._charges = charges

    def document(self, document: dict[str, Any], report: ProviderReport) -> None:
        """Read a response, which is an answer by itself or stands in an event."""
        if report.model is None:
            report.model = text(document.get("model"))
        if not self._reports:
            return
        if self._stores:
            keep(report, "response", document.get("id"))
        output = document.get("output")
        for item in output if isinstance(output, list) else ():
            self._item(item, report)
        if (told := document.get("usage")) is not None:
            check(report, [told, document.get("tool_usage")], whole=is_whole(told))
        if (usage := read_usage(document)) is not None:
            report.usage = usage
            if output or document.get("tool_usage"):
                response_tools.read(document, report)
            if self._charges is not None:
                read_charge(document["usage"], self._charges, report)
        report.service_tier = text(document.get("service_tier")) or report.service_tier

    def silent(self, events: bytes, report: ProviderReport) -> bool:
        """True if nothing is read from any of these events, and none is the last one."""
        return not (any(mark in events for mark in _MARKS) or _DONE in events or (self._stores and _ITEMS in events))

    def event(self, event: bytes, report: ProviderReport) -> Event:
        """Read one event of a stream."""
        if self.silent(event, report):
            return Event.SHOW
        data = sse.data_of(event)
        if data.lstrip().startswith(_DONE):
            return Event.END
        document = json_object(data)
        if document is None:
            return Event.SHOW
        kind = document.get("type")
        if isinstance(response := document.get("response"), dict):
            self.document(response, report)
        elif kind == "response.output_item.done":
            self._item(document.get("item"), report)
        if kind in ("response.failed", "error"):
            report.failed = True
        if kind == "error":
            return Event.PERHAPS_LAST  # SDKs read no further
        return Event.END if kind in _ENDS else Event.SHOW

    def _item(self, item: object, report: ProviderReport) -> None:
        """The state that an item of the output leaves behind: itself, a container, and the files in it."""
        if not isinstance(item, dict):
            return
        if self._stores:
            keep(report, "item", item.get("id"))
        keep(report, "container", item.get("container_id"))
        content = item.get("content")
        for part in content if isinstance(content, list) else ():
            annotations = part.get("annotations") if isinstance(part, dict) else None
            for each in annotations if isinstance(annotations, list) else ():
                if isinstance(each, dict) and each.get("container_id") is not None:
                    keep(report, "file", each.get("file_id"))


def is_whole(usage: object) -> bool:
    """True if usage that has any count has those of its input and its output, or the sum of both."""
    if not isinstance(usage, dict) or usage.keys().isdisjoint(("input_tokens", "output_tokens")):
        return True
    either = usage.get("output_tokens"), usage.get("total_tokens")
    return usage.get("input_tokens") is not None and either != (None, None)


def read_usage(document: dict[str, Any]) -> Usage | None:
    """Usage as responses report it; None where there is none."""
    usage = document.get("usage")
    fresh = count(usage, "input_tokens")
    if not isinstance(usage, dict) or fresh is None:
        return None
    # Some compatible servers do not count thoughts among those of the output.
    output = max(count(usage, "output_tokens") or 0, (count(usage, "total_tokens") or 0) - fresh)
    details = usage.get("input_tokens_details")
    return Usage(
        input=fresh,
        output=output,
        cached=count(details, "cached_tokens") or 0,
        cache_write=count(details, "cache_write_tokens") or 0,
        reasoning=count(usage.get("output_tokens_details"), "reasoning_tokens") or 0,
    )
