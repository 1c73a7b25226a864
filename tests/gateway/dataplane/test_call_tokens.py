"""Upstreams that get a token of the gateway with each call: servers can tell who calls, nobody passes for another."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import GatewayError
from gateway.identity import jose, token_keys
from gateway.policy import reexecution
from gateway.registry.secret_keys.token_keys import rotate
from gateway.registry.upstreams.changes import add_upstream, check_auth
from gateway.registry.upstreams.published import publish
from gateway.secrets.vault import Vault
from gateway.upstream import mcp_look
from gateway.upstream.providers.http import api, openapi
from tests.gateway.dataplane.conftest import ACTOR, ORG, Gateway, Seen, answer, chat
from tests.gateway.dataplane.issuer import Issuer
from tests.gateway.dataplane.test_a2a import halves, kept
from tests.gateway.dataplane.test_json_api import CRM
from tests.gateway.dataplane.test_mcp_sessions import Older
from tests.gateway.dataplane.test_persons import SUBJECT, for_person, person, trusted
from tests.rigs.dataplane import a2a
from tests.rigs.dataplane.mcp import CURRENT, ask, headers, know, message, old, pins, result
from tests.rigs.dataplane.obligations import put_into_force
from tests.rigs.dataplane.tokens import EXCHANGE, TYPES, another, bearer, on_behalf
from tests.rigs.dataplane.tokens import ask as ask_token
from tests.rigs.dataplane.workloads import with_issuer

ALL = "package bot.authz\n\nallow := true\n"
CALL = {"name": "get_issue", "arguments": {"repo": "acme/app"}}
PAGE = Path(__file__).parents[3] / "docs/how-to/identity/call-tokens.md"

Run = Callable[..., None]


def add(gateway: Gateway, auth: str = "token", speaks: str = CURRENT, name: str = "github") -> str:
    """Add the test's upstream as an MCP server that gets tokens; returns its URL."""
    where = f"http://127.0.0.1:{gateway.upstream.port}/mcp"
    add_upstream(
        gateway.registry, Vault.load(gateway.data.keys), actor=ACTOR, organization=ORG, name=name,
        provider="mcp", base_url=where, secret=None, trust="approve", auth=auth,
    )  # fmt: skip
    if name == "github":
        know(gateway.registry, pins(), speaks)
    put_into_force(gateway, ALL)
    gateway.upstream.handler = answer(result({"content": [], "resultType": "complete"}))
    return where


def shown(seen: Seen) -> dict[str, Any]:
    """The claims of the token that a request has, whose signature is valid."""
    lines = re.findall(rb"(?im)^authorization: *(.*)\r$", seen.head)
    assert len(lines) == 1
    kind, _, text = lines[0].decode().partition(" ")
    assert kind == "Bearer"
    found = jose.parse(text)
    assert (found.typ, found.algorithm) == ("call+jwt", "EdDSA")
    return dict(found.claims)


async def lines_of(gateway: Gateway, audience: str, language: str) -> str:
    """What the how-to has a server do, with this gateway's keys."""
    [source] = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    metadata = gateway.request(None, "Authorization: omit", path="/.well-known/oauth-authorization-server")
    found = (await gateway.send(metadata)).json
    source = source.replace("https://gateway.acme.example/.well-known/jwks.json", found["jwks_uri"])
    source = source.replace("https://tools.example.com/mcp", audience)
    return str(source.replace('GATEWAY = "acme"', f'GATEWAY = "{found["call_tokens"]["iss"]}"'))


async def snippet(gateway: Gateway, audience: str) -> Callable[[str, bytes], dict[str, Any]]:
    names: dict[str, Any] = {}
    exec(compile(await lines_of(gateway, audience, "python"), str(PAGE), "exec"), names)
    found: Callable[[str, bytes], dict[str, Any]] = names["caller"]
    return found


