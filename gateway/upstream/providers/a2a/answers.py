"""The answers of agents: one JSON document, or a stream of events, each an answer to the request.

An answer belongs to the request whose id it has; any other one is not passed on. Tasks and conversations
that an answer creates at the agent are reported, so that only the agent that began them may refer to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.mcp.messages import Id
from gateway.upstream import sse
from gateway.upstream.providers.a2a import requests
from gateway.upstream.providers.base import AnswerHead, Sent
from gateway.upstream.providers.mcp.answers import AnswerTap, is_answer
from gateway.upstream.taps import Event, EventTap, ProviderReport, Tap, json_object

_LONGEST: Final = 256
_UPDATES: Final = ("statusUpdate", "artifactUpdate")
# After these an agent may say no more, and close the stream.
_RESTING: Final = frozenset(
    {"completed", "failed", "canceled", "cancelled", "rejected", "input_required", "auth_required"}
)


def tap(sent: Sent, head: AnswerHead) -> Tap:
    """The tap of an answer with this head."""
    assert sent.message_id is not None
    if head.kind == b"text/event-stream" and head.status < 400:
        return StreamTap(sent.message_id)
    return DocumentAnswerTap(sent.message_id, failed=head.status >= 400)


class DocumentAnswerTap(AnswerTap):
    """One document."""

    def told(self, whole: bytes, document: dict[str, Any]) -> bytes:
        note_created(document, self.report)
        if "error" in document:
            self.report.charged = 0
        return whole


class StreamTap(EventTap):
    """A stream of events, which breaks off unless the last one says that the task rests, or is a message."""

    def __init__(self, message_id: Id) -> None:
        super().__init__(self._event)
        self._id = message_id

    def _event(self, event: bytes, report: ProviderReport) -> Event:
        data = sse.data_of(event)
        if not data.strip():
            return Event.SHOW
        message = json_object(data)
        if message is None or not is_answer(message, self._id):
            report.failed = True
            return Event.HIDE
        note_created(message, report)
        if "error" in message:
            report.charged = 0
        return Event.PERHAPS_LAST if _may_be_last(message) else Event.SHOW


def note_created(message: Mapping[str, Any], report: ProviderReport) -> None:
    """Report the tasks and the conversations that an answer names."""
    result = message.get("result")
    if not isinstance(result, dict):
        return
    for holder in _holders(result):
        task = holder.get("taskId")
        if task is None and isinstance(holder.get("status"), dict):  # a task itself
            task = holder.get("id")
        for named, of in ((task, requests.task_reference), (holder.get("contextId"), requests.context_reference)):
            if isinstance(named, str) and 0 < len(named) <= _LONGEST and (found := of(named)) not in report.created:
                report.created.append(found)


def _holders(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The objects of an answer that can name a task: itself as in version 0.3, or its parts as in 1.0."""
    parts = [result.get(name) for name in ("task", "message", *_UPDATES)]
    return [result, *(each for each in parts if isinstance(each, dict))]


def _may_be_last(message: Mapping[str, Any]) -> bool:
    result = message.get("result")
    if not isinstance(result, dict) or "message" in result or result.get("kind") == "message":
        return True
    for holder in _holders(result):
        status = holder.get("status")
        if isinstance(status, dict) and isinstance(state := status.get("state"), str):
            return state.lower().removeprefix("task_state_").replace("-", "_") in _RESTING
    return False
