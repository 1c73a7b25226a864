"""The data plane as a resource server: what an OAuth client finds out, and tokens that open one server alone."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest

from gateway.identity import jose
from gateway.identity.key_scope import scope
from gateway.registry.keys.changes import create_key
from gateway.upstream import mcp_look
from tests.gateway.dataplane.conftest import ACTOR, ORG, Gateway, Reply, Start, answer
from tests.gateway.dataplane.test_mcp_sdk import PROGRAMS, approved, free_port, row, server
from tests.rigs.dataplane import a2a
from tests.rigs.dataplane.mcp import CURRENT, TOOLS, ask, headers, know, message, pins, result, serve
from tests.rigs.dataplane.obligations import put_into_force
from tests.rigs.dataplane.tokens import ask as ask_token
from tests.rigs.dataplane.tokens import bearer

ALL = "package bot.authz\n\nallow := true\n"
CALL = {"name": "get_issue", "arguments": {"repo": "acme/app"}}
SERVER = "/.well-known/oauth-authorization-server"
RESOURCE = "/.well-known/oauth-protected-resource"


async def get(gateway: Gateway, path: str) -> Reply:
    return await gateway.send(gateway.request(None, "Authorization: omit", path=path))


async def test_a_refusal_leads_to_the_token_endpoint(gateway: Gateway) -> None:
    serve(gateway)
    here = f"http://127.0.0.1:{gateway.port}"
    body = message("tools/list")
    refused = await gateway.send(gateway.request(body, *headers(body), "Authorization: omit", path="/github/mcp"))
    assert refused.status == 401
    assert refused.headers["www-authenticate"] == (
        f'Bearer realm="agent-identity-gateway", resource_metadata="{here}{RESOURCE}/github/mcp"'
    )
    resource = await get(gateway, f"{RESOURCE}/github/mcp")
    assert (resource.status, resource.headers["content-type"]) == (200, "application/json")
    assert resource.json["resource"] == f"{here}/github/mcp"
    [issuer] = resource.json["authorization_servers"]
    metadata = (await get(gateway, SERVER)).json
    assert (issuer, metadata["issuer"]) == (here, here)
    assert metadata["token_endpoint"] == f"{here}/oauth/token"
    assert (await get(gateway, metadata["jwks_uri"].removeprefix(here))).json["keys"]
    assert metadata["response_types_supported"] == []
    login = await get(gateway, "/oauth/authorize?response_type=code")
    assert (login.status, login.json["error"]) == (400, "unsupported_response_type")


@pytest.mark.parametrize(
    ("path", "described"),
    [
        (f"{RESOURCE}/nobody/mcp", True),  # it says nothing of what exists
        (f"{RESOURCE}/a2a/globex/sales", True),
        (RESOURCE, True),
        (f"{RESOURCE}/mcp", True),
        (f"{RESOURCE}/github/mcp/", False),
        (f"{RESOURCE}/github", False),
        (f"{RESOURCE}/git%22hub/mcp", False),
        (f"{RESOURCE}github/mcp", False),
        (f"{SERVER}/github/mcp", False),
    ],
)
async def test_only_resources_are_described(gateway: Gateway, path: str, described: bool) -> None:
    assert ((await get(gateway, path)).status == 200) is described


async def test_other_refusals_name_no_resource(gateway: Gateway) -> None:
    for path in ("/v1/chat/completions", '/git"hub/mcp', "/github/mcp/more"):
        reply = await gateway.send(gateway.request({}, "Authorization: omit", path=path))
        assert "resource_metadata" not in reply.headers.get("www-authenticate", ""), path


async def test_the_url_is_that_of_the_settings(start: Start) -> None:
    gateway = await start(data_url="https://gateway.acme.example/")
    found = (await get(gateway, f"{RESOURCE}/github/mcp")).json
    assert found["resource"] == "https://gateway.acme.example/github/mcp"
    assert found["authorization_servers"] == ["https://gateway.acme.example"]


async def token(gateway: Gateway, resource: str, **form: str) -> Reply:
    form = {"grant_type": "client_credentials", "resource": resource, **form}
    return await ask_token(gateway, key=gateway.key, **form)


async def test_a_token_for_a_server_opens_no_other(gateway: Gateway) -> None:
    """RFC 8707: a server that was handed it, or a client that mixes servers up, gets nowhere with it."""
    serve(gateway)
    gateway.add_upstream("other", "mcp", "/mcp", secret="other-secret", trust="approve")
    put_into_force(gateway, ALL)
    gateway.upstream.handler = answer(result({"content": [], "resultType": "complete"}))
    here = f"http://127.0.0.1:{gateway.port}"
    given = await token(gateway, f"{here}/github/mcp")
    assert (given.status, given.json["scope"]) == (200, "upstream:github")
    text = given.json["access_token"]
    assert jose.parse(text).claims["scope"] == "upstream:github"
    body = message("tools/call", CALL)
    for path, status in (("/github/mcp", 200), ("/other/mcp", 403)):
        reply = await gateway.send(gateway.request(body, *headers(body), bearer(text), path=path))
        assert reply.status == status
    assert reply.json["error"]["data"]["reason"] == "key_scope"
    assert "upstreams github" in reply.json["error"]["message"]
    assert (await gateway.chat("gpt-4o", bearer(text))).code == "key_scope"
    *_, refused = await gateway.entries("decided")
    assert json.loads(refused["key_scope_json"]) == {"upstreams": ["github"]}
    # Nor does it become a wider one.
    form = {"grant_type": "client_credentials"}
    again = await ask_token(gateway, bearer(text), **form)
    assert again.json["scope"] == "upstream:github"
    wider = await ask_token(gateway, bearer(text), **form, resource=f"{here}/other/mcp")
    assert wider.json["error"] == "invalid_scope"
    narrow = await token(gateway, f"{here}/github/mcp", scope="mcp.tools.list")
    assert narrow.json["scope"] == "mcp.tools.list upstream:github"


@pytest.mark.parametrize(
    "resource",
    [
        "https://elsewhere.example/github/mcp",
        "{here}/unknown/mcp",
        "{here}/openai/mcp",  # is no MCP server
        "{here}/github/mcp/more",
        "{here}/github/mcp#x",
        "{here}.evil.example/github/mcp",
        "{here}/v1",
        "/github/mcp",
        "{here}/github/mcp?x=1",
    ],
)
async def test_a_token_for_something_else_is_refused(gateway: Gateway, resource: str) -> None:
    serve(gateway)
    reply = await token(gateway, resource.format(here=f"http://127.0.0.1:{gateway.port}"))
    assert (reply.status, reply.json["error"]) == (400, "invalid_target")


async def test_a_token_for_all_of_the_gateway_is_as_without(gateway: Gateway) -> None:
    for end in ("", "/"):
        assert (await token(gateway, f"http://127.0.0.1:{gateway.port}{end}")).json["scope"] == ""


async def test_a_token_for_all_servers_opens_nothing_else(gateway: Gateway) -> None:
    here = f"http://127.0.0.1:{gateway.port}/mcp"
    assert (await token(gateway, here)).json["error"] == "invalid_target"  # there is none yet
    serve(gateway, policy=ALL)
    gateway.upstream.handler = answer(result({"content": [], "resultType": "complete"}))
    given = await token(gateway, here)
    assert given.json["scope"] == "mcp.*"
    text, body = given.json["access_token"], message("tools/call", CALL)
    assert (await gateway.send(gateway.request(body, *headers(body), bearer(text), path="/github/mcp"))).status == 200
    assert (await gateway.chat("gpt-4o", bearer(text))).code == "key_scope"


async def test_a_token_for_an_agent_opens_only_that(gateway: Gateway) -> None:
    a2a.serve(gateway)
    gateway.upstream.handler = answer(a2a.task())
    given = await token(gateway, f"http://127.0.0.1:{gateway.port}{a2a.PATH}")
    assert given.json["scope"] == "upstream:globex/sales"
    text = given.json["access_token"]
    body = a2a.message("SendMessage")
    lines = ("A2A-Version: 1.0", bearer(text))
    assert (await gateway.send(gateway.request(body, *lines, path=a2a.PATH))).status == 200
    assert (await gateway.chat("gpt-4o", bearer(text))).code == "key_scope"


async def test_a_key_can_be_for_one_upstream(gateway: Gateway) -> None:
    serve(gateway, policy=ALL)
    gateway.upstream.handler = answer(result({"tools": [*TOOLS.values()], "resultType": "complete"}))
    narrow: dict[str, Any] = {"actor": ACTOR, "organization": ORG, "agent": "bot"}
    key = create_key(gateway.registry, gateway.peppers, **narrow, scope=scope(upstreams=["git*"])).text
    body = message("tools/list")
    reply = await gateway.send(gateway.request(body, *headers(body), bearer(key), path="/github/mcp"))
    assert len(reply.json["result"]["tools"]) == len(TOOLS)
    assert (await gateway.chat("gpt-4o", bearer(key))).code == "key_scope"
    know(gateway.registry, pins(), CURRENT)
    assert (await ask(gateway, "tools/list")).status == 200


@pytest.mark.slow
async def test_the_sdk_logs_in_by_itself(gateway: Gateway) -> None:
    """Its OAuth client knows the server's URL, and the agent's name and key: it finds all else."""
    pytest.importorskip("mcp.server.mcpserver")
    port = free_port()
    async with server(port, "json", "newer"):
        gateway.upstream.port = port
        found = await mcp_look.looked(row(port), None)
        serve(gateway, approved(found.tools), policy=ALL, speaks=CURRENT)
        url = f"http://127.0.0.1:{gateway.port}/github/mcp"
        client = await asyncio.create_subprocess_exec(
            sys.executable, str(PROGRAMS / "mcp_oauth_program.py"), url, "bot", gateway.key,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await client.communicate()
    assert client.returncode == 0, err.decode()[-3000:]
    assert json.loads(out) == {
        "tools": ["get_issue"],
        "said": "acme/app#7: it does not work",
        "scope": "upstream:github",
    }
