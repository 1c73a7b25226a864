"""A client and a server of different eras: what the server is sent instead of a message, and what its answer becomes.

Policies have judged the client's own message, and the log has that. `gateway/mcp/eras.py` knows the words of both eras,
and `gateway/upstream/translating.py` does what takes more than words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from gateway.call import Call
from gateway.mcp import eras
from gateway.mcp.pins import Pin
from gateway.outbound.client import Outgoing
from gateway.outbound.connection import Answer
from gateway.upstream.translating import Translation

_OF_A_MESSAGE: Final = ("mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name")
_JSON: Final = [(b"content-type", b"application/json")]


def translation(call: Call, pins: Mapping[str, Pin]) -> Translation:
    """The translation of a call whose server speaks another era."""
    assert call.protocol is not None
    return ToNewer(call, call.protocol["version"], pins)


class ToNewer(Translation):
    """A message of an older client to a server without sessions. The gateway itself says what only concerns them."""

    def __init__(self, call: Call, version: str, pins: Mapping[str, Pin]) -> None:
        assert call.protocol is not None
        self._call = call
        self._method: str = call.protocol["method"]
        self._version = version
        self._tool = None if call.tool is None or call.tool.name not in pins else pins[call.tool.name].document

    def told(self) -> Answer | None:
        if self._call.body is None:  # it opens a stream or ends a session, and there are neither
            return Answer.told(405, [(b"allow", b"POST")], b"")
        of = self._call.message_id
        if of is None:
            return Answer.told(202, [], b"")
        if self._method == "ping":
            return _told({"jsonrpc": "2.0", "id": of, "result": {}})
        return _told(eras.not_in_newer(self._method, of)) if self._method in eras.NOT_IN_NEWER else None

    def outgoing(self, request: Outgoing) -> Outgoing:
        assert self._call.body is not None
        message = eras.newer_request(self._call.body)
        headers = without_era(request.headers) | eras.newer_headers(message, self._tool)
        return Outgoing(request.method, request.url, headers, orjson.dumps(message))

    def status(self, status: int) -> int:
        """Older clients take an error for one of the connection, or the end of their session, if its status says so."""
        return 200 if status in (400, 404) else status

    def message(self, found: Mapping[str, Any]) -> Mapping[str, Any]:
        if "method" in found:
            return found
        return eras.older_answer(found, self._method, self._version)


def without_era(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of a request that say nothing of its message."""
    return {
        name: value
        for name, value in headers.items()
        if name not in _OF_A_MESSAGE and not name.startswith("mcp-param-")
    }


def _told(message: Mapping[str, Any]) -> Answer:
    return Answer.told(200, _JSON, orjson.dumps(message))