async def test_a_server_verifies_who_calls_by_the_lines_of_the_how_to(gateway: Gateway) -> None:
    where = add(gateway)
    assert (await ask(gateway, "tools/call", CALL)).status == 200
    [seen] = gateway.upstream.seen
    caller = await snippet(gateway, where)
    authorization = seen.headers["authorization"]
    claims = await asyncio.to_thread(caller, authorization, seen.body)
    [decided] = await gateway.entries("decided")
    assert (claims["sub"], claims["client_id"]) == (decided["agent"], decided["agent"])
    assert (claims["organization"], claims["agent_name"], claims["decision"]) == (ORG, "bot", decided["id"])
    assert (claims["action"], claims["tool"], claims["aud"]) == ("mcp.tools.call", "get_issue", where)
    assert claims["body_sha256"] == hashlib.sha256(seen.body).hexdigest()
    assert claims["exp"] - claims["iat"] == 30
    assert "act" not in claims
    for text, body in (
        (authorization, seen.body),  # again
        (bearer(gateway.key).partition(": ")[2], seen.body),
        (authorization[:-3] + "AAA", seen.body),
        ("Basic " + authorization.partition(" ")[2], seen.body),
    ):
        with pytest.raises(Exception, match=r"used already|not a token|Signature|Not enough segments"):
            await asyncio.to_thread(caller, text, body)
    assert (await ask(gateway, "tools/call", CALL)).status == 200
    with pytest.raises(Exception, match="another request"):
        await asyncio.to_thread(caller, gateway.upstream.seen[1].headers["authorization"], b"{}")
    elsewhere = await snippet(gateway, f"{where}/other")
    with pytest.raises(Exception, match="Audience"):
        await asyncio.to_thread(elsewhere, gateway.upstream.seen[1].headers["authorization"], seen.body)
    own = (await ask_token(gateway, key=gateway.key, grant_type="client_credentials")).json["access_token"]
    with pytest.raises(Exception, match="not a token for calls"):
        await asyncio.to_thread(caller, f"Bearer {own}", seen.body)


def kid(seen: Seen) -> str | None:
    return jose.parse(seen.headers["authorization"].partition(" ")[2]).kid


