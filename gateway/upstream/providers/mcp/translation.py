"""A client and a server of different eras: what the server is sent instead of a message, and what its answer becomes.

Policies have judged the client's own message, and the log has that. `gateway/mcp/eras.py` knows the words of both eras,
`gateway/upstream/translating.py` reads answers, and `gateway/upstream/mcp_sessions.py` has sessions with older servers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from gateway.call import Call
from gateway.mcp import eras
from gateway.mcp.messages import INTERNAL_ERROR, METHOD_NOT_FOUND
from gateway.mcp.pins import Pin
from gateway.outbound.client import Outgoing
from gateway.outbound.connection import Answer
from gateway.upstream.translating import Session, Translation

_OF_A_MESSAGE: Final = ("mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name")
_MOST_REPLIES: Final = 16  # in one call: each is a request of the gateway
_JSON: Final = [(b"content-type", b"application/json")]


class ToNewer(Translation):
    """A message of an older client to a server without sessions. The gateway itself says what only concerns them."""

    def __init__(self, call: Call, pins: Mapping[str, Pin]) -> None:
        assert call.protocol is not None
        self._body = call.body
        self._of = call.message_id
        self._method: str = call.protocol["method"]
        self._version: str = call.protocol["version"]
        self._tool = None if call.tool is None or call.tool.name not in pins else pins[call.tool.name].document

    def told(self) -> Answer | None:
        if self._of is None:
            return _unanswered(self._body)
        if self._method == "ping":
            return _told({"jsonrpc": "2.0", "id": self._of, "result": {}})
        return _told(eras.not_in_newer(self._method, self._of)) if self._method in eras.NOT_IN_NEWER else None

    def outgoing(self, request: Outgoing, session: Session | None) -> Outgoing:
        assert self._body is not None
        message = eras.newer_request(self._body)
        headers = _without_era(request.headers) | eras.newer_headers(message, self._tool)
        return Outgoing(request.method, request.url, headers, orjson.dumps(message))

    def sent(self) -> None:
        self._body = None

    def status(self, status: int, found: Mapping[str, Any]) -> int:
        """Older clients take an error for one of the connection, or the end of their session, if its status says so."""
        return 200 if status in (400, 404) and "error" in found else status

    def message(self, found: Mapping[str, Any], status: int) -> Mapping[str, Any]:
        if "method" in found:
            return found
        return eras.older_answer(found, self._method, self._version)


class ToOlder(Translation):
    """A message of a newer client to a server with sessions, which the gateway has with it."""

    sessions = True

    def __init__(self, call: Call) -> None:
        assert call.protocol is not None
        self._body = call.body
        self._of = call.message_id
        self._method: str = call.protocol["method"]
        params = {} if call.body is None else call.body.get("params", {})
        self._token, self._level = eras.wanted(params.get("_meta", {}))
        self._server: object = None
        self._number = self._replies = 0
        self._answered = False

    def told(self) -> Answer | None:
        if self._of is None:
            return _unanswered(self._body)
        return None if self._method in eras.IN_BOTH else _told(eras.not_in_older(self._method, self._of), 404)

    def begun(self, session: Session) -> Answer | None:
        self._server = session.begun.get("serverInfo")
        if self._method != "server/discover":
            return None
        result = {"jsonrpc": "2.0", "id": self._of, "result": eras.discovered(session.begun)}
        return _told(eras.newer_answer(result, self._method, self._server))

    def not_begun(self, status: int, why: str) -> Answer:
        return _told(eras.refused(self._of, INTERNAL_ERROR, f"the server begins no session: {why}"), status)

    def outgoing(self, request: Outgoing, session: Session | None) -> Outgoing:
        assert self._body is not None
        assert session is not None
        self._number = session.number()
        message = eras.older_request(self._body, self._number)
        headers = _without_era(request.headers) | session.headers()
        return Outgoing(request.method, request.url, headers, orjson.dumps(message))

    def sent(self) -> None:
        self._body = None

    def status(self, status: int, found: Mapping[str, Any]) -> int:
        error = found.get("error")
        return 404 if isinstance(error, dict) and error.get("code") == METHOD_NOT_FOUND else status

    def message(self, found: Mapping[str, Any], status: int) -> Mapping[str, Any] | None:
        if "method" in found:
            return None if "id" in found else eras.newer_notification(found, self._number, self._token, self._level)
        # The number is the gateway's: under the client's own id this would be an answer to somebody else.
        mine = found.get("id") == self._number and found.get("id").__class__ is int
        self._answered = self._answered or mine
        nameless = status >= 400 and "error" in found and "result" not in found
        return self._answer({**found, "id": self._of if mine or nameless else None})

    def _answer(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        return eras.newer_answer(message, self._method, self._server)

    def reply(self, found: Mapping[str, Any]) -> dict[str, Any] | None:
        """The server asks: a client that can be asked nothing says so, but that it is there."""
        if "method" not in found or not isinstance(of := found.get("id"), str | int) or self._replies >= _MOST_REPLIES:
            return None
        self._replies += 1
        if found["method"] == "ping":
            return {"jsonrpc": "2.0", "id": of, "result": {}}
        text = "the client speaks a revision in which servers cannot ask it anything"
        return {"jsonrpc": "2.0", "id": of, "error": {"code": METHOD_NOT_FOUND, "message": text}}

    def cancelled(self) -> dict[str, Any] | None:
        """The client has left; since 2026-07-28 it says that by nothing else."""
        if self._answered:
            return None
        params = {"requestId": self._number, "reason": "the client has left"}
        return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}


class InSession(ToOlder):
    """A message of an older client that has no session, to a server with sessions: it is passed on in the gateway's."""

    def told(self) -> Answer | None:
        return None

    def begun(self, session: Session) -> Answer | None:
        return None

    def not_begun(self, status: int, why: str) -> Answer:
        return _told(eras.refused(self._of, INTERNAL_ERROR, f"the server begins no session: {why}"))

    def status(self, status: int, found: Mapping[str, Any]) -> int:
        return 200 if status in (400, 404) and "error" in found else status

    def _answer(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        return message


def _without_era(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of a request that say nothing of its message."""
    return {
        name: value
        for name, value in headers.items()
        if name not in _OF_A_MESSAGE and not name.startswith("mcp-param-")
    }


def _unanswered(body: Mapping[str, Any] | None) -> Answer:
    """The answer to what is no request: a stream or the end of a session, which only one era has, or a notification."""
    return Answer.told(405, [(b"allow", b"POST")], b"") if body is None else Answer.told(202, [], b"")


def _told(message: Mapping[str, Any], status: int = 200) -> Answer:
    return Answer.told(status, _JSON, orjson.dumps(message))
