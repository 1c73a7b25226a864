"""All MCP servers of an organization as one: each request to a server is judged and recorded as on its own path."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from gateway.mcp.joined import SERVERS_KEY
from gateway.mcp.pins import Pin, tool_digest
from tests.gateway.dataplane.conftest import Gateway, Handler, Reply, Seen, answer, stream, until
from tests.rigs.dataplane.mcp import (
    BOTH,
    CURRENT,
    POLICY,
    TOOLS,
    event,
    headers,
    know,
    message,
    pins,
    result,
)
from tests.rigs.dataplane.obligations import put_into_force

OLDER = "2025-11-25"
VERSION = f"MCP-Protocol-Version: {OLDER}"
ISSUE = {"arguments": {"repo": "acme/app", "number": 7}}
MORE = """
allow if input.action in {"mcp.resources.list", "mcp.prompts.list", "mcp.prompts.get", "mcp.completion"}
"""

Answers = Mapping[str, Any]
"""The results of one server by method; a number is the code of an error."""


def listed(*tools: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"tools": [*tools], "ttlMs": 5, "cacheScope": "public", "resultType": "complete", **more}


def servers(gateway: Gateway, policy: str = POLICY + MORE, speaks: str = BOTH, **answers: Answers | Handler) -> None:
    """Add servers of these names, which all have the same tools, and have each answer so."""
    for name in answers:
        gateway.add_upstream(name, "mcp", f"/{name}", secret=f"secret-of-{name}-12345", trust="approve")
        know(gateway.registry, pins(), speaks, upstream=name)
    put_into_force(gateway, policy)

    async def handle(seen: Seen, writer: asyncio.StreamWriter) -> None:
        server = seen.head.split(b" ")[1].decode()[1:]
        given = answers[server]
        if callable(given):
            await given(seen, writer)
            return
        found = given.get(seen.json["method"], {})
        if isinstance(found, int):
            error = {"jsonrpc": "2.0", "id": seen.json["id"], "error": {"code": found, "message": "no such thing"}}
            await answer(error, status=404 if found == -32601 else 400)(seen, writer)
        else:
            await answer(result(found, of=seen.json["id"]))(seen, writer)

    gateway.upstream.handler = handle


async def ask(gateway: Gateway, method: str, params: Mapping[str, Any] | None = None, of: Any = 1) -> Reply:
    body = message(method, params, of)
    return await gateway.send(gateway.request(body, *headers(body), path="/mcp"))


async def old(gateway: Gateway, method: str, params: Mapping[str, Any] | None = None, *lines: str) -> Reply:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}
    return await gateway.send(gateway.request(body, *lines, path="/mcp"))


def names(reply: Reply) -> list[str]:
    return [each["name"] for each in reply.json["result"]["tools"]]


async def test_one_list_has_the_tools_of_all_servers(gateway: Gateway) -> None:
    servers(
        gateway,
        github={"tools/list": listed(*TOOLS.values())},
        jira={"tools/list": listed(TOOLS["list_issues"], TOOLS["get_issue"] | {"title": "Other"})},
    )
    reply = await ask(gateway, "tools/list", of="a-1")
    assert (reply.status, reply.json["id"]) == (200, "a-1")
    found = reply.json["result"]
    assert names(reply) == [*(f"github__{name}" for name in TOOLS), "jira__list_issues"]
    assert found["tools"][0] == {**TOOLS["get_issue"], "name": "github__get_issue"}
    assert (found["ttlMs"], found["cacheScope"], found["resultType"]) == (0, "private", "complete")
    decided = await gateway.entries("decided")
    assert [(each["upstream"], each["action"], each["allow"]) for each in decided] == [
        ("github", "mcp.tools.list", True),
        ("jira", "mcp.tools.list", True),
    ]
    assert all(each["joined"] and "joined_as" not in each for each in decided)
    told = {each["upstream"]: [each["id"]] for each in decided}
    about = found["_meta"][SERVERS_KEY]
    assert about == [{"server": name, "decisions": told[name]} for name in ("github", "jira")]
    completed = {each["decision"]: each["detail"] for each in await gateway.entries("completed")}
    assert completed[told["jira"][0]].startswith("of 2 tools 1 are shown; 1 are not approved")
    assert gateway.open_decisions() == 0
    assert gateway.plane.load() == (0, 0, 0, 0)


async def test_a_tool_is_called_at_its_own_server(gateway: Gateway) -> None:
    servers(gateway, github={}, jira={"tools/call": {"content": [], "resultType": "complete"}})
    body = message("tools/call", {"name": "jira__get_issue", **ISSUE})
    lines = headers(body, Mcp_Param_Repo="acme/app")
    reply = await gateway.send(gateway.request(body, *lines, path="/mcp"))
    assert (reply.status, reply.json) == (200, result({"content": [], "resultType": "complete"}))
    (seen,) = gateway.upstream.seen
    assert seen.head.startswith(b"POST /jira HTTP/1.1\r\n")
    assert seen.json == message("tools/call", {"name": "get_issue", **ISSUE})
    sent = {name: text for name, text in seen.headers.items() if name.startswith("mcp-")}
    assert sent == {
        "mcp-protocol-version": CURRENT,
        "mcp-method": "tools/call",
        "mcp-name": "get_issue",
        "mcp-param-repo": "acme/app",
    }
    assert seen.headers["authorization"] == "Bearer secret-of-jira-12345"
    (decided,) = await gateway.entries("decided")
    assert decided["id"] == reply.headers["x-decision-id"]
    assert (decided["upstream"], decided["joined"], decided["joined_as"]) == ("jira", True, "jira__get_issue")


@pytest.mark.parametrize("version", [CURRENT, OLDER, "2025-06-18", "2025-03-26"])
async def test_a_call_is_refused_as_on_the_path_of_its_server(gateway: Gateway, version: str) -> None:
    servers(gateway, github={}, jira={})
    with gateway.registry.write() as session:
        session.connection().exec_driver_sql("UPDATE upstream_tool SET state = 'changed' WHERE name = 'list_issues'")
    for name, arguments, reason in (
        ("get_issue", {"repo": "other/app"}, "policy_denied"),
        ("list_issues", {"repo": "acme/app"}, "tool_unapproved"),
        ("nobody", {"repo": "acme/app"}, "policy_denied"),
        ("get_issue", {"repo": "acme/app", "number": 2**60}, "bad_request"),
    ):
        told = []
        for path, called in (("/mcp", f"jira__{name}"), ("/jira/mcp", name)):
            params = {"name": called, "arguments": arguments}
            if version == CURRENT:
                body = message("tools/call", params)
                lines = headers(body)
            else:
                body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
                lines = [] if version == "2025-03-26" else [f"MCP-Protocol-Version: {version}"]
            reply = await gateway.send(gateway.request(body, *lines, path=path))
            error = reply.json["error"]
            told.append((reply.status, reply.json["id"], error["code"], error["data"]["reason"]))
        assert told[0] == told[1]
        assert told[0][3] == reason
    assert gateway.upstream.seen == []


async def test_a_server_that_fails_leaves_the_tools_of_the_others(gateway: Gateway) -> None:
    async def silent(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    gateway.plane._joining._seconds = 0.3
    servers(
        gateway,
        broken=answer(b"{", status=500),
        far=answer({"jsonrpc": "2.0", "id": 99, "result": listed(TOOLS["get_issue"])}),
        github={"tools/list": listed(TOOLS["get_issue"])},
        huge={"tools/list": listed(*({"name": f"t{each}"} for each in range(10_001)))},
        silent=silent,
        toolless={"tools/list": -32601},
        wrong={"tools/list": -32603},
    )
    reply = await ask(gateway, "tools/list")
    assert (reply.status, names(reply)) == (200, ["github__get_issue"])
    about = {each["server"]: each.get("reason") for each in reply.json["result"]["_meta"][SERVERS_KEY]}
    assert about == {
        "broken": "upstream_error",
        "far": "upstream_error",
        "github": None,
        "huge": "upstream_error",
        "silent": "upstream_timeout",
        "toolless": None,
        "wrong": "server_error",
    }
    decided = {each["id"]: each["upstream"] for each in await gateway.entries("decided")}
    outcomes = {decided[each["decision"]]: each["outcome"] for each in await gateway.entries("completed")}
    assert (outcomes["silent"], outcomes["github"], outcomes["broken"]) == ("upstream_timeout", "ok", "provider_error")
    assert gateway.open_decisions() == 0
    assert gateway.plane.load() == (0, 0, 0, 0)


async def test_a_server_that_cannot_be_used_is_named(gateway: Gateway) -> None:
    servers(gateway, github={"tools/list": listed(TOOLS["get_issue"])}, jira={"tools/list": listed()})
    with gateway.registry.write() as session:
        session.connection().exec_driver_sql(
            "UPDATE upstream_tool SET definition = '{}' WHERE name = 'list_issues' "
            "AND upstream_id = (SELECT id FROM upstream WHERE name = 'jira')"
        )
    reply = await ask(gateway, "tools/list")
    assert names(reply) == ["github__get_issue"]
    (_, jira) = reply.json["result"]["_meta"][SERVERS_KEY]
    assert jira["reason"] == "upstream_unavailable"


async def test_servers_that_an_agent_may_not_ask_are_not_asked(gateway: Gateway) -> None:
    policy = """package bot.authz

    allow if {
        input.action == "mcp.tools.list"
        input.resource.upstream == "jira"
    }

    allow if input.resource.tool.server == "jira"
    """
    tools = {"tools/list": listed(TOOLS["get_issue"])}
    servers(gateway, policy, github=tools, jira=tools)
    reply = await ask(gateway, "tools/list")
    assert names(reply) == ["jira__get_issue"]
    assert [each["server"] for each in reply.json["result"]["_meta"][SERVERS_KEY]] == ["jira"]
    assert [each["upstream"] for each in await gateway.entries("decided")] == ["jira"]
    denied = await ask(gateway, "prompts/list")  # no server may be asked: one decision says so
    assert (denied.status, denied.json["id"], denied.json["error"]["data"]["reason"]) == (403, 1, "policy_undefined")
    (refused,) = [each for each in await gateway.entries("decided") if not each["allow"]]
    assert denied.json["error"]["data"]["decision"] == refused["id"]
    assert (await old(gateway, "prompts/list", None, VERSION)).status == 200


async def test_a_list_is_read_to_its_last_page(gateway: Gateway) -> None:
    async def pages(seen: Seen, writer: asyncio.StreamWriter) -> None:
        params = seen.json["params"]
        page = int(params.get("cursor", "0"))
        more = {"nextCursor": str(page + 1)} if page < 2 else {}
        tool = [*TOOLS.values()][page]
        await answer(result(listed(tool, **more)))(seen, writer)

    servers(gateway, github=pages)
    reply = await ask(gateway, "tools/list")
    assert names(reply) == ["github__get_issue", "github__list_issues", "github__delete_repo"]
    assert "nextCursor" not in reply.json["result"]
    assert len(reply.json["result"]["_meta"][SERVERS_KEY][0]["decisions"]) == 3
    refused = await ask(gateway, "tools/list", {"cursor": "1"})
    assert (refused.status, refused.json["error"]["code"]) == (400, -32602)


async def test_a_server_without_end_is_left(gateway: Gateway) -> None:
    servers(gateway, github={"prompts/list": {"prompts": [{"name": "x"}], "nextCursor": "more"}})
    about = (await ask(gateway, "prompts/list")).json["result"]["_meta"][SERVERS_KEY]
    assert about[0]["reason"] == "too_large"


async def test_a_name_is_never_that_of_two_tools(gateway: Gateway) -> None:
    def tool(name: str) -> dict[str, Any]:
        return TOOLS["get_issue"] | {"name": name}

    known = [tool("b__c"), tool("x" * 126), tool("d")]
    servers(gateway, "package bot.authz\n\nallow := true\n", a={"tools/list": listed(*known)}, a__b={}, a_={})
    for server, offered in (("a", known), ("a__b", [tool("c")])):
        approved = {each["name"]: Pin(each["name"], tool_digest(each), "pinned", each) for each in offered}
        know(gateway.registry, approved, upstream=server)
    reply = await ask(gateway, "tools/list")
    assert names(reply) == ["a__d"]
    (about,) = [each for each in reply.json["result"]["_meta"][SERVERS_KEY] if each["server"] == "a"]
    assert about["without_name"] == ["b__c", "x" * 126]
    assert "/a/mcp" in about["why"]
    await ask(gateway, "tools/call", {"name": "a__b__c", "arguments": {}})
    seen = gateway.upstream.seen[-1]
    assert (seen.head.split(b" ")[1], seen.json["params"]["name"]) == (b"/a__b", "c")
    for nobody in ("get_issue", "__d", "a__", "b__d", "A__d"):
        refused = await ask(gateway, "tools/call", {"name": nobody, "arguments": {}})
        assert (refused.status, refused.json["error"]["code"]) == (400, -32602)


async def test_prompts_have_their_servers_name(gateway: Gateway) -> None:
    prompt = {"name": "review", "description": "Ask for a review."}
    servers(
        gateway,
        github={"prompts/list": {"prompts": [prompt]}, "prompts/get": {"messages": []}, "completion/complete": {}},
        jira={"prompts/list": {"prompts": [prompt, 7, {"name": 7}]}},
    )
    found = (await ask(gateway, "prompts/list")).json["result"]["prompts"]
    assert found == [prompt | {"name": f"{server}__review"} for server in ("github", "jira")]
    assert (await ask(gateway, "prompts/get", {"name": "github__review", "arguments": {"code": "x"}})).status == 200
    assert gateway.upstream.seen[-1].json["params"]["name"] == "review"
    ref = {"type": "ref/prompt", "name": "github__review"}
    completing = {"ref": ref, "argument": {"name": "code", "value": "x"}}
    assert (await ask(gateway, "completion/complete", completing)).status == 200
    assert gateway.upstream.seen[-1].json["params"]["ref"] == ref | {"name": "review"}


async def test_a_resource_is_read_at_the_one_server_that_has_it(gateway: Gateway) -> None:
    read = {"resources/read": {"contents": []}}
    both = {"uri": "memo://both", "name": "both"}
    servers(
        gateway,
        github=read
        | {
            "resources/list": {"resources": [{"uri": "memo://a"}, both]},
            "resources/templates/list": {"resourceTemplates": [{"uriTemplate": "issue://{repo}/{number}"}]},
        },
        jira=read | {"resources/list": {"resources": [both, {"uri": 7}]}},
    )
    found = (await ask(gateway, "resources/list")).json["result"]["resources"]
    assert [each["uri"] for each in found] == ["memo://a", "memo://both", "memo://both", 7][:3]
    for uri in ("memo://a", "issue://app/7"):
        assert (await ask(gateway, "resources/read", {"uri": uri})).status == 200
        assert gateway.upstream.seen[-1].head.startswith(b"POST /github ")
        assert gateway.upstream.seen[-1].json["params"]["uri"] == uri
    refused = await ask(gateway, "resources/read", {"uri": "memo://both"})
    assert refused.json["error"]["code"] == -32602
    assert "at the path of one, /github/mcp or /jira/mcp" in refused.json["error"]["message"]
    nobody = await ask(gateway, "resources/read", {"uri": "issue:/app/7"})
    assert "no server lists" in nobody.json["error"]["message"]


async def test_a_task_is_asked_for_at_the_server_that_gave_it(gateway: Gateway) -> None:
    policy = "package bot.authz\n\nallow := true\n"
    made = {"resultType": "task", "taskId": "t-1"}
    servers(gateway, policy, github={}, jira={"tools/call": made, "tasks/get": {"status": "working"}})
    assert (await ask(gateway, "tools/call", {"name": "jira__get_issue", **ISSUE})).json["result"] == made
    found = await ask(gateway, "tasks/get", {"taskId": "t-1"})
    assert found.json["result"] == {"status": "working"}
    assert gateway.upstream.seen[-1].head.startswith(b"POST /jira ")
    foreign = await ask(gateway, "tasks/get", {"taskId": "t-2"})
    assert (foreign.status, foreign.json["error"]["data"]["reason"]) == (403, "foreign_reference")


async def test_the_gateway_answers_what_begins_a_conversation(gateway: Gateway) -> None:
    servers(gateway, github={})
    found = (await ask(gateway, "server/discover")).json["result"]
    assert found["supportedVersions"][0] == CURRENT
    assert (found["resultType"], found["cacheScope"]) == ("complete", "private")
    params = {"protocolVersion": OLDER, "capabilities": {}, "clientInfo": {"name": "old", "version": "1"}}
    begun = (await old(gateway, "initialize", params)).json["result"]
    assert (begun["protocolVersion"], begun["serverInfo"]["name"]) == (OLDER, "agent-identity-gateway")
    assert "resultType" not in begun
    assert (await old(gateway, "ping", None, VERSION)).json == {"jsonrpc": "2.0", "id": 1, "result": {}}
    notification = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    reply = await gateway.send(gateway.request(notification, VERSION, path="/mcp"))
    assert (reply.status, reply.body) == (202, b"")
    for method in ("GET", "DELETE"):
        reply = await gateway.send(gateway.request(None, VERSION, path="/mcp", method=method))
        assert (reply.status, reply.headers["allow"]) == (405, "POST")
    for method, params in (("logging/setLevel", {"level": "info"}), ("resources/subscribe", {"uri": "memo://a"})):
        assert (await old(gateway, method, params, VERSION)).json["error"]["code"] == -32601
        assert (await ask(gateway, method, params)).json["error"]["code"] == -32601
    assert (await ask(gateway, "initialize")).json["error"]["code"] == -32601
    assert gateway.upstream.seen == []


@pytest.mark.parametrize("speaks", [BOTH, CURRENT])
async def test_an_older_client_has_no_session_and_needs_none(gateway: Gateway, speaks: str) -> None:
    content = {"content": [{"type": "text", "text": "seven"}], "resultType": "complete"}
    servers(gateway, speaks=speaks, github={"tools/list": listed(TOOLS["get_issue"]), "tools/call": content})
    reply = await old(gateway, "tools/list", None, VERSION)
    assert names(reply) == ["github__get_issue"]
    assert {*reply.json["result"]} == {"tools", "_meta"}
    called = await old(gateway, "tools/call", {"name": "github__get_issue", **ISSUE}, VERSION)
    assert called.json == result({"content": content["content"]})
    assert {each.headers["mcp-protocol-version"] for each in gateway.upstream.seen} == {CURRENT}


async def test_an_older_client_is_given_the_gateways_session_with_an_older_server(gateway: Gateway) -> None:
    progress = {"jsonrpc": "2.0", "method": "notifications/progress"}
    asks = {"jsonrpc": "2.0", "id": 5, "method": "sampling/createMessage", "params": {}}

    async def older(seen: Seen, writer: asyncio.StreamWriter) -> None:
        said = seen.json if seen.body else {}
        method, of = said.get("method"), said.get("id")
        if method == "initialize":
            begun = {"protocolVersion": OLDER, "capabilities": {}, "serverInfo": {"name": "old", "version": "1"}}
            await answer(result(begun, of), mcp_session_id="s-1")(seen, writer)
        elif of is None or method is None:
            await answer(b"", status=202)(seen, writer)
        elif seen.headers.get("mcp-session-id") != "s-1":
            await answer(b"no session", status=400)(seen, writer)
        elif method == "tools/list":
            await answer(result({"tools": [TOOLS["get_issue"]]}, of))(seen, writer)
        else:
            token = seen.json["params"]["_meta"]["progressToken"]
            note = progress | {"params": {"progressToken": token, "progress": 1}}
            content = {"content": [{"type": "text", "text": "seven"}]}
            await stream(event(asks), event(note), event(result(content, of)))(seen, writer)

    servers(gateway, speaks=OLDER, github=older)
    assert names(await old(gateway, "tools/list", None, VERSION)) == ["github__get_issue"]
    params = {"name": "github__get_issue", **ISSUE, "_meta": {"progressToken": "p"}}
    called = await old(gateway, "tools/call", params, VERSION)
    told = [orjson.loads(each.partition(b"data: ")[2]) for each in called.body.strip().split(b"\n\n")]
    assert told == [
        progress | {"params": {"progressToken": "p", "progress": 1}},
        result({"content": [{"type": "text", "text": "seven"}]}),
    ]
    denied = await old(gateway, "tools/call", {"name": "github__get_issue", "arguments": {"repo": "x/y"}}, VERSION)
    assert (denied.status, denied.json["error"]["data"]["reason"]) == (200, "policy_denied")
    newer = await ask(gateway, "tools/list")
    assert names(newer) == ["github__get_issue"]
    await gateway.plane.close()


async def test_a_list_that_comes_as_a_stream_is_joined(gateway: Gateway) -> None:
    progress = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}}
    servers(
        gateway,
        github=stream(event(progress), event(result(listed(TOOLS["get_issue"])))),
        jira={"tools/list": listed(TOOLS["get_issue"])},
    )
    assert names(await ask(gateway, "tools/list")) == ["github__get_issue", "jira__get_issue"]


async def test_what_cannot_be_read_is_refused(gateway: Gateway) -> None:
    servers(gateway, github={"tools/call": {"content": []}})
    call = message("tools/call", {"name": "github__get_issue", **ISSUE})
    raw = orjson.dumps(call)
    for body, lines in (
        (raw, headers(call, Mcp_Name="get_issue")),
        (raw, headers(call, Mcp_Name=None)),
        (raw, headers(call, Mcp_Method="tools/list")),
        (raw, headers(call, MCP_Protocol_Version="1999-01-01")),
        (raw.replace(b'"name":', b'"name":"github__delete_repo","name":', 1), headers(call)),
        (raw.replace(b'"name":', b'"Name":"github__delete_repo","name":', 1), headers(call)),
        (b"[" + raw + b"]", headers(call)),
        (raw[:-1], headers(call)),
        (b"7", headers(call)),
    ):
        reply = await gateway.send(gateway.request(body, *lines, path="/mcp"))
        assert reply.status == 400, reply.body
    assert (await gateway.send(gateway.request(call, *headers(call), "Authorization: omit", path="/mcp"))).status == 401
    large = message("tools/call", {"name": "github__get_issue", "arguments": {"repo": "acme/" + "x" * 2**20}})
    reply = await gateway.send(gateway.request(large, *headers(large), path="/mcp"))
    assert (reply.status, reply.json["error"]["data"]["reason"]) == (413, "too_large")
    assert gateway.upstream.seen == []


async def test_without_servers_there_is_nothing_to_join(gateway: Gateway) -> None:
    reply = await ask(gateway, "tools/list")
    assert (reply.status, reply.json["error"]["data"]["reason"]) == (404, "unknown_route")
    assert "gateway upstreams add NAME --provider mcp" in reply.json["error"]["message"]


async def test_a_client_that_leaves_ends_all_requests(gateway: Gateway) -> None:
    begun = asyncio.Event()

    async def silent(seen: Seen, writer: asyncio.StreamWriter) -> None:
        begun.set()
        await asyncio.sleep(60)

    servers(gateway, github=silent, jira=silent)
    body = message("tools/list")
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(gateway.request(body, *headers(body), path="/mcp"))
    await begun.wait()
    writer.close()
    await until(lambda: gateway.plane.load() == (0, 0, 0, 0))
    outcomes = {each["outcome"] for each in await gateway.entries("completed")}
    assert outcomes == {"client_disconnected"}


@pytest.mark.parametrize("path", ["/mcp", "/github/mcp"])
async def test_pages_of_other_sites_reach_no_server(gateway: Gateway, path: str) -> None:
    """Nor those that have led their own name to this machine: `Host` is theirs, too."""
    servers(gateway, github={"tools/call": {"content": []}})
    call = message("tools/call", {"name": "github__get_issue" if path == "/mcp" else "get_issue", **ISSUE})
    own = f"127.0.0.1:{gateway.port}"
    for host, more, status in (
        (own, (), 200),
        (own, (f"Origin: http://{own}",), 200),
        (own, (f"Origin: http://{own}", "Sec-Fetch-Site: same-origin"), 200),
        ("gateway", (), 200),  # programs name it as they like
        (own, ("Origin: http://evil.example",), 403),
        (own, ("Origin: null",), 403),
        (own, ("Origin: http://127.0.0.1:1",), 403),
        (own, ("Sec-Fetch-Site: cross-site",), 403),
        (own, (f"Origin: http://{own}, http://evil.example",), 403),
        ("evil.example", ("Origin: http://evil.example",), 403),
        ("evil.example", ("Sec-Fetch-Site: same-origin",), 403),
        ("localhost.evil.example", ("Origin: http://localhost.evil.example",), 403),
    ):
        reply = await gateway.send(gateway.request(call, *headers(call), f"Host: {host}", *more, path=path))
        assert reply.status == status, (host, more)
        if status == 403:
            assert reply.json["error"]["data"]["reason"] == "cross_site"
    assert len(gateway.upstream.seen) == 4
    refused = await gateway.send(gateway.request(None, "Origin: http://evil.example", path="/github/mcp"))
    assert refused.status == 403
