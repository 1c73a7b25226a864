"""A conversation of the gateway itself with an MCP server, one request after another, in the server's revision.

Answers are read strictly: a document that two parsers could read differently has no digest. A server may send what it
likes, so the bytes of one conversation have a limit.
Specification: modelcontextprotocol.io, revision 2026-07-28, "Transports" and "Discovery"; 2025-11-25, "Lifecycle".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from gateway.errors import Denied
from gateway.identity.call_tokens import Bearer
from gateway.mcp import eras
from gateway.outbound.client import Outgoing, UpstreamClient
from gateway.outbound.connection import UpstreamAnswer
from gateway.upstream import sse, strict_json
from gateway.upstream.providers.base import plain_url

STATELESS: Final = "2026-07-28"
"""The revision since which a request stands alone."""
SESSIONS: Final = eras.OLD
"""The revisions before it that the gateway knows, the newest first."""

_MAX_BYTES: Final = 8 * 1024 * 1024
_META: Final = {
    "io.modelcontextprotocol/protocolVersion": STATELESS,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": eras.CLIENT,
}


@dataclass(frozen=True, slots=True)
class Server:
    """The place of a server, and what goes along with every request to it."""

    url: str
    reach: str
    headers: Mapping[str, str] = field(hash=False)
    secret: str | None = field(repr=False)
    # Makes a token for each request, if that is its credential; of whichever call begins the conversation.
    bearer: Bearer | None = field(default=None, repr=False, compare=False)


class RefusedError(Exception):
    """The server's answer was an error: its status, and the code of the JSON-RPC error if there was one."""

    def __init__(self, status: int, code: int | None) -> None:
        super().__init__(f"status {status}" + ("" if code is None else f", error {code}"))
        self.status, self.code = status, code


@dataclass(slots=True)
class Conversation:
    """Requests to one server, one after another."""

    client: UpstreamClient
    server: Server
    protocol: str = STATELESS
    session: str = ""
    asked: int = 0
    left: int = field(default=_MAX_BYTES)
    # The answer to `initialize`.
    begun: dict[str, Any] = field(default_factory=dict)

    async def begin(self) -> None:
        """Find out which revision the server speaks."""
        try:
            found = await self.ask("server/discover", {})
        except RefusedError as error:
            if error.status in (401, 403) or error.status >= 500:
                raise
        else:
            supported = found.get("supportedVersions")
            if isinstance(supported, list) and STATELESS in supported:
                return
        if not await self.initialize():
            known = ", ".join((STATELESS, *SESSIONS))
            raise ValueError(f"it speaks none of the revisions that this gateway knows ({known})")
        await self.notify("notifications/initialized")

    async def initialize(self) -> str:
        """Begin a session, and return its revision; empty if that is none that the gateway knows."""
        self.protocol = SESSIONS[0]
        params = {"protocolVersion": self.protocol, "capabilities": {}, "clientInfo": eras.CLIENT}
        self.begun = await self.ask("initialize", params)
        chosen = self.begun.get("protocolVersion")
        if chosen not in SESSIONS:
            return ""
        self.protocol = str(chosen)
        return self.protocol

    async def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The result of a request; `RefusedError` if it is an error, `ValueError` if it cannot be read."""
        self.asked += 1
        whole = dict(params) | ({"_meta": _META} if self.protocol == STATELESS else {})
        answer = await self._send({"jsonrpc": "2.0", "id": self.asked, "method": method, "params": whole})
        try:
            message = await self._message(answer)
        finally:
            answer.close()
        if method == "initialize":
            self.session = answer.header(b"mcp-session-id").decode("latin-1")
        result = message.get("result")
        if not 200 <= answer.status < 300 or not isinstance(result, dict):
            error = message.get("error")
            code = error.get("code") if isinstance(error, dict) else None
            raise RefusedError(answer.status, code if isinstance(code, int) else None)
        return result

    async def notify(self, method: str) -> None:
        await self.tell({"jsonrpc": "2.0", "method": method})

    async def tell(self, message: dict[str, Any]) -> None:
        """Send what gets no answer: a notification, or the answer to a request of the server."""
        (await self._send(message)).close()

    async def end(self) -> None:
        """End the session, if there is one."""
        if not self.session:
            return
        try:
            (await self._send(None)).close()
        except Denied:
            return  # the server forgets it by itself

    async def _send(self, message: dict[str, Any] | None) -> UpstreamAnswer:
        """Send a message; None ends the session."""
        headers = {
            **self.server.headers,
            "Accept": "application/json, text/event-stream",
            "Accept-Encoding": "identity",
            "User-Agent": "agent-identity-gateway",
            "MCP-Protocol-Version": self.protocol,
        }
        if message is not None:
            headers["Content-Type"] = "application/json"
            if self.protocol == STATELESS:
                headers["Mcp-Method"] = message["method"]
        if self.session:
            headers["Mcp-Session-Id"] = self.session
        if self.server.secret is not None:
            headers["Authorization"] = f"Bearer {self.server.secret}"
        method, body = ("DELETE", b"") if message is None else ("POST", orjson.dumps(message))
        request = Outgoing(method, plain_url(self.server.url), headers, body)
        if self.server.bearer is not None:
            request = request.with_bearer(self.server.bearer.token(body))
        return await self.client.send(request, lambda: None, self.server.reach)

    async def _message(self, answer: UpstreamAnswer) -> dict[str, Any]:
        """The answer to the last request; without members if there is none in it."""
        kind = answer.header(b"content-type").partition(b";")[0].strip().lower()
        if kind == b"text/event-stream":
            return await self._event(answer)
        whole = bytearray()
        while piece := await self._piece(answer):
            whole += piece
        return _object(bytes(whole)) if kind == b"application/json" else {}

    async def _event(self, answer: UpstreamAnswer) -> dict[str, Any]:
        """The event that answers the last request: a server may send others before it, and leave the stream open."""
        splitter = sse.EventSplitter()
        while piece := await self._piece(answer):
            for event in splitter.feed(piece):
                message = _object(sse.data_of(event))
                if message.get("id") == self.asked and "method" not in message:
                    return message
        return {}

    async def _piece(self, answer: UpstreamAnswer) -> bytes:
        piece = await answer.read()
        self.left -= len(piece)
        if self.left < 0:
            raise ValueError(f"it sends more than {_MAX_BYTES} bytes")
        return piece


def _object(raw: bytes) -> dict[str, Any]:
    if not raw:
        return {}
    try:
        found = strict_json.parse(raw)
    except Denied as denied:
        raise ValueError(f"its answer cannot be read: {denied.message}") from None
    return found if isinstance(found, dict) else {}
