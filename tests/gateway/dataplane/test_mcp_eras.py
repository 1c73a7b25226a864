"""An MCP client and a server of different eras: each is told what it understands, and policies judge what was asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from gateway.mcp.exchange import VERSION_KEY
from gateway.mcp.pins import Pin, tool_digest
from tests.gateway.dataplane.conftest import Gateway, Reply, answer, stream
from tests.rigs.dataplane.mcp import BOTH, CURRENT, SECRET, TOOLS, ask, event, old, pins, result, serve

VERSION = "MCP-Protocol-Version: 2025-11-25"
CALL = {"name": "get_issue", "arguments": {"repo": "acme/app", "number": 7}}
META = {
    "io.modelcontextprotocol/protocolVersion": CURRENT,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "agent-identity-gateway", "version": "1"},
}


async def begin(gateway: Gateway, version: str = "2025-11-25") -> Reply:
    client = {"name": "old", "version": "1"}
    return await old(
        gateway, "initialize", {"protocolVersion": version, "capabilities": {"sampling": {}}, "clientInfo": client}
    )


async def call(gateway: Gateway, found: Mapping[str, Any]) -> Any:
    """The server's result to an older client's call of a tool, or the error in its place."""
    gateway.upstream.handler = answer(result(found))
    reply = await old(gateway, "tools/call", CALL, VERSION)
    assert (reply.status, reply.json["id"]) == (200, 1)
    return reply.json.get("result", reply.json.get("error"))


@pytest.mark.parametrize("version", ["2025-11-25", "2025-06-18", "2025-03-26"])
async def test_an_older_client_begins_with_a_newer_server(gateway: Gateway, version: str) -> None:
    serve(gateway, speaks=CURRENT)
    capabilities = {"tools": {"listChanged": True}, "resources": {"subscribe": True}, "logging": {}, "tasks": {}}
    found = {"supportedVersions": [CURRENT], "capabilities": capabilities, "instructions": "ask", "ttlMs": 0}
    about = {"_meta": {"io.modelcontextprotocol/serverInfo": {"name": "new", "version": "2"}}, "resultType": "complete"}
    gateway.upstream.handler = answer(result({**found, **about, "cacheScope": "public"}))
    begun = await begin(gateway, version)
    assert begun.json["result"] == {
        "protocolVersion": version,
        "capabilities": {"tools": {}, "resources": {}},
        "serverInfo": {"name": "new", "version": "2"},
        "instructions": "ask",
    }
    (seen,) = gateway.upstream.seen
    assert seen.json == {"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": META}}
    sent = {name: text for name, text in seen.headers.items() if name.startswith("mcp-")}
    assert sent == {"mcp-protocol-version": CURRENT, "mcp-method": "server/discover"}
    assert seen.headers["authorization"] == f"Bearer {SECRET}"
    (decided,) = await gateway.entries("decided")
    assert decided["action"] == "mcp.discover"


async def test_the_gateway_answers_what_only_concerns_sessions(gateway: Gateway) -> None:
    """Each is a call that policies judge, and the server never hears of it."""
    serve(gateway, speaks=CURRENT)
    notification = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    reply = await gateway.send(gateway.request(notification, VERSION, path="/github/mcp"))
    assert (reply.status, reply.body) == (202, b"")
    assert (await old(gateway, "ping", None, VERSION)).json == {"jsonrpc": "2.0", "id": 1, "result": {}}
    for method in ("GET", "DELETE"):
        reply = await gateway.send(gateway.request(None, VERSION, path="/github/mcp", method=method))
        assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert gateway.upstream.seen == []
    actions = [each["action"] for each in await gateway.entries("decided")]
    assert actions == ["mcp.notify", "mcp.discover", "mcp.listen", "mcp.session.end"]
    assert len(await gateway.entries("completed")) == 4


async def test_an_older_client_calls_a_tool_of_a_newer_server(gateway: Gateway) -> None:
    schema = {
        "type": "object",
        "properties": {
            "repo": {"type": "string", "x-mcp-header": "Repo"},
            "deep": {"type": "object", "properties": {"dry": {"type": "boolean", "x-mcp-header": "Dry"}}},
            "none": {"type": "string", "x-mcp-header": "None"},
            "broken": {"type": "string", "x-mcp-header": "a b"},
        },
    }
    tool = TOOLS["get_issue"] | {"inputSchema": schema}
    serve(gateway, {"get_issue": Pin("get_issue", tool_digest(tool), "pinned", tool)}, speaks=CURRENT)
    arguments = {"repo": "acme/größe", "deep": {"dry": True}, "number": 1.50, "broken": "x"}
    meta = {"progressToken": 7, "io.modelcontextprotocol/related-task": {"taskId": "t"}}
    content = [{"type": "text", "text": "seven"}]
    gateway.upstream.handler = answer(result({"content": content, "resultType": "complete", "_meta": {"x": 1}}))
    asked = {"name": "get_issue", "arguments": arguments, "_meta": meta, "task": {"ttl": 1}}
    reply = await old(gateway, "tools/call", asked, VERSION)
    assert reply.json == result({"content": content, "_meta": {"x": 1}})
    (seen,) = gateway.upstream.seen
    assert seen.json["params"] == {"name": "get_issue", "arguments": arguments, "_meta": META | {"progressToken": 7}}
    sent = {name: text for name, text in seen.headers.items() if name.startswith("mcp-")}
    assert sent == {
        "mcp-protocol-version": CURRENT,
        "mcp-method": "tools/call",
        "mcp-name": "get_issue",
        "mcp-param-repo": "=?base64?YWNtZS9ncsO2w59l?=",
        "mcp-param-dry": "true",
    }
    denied = await old(gateway, "tools/call", {"name": "get_issue", "arguments": {"repo": "other/app"}}, VERSION)
    assert denied.json["error"]["data"]["reason"] == "policy_denied"
    assert len(gateway.upstream.seen) == 1


async def test_an_older_client_is_told_nothing_that_it_does_not_understand(gateway: Gateway) -> None:
    serve(gateway, speaks=CURRENT)
    assert await call(gateway, {"content": [], "resultType": "complete"}) == {"content": []}
    assert await call(gateway, {"content": []}) == {"content": []}
    for kind, said in (("input_required", "asks its client for input"), ("task", "answers with a task")):
        error = await call(gateway, {"resultType": kind, "requestState": "s", "taskId": "t"})
        assert (error["code"], error["message"]) == (
            -32603,
            f"the server {said}, which a client of revision 2025-11-25 cannot be told",
        )
    error = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "no such method"}}
    gateway.upstream.handler = answer(error, status=404)
    reply = await old(gateway, "tools/call", CALL, VERSION)
    assert (reply.status, reply.json) == (200, error)  # by a 404 the client would believe that its session is over
    gateway.upstream.handler = answer(result({}, of=2))
    assert (await old(gateway, "tools/call", CALL, VERSION)).json["error"]["code"] == -32603


async def test_what_a_newer_server_does_not_have_is_refused_by_name(gateway: Gateway) -> None:
    policy = "package bot.authz\n\nallow := true\n"
    serve(gateway, speaks=CURRENT, policy=policy)
    for method, params in (("resources/subscribe", {"uri": "memo://a"}), ("logging/setLevel", {"level": "info"})):
        reply = await old(gateway, method, params, VERSION)
        assert (reply.status, reply.json["error"]["code"]) == (200, -32601)
        assert f"`{method}` cannot be passed on" in reply.json["error"]["message"]
    assert gateway.upstream.seen == []


@pytest.mark.parametrize("streaming", [False, True])
async def test_an_older_client_is_shown_the_tools_it_may_call(gateway: Gateway, *, streaming: bool) -> None:
    serve(gateway, pins("pinned", "get_issue"), speaks=CURRENT)
    found = result({"tools": [*TOOLS.values()], "ttlMs": 0, "cacheScope": "public", "resultType": "complete"})
    progress = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}}
    gateway.upstream.handler = stream(event(progress), event(found)) if streaming else answer(found)
    reply = await old(gateway, "tools/list", None, VERSION)
    expected = result({"tools": [TOOLS["get_issue"]]})
    if streaming:
        assert reply.body.startswith(event(progress))
        assert orjson.loads(reply.body.rpartition(b"data: ")[2]) == expected
    else:
        assert reply.json == expected


@pytest.mark.parametrize("speaks", [CURRENT, BOTH])
async def test_a_refusal_does_not_end_the_session_of_an_older_client(gateway: Gateway, speaks: str) -> None:
    """Its SDK gives up the connection at a status of 400 or more, so a refused call is an answer with an error."""
    serve(gateway, pins("pinned", "get_issue"), speaks=speaks)
    refused = {
        "policy_denied": ("tools/call", {"name": "get_issue", "arguments": {"repo": "other/app"}}),
        "tool_unapproved": ("tools/call", CALL | {"name": "list_issues"}),
        "bad_request": ("tools/call", {"name": "get_issue", "arguments": {"number": 2**60}}),
        "unknown_route": ("tasks/list", None),
        "foreign_reference": ("tools/call", CALL | {"requestState": "s"}),
    }
    for reason, (method, params) in refused.items():
        reply = await old(gateway, method, params, VERSION)
        assert (reply.status, reply.json["id"], reply.json["error"]["data"]["reason"]) == (200, 1, reason)
    notification = {"jsonrpc": "2.0", "method": "notifications/x"}
    unasked = await gateway.send(gateway.request(notification, "MCP-Protocol-Version: 1999-01-01", path="/github/mcp"))
    no_key = await old(gateway, "ping", None, "Authorization: omit")
    differs = await old(gateway, "ping", None, VERSION, "Mcp-Method: tools/list")
    assert [each.status for each in (unasked, no_key, differs)] == [400, 401, 400]
    assert gateway.upstream.seen == []
    assert all(each["reason"] for each in await gateway.entries("decided"))


async def test_nobody_initializes_in_the_newer_revision(gateway: Gateway) -> None:
    """The server says so; the message once made the gateway fail."""
    serve(gateway, speaks=CURRENT)
    error = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "no such method"}}
    gateway.upstream.handler = answer(error, status=404)
    reply = await ask(gateway, "initialize")
    assert (reply.status, reply.json) == (404, error)
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"_meta": {VERSION_KEY: "2025-11-25"}}}
    assert (await gateway.send(gateway.request(body, VERSION, path="/github/mcp"))).status == 200


async def test_a_large_answer_is_translated_whole_or_not_at_all(gateway: Gateway) -> None:
    serve(gateway, speaks=CURRENT)
    text = "x" * 300_000
    assert await call(gateway, {"content": [text], "resultType": "complete"}) == {"content": [text]}
    gateway.upstream.handler = stream(event(result({"content": [text], "resultType": "complete"})))
    reply = await old(gateway, "tools/call", CALL, VERSION)
    assert orjson.loads(reply.body.rpartition(b"data: ")[2]) == result({"content": [text]})
    gateway.upstream.handler = answer(b'{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete"')
    assert (await old(gateway, "tools/call", CALL, VERSION)).json["error"]["code"] == -32603
    assert gateway.plane.load()[1] == 0
