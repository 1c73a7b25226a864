"""An MCP server behind a data plane: messages of every revision, and what was approved of its tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.mcp.exchange import CAPABILITIES_KEY, CLIENT_KEY, NAMED_BY, VERSION_KEY, encoded
from gateway.mcp.pins import Pin, State, Trust, tool_digest
from gateway.registry.database import Registry
from gateway.registry.upstreams import tools
from tests.gateway.dataplane.conftest import ACTOR, ORG, Gateway, Reply
from tests.rigs.dataplane.obligations import put_into_force

CURRENT = "2026-07-28"
BOTH = f"{CURRENT}, 2025-11-25"
SECRET = "mcp-secret-1234567890"

TOOLS: dict[str, dict[str, Any]] = {
    name: {
        "name": name,
        "description": f"It does {name}.",
        "inputSchema": {"type": "object", "properties": {"repo": {"type": "string"}, "number": {"type": "integer"}}},
        "annotations": {"readOnlyHint": True},
    }
    for name in ("get_issue", "list_issues", "delete_repo")
}

POLICY = """package bot.authz

default allow := false

allow if input.action in {"mcp.discover", "mcp.tools.list", "mcp.notify", "mcp.listen", "mcp.session.end"}

allow if {
	input.action == "mcp.tools.call"
	input.resource.tool.name in {"get_issue", "list_issues"}
	startswith(input.resource.tool.arguments.repo, "acme/")
}

allow if {
	input.action in {"mcp.resources.read", "mcp.tasks.get"}
	not startswith(input.resource.uri.text, "file:///etc")
}

allow if input.action == "mcp.tasks.get"
"""


def pins(state: State = "pinned", *names: str) -> dict[str, Pin]:
    """What was approved: the tools of these names, or all."""
    return {
        name: Pin(name, tool_digest(TOOLS[name]), state, TOOLS[name]) for name in TOOLS if not names or name in names
    }


def know(registry: Registry, known: Mapping[str, Pin], speaks: str = BOTH, upstream: str = "github") -> None:
    """Have a server these tools, each as it is in one of its states."""
    where: dict[str, Any] = {"actor": ACTOR, "organization": ORG}
    seen: dict[str, Mapping[str, Any]] = {each.name: each.document for each in known.values()}
    tools.observe(registry, **where, upstream=upstream, documents=seen.values(), protocol=speaks)
    approved = {each.name: each.digest for each in known.values() if each.state != "new"}
    rows = [each for each in tools.tools(registry, ORG, upstream=upstream) if each.name in approved]
    for each in rows:
        tools.approve(registry, **where, tool=each.id, digest=approved[each.name])
    changed = {each.name: {**each.document, "title": "Other"} for each in known.values() if each.state == "changed"}
    tools.observe(registry, **where, upstream=upstream, documents=(seen | changed).values(), protocol=speaks)


def serve(
    gateway: Gateway,
    approved: Mapping[str, Pin] | None = None,
    *,
    trust: Trust = "approve",
    policy: str = POLICY,
    base: str = "/mcp",
    speaks: str = BOTH,
) -> None:
    """Add the test's upstream as the MCP server `github`, of which these revisions are known."""
    gateway.add_upstream("github", "mcp", base, secret=SECRET, trust=trust)
    know(gateway.registry, pins() if approved is None else approved, speaks)
    put_into_force(gateway, policy)


def message(method: str, params: Mapping[str, Any] | None = None, of: Any = 1, **meta: Any) -> dict[str, Any]:
    """A request of the newest revision."""
    known = {VERSION_KEY: CURRENT, CAPABILITIES_KEY: {}, CLIENT_KEY: {"name": "test", "version": "1"}, **meta}
    found = {"jsonrpc": "2.0", "method": method, "params": {**(params or {}), "_meta": known}}
    return found if of is None else {**found, "id": of}


def headers(body: Mapping[str, Any], **changed: str | None) -> list[str]:
    """The headers that repeat a message; None leaves one out."""
    found: dict[str, str | None] = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": CURRENT,
        "Mcp-Method": body["method"],
    }
    if (member := NAMED_BY.get(body["method"])) is not None:
        found["Mcp-Name"] = encoded(body["params"][member])
    found |= {name.replace("_", "-"): text for name, text in changed.items()}
    return [f"{name}: {text}" for name, text in found.items() if text is not None]


async def ask(gateway: Gateway, method: str, params: Mapping[str, Any] | None = None, of: Any = 1) -> Reply:
    """Send a request of the newest revision through the gateway."""
    body = message(method, params, of)
    return await gateway.send(gateway.request(body, *headers(body), path="/github/mcp"))


async def old(gateway: Gateway, method: str, params: Mapping[str, Any] | None = None, *lines: str) -> Reply:
    """Send a request of an older revision."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}
    return await gateway.send(gateway.request(body, *lines, path="/github/mcp"))


def result(found: Mapping[str, Any], of: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": of, "result": found}


def event(found: Mapping[str, Any]) -> bytes:
    return b"event: message\ndata: " + orjson.dumps(found) + b"\n\n"
