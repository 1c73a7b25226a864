"""Tokens of the gateway's own: who gets one, what it opens, and when it ends."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from types import SimpleNamespace

import pytest
from sqlalchemy import text

from gateway.errors import Denied
from gateway.identity import jose, key_scope, tokens
from gateway.identity.key_scope import KeyScope
from gateway.identity.token_keys import TokenKeys
from gateway.registry.agents.changes import resume_agent, suspend_agent
from gateway.registry.agents.registration import register_agent
from gateway.registry.keys.changes import create_key, revoke_key
from gateway.registry.organizations.changes import create_organization
from gateway.registry.secret_keys import token_keys
from gateway.tokens import pace as token_pace
from tests.gateway.dataplane.conftest import ACTOR, ORG, Gateway, Start, chat, read_reply, until
from tests.rigs.dataplane.revoked_calls import OPENAI, Streaming, endless, refusal
from tests.rigs.dataplane.tokens import EXCHANGE, TYPES, another, ask, bearer, claims, on_behalf, own


async def test_a_key_becomes_a_token_that_opens_the_same(gateway: Gateway) -> None:
    reply = await ask(gateway, key=gateway.key, grant_type="client_credentials")
    assert reply.status == 200
    assert reply.headers["cache-control"] == "no-store"
    document = reply.json
    token = document["access_token"]
    assert document == {
        "access_token": token,
        "issued_token_type": f"{TYPES}access_token",
        "token_type": "Bearer",
        "expires_in": 300,
        "scope": "",
    }
    assert (await gateway.chat("gpt-4o", bearer(token))).status == 200
    assert (await gateway.chat("gpt-4o", "Authorization: omit", f"x-api-key: {token}")).status == 200
    said = claims(token)
    assert jose.parse(token).typ == "at+jwt"
    assert (said["iss"], said["aud"], said["exp"] - said["iat"]) == ("test", "test/data", 300)
    issued = (await gateway.entries("change"))[-1]
    assert (issued["what"], issued["token"]) == ("token.issued", said["jti"])
    assert issued["actor"] == f"agent:{said['sub']}"
    decided, second = await gateway.entries("decided")
    assert (decided["credential_method"], decided["credential_strength"]) == ("token", 3)
    assert (decided["token"], decided["key"], decided["agent"]) == (said["jti"], said["cid"], said["sub"])
    assert second["token"] == said["jti"]
    assert token not in json.dumps([decided, second, issued])


@pytest.mark.slow
async def test_the_keys_are_published(gateway: Gateway) -> None:
    token = await own(gateway)
    reply = await gateway.send(gateway.request(None, "Authorization: omit", path="/.well-known/jwks.json"))
    assert reply.status == 200
    published = jose.key_set(reply.body)
    assert jose.verify(jose.parse(token), published).kid == jose.parse(token).kid
    assert b'"d"' not in reply.body


@pytest.mark.slow
@pytest.mark.parametrize("how", ["basic", "form", "x-api-key", "subject_token"])
async def test_an_oauth_client_can_present_a_key_in_its_own_way(how: str, gateway: Gateway) -> None:
    form = {"grant_type": "client_credentials"}
    line = "Authorization: omit"
    if how == "basic":
        line = "Authorization: Basic " + base64.b64encode(f"bot:{gateway.key}".encode()).decode()
    elif how == "form":
        form |= {"client_id": "bot", "client_secret": gateway.key}
    elif how == "subject_token":
        form = {"grant_type": EXCHANGE, "subject_token": gateway.key, "subject_token_type": f"{TYPES}access_token"}
    reply = (
        await ask(gateway, line, f"x-api-key: {gateway.key}", **form)
        if how == "x-api-key"
        else await ask(gateway, line, **form)
    )
    assert reply.status == 200, reply.body
    assert (await gateway.chat("gpt-4o", bearer(reply.json["access_token"]))).status == 200


@pytest.mark.slow
async def test_another_name_beside_a_key_is_refused(gateway: Gateway) -> None:
    another(gateway, "other")
    form = {"grant_type": "client_credentials", "client_id": "other", "client_secret": gateway.key}
    reply = await ask(gateway, "Authorization: omit", **form)
    assert (reply.status, reply.json["error"]) == (401, "invalid_client")


async def test_a_token_ends_with_what_it_came_from(gateway: Gateway) -> None:
    agent, key = another(gateway, "other")
    token = await own(gateway, key)
    assert (await gateway.chat("gpt-4o", bearer(token))).status == 200
    suspend_agent(gateway.registry, actor=ACTOR, organization=ORG, agent=agent)
    assert (await gateway.chat("gpt-4o", bearer(token))).code == "agent_suspended"
    resume_agent(gateway.registry, actor=ACTOR, organization=ORG, agent=agent)
    assert (await gateway.chat("gpt-4o", bearer(token))).status == 200
    revoke_key(gateway.registry, actor=ACTOR, organization=ORG, key=key)
    assert (await gateway.chat("gpt-4o", bearer(token))).code == "bad_credentials"
    refused = await ask(gateway, key=token, grant_type="client_credentials")
    assert (refused.status, refused.json["error"]) == (401, "invalid_client")


@pytest.mark.slow
async def test_a_token_ends_in_time(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    token = await own(gateway)
    assert (await gateway.chat("gpt-4o", bearer(token))).status == 200
    later = SimpleNamespace(time_ns=lambda: time.time_ns() + 301 * 10**9)
    monkeypatch.setattr("gateway.identity.principals.time", later)
    assert (await gateway.chat("gpt-4o", bearer(token))).code == "bad_credentials"


async def test_an_agent_gets_so_many_tokens_in_a_minute(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is an entry of the log: one agent must not fill it."""
    monkeypatch.setattr(token_pace, "MOST", 3)
    gateway = await start()
    _, other = another(gateway, "other")
    for _ in range(3):
        token = await own(gateway)
    for more in ({}, {"requested_actor": "other"}):
        refused = await ask(gateway, key=gateway.key, grant_type="client_credentials", **more)
        assert (refused.status, refused.json["error"]) == (429, "slow_down")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert (await gateway.chat("gpt-4o", bearer(token))).status == 200
    await own(gateway, other)
    monkeypatch.setattr(token_pace, "_SECONDS", 0.0)
    await own(gateway)


