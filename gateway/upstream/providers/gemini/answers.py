"""Reads Gemini's answers: usage, model, failure, and whether an answer is complete.

A stream has no terminal event: it ends with its body. An event that finishes every candidate seen so far may be the
last one. Specification: https://ai.google.dev/api/generate-content#UsageMetadata.
"""

from __future__ import annotations

from typing import Any

from gateway.call import Usage
from gateway.upstream import sse
from gateway.upstream.providers.reported import check, count, text, used
from gateway.upstream.taps import Event, ProviderReport, json_object

_COUNTED = (
    *("promptTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount", "thoughtsTokenCount"),
    *("cachedContentTokenCount", "totalTokenCount"),
)
# The members that hold the output of an answer.
_OF_ANSWERS = frozenset({"candidatesTokenCount", "thoughtsTokenCount", "totalTokenCount"})
# The counts by modality, and their places. Pages of documents are billed as images.
_BY_MODALITY = (
    ("audio_input", "promptTokensDetails", "AUDIO"),
    ("audio_output", "candidatesTokensDetails", "AUDIO"),
    ("image_input", "promptTokensDetails", "IMAGE", "DOCUMENT"),
    ("image_output", "candidatesTokensDetails", "IMAGE"),
    ("video_input", "promptTokensDetails", "VIDEO"),
    ("video_output", "candidatesTokensDetails", "VIDEO"),
)
# Searches that an answer is based on, each of which is charged; until Gemini 2 the whole of them was charged once.
_SEARCHES = ("webSearchQueries", "imageSearchQueries")
_ONCE = ("gemini-1", "gemini-2")
# Vertex says so how it has served a call.
_TRAFFIC = "on_demand_"
_CHUNKS = "groundingChunks"
_MOST_CANDIDATES = 1000


class GeminiAnswers:
    """Reads the answers to one call. `reports`: the call is billed, so its usage and model are reported."""

    def __init__(self, *, reports: bool) -> None:
        self._reports = reports
        self._usage: dict[str, int] = {}
        # The candidates of which there was something, and those of them that are not finished.
        self._seen: set[int] = set()
        self._running: set[int] = set()
        self._blocked = False

    def document(self, document: dict[str, Any], report: ProviderReport) -> None:
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
                self._candidate(each, report)
        feedback = document.get("promptFeedback")
        self._blocked = self._blocked or (isinstance(feedback, dict) and bool(feedback.get("blockReason")))

    def event(self, event: bytes, report: ProviderReport) -> Event:
        """Read one event of a stream."""
        document = json_object(sse.data_of(event))
        if document is None:
            return Event.SHOW
        self.document(document, report)
        complete = self._blocked or (bool(self._seen) and not self._running)
        return Event.PERHAPS_LAST if complete else Event.SHOW

    def _grounding(self, metadata: object, report: ProviderReport) -> None:
        """The searches and maps of a candidate. A stream may repeat what is known, so the largest number counts."""
        if not isinstance(metadata, dict):
            return
        queries = [each for name in _SEARCHES for each in _listed(metadata.get(name))]
        if queries:
            once = (report.model or "").startswith(_ONCE)
            used(report, "web_search", max(1 if once else len(queries), report.tools.get("web_search", 0)))
        if any(isinstance(each, dict) and each.get("maps") is not None for each in _listed(metadata.get(_CHUNKS))):
            used(report, "google_maps", 1)

    def _candidate(self, candidate: dict[str, Any], report: ProviderReport) -> None:
        if candidate.get("groundingMetadata"):
            self._grounding(candidate["groundingMetadata"], report)
        index = candidate.get("index")
        index = index if isinstance(index, int) else 0
        # A request asks for a few. Of more than that only so many are remembered, and the answer is never complete.
        if index not in self._seen and len(self._seen) < _MOST_CANDIDATES:
            self._seen.add(index)
            self._running.add(index)
        if candidate.get("finishReason") and len(self._seen) < _MOST_CANDIDATES:
            self._running.discard(index)

    def _read_usage(self, usage: object, report: ProviderReport) -> None:
        """Later values win: each part of a stream reports what it knows."""
        if not isinstance(usage, dict):
            return
        # Nothing else is remembered: a stream may send other names without end.
        found = {name: count(usage, name) for name in _COUNTED}
        for name, details, *modalities in _BY_MODALITY:
            found[name] = _of(usage[details], *modalities) if usage.get(details) is not None else None
        self._usage.update({name: value for name, value in found.items() if value is not None})
        check(report, usage, whole=not self._seen or not _OF_ANSWERS.isdisjoint(self._usage))
        report.service_tier = _tier(usage) or report.service_tier
        if "promptTokenCount" not in self._usage:
            return
        known = dict.fromkeys(found, 0) | self._usage
        fresh = known["promptTokenCount"] + known["toolUsePromptTokenCount"]
        report.usage = Usage(
            input=fresh,
            # Tokens that only the total has are charged as well.
            output=max(known["candidatesTokenCount"] + known["thoughtsTokenCount"], known["totalTokenCount"] - fresh),
            cached=known["cachedContentTokenCount"],
            reasoning=known["thoughtsTokenCount"],
            audio_input=known["audio_input"],
            audio_output=known["audio_output"],
            image_input=known["image_input"],
            image_output=known["image_output"],
            video_input=known["video_input"],
            video_output=known["video_output"],
        )


def _tier(usage: dict[str, Any]) -> str:
    """The tier that served the call: the Gemini API and Vertex have names of their own for it."""
    traffic = (text(usage.get("trafficType")) or "").lower()
    if traffic.startswith(_TRAFFIC):
        return traffic.removeprefix(_TRAFFIC)
    return (text(usage.get("serviceTier")) or "").lower()


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _of(details: object, *modalities: str) -> int:
    """The tokens of these modalities in a list of tokens by modality."""
    listed = details if isinstance(details, list) else ()
    return sum(
        count(each, "tokenCount") or 0
        for each in listed
        if isinstance(each, dict) and each.get("modality") in modalities
    )
