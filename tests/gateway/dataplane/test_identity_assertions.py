"""Enterprise-managed authorization: an assertion becomes a token, once, for its client and its person alone."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from gateway.upstream import mcp_look
from tests.gateway.dataplane.conftest import Gateway, Reply, answer
from tests.gateway.dataplane.issuer import Issuer, new_key, signed
from tests.gateway.dataplane.test_call_tokens import add, shown
from tests.gateway.dataplane.test_mcp_sdk import PROGRAMS, approved, free_port, row, server
from tests.gateway.dataplane.test_persons import SUBJECT, exchange, person, trusted
from tests.rigs.dataplane.mcp import CURRENT, headers, message, result, serve
from tests.rigs.dataplane.tokens import another, ask, bearer, claims
from tests.rigs.dataplane.workloads import with_issuer

Run = Callable[..., None]

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TYP = "oauth-id-jag+jwt"
CALL = {"name": "get_issue", "arguments": {"repo": "acme/app"}}


def here(gateway: Gateway) -> str:
    return f"http://127.0.0.1:{gateway.port}"


def assertion(gateway: Gateway, issuer: Issuer, *, typ: str | None = TYP, key: Any = None, **more: Any) -> str:
    """An assertion for the agent `bot`. Members that are None are left out."""
    usual = {
        "aud": here(gateway), "sub": SUBJECT, "client_id": "bot", "jti": f"jag-{time.monotonic_ns()}",
        "groups": ["staff"], "repository": None, "ref": None, "nbf": None,
    }  # fmt: skip
    header = {"alg": issuer.algorithm, "kid": "first"} | ({} if typ is None else {"typ": typ})
    return signed(header, issuer.claims(**{**usual, **more}), key or issuer.key)


async def present(gateway: Gateway, text: str, key: str | None = None, **form: str) -> Reply:
    given = {"grant_type": JWT_BEARER, "assertion": text, **form}
    if key is None:
        given |= {"client_id": "bot", "client_secret": gateway.key}
    return await ask(gateway, *(("Authorization: omit",) if not key else (bearer(key),)), **given)


def trust(gateway: Gateway, issuer: Issuer) -> None:
    trusted(gateway, issuer, audience=here(gateway), kind="id_jag")


def test_an_assertion_becomes_a_token_of_agent_and_person(run: Run) -> None:
    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trust(gateway, issuer)
        add(gateway, "on_behalf_of")
        reply = await present(gateway, assertion(gateway, issuer, resource=f"{here(gateway)}/github/mcp"))
        assert (reply.status, reply.json["scope"]) == (200, "upstream:github")
        token = reply.json["access_token"]
        assert claims(token)["person"]["sub"] == SUBJECT
        gateway.upstream.handler = answer(result({"content": [], "resultType": "complete"}))
        body = message("tools/call", CALL)
        call = gateway.request(body, *headers(body), bearer(token), path="/github/mcp")
        assert (await gateway.send(call)).status == 200
        told = shown(gateway.upstream.seen[0])
        assert (told["sub"], told["sub_issuer"], told["act"]) == (SUBJECT, issuer.url, {"sub": told["client_id"]})
        assert (await gateway.chat("gpt-4o", bearer(token))).code == "key_scope"

    run(with_issuer(test))


def test_an_assertion_counts_once(run: Run) -> None:
    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trust(gateway, issuer)
        text = assertion(gateway, issuer)
        replies = await asyncio.gather(*(present(gateway, text) for _ in range(8)))
        assert sorted(each.status for each in replies) == [200] + [400] * 7
        assert {each.json.get("error") for each in replies} == {None, "invalid_grant"}

    run(with_issuer(test))


WRONG: list[dict[str, Any]] = [
    {"typ": "JWT"},
    {"typ": None},
    {"typ": "at+jwt"},
    {"client_id": "other"},
    {"client_id": None},
    {"client_id": ["bot"]},
    {"client_id": SUBJECT},
    {"jti": None},
    {"jti": ""},
    {"jti": 7},
    {"jti": "x" * 257},
    {"aud": "app"},
    {"aud": None},
    {"exp": int(time.time()) - 60},
    {"iat": None},
    {"iat": int(time.time()) - 7200},
    {"sub": ""},
    {"sub": "bot"},  # a program of itself
    {"groups": ["guests"]},
    {"resource": ["a", "b"]},
    {"resource": 7},
    {"scope": 7},
    {"iss": "https://elsewhere.example"},
    {"cnf": {"jkt": "x"}},
    {"act": {"sub": "x"}},
]


def test_assertions_that_are_none(run: Run) -> None:
    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trust(gateway, issuer)
        for wrong in WRONG:
            reply = await present(gateway, assertion(gateway, issuer, **wrong))
            assert (reply.status, reply.json["error"]) in ((400, "invalid_grant"), (400, "invalid_request")), wrong
        forged = assertion(gateway, issuer, key=new_key(issuer.algorithm, "first"))
        assert (await present(gateway, forged)).json["error"] == "invalid_grant"
        elsewhere = await present(gateway, assertion(gateway, issuer, resource="https://elsewhere.example/mcp"))
        assert elsewhere.json["error"] == "invalid_target"
        serve(gateway)
        two = assertion(gateway, issuer, resource=f"{here(gateway)}/github/mcp")
        assert (await present(gateway, two, resource=here(gateway))).json["error"] == "invalid_target"
        narrow = assertion(gateway, issuer, scope="mcp.tools.list")
        assert (await present(gateway, narrow, scope="chat.completions")).json["error"] == "invalid_scope"
        assert (await present(gateway, assertion(gateway, issuer, scope="mcp.tools.list"))).json["scope"] == (
            "mcp.tools.list"
        )

    run(with_issuer(test))


def test_somebody_elses_assertion_is_worth_nothing(run: Run) -> None:
    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trust(gateway, issuer)
        text = assertion(gateway, issuer)
        _, other = another(gateway, "other")
        assert (await present(gateway, text, other)).json["error"] == "invalid_grant"
        alone = await present(gateway, text, "")
        assert (alone.status, alone.json["error"]) == (401, "invalid_client")
        assert (await present(gateway, text, "aig_sk_invented")).status == 401
        assert (await present(gateway, text)).status == 200  # nobody else has used it up

    run(with_issuer(test))


def test_no_other_token_is_an_assertion_and_the_other_way_round(run: Run) -> None:
    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trust(gateway, issuer)
        for kind in ("id_token", "access_token", "jwt"):
            for text in (assertion(gateway, issuer), person(issuer, aud=here(gateway))):
                assert (await exchange(gateway, text, kind=kind)).json["error"] == "invalid_grant", kind
        trusted(gateway, issuer, name="login", audience="app")
        assert (await exchange(gateway, person(issuer))).status == 200
        assert (await present(gateway, assertion(gateway, issuer, aud="app"))).json["error"] == "invalid_grant"

    run(with_issuer(test))


@pytest.mark.slow
def test_the_sdk_with_an_assertion(run: Run) -> None:
    pytest.importorskip("mcp.server.mcpserver")

    async def test(gateway: Gateway, issuer: Issuer) -> None:
        port = free_port()
        async with server(port, "json", "newer"):
            gateway.upstream.port = port
            found = await mcp_look.looked(row(port), None)
            serve(gateway, approved(found.tools), policy="package bot.authz\n\nallow := true\n", speaks=CURRENT)
            trust(gateway, issuer)
            url = f"{here(gateway)}/github/mcp"
            client = await asyncio.create_subprocess_exec(
                sys.executable, str(PROGRAMS / "mcp_assertion_program.py"), url, "bot", gateway.key,
                assertion(gateway, issuer, resource=url),
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            out, err = await client.communicate()
        assert client.returncode == 0, err.decode()[-3000:]
        assert json.loads(out) == {"said": "acme/app#7: it does not work", "scope": "upstream:github"}

    run(with_issuer(test))