@pytest.mark.slow
async def test_a_token_of_a_token_ends_no_later_and_may_do_no_more(gateway: Gateway) -> None:
    first = await own(gateway, scope="chat.completions model:gpt-4o*")
    second = await own(gateway, first, scope="model:gpt-4o-mini")
    assert claims(second)["exp"] <= claims(first)["exp"]
    assert claims(second)["scope"] == "chat.completions model:gpt-4o-mini"
    assert (await gateway.chat("gpt-4o-mini", bearer(second))).status == 200
    refused = await gateway.chat("gpt-4o", bearer(second))
    assert (refused.status, refused.code) == (403, "key_scope")
    for more in ("models.list", "model:gpt-5", "model:gpt-*", "model:*"):
        reply = await ask(gateway, key=first, grant_type="client_credentials", scope=more)
        assert (reply.status, reply.json["error"]) == (400, "invalid_scope"), more


@pytest.mark.slow
async def test_the_scope_of_a_key_holds_for_its_tokens(gateway: Gateway) -> None:
    _, key = another(gateway, "narrow", models=["gpt-4o*"], networks=["127.0.0.0/8"])
    token = await own(gateway, key)
    assert claims(token)["scope"] == "model:gpt-4o*"
    assert (await gateway.chat("gpt-4o", bearer(token))).status == 200
    assert (await gateway.chat("gpt-5", bearer(token))).code == "key_scope"
    _, elsewhere = another(gateway, "elsewhere", networks=["10.0.0.0/8"])
    refused = await ask(gateway, key=elsewhere, grant_type="client_credentials")
    assert (refused.status, refused.json["error"]) == (403, "unauthorized_client")


async def test_no_token_is_given_whose_scope_is_too_long_to_be_read(gateway: Gateway) -> None:
    """It was given out, and then opened nothing."""
    models = ["gpt-4o", *(f"{'long-name-' * 12}{number}" for number in range(20))]
    _, key = another(gateway, "scoped", models=models)
    reply = await ask(gateway, key=key, grant_type="client_credentials")
    assert (reply.status, reply.json["error"]) == (400, "invalid_scope")
    assert reply.json["error_description"].endswith("too long for a token: ask for a part of it")
    token = await own(gateway, key, scope="model:gpt-4o")
    assert (await gateway.chat("gpt-4o", bearer(token))).status == 200


