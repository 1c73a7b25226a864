"""Asks an MCP server for its tools on behalf of the gateway itself, in the revision that the server speaks.

A server of 2026-07-28 answers `server/discover`, and each request stands alone. Older ones want `initialize` first and
give a session, which is ended again. A server may send what it likes, so time, bytes, pages and tools have limits.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from gateway.errors import Denied, GatewayError
from gateway.identity.call_tokens import Bearer, CallTokens
from gateway.identity.token_keys import TokenKeys
from gateway.outbound.client import UpstreamClient
from gateway.registry.port import UpstreamRow
from gateway.upstream.mcp_conversation import STATELESS, Conversation, RefusedError, Server

SECONDS: Final = 20.0
"""For all requests to one server together."""

_MAX_PAGES: Final = 50
_MAX_TOOLS: Final = 2000
_UNKNOWN_METHOD: Final = -32601


@dataclass(frozen=True, slots=True)
class Offered:
    """The tools of a server as it describes them, and the revisions that it speaks, the newest first, with commas.

    Of each era it is the newest one: with sessions, and without them.
    """

    protocol: str
    tools: list[dict[str, Any]]


def look(server: UpstreamRow, secret: str | None, bearer: Bearer | None = None) -> Offered:
    """The tools of a server. Blocks; raises `GatewayError` if it cannot be asked, or its answer is no list of tools."""
    return asyncio.run(looked(server, secret, bearer))


def bearer_of(server: UpstreamRow, keys: Path, deployment: str) -> Bearer | None:
    """Makes the gateway's own tokens for a look, if those are the server's credentials. `keys` is their directory."""
    tokens = CallTokens(TokenKeys(keys), deployment)
    return tokens.of_gateway(server.organization, "mcp.tools.list", server.base_url, server.auth)


async def looked(server: UpstreamRow, secret: str | None, bearer: Bearer | None = None) -> Offered:
    """The same on an event loop."""
    client = UpstreamClient(connect_timeout=SECONDS, idle_timeout=SECONDS)
    place = Server(server.base_url, server.reach, orjson.loads(server.headers), secret, bearer)
    try:
        async with asyncio.timeout(SECONDS):
            return await _offered(Conversation(client, place))
    except TimeoutError:
        why = f"no answer within {SECONDS:g} s"
    except Denied as denied:
        why = denied.detail or denied.message
    except (RefusedError, ValueError) as error:
        why = str(error)
    finally:
        await client.close()
    raise GatewayError(
        "mcp_server",
        f"cannot list the tools of `{server.name}`: {why}",
        subject=server.name,
        hint="check its URL and key, and that it is running",
    )


async def _offered(server: Conversation) -> Offered:
    await server.begin()
    try:
        tools = await _tools(server)
    finally:
        await server.end()
    spoken = [server.protocol]
    if server.protocol == STATELESS and (older := await _older(server)):
        spoken.append(older)
    return Offered(", ".join(spoken), tools)


async def _older(server: Conversation) -> str:
    """The newest revision with sessions that a server speaks besides; empty if it speaks none."""
    try:
        return await server.initialize()
    except (RefusedError, ValueError):
        return ""
    finally:
        await server.end()


async def _tools(server: Conversation) -> list[dict[str, Any]]:
    tools: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    for _ in range(_MAX_PAGES):
        try:
            page = await server.ask("tools/list", cursor)
        except RefusedError as error:
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
