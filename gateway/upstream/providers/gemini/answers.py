"""What Gemini reports in its answers: usage, model, failure, and whether an answer is complete.

A stream has no terminal event: it ends with its body. An event that finishes every candidate seen so far may be the
last one. Specification: https://ai.google.dev/api/generate-content#UsageMetadata.
"""

from __future__ import annotations

from typing import Any

from gateway.call import Usage
from gateway.upstream import sse
from gateway.upstream.providers.reported import count, text
from gateway.upstream.taps import Event, Report, json_object

_COUNTED = (
    *("promptTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount", "thoughtsTokenCount"),
    "cachedContentTokenCount",
)
# What is counted by modality, and where. Pages of documents are billed as images.
_BY_MODALITY = (
    ("audio_input", "promptTokensDetails", "AUDIO"),
    ("audio_output", "candidatesTokensDetails", "AUDIO"),
    ("image_input", "promptTokensDetails", "IMAGE", "DOCUMENT"),
    ("image_output", "candidatesTokensDetails", "IMAGE"),
)
_MOST_CANDIDATES = 1000


class Answers:
    """Reads the answers to one call. `reports`: the call is billed, so its usage and model are reported."""

    def __init__(self, *, reports: bool) -> None:
        self._reports = reports
        self._usage: dict[str, int] = {}
        # The candidates of which there was something, and those of them that are not finished.
        self._seen: set[int] = set()
        self._running: set[int] = set()
        self._blocked = False

    def document(self, document: dict[str, Any], report: Report) -> None:
        """Read an answer that is one document, or one part of a stream."""
        if document.get("error"):
            report.failed = True
        if not self._reports:
            return
        if report.model is None:
            report.model = text(document.get("modelVersion"))
        self._read_usage(document.get("usageMetadata"), report)
        candidates = document.get("candidates")
        for each in candidates if isinstance(candidates, list) else ():
            if isinstance(each, dict):
                self._candidate(each)
        feedback = document.get("promptFeedback")
        self._blocked = self._blocked or (isinstance(feedback, dict) and bool(feedback.get("blockReason")))

    def event(self, event: bytes, report: Report) -> Event:
        """Read one event of a stream."""
        document = json_object(sse.data_of(event))
        if document is None:
            return Event.SHOW
        self.document(document, report)
        complete = self._blocked or (bool(self._seen) and not self._running)
        return Event.PERHAPS_LAST if complete else Event.SHOW

    def _candidate(self, candidate: dict[str, Any]) -> None:
        index = candidate.get("index")
        index = index if isinstance(index, int) else 0
        # A request asks for a few. Of more than that only so many are remembered, and the answer is never complete.
        if index not in self._seen and len(self._seen) < _MOST_CANDIDATES:
            self._seen.add(index)
            self._running.add(index)
        if candidate.get("finishReason") and len(self._seen) < _MOST_CANDIDATES:
            self._running.discard(index)

    def _read_usage(self, usage: object, report: Report) -> None:
        """Later values win: each part of a stream reports what it knows."""
        if not isinstance(usage, dict):
            return
        # Nothing else is remembered: a stream may send other names without end.
        found = {name: count(usage, name) for name in _COUNTED}
        for name, details, *modalities in _BY_MODALITY:
            found[name] = _of(usage[details], *modalities) if usage.get(details) is not None else None
        self._usage.update({name: value for name, value in found.items() if value is not None})
        report.service_tier = (text(usage.get("serviceTier")) or "").lower() or report.service_tier
        if "promptTokenCount" not in self._usage:
            return
        known = dict.fromkeys(found, 0) | self._usage
        report.usage = Usage(
            input=known["promptTokenCount"] + known["toolUsePromptTokenCount"],
            output=known["candidatesTokenCount"] + known["thoughtsTokenCount"],
            cached=known["cachedContentTokenCount"],
            reasoning=known["thoughtsTokenCount"],
            audio_input=known["audio_input"],
            audio_output=known["audio_output"],
            image_input=known["image_input"],
            image_output=known["image_output"],
        )


def _of(details: object, *modalities: str) -> int:
    """The tokens of these modalities in a list of tokens by modality."""
    listed = details if isinstance(details, list) else ()
    return sum(
        count(each, "tokenCount") or 0
        for each in listed
        if isinstance(each, dict) and each.get("modality") in modalities
    )
