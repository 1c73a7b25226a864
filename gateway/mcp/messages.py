"""Messages of the protocol: one JSON-RPC request or notification in a body, and the answers to it.

A message is read from JSON that only one way of parsing has; `upstream/strict_json.py` makes it of bytes. Batches and
answers are refused, because no client of a supported revision may send them. Errors have the codes and the statuses
of revision 2026-07-28, whichever revision the client speaks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from gateway.frozen import frozen

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
HEADER_MISMATCH: Final = -32020
MISSING_CAPABILITY: Final = -32021
UNSUPPORTED_VERSION: Final = -32022

_STATUS: Final = {METHOD_NOT_FOUND: 404, INTERNAL_ERROR: 500}

Id: TypeAlias = str | int


@frozen()
class Request:
    """A request, which gets one answer."""

    id: Id
    method: str
    params: Mapping[str, Any]


@frozen()
class Notification:
    """A message that gets no answer."""

    method: str
    params: Mapping[str, Any]


Message: TypeAlias = Request | Notification


class ProtocolError(Exception):
    """A message cannot be carried out. `of` is the id of the request that it answers, if it has one."""

    def __init__(self, code: int, message: str, *, data: Any = None, of: Id | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data
        self.of = of

    @property
    def status(self) -> int:
        """The HTTP status of the answer."""
        return _STATUS.get(self.code, 400)

    def answer(self) -> dict[str, Any]:
        """The answer's body."""
        error = {"code": self.code, "message": self.message}
        if self.data is not None:
            error["data"] = self.data
        return {"jsonrpc": "2.0", "id": self.of, "error": error}


def read(document: Any) -> Message:
    """The message in a body. Raises `ProtocolError`."""
    if isinstance(document, list):
        raise ProtocolError(INVALID_REQUEST, "batches are not supported: send one message in each request")
    if not isinstance(document, dict):
        raise ProtocolError(INVALID_REQUEST, "the body must be one JSON-RPC request or notification")
    of = _id(document)
    if document.get("jsonrpc") != "2.0":
        raise ProtocolError(INVALID_REQUEST, "the member `jsonrpc` must be `2.0`", of=of)
    method = document.get("method")
    if not isinstance(method, str) or "result" in document or "error" in document:
        raise ProtocolError(INVALID_REQUEST, "the body must be one JSON-RPC request or notification", of=of)
    params = document.get("params", {})
    if not isinstance(params, dict):
        raise ProtocolError(INVALID_REQUEST, "the member `params` must be an object", of=of)
    return Notification(method, params) if of is None else Request(of, method, params)


def result(request: Request, found: Mapping[str, Any]) -> dict[str, Any]:
    """The body of the answer to a request."""
    return {"jsonrpc": "2.0", "id": request.id, "result": found}


def _id(document: dict[str, Any]) -> Id | None:
    """The id of a request; None for a notification."""
    if "id" not in document:
        return None
    found = document["id"]
    if isinstance(found, str) or (isinstance(found, int) and not isinstance(found, bool)):
        return found
    raise ProtocolError(INVALID_REQUEST, "the member `id` must be a string or an integer")
