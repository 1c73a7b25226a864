"""The answers of MCP servers: one JSON document, or a stream of events that ends with the answer to the request.

An answer belongs to the request whose id it has. Any other one is not passed on: a server that mixes up its clients
must not give one what is another's. What an answer creates at the server is reported, so that only its agent may refer
to it: a session, a task, the state of a parked request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from gateway.mcp.messages import INTERNAL_ERROR, Id
from gateway.upstream import sse
from gateway.upstream.guards import WholeTap
from gateway.upstream.providers.base import AnswerHead, Sent
from gateway.upstream.providers.mcp import requests
from gateway.upstream.taps import DocumentTap, Event, EventTap, ProviderReport, Tap, json_object, nothing

_LONGEST: Final = 1024
_SESSION_HEADER: Final = requests.SESSION_HEADER.encode()


def tap(sent: Sent, head: AnswerHead) -> Tap:
    """The tap of an answer with this head."""
    found: Tap
    if head.kind == b"text/event-stream" and head.status < 400:
        found = StreamTap(sent.message_id)
    elif sent.message_id is None or head.status == 202:
        found = DocumentTap(nothing, opaque=True)
    else:
        found = AnswerTap(sent.message_id, failed=head.status >= 400)
    if sent.action == requests.DISCOVER and head.status < 400:
        sessions = [value for name, value in head.headers if name == _SESSION_HEADER]
        if len(sessions) == 1 and len(sessions[0]) <= _LONGEST:
            found.report.created.append(requests.session_reference(sessions[0].decode("latin-1")))
    return found


class StreamTap(EventTap):
    """A stream of events. Without an id it is one that no request waits on: it may end at any time, without an answer,
    and none belongs into it.
    """

    def __init__(self, message_id: Id | None) -> None:
        super().__init__(self._event)
        self._id = message_id

    def finish(self) -> bytes:
        rest = super().finish()
        self.ended = self.ended or (self._id is None and not self.report.failed)
        return rest

    def _event(self, event: bytes, report: ProviderReport) -> Event:
        data = sse.data_of(event)
        if not data.strip():
            return Event.SHOW
        message = json_object(data)
        if message is None:  # a batch could hold anything
            report.failed = True
            return Event.HIDE
        if "method" in message and "result" not in message and "error" not in message:
            return Event.SHOW
        if self._id is not None and is_answer(message, self._id):
            note_created(message, report)
            return Event.END
        report.failed = self._id is not None
        return Event.HIDE


class AnswerTap(WholeTap):
    """One document, which is held until it is known to be the answer. `failed`: its status says that it is an error.

    An error need not name the request, and may be no JSON.
    """

    def __init__(self, message_id: Id, *, failed: bool) -> None:
        super().__init__()
        self._id = message_id
        self._failed = failed

    def read(self, whole: bytes | None) -> bytes:
        document = None if whole is None else json_object(whole)
        named = document is not None and (is_answer(document, self._id) or (self._failed and _nameless(document)))
        if document is None and self._failed and whole is not None and not whole.lstrip().startswith((b"{", b"[")):
            named = True
        if whole is None or not named:
            self.report.failed = True
            why = "is too large" if whole is None else "is not the answer to this request"
            return orjson.dumps(error(self._id, f"what the server has sent {why}"))
        self.ended = True
        return whole if document is None else self.told(whole, document)

    def told(self, whole: bytes, document: dict[str, Any]) -> bytes:
        """What the client gets for the answer to its request."""
        note_created(document, self.report)
        return whole


def is_answer(message: Mapping[str, Any], of: Id) -> bool:
    """True if a message answers the request with this id. True is not 1."""
    found = message.get("id")
    one = ("result" in message) != ("error" in message) and "method" not in message
    return one and found.__class__ is of.__class__ and found == of


def error(of: Id, text: str) -> dict[str, Any]:
    """An answer in place of the server's."""
    data = {"reason": "upstream_error"}
    return {"jsonrpc": "2.0", "id": of, "error": {"code": INTERNAL_ERROR, "message": text, "data": data}}


def note_created(message: Mapping[str, Any], report: ProviderReport) -> None:
    """Report the task and the parked request that an answer creates."""
    result = message.get("result")
    if not isinstance(result, dict):
        return
    task = result.get("task")
    for holder in (result, task if isinstance(task, dict) else {}):
        if isinstance(named := holder.get("taskId"), str) and 0 < len(named) <= _LONGEST:
            report.created.append(requests.task_reference(named))
    if isinstance(state := result.get("requestState"), str):
        report.created.append(requests.state_reference(state))


def _nameless(document: Mapping[str, Any]) -> bool:
    return document.get("id") is None and "result" not in document
