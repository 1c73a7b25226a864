"""The official Python SDK on both sides of the gateway, unmodified: its client, and a server in a process."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.mcp.pins import Pin, tool_digest
from gateway.registry.port import UpstreamRow
from gateway.upstream import mcp_look
from tests.gateway.dataplane.conftest import Gateway
from tests.rigs.dataplane.mcp import BOTH, CURRENT, POLICY, know, serve

pytest.importorskip("mcp.server.mcpserver")
pytestmark = pytest.mark.slow

PROGRAMS = Path(__file__).parents[1] / "clients" / "programs"
OLDER = "2025-11-25"
ONE = {CURRENT: ("newer",), OLDER: ("older",)}
MORE = """
allow if input.action in {"mcp.resources.list", "mcp.prompts.list", "mcp.prompts.get"}

allow if input.resource.tool.name == "delete_repo"
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def server(port: int, *more: str) -> AsyncIterator[None]:
    program = await asyncio.create_subprocess_exec(
        sys.executable, str(PROGRAMS / "mcp_server_program.py"), str(port), *more,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(600):
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            await asyncio.sleep(0.05)
        yield
    finally:
        program.terminate()
        await program.wait()


def row(port: int) -> UpstreamRow:
    where = f"http://127.0.0.1:{port}/mcp"
    return UpstreamRow("ups_1", "default", "github", "mcp", where, False, None, 1, None, "{}", "anywhere", "approve")


def approved(tools: Iterable[dict[str, Any]]) -> dict[str, Pin]:
    """What the server says of its tools, as if all but one had been approved."""
    return {
        each["name"]: Pin(each["name"], tool_digest(each), "pinned", each)
        for each in tools
        if each["name"] != "delete_repo"
    }


@pytest.mark.parametrize(
    ("mode", "speaks", "shape"),
    [
        *((mode, speaks, "json") for speaks in (BOTH, CURRENT, OLDER) for mode in ("auto", "legacy", CURRENT)),
        *((mode, speaks, "stream") for speaks in (BOTH, CURRENT, OLDER) for mode in ("legacy", CURRENT)),
    ],
)
async def test_the_sdk_through_the_gateway(gateway: Gateway, mode: str, speaks: str, shape: str) -> None:
    port = free_port()
    async with server(port, shape, *ONE.get(speaks, ())):
        gateway.upstream.port = port
        found = await mcp_look.looked(row(port), None)
        assert found.protocol == speaks
        serve(gateway, approved(found.tools), policy=POLICY + MORE, speaks=speaks)
        url = f"http://127.0.0.1:{gateway.port}/github/mcp"
        client = await asyncio.create_subprocess_exec(
            sys.executable, str(PROGRAMS / "mcp_client_program.py"), url, gateway.key, mode,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await client.communicate()
        assert client.returncode == 0, err.decode()[-3000:]
        told = json.loads(out)
    assert told == {
        "version": OLDER if mode == "legacy" else "2026-07-28",
        "tools": ["get_issue"],
        "allowed": "acme/app#7: it does not work",
        "denied": "policy_denied",
        "unapproved": "tool_unapproved",
        "resource": "memo a",
        "prompt": "please review x = 1",
    }
    decided = await gateway.entries("decided")
    completed = {each["decision"] for each in await gateway.entries("completed")}
    assert {each["id"] for each in decided if each["allow"]} == completed


@pytest.mark.parametrize("mode", ["auto", "legacy", CURRENT])
@pytest.mark.parametrize("speaks", [BOTH, CURRENT, OLDER])
async def test_the_sdk_with_two_servers_as_one(gateway: Gateway, mode: str, speaks: str) -> None:
    """Names are those of the servers, each behind its server's. One of the two is of both eras."""
    first, second = free_port(), free_port()
    async with server(first, *ONE.get(speaks, ())), server(second, "json"):
        tools = approved((await mcp_look.looked(row(first), None)).tools)
        gateway.upstream.port = second
        gateway.add_upstream("other", "mcp", "/mcp", secret="other-secret-1234567890", trust="approve")
        know(gateway.registry, tools, upstream="other")
        gateway.upstream.port = first
        serve(gateway, tools, policy=POLICY + MORE, speaks=speaks)
        url = f"http://127.0.0.1:{gateway.port}/mcp"
        client = await asyncio.create_subprocess_exec(
            sys.executable, str(PROGRAMS / "mcp_client_program.py"), url, gateway.key, mode, "github__",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await client.communicate()
        assert client.returncode == 0, err.decode()[-3000:]
        told = json.loads(out)
    assert told.pop("tools") == ["github__get_issue", "other__get_issue"]
    # Both servers have a template for it, and the client is told so.
    assert "several servers have `memo://a`" in told.pop("resource")
    assert told == {
        "version": OLDER if mode == "legacy" else "2026-07-28",
        "allowed": "acme/app#7: it does not work",
        "denied": "policy_denied",
        "unapproved": "tool_unapproved",
        "prompt": "please review x = 1",
    }
    decided = await gateway.entries("decided")
    completed = {each["decision"] for each in await gateway.entries("completed")}
    assert {each["id"] for each in decided if each["allow"]} == completed
    assert {each.get("joined_as") for each in decided if each["action"] == "mcp.tools.call"} == {
        "github__get_issue",
        "github__delete_repo",
    }