TRY = """
const said = [];
for (const [authorization, body] of JSON.parse(process.argv[2])) {
  const found = caller(authorization, Buffer.from(body));
  said.push(await found.then((claims) => claims.decision, (error) => error.message));
}
console.log(JSON.stringify(said));
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node")
async def test_a_server_in_node_verifies_who_calls(gateway: Gateway, tmp_path: Path) -> None:
    where = add(gateway)
    for _ in range(2):
        await ask(gateway, "tools/call", CALL)
    first, second = gateway.upstream.seen
    own = (await ask_token(gateway, key=gateway.key, grant_type="client_credentials")).json["access_token"]
    authorization = first.headers["authorization"]
    forged = authorization[:-4] + ("AAAA" if authorization[-4:] != "AAAA" else "BBBB")
    tried = [
        (authorization, first.body.decode()),
        (authorization, first.body.decode()),
        (second.headers["authorization"], "{}"),
        (forged, first.body.decode()),
        (f"Bearer {own}", first.body.decode()),
        (bearer(gateway.key).partition(": ")[2], ""),
    ]

    async def said(audience: str) -> Any:
        program = tmp_path / "server.mjs"
        program.write_text(await lines_of(gateway, audience, "js") + TRY)
        run = await asyncio.create_subprocess_exec(
            "node", str(program), json.dumps(tried), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await run.communicate()
        assert run.returncode == 0, err.decode()
        return json.loads(out)

    decided, _ = await gateway.entries("decided")
    assert await said(where) == [
        decided["id"],
        "it was used already",
        "it was made for another request",
        "the signature is wrong",
        "not a token for calls",
        "no token",
    ]
    assert (await said(f"{where}/other"))[0] == "not for this server, or over"


async def test_a_new_key_signs_when_servers_have_it(gateway: Gateway) -> None:
    """Servers keep the public keys for minutes, and do not ask again for each key that they do not know."""
    where = add(gateway)
    caller = await snippet(gateway, where)

    async def called() -> Seen:
        assert (await ask(gateway, "tools/call", CALL)).status == 200
        seen = gateway.upstream.seen[-1]
        await asyncio.to_thread(caller, seen.headers["authorization"], seen.body)
        return seen

    first = kid(await called())
    rotate(gateway.registry, gateway.data.keys, actor=ACTOR, at_once=False)
    assert kid(await called()) == first
    clock = time.time() - token_keys.KNOWN_SECONDS - 1
    os.utime(gateway.data.keys / "token.2", (clock, clock))
    gateway.plane._tokens._keys._keys.pop(2)  # as a worker that reads it then
    caller = await snippet(gateway, where)
    second = kid(await called())
    assert second != first
    rotate(gateway.registry, gateway.data.keys, actor=ACTOR, at_once=True)
    caller = await snippet(gateway, where)
    assert kid(await called()) not in (first, second)


CLIENTS = [
    ["X-Api-Key: {key}", "Authorization: omit"],
    ["Cookie: session=secret-of-the-client"],
    ["Proxy-Authorization: Bearer secret-of-the-client"],
    ["X-Forwarded-Authorization: Bearer secret-of-the-client", "X-Auth-Token: secret-of-the-client"],
    ["Mcp-Param-Authorization: secret-of-the-client"],
    ["Authentication: Bearer secret-of-the-client", "X-Amz-Security-Token: secret-of-the-client"],
]


@pytest.mark.parametrize("auth", ["token", "key"])
async def test_a_clients_own_credential_stays_here(gateway: Gateway, auth: str) -> None:
    add(gateway, auth)
    body = message("tools/call", CALL)
    for lines in CLIENTS:
        given = [each.format(key=gateway.key) for each in lines]
        reply = await gateway.send(gateway.request(body, *headers(body), *given, path="/github/mcp"))
        assert reply.status == 200
        seen = gateway.upstream.seen[-1]
        assert gateway.key.encode() not in seen.head
        # What a client says in a parameter of the tool is no credential of the request.
        told = re.sub(rb"(?im)^mcp-param-.*\r\n", b"", seen.head)
        assert b"secret-of-the-client" not in told, lines
        if auth == "token":
            shown(seen)
        else:
            assert b"authorization:" not in told.lower()


INVENTED = [
    "Authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.",
    "Authorization: Bearer ya29.a0AfH6SMBinvented",
    "Authorization: OAuth oauth_token=invented",
    "Authorization: Bearer",
    "Authorization: ",
    "Authorization: DPoP eyJhbGciOiJFUzI1NiJ9.e30.AA",
    "Authorization: Bearer gho_0123456789abcdef0123456789abcdef0123",
]


@pytest.mark.parametrize("auth", ["token", "key", "on_behalf_of"])
async def test_an_invented_token_is_nobody(gateway: Gateway, auth: str) -> None:
    """CVE-2026-59822: a header that looks like OAuth was passed through as an identity, or as none."""
    add(gateway, auth)
    body = message("tools/call", CALL)
    raw = [gateway.request(body, *headers(body), line, path="/github/mcp") for line in INVENTED]
    for line, reply in zip(INVENTED, await asyncio.gather(*map(gateway.send, raw)), strict=True):
        assert reply.status == 401, line
        assert reply.json["error"]["data"]["reason"] == "bad_credentials"
    assert gateway.upstream.seen == []
    assert await gateway.entries("decided") == []


async def test_two_authorizations_are_no_choice(gateway: Gateway) -> None:
    add(gateway)
    body = message("tools/call", CALL)
    other = another(gateway, "other")[1]
    raw = gateway.request(body, *headers(body), bearer(other), path="/github/mcp")
    raw = raw.replace(b"\r\n\r\n", b"\r\n" + bearer(gateway.key).encode() + b"\r\n\r\n", 1)
    assert (await gateway.send(raw)).status == 400
    assert gateway.upstream.seen == []


async def test_such_a_token_opens_nothing_here(gateway: Gateway) -> None:
    add(gateway)
    await ask(gateway, "tools/call", CALL)
    token = gateway.upstream.seen[0].headers["authorization"].partition(" ")[2]
    assert (await gateway.chat("gpt-4o", bearer(token))).status == 401
    for kind in ("jwt", "access_token"):
        form = {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": TYPES + kind}
        assert (await ask_token(gateway, key=gateway.key, **form)).json["error"] == "invalid_grant"
    assertion = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": token}
    assert (await ask_token(gateway, **assertion)).json["error"] == "invalid_grant"
    assert (await ask_token(gateway, key=token, grant_type="client_credentials")).status == 401


async def test_an_agent_that_acts_for_another_is_the_actor(gateway: Gateway) -> None:
    add(gateway)
    worker, key = another(gateway, "worker")
    token = (await on_behalf(gateway, gateway.key, "worker", key)).json["access_token"]
    body = message("tools/call", CALL)
    await gateway.send(gateway.request(body, *headers(body), bearer(token), path="/github/mcp"))
    claims = shown(gateway.upstream.seen[0])
    assert (claims["act"], claims["client_id"], claims["agent_name"]) == ({"sub": worker}, worker, "worker")
    assert claims["sub"] not in (worker, "")


async def test_each_request_to_a_server_of_another_era_has_a_token(gateway: Gateway) -> None:
    where = add(gateway, speaks="2025-11-25")
    server = Older(gateway, secret=None)
    assert (await ask(gateway, "tools/call", CALL)).status == 200
    assert server.methods == ["initialize", "notifications/initialized", "tools/call"]
    every = [shown(each) for each in gateway.upstream.seen]
    assert len({each["jti"] for each in every}) == 3
    assert {(each["aud"], each["tool"]) for each in every} == {(where, "get_issue")}
    assert [each["body_sha256"] for each in every] == [
        hashlib.sha256(each.body).hexdigest() for each in gateway.upstream.seen
    ]


async def test_a_session_is_of_one_subject(gateway: Gateway) -> None:
    """Servers bind a session to whoever began it: the worker for itself is another than the worker for the planner."""
    add(gateway, speaks="2025-11-25")
    server = Older(gateway, secret=None)
    worker, key = another(gateway, "worker")
    token = (await on_behalf(gateway, gateway.key, "worker", key)).json["access_token"]
    body = message("tools/call", CALL)
    for line in (bearer(key), bearer(token), bearer(key)):
        call = gateway.request(body, *headers(body), line, path="/github/mcp")
        assert (await gateway.send(call)).status == 200
    assert server.made == 2
    subjects = {(shown(each)["sub"], each.headers.get("mcp-session-id", "")) for each in gateway.upstream.seen}
    assert len({sub for sub, session in subjects if session}) == len([each for each in subjects if each[1]]) == 2
    assert worker in {sub for sub, _ in subjects}


async def test_an_older_client_has_one_with_a_newer_server(gateway: Gateway) -> None:
    add(gateway)
    assert (await old(gateway, "tools/call", CALL, "MCP-Protocol-Version: 2025-11-25")).status == 200
    [seen] = gateway.upstream.seen
    assert shown(seen)["body_sha256"] == hashlib.sha256(seen.body).hexdigest()


def test_a_call_on_behalf_of_a_person_is_in_their_name(run: Run) -> None:
    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trusted(gateway, issuer)
        add(gateway, "on_behalf_of")
        token = await for_person(gateway, person(issuer))
        body = message("tools/call", CALL)
        raw = gateway.request(body, *headers(body), bearer(token), path="/github/mcp")
        assert (await gateway.send(raw)).status == 200
        claims = shown(gateway.upstream.seen[0])
        assert (claims["sub"], claims["sub_issuer"]) == (SUBJECT, issuer.url)
        assert claims["act"] == {"sub": claims["client_id"]}
        # The agent by itself is nobody there: neither the agent, nor the person of before.
        denied = await ask(gateway, "tools/call", CALL)
        assert (denied.status, denied.json["error"]["data"]["reason"]) == (403, "person_required")
        assert (await ask(gateway, "tools/list")).status == 403
        assert len(gateway.upstream.seen) == 1
        _, refused, _ = await gateway.entries("decided")
        assert (refused["allow"], refused["reason"]) == (False, "person_required")
        found = reexecution.judge_again(gateway.data.bundles, refused, kept(gateway, refused["id"]))
        assert (found.agrees, "acted for none" in found.problem) == (None, True)

    run(with_issuer(test))


async def test_an_error_that_quotes_the_token_is_passed_on_without_it(gateway: Gateway) -> None:
    add(gateway)

    async def quote(seen: Seen, writer: asyncio.StreamWriter) -> None:
        text = seen.headers["authorization"]
        error = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": f"not valid: {text}"}}
        await answer(error, status=400, X_Seen=text)(seen, writer)

    gateway.upstream.handler = quote
    reply = await ask(gateway, "tools/call", CALL)
    assert reply.status == 400
    signature = gateway.upstream.seen[0].headers["authorization"].rpartition(".")[2]
    assert signature not in reply.body.decode() + str(reply.headers)
    assert "not valid" in reply.body.decode()
    # A server may answer anything; its headers are not for the agent all the same.
    gateway.upstream.handler = lambda seen, writer: answer(
        result({"content": []}), X_Seen=seen.headers["authorization"]
    )(seen, writer)
    reply = await ask(gateway, "tools/call", CALL)
    assert (reply.status, "x-seen" in reply.headers) == (200, False)


async def test_nothing_is_sent_without_a_key_that_signs(gateway: Gateway) -> None:
    add(gateway)
    token_keys.remove(gateway.data.keys, [1])
    reply = await ask(gateway, "tools/call", CALL)
    assert (reply.status, reply.json["error"]["data"]["reason"]) == (502, "upstream_unavailable")
    assert gateway.upstream.seen == []
    [completed] = await gateway.entries("completed")
    assert completed["outcome"] == "provider_error"


async def test_other_providers_get_them_too(gateway: Gateway) -> None:
    base = f"http://127.0.0.1:{gateway.upstream.port}"
    where: dict[str, Any] = {"actor": ACTOR, "organization": ORG, "secret": None, "auth": "token"}
    vault = Vault.load(gateway.data.keys)
    specification = api.dump(openapi.api_of(openapi.load(CRM)))
    add_upstream(
        gateway.registry, vault, **where, name="crm", provider="http", base_url=base, specification=specification
    )
    add_upstream(gateway.registry, vault, **where, name="own", provider="openai-compatible", base_url=f"{base}/v1")
    put_into_force(gateway, ALL)
    gateway.upstream.handler = answer({"id": "eu-1"})
    assert (await gateway.send(gateway.request(path="/crm/customers/eu-1"))).status == 200
    await gateway.send(gateway.request(chat(), path="/own/v1/chat/completions"))
    crm, own = (shown(each) for each in gateway.upstream.seen)
    assert (crm["aud"], crm["action"], crm["body_sha256"]) == (base, "crm.getCustomer", hashlib.sha256(b"").hexdigest())
    assert (own["aud"], own["action"], "tool" in own) == (f"{base}/v1", "chat.completions", False)


async def test_the_gateway_itself_asks_for_tools_in_its_own_name(gateway: Gateway) -> None:
    where = add(gateway, "on_behalf_of", name="other")
    [row] = [each for each in await gateway.plane._registry._registry.upstreams() if each.name == "other"]
    gateway.upstream.handler = answer(b"", status=401)
    bearer_ = mcp_look.bearer_of(row, gateway.data.keys, "the-deployment")
    with pytest.raises(GatewayError, match="status 401"):
        await mcp_look.looked(row, None, bearer_)
    claims = shown(gateway.upstream.seen[0])
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("the-deployment", "the-deployment", where)
    assert "decision" not in claims


def test_a_kind_of_credentials_is_checked() -> None:
    with pytest.raises(GatewayError, match="one of key, token, on_behalf_of"):
        check_auth("oauth", None)
    with pytest.raises(GatewayError, match="no key of its own"):
        check_auth("token", "sk-1")


async def test_a_published_agent_learns_who_calls(gateway: Gateway) -> None:
    sales = a2a.serve(gateway)
    where = f"http://127.0.0.1:{gateway.upstream.port}/rpc"
    publish(
        gateway.registry, Vault.load(gateway.data.keys), actor=ACTOR, organization=a2a.OTHER, agent=sales.id,
        endpoint=where, secret=None, auth="token",
    )  # fmt: skip
    gateway.upstream.handler = answer(a2a.task())
    assert (await a2a.ask(gateway)).status == 200
    [seen] = gateway.upstream.seen
    claims = await asyncio.to_thread(await snippet(gateway, where), seen.headers["authorization"], seen.body)
    [mine], [theirs] = await halves(gateway)
    assert (claims["organization"], claims["agent_name"], claims["action"]) == (ORG, "bot", "a2a.message.send")
    assert (claims["decision"], claims["callee_decision"]) == (mine["id"], theirs["id"])
