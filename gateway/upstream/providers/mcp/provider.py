"""An MCP server over Streamable HTTP: one provider for each such upstream, with what was approved of its tools.

Bytes pass as they come; what is read decides. The body's method is the action, and headers must say the same
(`requests.py`). A server's tools can be called if they are as somebody approved them (`gateway/mcp/pins.py`).
Specification: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports, and 2025-11-25, 2025-06-18.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from gateway.body import Body
from gateway.call import Call
from gateway.errors import Denied
from gateway.mcp import eras
from gateway.mcp.messages import HEADER_MISMATCH, UNSUPPORTED_VERSION, ProtocolError
from gateway.mcp.pins import Pin, Trust
from gateway.outbound.client import Outgoing
from gateway.upstream.guards import CallGuard, Guard
from gateway.upstream.providers import base, json_rpc
from gateway.upstream.providers.base import (
    AnswerHead,
    Edits,
    Endpoint,
    Lifetime,
    Provider,
    RequestHead,
    Route,
    Sent,
    call_of,
    plain_url,
)
from gateway.upstream.providers.json_rpc import ProtocolDenied
from gateway.upstream.providers.mcp import answers, requests
from gateway.upstream.providers.mcp.lists import ToolGuard
from gateway.upstream.providers.mcp.translation import InSession, ToNewer, ToOlder
from gateway.upstream.providers.rejections import Rejection
from gateway.upstream.taps import Tap
from gateway.upstream.translating import Translation

NAME = "mcp"

_HEADERS = frozenset(
    {b"accept", b"mcp-protocol-version", b"mcp-method", b"mcp-name", b"mcp-param-*", b"mcp-session-id"}
)
_BOTH = "application/json, text/event-stream"
# Nobody speaks on most streams for long.
_STREAM = Lifetime(first_byte=60.0, idle=3600.0, total=3600.0)

_FURTHER = (*dict.fromkeys(each for each in requests.ACTIONS.values() if each != requests.DISCOVER),)


class Mcp(Provider):
    """The provider of one upstream; see `base.Provider` for what each member promises."""

    name = NAME
    prefix = ""
    refuses_pages = True
    routes: Sequence[Route] = (
        Route(
            "POST", "/mcp", requests.DISCOVER, "json", request_headers=_HEADERS,
            further=(*_FURTHER, requests.NOTIFY, requests.ANSWER),
        ),
        # Of older revisions: what the server says unasked, and the end of a session. A stream begins where it is
        # opened: what was missed could be the answer to another request.
        Route("GET", "/mcp", requests.LISTEN, "none", request_headers=_HEADERS, lifetime=_STREAM),
        Route("DELETE", "/mcp", requests.END, "none", request_headers=_HEADERS),
    )  # fmt: skip
    response_headers: frozenset[bytes] = frozenset({b"mcp-session-id", b"mcp-protocol-version"})

    def __init__(
        self,
        server: str = "",
        pins: Mapping[str, Pin] | None = None,
        trust: Trust = "approve",
        protocol: str | None = None,
    ) -> None:
        self.server = server
        self.pins = pins or {}
        self.trusted = trust == "trust"
        # Bytes pass as they come where the server speaks the client's era, and where nobody knows what it speaks.
        self._eras = eras.of_servers(protocol)
        # Lists ask about calls of tools. To make them takes longer than all else about a list, and pins never change.
        self._calls: dict[tuple[str, str], Call] = {}

    def read(self, endpoint: Endpoint, head: RequestHead, raw: Body) -> Call:
        try:
            if endpoint.route.body == "none":
                facts = requests.without_body(endpoint.route.method, head)
                return call_of(endpoint, head, self.name, raw, None, **facts, translated=self._differs(head))
            body = json_rpc.parsed(raw)
            action, of, facts = requests.read(body, head, self.server, self.pins, trusted=self.trusted)
        except ProtocolError as error:
            denied = ProtocolDenied(error)
            by_status = error.of is None or error.code in (HEADER_MISMATCH, UNSUPPORTED_VERSION)
            denied.as_answer = not by_status and requests.is_older(head)
            raise denied from None
        facts["translated"] = self._differs(head)
        if facts["translated"] and not isinstance(raw, bytes):
            why = "its server speaks another revision of the protocol, and so large a call is not translated"
            too_large = Denied("too_large", reasons=[why])
            too_large.message_id, too_large.as_answer = of, facts["as_answer"]
            raise too_large
        return call_of(endpoint, head, self.name, raw, body, action=action, message_id=of, **facts)

    def _differs(self, head: RequestHead) -> bool:
        """True if the server does not speak the era of this request, or wants a session that its client cannot have."""
        client = "older" if requests.is_older(head) else "newer"
        return bool(self._eras) and (client not in self._eras or (head.joined and client == "older"))

    def edit(self, call: Call, edits: Edits) -> tuple[Call, tuple[str, ...]]:
        """There are no models, outputs or lists of tools here that could be changed."""
        return call, ()

    def prepare(self, call: Call, base_url: str, secret: str | None, headers: Mapping[str, str]) -> Outgoing:
        """The base URL is the server's endpoint."""
        sent = {"accept": _BOTH, **headers}
        if call.body is not None:
            sent["Content-Type"] = call.content_type
        if secret is not None:
            sent["Authorization"] = f"Bearer {secret}"
        return Outgoing(call.method, plain_url(base_url), sent, call.raw)

    def translation(self, call: Call) -> Translation | None:
        older = call.protocol is not None and eras.era(call.protocol["version"]) == "older"
        if not older:
            return ToOlder(call)
        return ToNewer(call, self.pins) if "newer" in self._eras else InSession(call)

    def tap(self, sent: Sent, head: AnswerHead) -> Tap:
        return answers.tap(sent, head)

    def guard(self, sent: Sent) -> Guard | CallGuard | None:
        if sent.action != requests.LIST_TOOLS or sent.message_id is None:
            return None
        asked = functools.partial(self._call_of, sent.endpoint.upstream)
        return ToolGuard(sent.message_id, self.pins, asked, trusted=self.trusted)

    def _call_of(self, upstream: str, tool: str) -> Call:
        """The call of a tool whose arguments may be any."""
        call = self._calls.get((upstream, tool))
        if call is None:
            call = self.simplest(upstream, requests.CALL_TOOL, tool)
            if tool in self.pins:  # a server may make up any number of others
                self._calls[upstream, tool] = call
        return call

    def simplest(
        self, upstream: str, action: str, tool: str | None = None, arguments: Mapping[str, Any] | None = None
    ) -> Call:
        """A call of an action with nothing in it but a tool, to be asked about. Arguments that are None may be any."""
        route = next((each for each in self.routes if action in each.actions), self.routes[0])
        method = next((name for name, each in requests.ACTIONS.items() if each == action), "")
        named = None
        if tool is not None and action == requests.CALL_TOOL:
            named = requests.called_tool(tool, arguments, upstream, self.pins, trusted=self.trusted)
        protocol = {"method": method, "version": "", "untrusted": {"client": {}}}
        return replace(base.simplest(self, upstream, route, action), tool=named, protocol=protocol)

    def essence(self, call: Call) -> bytes | None:
        """The message without its id and the token of its progress, which clients count up; and the tool as it is."""
        if call.body is None:
            return None
        params = dict(call.body.get("params", {}))
        if isinstance(meta := params.get("_meta"), dict):
            params["_meta"] = {name: value for name, value in meta.items() if name != "progressToken"}
        kept = {**call.body, "id": None, "params": params, "tool": call.tool.digest if call.tool else ""}
        return orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)

    def reject(self, status: int, document: dict[str, Any]) -> Rejection | None:
        """A server's errors are its own; nothing of them is about an account for certain."""
        return None

    def error(self, denied: Denied) -> bytes:
        return orjson.dumps(json_rpc.error(denied, denied.message_id))

    def error_event(self, sent: Sent, denied: Denied) -> bytes:
        if sent.message_id is None:
            return b""
        return b"event: message\ndata: " + orjson.dumps(json_rpc.error(denied, sent.message_id)) + b"\n\n"
