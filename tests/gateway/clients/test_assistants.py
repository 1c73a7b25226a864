"""The official MCP client asks a running gateway what an operator asks: who may call a model, and why was this refused?

It speaks the current revision and the one before. The rest is raw: requests on which the server and whoever stands
before it could disagree.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from gateway.mcp import messages
from tests.gateway.dataplane.processes import Live

pytestmark = pytest.mark.slow

mcp = pytest.importorskip("mcp", reason='pip install -e ".[clients]" has the client')


@pytest.fixture(scope="module")
def url(live: Live) -> str:
    assert live.up is not None
    return live.up.line(r"control plane (\S+)\)")[1] + "/mcp"


@pytest.fixture(scope="module")
def auditor(live: Live) -> str:
    live.run("operators", "add", "editor", "--role", "auditor")
    return live.run("operators", "token", "create", "editor", "--scope", "read").strip()


@pytest.fixture(scope="module")
def changer(live: Live) -> str:
    live.run("operators", "add", "changer", "--role", "admin")
    return live.run(
        "operators", "token", "create", "changer", "--scope", "agents:write", "--scope", "mcp:write"
    ).strip()


def talk(url: str, token: str, mode: str, work: Callable[[Any], Awaitable[None]]) -> None:
    """Let the official client do something, in one revision."""
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    async def run() -> None:
        async with (
            httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}) as connection,
            mcp.Client(streamable_http_client(url, http_client=connection), mode=mode) as client,
        ):
            await work(client)

    asyncio.run(run())


@pytest.mark.parametrize(("mode", "version"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])
def test_a_refusal_is_explained(live: Live, url: str, auditor: str, mode: str, version: str) -> None:
    refused = httpx.post(
        f"{live.base_url}/chat/completions",
        headers={"authorization": f"Bearer {live.key}"},
        json={"model": "gpt-5", "messages": [{"role": "user", "content": "hello"}]},
        timeout=300,
    )
    assert refused.status_code == 403
    decision = refused.headers["x-decision-id"]

    async def ask(client: Any) -> None:
        assert client.protocol_version == version
        assert client.server_info.name == "agent-identity-gateway"
        tools = {each.name: each for each in (await client.list_tools()).tools}
        assert all(each.annotations.read_only_hint for each in tools.values())
        who = await client.call_tool("who_may_call", {"model": "gpt-5", "allowed": False})
        assert [each["agent"] for each in who.structured_content["items"]] == ["bot"]
        assert json.loads(who.content[0].text) == who.structured_content
        found = await client.call_tool("search_audit_log", {"agent": "bot", "allow": False, "limit": 5})
        assert decision in [each["id"] for each in found.structured_content["items"]]
        why = await client.call_tool("explain_decision", {"event": decision, "explain": True})
        assert not why.is_error
        told = why.structured_content["decision"]
        assert (told["judged_again"]["allow"], told["agrees"]) == (False, True)
        assert "allow" in json.dumps(told["bundles"])
        with pytest.raises(mcp.MCPError, match="there is no tool `suspend_agent` for you"):
            await client.call_tool("suspend_agent", {"agent": "bot"})

    talk(url, auditor, mode, ask)


def test_a_change_has_an_entry(live: Live, url: str, auditor: str, changer: str) -> None:
    async def change(client: Any) -> None:
        made = await client.call_tool("create_agent", {"name": "by-an-assistant", "reason": "asked for"})
        assert made.structured_content["status"] == "active"

    async def read(client: Any) -> None:
        found = await client.call_tool("search_audit_log", {"kind": "change", "limit": 1})
        entry = found.structured_content["items"][0]["entry"]
        assert entry["reason"] == "asked for"
        assert entry["actor"].startswith("operator:")

    talk(url, changer, "auto", change)
    talk(url, auditor, "auto", read)


HEAD = "Host: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
CURRENT = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\n"
META = (
    '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}'
)
BODY = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_agents",' + META + "}}"


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        (CURRENT + "Mcp-Name: list_agents\r\n", BODY, 200, None),
        (CURRENT + "mcp-NAME: \t list_agents \r\n", BODY, 200, None),
        (CURRENT + "Mcp-Name: =?base64?bGlzdF9hZ2VudHM=?=\r\n", BODY, 200, None),
        (CURRENT, BODY, 400, messages.HEADER_MISMATCH),
        (CURRENT + "Mcp-Name: list_keys\r\n", BODY, 400, messages.HEADER_MISMATCH),
        (CURRENT + "Mcp-Name: =?base64?bGlzdF9rZXlz?=\r\n", BODY, 400, messages.HEADER_MISMATCH),
        (CURRENT + "Mcp-Name: list_agents\r\nMcp-Name: list_agents\r\n", BODY, 400, messages.HEADER_MISMATCH),
        (CURRENT + "Mcp-Name: list_agents\r\nMcp-Method: tools/call\r\n", BODY, 400, messages.HEADER_MISMATCH),
        ("MCP-Protocol-Version: 2025-06-18\r\nMcp-Name: list_agents\r\n", BODY, 400, messages.HEADER_MISMATCH),
        ("", BODY, 400, messages.HEADER_MISMATCH),
        ("", BODY.replace(META, '"arguments":{}'), 400, messages.HEADER_MISMATCH),
        ("MCP-Protocol-Version: 2024-11-05\r\n", BODY.replace(META, '"x":1'), 400, messages.UNSUPPORTED_VERSION),
        (CURRENT + "Mcp-Name: list_agents\r\n", f"[{BODY}]", 400, messages.INVALID_REQUEST),
        (CURRENT + "Mcp-Name: list_agents\r\n", BODY.replace('"id":1', '"id":1,"id":2'), 400, messages.PARSE_ERROR),
        (
            CURRENT + "Mcp-Name: list_agents\r\n",
            BODY.replace('"name":', '"name":"list_keys","n\\u0061me":'),
            400,
            messages.PARSE_ERROR,
        ),
        ("Mcp-Session-Id: 1\r\nLast-Event-ID: 4\r\n" + CURRENT + "Mcp-Name: list_agents\r\n", BODY, 200, None),
        ("MCP-Protocol-Version: 2025-06-18\r\n", BODY.replace(META, '"arguments":{}'), 200, None),
        ("Origin: http://evil.example\r\n" + CURRENT + "Mcp-Name: list_agents\r\n", BODY, 403, None),
    ],
)
def test_raw_requests(url: str, auditor: str, headers: str, body: str, status: int, code: int | None) -> None:
    length = f"Authorization: Bearer {auditor}\r\nContent-Length: {len(body)}\r\n"
    told, document = _sent(url, f"POST /mcp HTTP/1.1\r\n{HEAD}{length}{headers}\r\n{body}")
    assert told == status, document
    assert document.get("error", {}).get("code") == code
    if status == 200:
        assert document["result"]["structuredContent"]["items"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_there_is_no_session_to_read_or_end(url: str, auditor: str, method: str) -> None:
    token = f"Authorization: Bearer {auditor}\r\n"
    assert _sent(url, f"{method} /mcp HTTP/1.1\r\n{HEAD}{token}\r\n")[0] == 405


def _sent(url: str, request: str) -> tuple[int, Any]:
    host, port = url.removeprefix("http://").removesuffix("/mcp").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(request.encode("latin-1"))
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)
