"""The operator's tools: the API's own operations, with the rights that they have there or fewer."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest

from gateway.control import operations
from gateway.control.mcp import endpoint, tools
from gateway.identity import operator_roles
from gateway.mcp import messages
from gateway.mcp.exchange import CAPABILITIES_KEY, VERSION_KEY
from gateway.registry import queries
from tests.gateway.control.conftest import Client, Control, Reply

EVERY = tools.made_of(operations.every())
META = {VERSION_KEY: "2026-07-28", CAPABILITIES_KEY: {}}


def post(client: Client, method: str, *, headers: dict[str, str] | None = None, **params: Any) -> Reply:
    """A message of the current revision."""
    sent = {"mcp-protocol-version": "2026-07-28", "mcp-method": method}
    sent |= {"mcp-name": params["name"]} if "name" in params else {}
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params | {"_meta": META}}
    return client("POST", "/mcp", body, headers=sent | (headers or {}))


def listed(client: Client) -> dict[str, Any]:
    return {each["name"]: each for each in post(client, "tools/list").ok()["result"]["tools"]}


def called(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = post(client, "tools/call", name=tool, arguments=arguments).ok()["result"]
    assert isinstance(result, dict)
    return result


def answered(client: Client, tool: str, **arguments: Any) -> Any:
    """The structured answer, which is what the text says, and as its schema says."""
    result = called(client, tool, **arguments)
    assert result["isError"] is False, result
    jsonschema.Draft202012Validator(EVERY[tool].definition["outputSchema"]).validate(result["structuredContent"])
    return result["structuredContent"]


def refused(client: Client, tool: str, **arguments: Any) -> str:
    """The code of a refused call."""
    result = called(client, tool, **arguments)
    assert result["isError"] is True, result
    assert "structuredContent" not in result
    found = re.search(r'"code":"(\w+)"', result["content"][0]["text"])
    assert found is not None
    return found[1]


def test_every_operation_is_a_tool_or_has_a_reason_not_to_be() -> None:
    missing = {each.where for each in operations.every()} - {each.operation.where for each in EVERY.values()}
    assert missing == {
        "GET /events",  # a stream
        "POST /login",
        "POST /login/finish",
        "POST /logout",
        "POST /approvals/{approval}/approve",  # a person's decision
        "POST /approvals/approve",
        "POST /approvals/deny-all",
        "POST /approvals/{approval}/look",  # what was said in a call
        "POST /content/{event}/read",
        "POST /keys",  # their secrets would be in a chat
        "POST /keys/{key}/rotate",
        "POST /agents/{agent}/keys/rotate",
        "POST /operators/{operator}/tokens",
        "POST /webhooks",
    }


@pytest.mark.parametrize("name", EVERY)
def test_a_tool_is_well_formed(name: str) -> None:
    tool = EVERY[name]
    assert re.fullmatch(r"[a-z][a-z0-9_]{2,40}", name)
    for schema in ("inputSchema", "outputSchema"):
        jsonschema.Draft202012Validator.check_schema(tool.definition[schema])
        assert tool.definition[schema]["type"] == "object"
    assert tool.definition["annotations"]["readOnlyHint"] is not tool.operation.writes
    properties = tool.definition["inputSchema"]["properties"]
    assert set(tool.definition["inputSchema"]["required"]) <= set(properties)
    # No argument stands for two things.
    query, body = tool.operation.query.model_fields, getattr(tool.operation.body, "model_fields", {})
    places = [*tool.operation.parameters, *query, *body, *["organization"] * tool.operation.of_an_organization]
    assert len(set(places)) == len(places)
    assert set(properties) - {tools.IF_MATCH} == set(places)


def test_a_role_has_the_tools_of_what_it_may_read(control: Control) -> None:
    for role in operator_roles.ROLES:
        seen = listed(control.operator(role, role))
        nouns = {EVERY[name].operation.noun for name in seen}
        assert all(each["annotations"]["readOnlyHint"] for each in seen.values())
        readable = {each for each in operator_roles.NOUNS if operator_roles.may(role, each, write=False)}
        assert readable - {"content"} == nouns - {"me", "fleet"}


@pytest.mark.parametrize("organization", [None, "acme"])
@pytest.mark.parametrize(
    "role", [pytest.param(each, marks=[pytest.mark.slow] * (each != "viewer")) for each in operator_roles.ROLES]
)
def test_a_tool_answers_as_the_api_does(control: Control, role: str, organization: str | None) -> None:
    """Byte for byte, or with the same code; what the API forbids is no tool."""
    owner = control.operator()
    owner("POST", "/organizations", {"name": "acme"}).ok(201)
    for name, home in (("ours", "acme"), ("others", "default")):
        owner("POST", "/agents", {"name": name}, organization=home).ok(201)
    client = control.operator("asker", role, organization=organization, scopes=["read"])
    shown = listed(client)
    answers = 0
    for name, tool in EVERY.items():
        operation = tool.operation
        if operation.method != "GET" or operation.parameters or "model" in operation.query.model_fields:
            continue
        limit = {"limit": str(tools.PAGE)} if "limit" in operation.query.model_fields else {}
        there = client("GET", operation.path, **limit)
        if name not in shown:
            assert there.status == 403, name
        elif there.status != 200:
            assert refused(client, name) == there.json["code"], name
        elif name not in ("show_status", "show_me"):  # these tell the time, and when the token was used
            assert called(client, name)["content"][0]["text"] == there.raw.decode(), name
            answers += 1
    assert answers > 10


def test_nothing_is_changed_without_a_token_for_it(control: Control) -> None:
    """Neither a role nor a token for everything is a permission for an assistant."""
    for role in operator_roles.ROLES:
        for scopes in (None, ["agents:write"], ["mcp:write", "agents:read"]):
            client = control.operator(f"{role}-{len(scopes or ())}", role, scopes=scopes)
            shown = listed(client)
            assert not any(EVERY[name].operation.writes for name in shown), (role, scopes)
            reply = post(client, "tools/call", name="create_agent", arguments={"name": "sneaked-in"})
            assert reply.json["error"]["code"] == messages.INVALID_PARAMS
    owner = control.operator()
    for name, tool in EVERY.items():
        if tool.operation.writes:
            reply = post(owner, "tools/call", name=name, arguments={})
            assert reply.json["error"]["code"] == messages.INVALID_PARAMS, name
    with pytest.raises(Exception, match="sneaked-in"):
        queries.agent(control.home.registry, "default", "sneaked-in")


def test_a_dry_run_is_recorded_by_nobody_who_only_reads(control: Control) -> None:
    """An operation that reads may have a way to write. The operator has lost that right as well."""
    owner = control.operator()
    owner("POST", "/agents", {"name": "a"}).ok(201)
    call = {"action": "chat.completions", "resource": {"model": "gpt-4o"}}
    assert refused(owner, "try_call", agent="a", call=call, record=True) == "token_scope"
    assert answered(owner, "try_call", agent="a", call=call)["allow"] is False
    assert answered(owner, "show_me")["token"]["scopes"] == ["read"]


def test_a_token_for_it_changes_what_it_is_for(control: Control) -> None:
    client = control.operator(scopes=["agents:write", "mcp:write"])
    shown = listed(client)
    assert shown["revoke_agent"]["annotations"]["destructiveHint"]
    assert not {"create_key", "create_team", "create_limit"} & set(shown)
    made = answered(client, "create_agent", name="a", owner="dana@acme.example", reason="asked for")
    assert refused(client, "update_agent", agent="a", owner="kim@acme.example") == "if_match_required"
    told = called(client, "update_agent", agent="a", owner="kim@acme.example")["content"][0]["text"]
    assert "send its ETag in if_match" in told
    assert refused(client, "update_agent", agent="a", owner="k", if_match='"7"') == "changed_meanwhile"
    read = called(client, "show_agent", agent="a")
    assert read["content"][1]["text"] == 'To change exactly this version, send if_match: "1"'
    changed = answered(client, "update_agent", agent=made["id"], owner="kim@acme.example", if_match='"1"')
    assert changed["owner"] == "kim@acme.example"
    assert answered(client, "suspend_agent", agent="a")["status"] == "suspended"
    assert queries.agent(control.home.registry, "default", "a").status == "suspended"


def test_an_organization_is_as_if_it_were_alone(control: Control) -> None:
    owner = control.operator()
    for name in ("acme", "globex"):
        owner("POST", "/organizations", {"name": name}).ok(201)
        owner("POST", "/agents", {"name": f"of-{name}"}, organization=name).ok(201)
    mine = control.operator("anna", organization="acme")
    assert [each["name"] for each in answered(mine, "list_agents")["items"]] == ["of-acme"]
    assert refused(mine, "list_agents", organization="globex") == "unknown_organization"
    assert refused(mine, "show_agent", agent="of-globex") == "unknown_agent"
    assert not {"show_policies", "list_peppers", "list_login_providers"} & set(listed(mine))
    assert [each["name"] for each in answered(mine, "list_organizations")["items"]] == ["acme"]


def test_lists_are_short_and_go_on(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = control.operator()
    for number in range(4):
        owner("POST", "/agents", {"name": f"agent-{number}"}).ok(201)
    assert listed(owner)["list_agents"]["inputSchema"]["properties"]["limit"]["default"] == tools.PAGE == 20
    monkeypatch.setattr(tools, "PAGE", 3)
    first = answered(owner, "list_agents")
    assert len(first["items"]) == 3
    rest = answered(owner, "list_agents", cursor=first["next"])
    assert (len(rest["items"]), rest["next"]) == (1, None)
    assert len(answered(owner, "list_agents", limit=4)["items"]) == 4


def test_an_answer_too_large_for_a_model(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = control.operator()
    for name in ("a", "b"):
        owner("POST", "/agents", {"name": name}).ok(201)
    monkeypatch.setattr(endpoint, "MAX_ANSWER", len(owner("GET", "/agents").raw) - 1)
    assert refused(owner, "list_agents") == "answer_too_large"
    assert len(answered(owner, "list_agents", limit=1)["items"]) == 1


def test_a_mistake_is_told_to_the_model(control: Control) -> None:
    client = control.operator(
        scopes=["agents:write", "audit:read", "policies:read", "limits:read", "usage:read", "mcp:write"]
    )
    mistakes: list[tuple[str, dict[str, Any], str]] = [
        ("show_agent", {}, "invalid_parameter"),
        ("show_agent", {"agent": ""}, "invalid_parameter"),
        ("show_agent", {"agent": {"name": "a"}}, "invalid_parameter"),
        ("show_agent", {"agent": "../keys"}, "unknown_agent"),
        ("show_agent", {"agent": "a/permissions?model=m"}, "unknown_agent"),
        ("show_agent", {"agent": "a", "agents": "b"}, "invalid_parameter"),
        ("list_agents", {"limit": 0}, "invalid_parameter"),
        ("list_agents", {"limit": "many"}, "invalid_parameter"),
        ("list_agents", {"organization": "nobody"}, "unknown_organization"),
        ("list_agents", {"cursor": "made up"}, "invalid_cursor"),
        ("explain_decision", {"event": "dec_0"}, "unknown_event"),
        ("try_call", {"agent": 7}, "invalid_body"),
        ("update_agent", {"agent": "a", "name": None, "if_match": "*"}, "unknown_agent"),
    ]
    for tool, arguments, code in mistakes:
        assert refused(client, tool, **arguments) == code, arguments


def test_a_hint_names_the_tool(control: Control) -> None:
    result = called(control.operator(), "show_agent", agent="nobody")
    assert '"hint":"the tool list_agents lists them"' in result["content"][0]["text"]
    reply = post(control.client(control.operator("otto").token), "tools/call", name="list_agent", arguments={})
    assert "did you mean `list_agents`?" in reply.json["error"]["message"]


def test_discovery_and_lists_are_for_this_token_alone(control: Control) -> None:
    client = control.operator()
    found = post(client, "server/discover").ok()["result"]
    assert found["supportedVersions"] == ["2026-07-28"]
    assert found["capabilities"] == {"tools": {}}
    for result in (found, post(client, "tools/list").ok()["result"]):
        assert (result["resultType"], result["cacheScope"], result["ttlMs"]) == ("complete", "private", 60_000)
        assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "agent-identity-gateway"


@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25"])
def test_an_older_client(control: Control, version: str) -> None:
    client = control.operator()

    def older(method: str, params: Any, **headers: str) -> Reply:
        body = {"jsonrpc": "2.0", "id": "a", "method": method, "params": params}
        return client("POST", "/mcp", body, headers=headers)

    begun = older(
        "initialize", {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "e", "version": "1"}}
    )
    assert begun.ok()["result"]["protocolVersion"] == version
    assert begun.json["result"]["serverInfo"]["name"] == "agent-identity-gateway"
    assert "mcp-session-id" not in begun.headers
    initialized = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    named = {"mcp-protocol-version": version}
    reply = client("POST", "/mcp", initialized, headers=named)
    assert (reply.status, reply.raw) == (202, b"")
    assert older("ping", {}, **named).ok()["result"] == {}
    found = older("tools/list", {}, **named).ok()["result"]
    assert set(found) == {"tools"}
    agents = older("tools/call", {"name": "list_agents"}, **named).ok()["result"]
    assert agents["structuredContent"] == {"items": [], "next": None}
    assert "resultType" not in agents
    unknown = older("resources/list", {}, **named).ok()
    assert (unknown["id"], unknown["error"]["code"]) == ("a", messages.METHOD_NOT_FOUND)


def test_methods_that_are_not_there(control: Control) -> None:
    client = control.operator()
    for method in ("ping", "initialize", "logging/setLevel", "resources/list", "tasks/get", "nothing"):
        reply = post(client, method)
        assert (reply.status, reply.json["error"]["code"], reply.json["id"]) == (404, messages.METHOD_NOT_FOUND, 1)


def test_bodies_that_are_no_message(control: Control) -> None:
    client = control.operator()
    for raw, code in [
        (b"", messages.PARSE_ERROR),
        (b"{", messages.PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}', messages.PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', messages.PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":1,"m\\u0065thod":"ping","method":"ping"}', messages.PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}', messages.PARSE_ERROR),
        (b"[" * 100 + b"]" * 100, messages.PARSE_ERROR),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', messages.INVALID_REQUEST),
    ]:
        headers = {"content-type": "application/json", "content-length": str(len(raw))}
        reply = client("POST", "/mcp", raw=raw, headers=headers)
        assert (reply.status, reply.json["error"]["code"], reply.json["id"]) == (400, code, None), raw


def test_who_may_ask(control: Control) -> None:
    owner = control.operator()
    for client in (control.client(None), control.client(control.home.key(control.home.agent()))):
        reply = post(client, "tools/list")
        assert reply.problem(401) == "bad_credentials"
        assert reply.headers["www-authenticate"].startswith("Bearer ")
    for method in ("GET", "DELETE", "PUT", "OPTIONS"):
        reply = owner(method, "/mcp")
        assert reply.problem(405) == "wrong_method"
        assert reply.headers["allow"] == "POST"
    sent = post(owner, "tools/list", headers={"content-type": "text/plain"})
    assert sent.problem(415) == "unsupported_media_type"
    assert "access-control-allow-origin" not in post(owner, "tools/list").headers


def test_pages_of_other_sites(control: Control) -> None:
    client = control.operator()
    for headers, status in [
        ({"origin": "http://127.0.0.1:8081", "host": "127.0.0.1:8081"}, 200),
        ({"origin": "http://localhost:8081", "host": "localhost:8081"}, 200),
        ({"origin": "http://evil.example", "host": "127.0.0.1:8081"}, 403),
        ({"origin": "http://evil.example", "host": "evil.example"}, 403),
        ({"origin": "http://127.0.0.1:9999", "host": "127.0.0.1:8081"}, 403),
        ({"origin": "null", "host": "127.0.0.1:8081"}, 403),
        ({"sec-fetch-site": "cross-site", "host": "127.0.0.1:8081"}, 403),
    ]:
        assert post(client, "tools/list", headers=headers).status == status, headers
