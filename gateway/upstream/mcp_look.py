"""Asks an MCP server for its tools on behalf of the gateway itself, in the revision that the server speaks.

A server of 2026-07-28 answers `server/discover`, and each request stands alone. Older ones want `initialize` first and
give a session, which is ended again. Answers are read strictly: a document that two parsers could read differently has
no digest. A server may send what it likes, so time, bytes, pages and tools have limits.
Specification: modelcontextprotocol.io, revision 2026-07-28, "Transports" and "Discovery"; 2025-11-25, "Lifecycle".
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from gateway.errors import Denied, GatewayError
from gateway.mcp import eras
from gateway.outbound.client import Outgoing, UpstreamClient
from gateway.outbound.connection import UpstreamAnswer
from gateway.registry.port import UpstreamRow
from gateway.upstream import sse, strict_json
from gateway.upstream.providers.base import plain_url

STATELESS: Final = "2026-07-28"
"""The revision since which a request stands alone."""
SESSIONS: Final = eras.OLD
"""The revisions before it that the gateway knows, the newest first."""
SECONDS: Final = 20.0
"""For all requests to one server together."""

_MAX_BYTES: Final = 8 * 1024 * 1024
_MAX_PAGES: Final = 50
_MAX_TOOLS: Final = 2000
_UNKNOWN_METHOD: Final = -32601
_CLIENT: Final = eras.CLIENT
_META: Final = {
    "io.modelcontextprotocol/protocolVersion": STATELESS,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": _CLIENT,
}


@dataclass(frozen=True, slots=True)
class Offered:
    """The tools of a server as it describes them, and the revisions that it speaks, the newest first, with commas.

    Of each era it is the newest one: with sessions, and without them.
    """

    protocol: str
    tools: list[dict[str, Any]]


class _RefusedError(Exception):
    """The server's answer was an error: its status, and the code of the JSON-RPC error if there was one."""

    def __init__(self, status: int, code: int | None) -> None:
        super().__init__(f"status {status}" + ("" if code is None else f", error {code}"))
        self.status, self.code = status, code


def look(server: UpstreamRow, secret: str | None) -> Offered:
    """The tools of a server. Blocks; raises `GatewayError` if it cannot be asked, or its answer is no list of tools."""
    return asyncio.run(looked(server, secret))


async def looked(server: UpstreamRow, secret: str | None) -> Offered:
    """The same on an event loop."""
    client = UpstreamClient(connect_timeout=SECONDS, idle_timeout=SECONDS)
    try:
        async with asyncio.timeout(SECONDS):
            return await _Conversation(client, server, secret).offered()
    except TimeoutError:
        why = f"no answer within {SECONDS:g} s"
    except Denied as denied:
        why = denied.detail or denied.message
    except (_RefusedError, ValueError) as error:
        why = str(error)
    finally:
        await client.close()
    raise GatewayError(
        "mcp_server",
        f"cannot list the tools of `{server.name}`: {why}",
        subject=server.name,
        hint="check its URL and key, and that it is running",
    )


@dataclass(slots=True)
class _Conversation:
    """Requests to one server, one after another."""

    client: UpstreamClient
    server: UpstreamRow
    secret: str | None = field(repr=False)
    protocol: str = STATELESS
    session: str = ""
    asked: int = 0
    left: int = field(default=_MAX_BYTES)

    async def offered(self) -> Offered:
        await self._begin()
        try:
            tools = await self._tools()
        finally:
            await self._end()
        spoken = [self.protocol]
        if self.protocol == STATELESS and (older := await self._older()):
            spoken.append(older)
        return Offered(", ".join(spoken), tools)

    async def _older(self) -> str:
        """The newest revision with sessions that a server speaks besides; empty if it speaks none."""
        try:
            return await self._initialize()
        except (_RefusedError, ValueError):
            return ""
        finally:
            await self._end()

    async def _begin(self) -> None:
        """Find out which revision the server speaks."""
        try:
            found = await self._ask("server/discover", {})
        except _RefusedError as error:
            if error.status in (401, 403) or error.status >= 500:
                raise
        else:
            supported = found.get("supportedVersions")
            if isinstance(supported, list) and STATELESS in supported:
                return
        if not await self._initialize():
            known = ", ".join((STATELESS, *SESSIONS))
            raise ValueError(f"it speaks none of the revisions that this gateway knows ({known})")
        await self._notify("notifications/initialized")

    async def _initialize(self) -> str:
        """Begin a session, and return its revision; empty if that is none that the gateway knows."""
        self.protocol = SESSIONS[0]
        params = {"protocolVersion": self.protocol, "capabilities": {}, "clientInfo": _CLIENT}
        chosen = (await self._ask("initialize", params)).get("protocolVersion")
        if chosen not in SESSIONS:
            return ""
        self.protocol = str(chosen)
        return self.protocol

    async def _tools(self) -> list[dict[str, Any]]:
        tools: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        for _ in range(_MAX_PAGES):
            try:
                page = await self._ask("tools/list", cursor)
            except _RefusedError as error:
                if error.code == _UNKNOWN_METHOD:  # a server of resources or prompts alone
                    return tools
                raise
            listed = page.get("tools")
            if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
                raise ValueError("its answer to `tools/list` is no list of tools")
            tools += listed
            if len(tools) > _MAX_TOOLS:
                raise ValueError(f"it offers more than {_MAX_TOOLS} tools")
            following = page.get("nextCursor")
            if not isinstance(following, str) or not following:
                return tools
            cursor = {"cursor": following}
        raise ValueError(f"its list of tools has more than {_MAX_PAGES} pages")

    async def _ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
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
            raise _RefusedError(answer.status, code if isinstance(code, int) else None)
        return result

    async def _notify(self, method: str) -> None:
        (await self._send({"jsonrpc": "2.0", "method": method})).close()

    async def _end(self) -> None:
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
            **orjson.loads(self.server.headers),
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
        if self.secret is not None:
            headers["Authorization"] = f"Bearer {self.secret}"
        method, body = ("DELETE", b"") if message is None else ("POST", orjson.dumps(message))
        request = Outgoing(method, plain_url(self.server.base_url), headers, body)
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