async def test_an_agent_acts_for_another_one_that_has_named_it(gateway: Gateway) -> None:
    worker, key = another(gateway, "worker")
    reply = await on_behalf(gateway, gateway.key, "worker", key, scope="model:gpt-4o")
    assert reply.status == 200, reply.body
    token = reply.json["access_token"]
    said = claims(token)
    assert said["act"]["sub"] == worker
    assert said["sub"] != worker
    assert (await gateway.chat("gpt-4o", bearer(token))).status == 200
    assert (await gateway.chat("gpt-5", bearer(token))).code == "key_scope"
    decided = (await gateway.entries("decided"))[0]
    assert (decided["agent"], decided["agent_name"]) == (worker, "worker")
    (delegator,) = json.loads(decided["delegation_json"])
    assert (delegator["name"], delegator["id"], delegator["credential"]) == ("bot", said["sub"], said["cid"])
    granted, issued = (await gateway.entries("change"))[-2:]
    assert (granted["what"], granted["for_agent"]) == ("delegation.granted", worker)
    assert (issued["what"], issued["grant"]) == ("token.issued", granted["token"])


async def test_a_grant_opens_nothing_and_is_for_one_agent(gateway: Gateway) -> None:
    another(gateway, "worker")
    _, thief = another(gateway, "thief")
    granted = await own(gateway, requested_actor="worker")
    assert (await gateway.chat("gpt-4o", bearer(granted))).code == "bad_credentials"
    exchange = {"grant_type": EXCHANGE, "subject_token": granted, "subject_token_type": f"{TYPES}jwt"}
    for key in (thief, gateway.key):
        reply = await ask(gateway, key=key, **exchange)
        assert (reply.status, reply.json["error"]) == (400, "invalid_grant")
    reply = await ask(gateway, **exchange)
    assert (reply.status, reply.json["error"]) == (401, "invalid_client")
    # Nor does an agent's own token let another one act.
    token = await own(gateway)
    for kind in ("access_token", "jwt"):
        form = {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": TYPES + kind}
        reply = await ask(gateway, key=thief, **form)
        assert (reply.status, reply.json["error"]) == (400, "invalid_grant"), kind
    # The grant is no credential for a further one.
    reply = await ask(gateway, key=granted, grant_type="client_credentials")
    assert reply.status == 401


@pytest.mark.slow
@pytest.mark.parametrize("link", ["first", "middle", "last"])
async def test_a_chain_ends_with_any_of_its_links(link: str, gateway: Gateway) -> None:
    _, middle = another(gateway, "middle")
    _, last = another(gateway, "last")
    between = (await on_behalf(gateway, gateway.key, "middle", middle)).json["access_token"]
    token = (await on_behalf(gateway, between, "last", last)).json["access_token"]
    assert (await gateway.chat("gpt-4o", bearer(token))).status == 200
    names = [each["name"] for each in json.loads((await gateway.entries("decided"))[0]["delegation_json"])]
    assert names == ["bot", "middle"]
    key = {"first": gateway.key, "middle": middle, "last": last}[link]
    revoke_key(gateway.registry, actor=ACTOR, organization=ORG, key=key)
    assert (await gateway.chat("gpt-4o", bearer(token))).code == "bad_credentials"


@pytest.mark.slow
async def test_a_stream_ends_with_any_link_of_its_chain(gateway: Gateway) -> None:
    _, key = another(gateway, "worker")
    token = (await on_behalf(gateway, gateway.key, "worker", key)).json["access_token"]
    gateway.upstream.handler = endless(OPENAI)
    call = Streaming(gateway, chat(stream=True), OPENAI, key=token)
    await call.begin()
    revoke_key(gateway.registry, actor=ACTOR, organization=ORG, key=gateway.key)
    assert (
        (await call.rest()).rstrip().endswith(refusal("openai", Denied("bad_credentials", "delegator_dead")).rstrip())
    )
    await until(lambda: not gateway.open_decisions())
    (completed,) = await gateway.entries("completed")
    assert (completed["outcome"], completed["detail"]) == ("revoked", "delegator_dead")


@pytest.mark.slow
async def test_a_chain_has_an_end(start: Start) -> None:
    gateway = await start(token_delegations=2)
    key = gateway.key
    for name in ("one", "two"):
        _, own_key = another(gateway, name)
        key = (await on_behalf(gateway, key, name, own_key)).json["access_token"]
    another(gateway, "three")
    reply = await ask(gateway, key=key, grant_type="client_credentials", requested_actor="three")
    assert (reply.status, reply.json["error"]) == (400, "invalid_request")
    assert "at most 2" in reply.json["error_description"]


@pytest.mark.slow
@pytest.mark.parametrize("actor", ["bot", "nobody", "suspended"])
async def test_only_another_active_agent_can_be_named(actor: str, gateway: Gateway) -> None:
    another(gateway, "suspended")
    suspend_agent(gateway.registry, actor=ACTOR, organization=ORG, agent="suspended")
    reply = await ask(gateway, key=gateway.key, grant_type="client_credentials", requested_actor=actor)
    assert (reply.status, reply.json["error"]) == (400, "invalid_request")


@pytest.mark.slow
async def test_nobody_of_another_organization_can_be_named(gateway: Gateway) -> None:
    create_organization(gateway.registry, actor=ACTOR, name="other")
    made = register_agent(gateway.registry, actor=ACTOR, organization="other", name="stranger")
    for reference in ("stranger", made.id):
        reply = await ask(gateway, key=gateway.key, grant_type="client_credentials", requested_actor=reference)
        assert (reply.status, reply.json["error"]) == (400, "invalid_request")
    # Even a grant that names it is not for it.
    keys, said = TokenKeys(gateway.data.keys), claims(await own(gateway))
    link = tokens.Link(said["sub"], said["cid"])
    forged = tokens.Token(said["jti"], (link,), KeyScope(), said["iat"], said["exp"], made.id)
    stranger = create_key(gateway.registry, gateway.peppers, actor=ACTOR, organization="other", agent=made.id)
    form = {
        "subject_token": tokens.issue(forged, "test", keys),
        "subject_token_type": f"{TYPES}jwt",
    }
    reply = await ask(gateway, key=stranger.text, grant_type=EXCHANGE, **form)
    assert (reply.status, reply.json["error"]) == (400, "invalid_grant")


@pytest.mark.slow
async def test_a_token_that_cannot_be_recorded_is_not_given(gateway: Gateway) -> None:
    gateway.data.audit_db.rename(gateway.data.path / "away.db")
    reply = await ask(gateway, key=gateway.key, grant_type="client_credentials")
    assert (reply.status, reply.json["error"]) == (503, "temporarily_unavailable")


@pytest.mark.slow
async def test_a_new_key_signs_at_once_and_the_old_one_verifies(gateway: Gateway) -> None:
    old = await own(gateway)
    done = token_keys.rotate(gateway.registry, gateway.data.keys, actor=ACTOR, at_once=False)
    new = await own(gateway)
    assert jose.parse(new).kid == done.key.kid != jose.parse(old).kid
    assert (await gateway.chat("gpt-4o", bearer(new))).status == 200
    assert (await gateway.chat("gpt-4o", bearer(old))).status == 200


async def test_a_leaked_key_ends_its_tokens_at_the_next_request(gateway: Gateway) -> None:
    old = await own(gateway)
    _, worker_key = another(gateway, "worker")
    grant = await own(gateway, requested_actor="worker")
    assert (await gateway.chat("gpt-4o", bearer(old))).status == 200
    token_keys.rotate(gateway.registry, gateway.data.keys, actor=ACTOR, at_once=True)
    assert (await gateway.chat("gpt-4o", bearer(old))).status == 401
    new = await own(gateway)
    form = {"subject_token": grant, "subject_token_type": f"{TYPES}jwt"}
    reply = await ask(gateway, key=worker_key, grant_type=EXCHANGE, **form)
    assert (reply.status, reply.json["error"]) == (400, "invalid_grant")
    assert (await gateway.chat("gpt-4o", bearer(new))).status == 200
    gateway.data.keys.rename(gateway.data.keys.with_name("away"))
    with gateway.registry.write() as session:
        session.execute(text("UPDATE epoch SET value = value + 1, authority = value + 1"))
    assert (await gateway.chat("gpt-4o", bearer(new))).status == 503  # it cannot be told which keys there are


BAD_FORMS = [
    (b"", "invalid_request"),
    (b"grant_type=password&username=a&password=b", "unsupported_grant_type"),
    (b"grant_type=client_credentials&grant_type=client_credentials", "invalid_request"),
    (b"grant_type=", "invalid_request"),
    (b"\xff\xfe=1", "invalid_request"),
    (b"grant_type=client_credentials&scope=a&scope=b", "invalid_request"),
    (b"grant_type=client_credentials&scope=a++b", "invalid_scope"),
    (b"grant_type=client_credentials&scope=" + b"a" * 3000, "invalid_scope"),
    (b"grant_type=client_credentials&resource=https://elsewhere.example", "invalid_target"),
    (b"grant_type=client_credentials&audience=other", "invalid_target"),
    (b"grant_type=client_credentials&requested_token_type=urn:x", "invalid_request"),
    (b"grant_type=urn:ietf:params:oauth:grant-type:token-exchange", "invalid_request"),
    (b"grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token=x", "invalid_request"),
    (b"grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer", "invalid_request"),
    (b"&".join(b"a%d=1" % number for number in range(40)), "invalid_request"),
]


async def test_bad_forms_are_refused_in_the_shape_of_oauth(gateway: Gateway) -> None:
    form = "Content-Type: application/x-www-form-urlencoded"
    for body, error in BAD_FORMS:
        reply = await gateway.send(gateway.request(body, form, path="/oauth/token"))
        assert (reply.status, reply.json["error"]) == (400, error), (body, reply.body)
    post = gateway.request(b"grant_type=client_credentials", path="/oauth/token")
    assert (await gateway.send(post)).json["error"] == "invalid_request"  # JSON's content type
    large = await gateway.send(gateway.request(b"a" * 40_000, form, path="/oauth/token"))
    assert large.status == 413
    got = await gateway.send(gateway.request(None, path="/oauth/token"))
    assert (got.status, got.headers["allow"]) == (405, "POST")
    query = gateway.request(b"grant_type=client_credentials", form, path="/oauth/token?scope=a")
    assert (await gateway.send(query)).status == 400
    twice = await ask(gateway, bearer(gateway.key), f"x-api-key: {gateway.key}", grant_type="client_credentials")
    assert (twice.status, twice.json["error"]) == (400, "invalid_request")
    assert not [each for each in await gateway.entries("change") if each["what"] == "token.issued"]


@pytest.mark.slow
async def test_a_call_body_is_no_form_and_others_pass(gateway: Gateway) -> None:
    assert (await gateway.send(gateway.request(chat(), path="/oauth/v1/chat/completions"))).status == 404


async def test_a_key_for_a_network_keeps_it_when_it_is_granted_on(gateway: Gateway) -> None:
    _, planner = another(gateway, "planner", networks=["127.0.0.1/32"])
    _, worker = another(gateway, "worker")
    token = (await on_behalf(gateway, planner, "worker", worker)).json["access_token"]

    async def status(address: str, credential: str) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, local_addr=(address, 0))
        try:
            writer.write(gateway.request(chat("gpt-4o"), bearer(credential)))
            return (await read_reply(reader)).status
        finally:
            writer.close()

    assert await status("127.0.0.1", token) == 200
    assert await status("127.0.0.2", worker) == 200
    assert await status("127.0.0.2", token) == 403


@pytest.mark.parametrize(
    ("parts", "common"),
    [
        ([(), ()], ()),
        ([("10.0.0.0/8",), ()], ("10.0.0.0/8",)),
        ([("10.0.0.0/8", "fd00::/8"), ("10.1.0.0/16", "192.168.0.0/16", "fd12::/16")], ("10.1.0.0/16", "fd12::/16")),
        ([("10.1.0.0/16",), ("10.0.0.0/8",)], ("10.1.0.0/16",)),
        ([("10.0.0.0/8",), ("192.168.0.0/16",)], ("0.0.0.0/32",)),
        ([("10.0.0.0/8",), ("192.168.0.0/16",), ("10.0.0.0/8",)], ("0.0.0.0/32",)),
    ],
)
def test_networks_of_a_chain(parts: list[tuple[str, ...]], common: tuple[str, ...]) -> None:
    found = key_scope.common_networks(parts)
    assert found == common
    if common == key_scope.NOWHERE:
        assert KeyScope(networks=found).outside("chat.completions", (), "10.0.0.1")
