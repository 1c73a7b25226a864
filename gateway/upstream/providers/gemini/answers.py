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


class Answers:
    """Reads the answers to one call. `reports`: the call is billed, so its usage and model are reported."""

    def __init__(self, *, reports: bool) -> None:
        self._reports = reports
        self._usage: dict[str, Any] = {}
        # Candidate → whether it is finished.
        self._finished: dict[int, bool] = {}
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
                index = each.get("index")
                index = index if isinstance(index, int) else 0
                self._finished[index] = self._finished.get(index, False) or bool(each.get("finishReason"))
        feedback = document.get("promptFeedback")
        self._blocked = self._blocked or (isinstance(feedback, dict) and bool(feedback.get("blockReason")))

    def event(self, event: bytes, report: Report) -> Event:
        """Read one event of a stream."""
        document = json_object(sse.data_of(event))
        if document is None:
            return Event.SHOW
        self.document(document, report)
        complete = self._blocked or (bool(self._finished) and all(self._finished.values()))
        return Event.PERHAPS_LAST if complete else Event.SHOW

    def _read_usage(self, usage: object, report: Report) -> None:
        """Later values win: each part of a stream reports what it knows."""
        if not isinstance(usage, dict):
            return
        self._usage.update({name: value for name, value in usage.items() if value is not None})
        prompt = count(self._usage, "promptTokenCount")
        if prompt is None:
            return
        thoughts = count(self._usage, "thoughtsTokenCount") or 0
        report.usage = Usage(
            input=prompt + (count(self._usage, "toolUsePromptTokenCount") or 0),
            output=(count(self._usage, "candidatesTokenCount") or 0) + thoughts,
            cached=count(self._usage, "cachedContentTokenCount") or 0,
            reasoning=thoughts,
            audio_input=_of(self._usage.get("promptTokensDetails"), "AUDIO"),
            audio_output=_of(self._usage.get("candidatesTokensDetails"), "AUDIO"),
            image_input=_of(self._usage.get("promptTokensDetails"), "IMAGE", "DOCUMENT"),
            image_output=_of(self._usage.get("candidatesTokensDetails"), "IMAGE"),
        )


def _of(details: object, *modalities: str) -> int:
    """The tokens of these modalities in a list of tokens by modality. Pages of documents are billed as images."""
    listed = details if isinstance(details, list) else ()
    return sum(
        count(each, "tokenCount") or 0
        for each in listed
        if isinstance(each, dict) and each.get("modality") in modalities
    )
