"""`POST /oauth/token` with a signed request (RFC 9421) as the client's credential: it is one, and bad ones are none."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest

from gateway.identity import jose
from gateway.registry.agents.changes import resume_agent, suspend_agent
from gateway.registry.keys.changes import revoke_key
from tests.gateway.corpus import signed
from tests.gateway.corpus.drafts import Draft, Private, digest, draft
from tests.gateway.dataplane.conftest import ACTOR, ORG, Gateway, Reply
from tests.rigs.dataplane.signatures import add, details, keys
from tests.rigs.dataplane.tokens import EXCHANGE, TYPES, another, bearer, claims, own

OWN = {"grant_type": "client_credentials"}
FORM = urlencode(OWN | {"scope": "model:gpt-4o"}).encode()


def request(key: tuple[Private, str], form: dict[str, str] | None = None, **changed: Any) -> Draft:
    """A request for a token that this key signs."""
    usual = {
        "path": "/oauth/token",
        "body": urlencode(OWN if form is None else form).encode(),
        "content_type": "application/x-www-form-urlencoded",
    }
    return draft(key, **usual | changed)


async def tokens_given(gateway: Gateway) -> int:
    return sum(entry["what"] in ("token.issued", "delegation.granted") for entry in await gateway.entries("change"))


async def refused(gateway: Gateway, sent: bytes, status: int, error: str) -> str:
    """The text that the client was told."""
    reply: Reply = await gateway.send(sent)
    assert (reply.status, reply.json["error"]) == (status, error), reply.body
    assert reply.headers["cache-control"] == "no-store"
    return str(reply.json["error_description"])


async def test_a_signed_request_becomes_a_token_of_its_key(gateway: Gateway) -> None:
    for number, kind in enumerate(("ed25519", "p256"), 1):
        key = add(gateway, "bot", kind)
        reply = await gateway.send(request(key, OWN | {"scope": "model:gpt-4o", "client_id": "bot"}).sent())
        assert reply.status == 200, reply.body
        token = reply.json["access_token"]
        assert (await gateway.chat("gpt-4o", bearer(token))).status == 200
        assert (await gateway.chat("gpt-5", bearer(token))).code == "key_scope"
        (used,) = [each for each in await gateway.entries("decided") if each["token"] == claims(token)["jti"]][:1]
        assert (used["key"], used["credential_method"]) == (claims(token)["cid"], "token")
        assert await tokens_given(gateway) == number
        revoke_key(gateway.registry, actor=ACTOR, organization=ORG, key=key[1])
        assert (await gateway.chat("gpt-4o", bearer(token))).code == "bad_credentials"
        assert "not valid" in await refused(gateway, request(key).sent(), 401, "invalid_client")


async def test_a_signature_gives_one_token(gateway: Gateway) -> None:
    key, nonce = add(gateway, "bot"), '"nonce-nonce-nonce-1"'
    sent = request(key, nonce=nonce).sent()
    together = await asyncio.gather(*(gateway.send(sent) for _ in range(6)))
    assert sorted(each.status for each in together) == [200] + [401] * 5
    # Nor does it open the data plane after that, and one that was used there gives no token.
    assert (await gateway.send(draft(key, nonce=nonce).sent())).status == 401
    other = '"nonce-nonce-nonce-2"'
    assert (await gateway.send(draft(key, nonce=other).sent())).status == 200
    told = await refused(gateway, request(key, nonce=other).sent(), 401, "invalid_client")
    assert "this signature was used before" in told
    assert await tokens_given(gateway) == 1


async def test_what_was_signed_cannot_be_asked_otherwise(gateway: Gateway) -> None:
    key = add(gateway, "bot")
    another(gateway, "worker")
    for form in (OWN, OWN | {"scope": "model:gpt-4o"}, OWN | {"requested_actor": "worker"}):
        narrow = request(key, OWN | {"scope": "model:gpt-4o-mini"})
        other = request(key, form)
        assert "the body is not" in await refused(
            gateway, other.sent(**_signature(narrow), Content_Digest=narrow.content_digest), 401, "invalid_client"
        )
        # With the digest of what is sent, the signature is wrong.
        await refused(gateway, other.sent(**_signature(narrow)), 401, "invalid_client")
    # A call that was signed is no request for a token, and the other way round.
    call = draft(key)
    assert (await gateway.send(replace(call, path="/oauth/token").sent(**_signature(call)))).status in (400, 401)
    asked = request(key)
    assert (await gateway.send(replace(asked, path="/v1/models").sent(**_signature(asked)))).status == 401
    # The query of the URL is no parameter, signed or not.
    in_url = await refused(gateway, request(key, query="scope=model:gpt-5").sent(), 400, "invalid_request")
    assert "parameters belong in the body" in in_url
    assert await tokens_given(gateway) == 0
    assert gateway.upstream.seen == []


def _signature(signed_one: Draft) -> dict[str, str]:
    headers = signed_one.headers()
    return {"Signature": headers["Signature"], "Signature_Input": headers["Signature-Input"]}


@pytest.mark.slow
async def test_a_signature_is_the_only_credential(gateway: Gateway) -> None:
    key = add(gateway, "bot")
    token = await own(gateway)
    given = await tokens_given(gateway)
    for line in (
        f"Authorization: Bearer {gateway.key}",
        f"Authorization: Bearer {token}",
        "Authorization: Basic Ym90Og==",
        f"x-api-key: {gateway.key}",
    ):
        await refused(gateway, request(key, more=[line]).sent(), 400, "invalid_request")
    for form in (
        OWN | {"client_secret": gateway.key},
        OWN | {"client_id": "bot", "client_secret": gateway.key},
        {"grant_type": EXCHANGE, "subject_token": gateway.key, "subject_token_type": f"{TYPES}access_token"}
        | {"actor_token": gateway.key, "actor_token_type": f"{TYPES}access_token"},
        {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": token},
    ):
        await refused(gateway, request(key, form).sent(), 400, "invalid_request")
    another(gateway, "other")
    await refused(gateway, request(key, OWN | {"client_id": "other"}).sent(), 401, "invalid_client")
    await refused(gateway, request(key, {}).sent(), 400, "invalid_request")
    json_body = request(key, content_type="application/json").sent()
    await refused(gateway, json_body, 400, "invalid_request")
    assert await tokens_given(gateway) == given


@pytest.mark.slow
async def test_an_agent_that_signs_acts_for_another_one(gateway: Gateway) -> None:
    worker, _ = another(gateway, "worker")
    another(gateway, "thief")
    key, stolen = add(gateway, "worker"), add(gateway, "thief")
    granted = await own(gateway, requested_actor="worker")
    form = {"grant_type": EXCHANGE, "subject_token": granted, "subject_token_type": f"{TYPES}jwt"}
    await refused(gateway, request(stolen, form).sent(), 400, "invalid_grant")
    # Another subject than the one that was signed for.
    mine = request(key, form | {"subject_token": await own(gateway, requested_actor="thief")})
    swapped = replace(request(key, form), parameters=mine.parameters)
    await refused(gateway, swapped.sent(**_signature(mine), Content_Digest=mine.content_digest), 401, "invalid_client")
    reply = await gateway.send(request(key, form).sent())
    assert reply.status == 200, reply.body
    said = claims(reply.json["access_token"])
    assert said["act"]["sub"] == worker
    assert jose.parse(granted).claims["sub"] == said["sub"]
    assert (await gateway.chat("gpt-4o", bearer(reply.json["access_token"]))).status == 200


@pytest.mark.slow
async def test_a_suspended_agent_gets_no_token_for_a_signature(gateway: Gateway) -> None:
    key = add(gateway, "bot")
    suspend_agent(gateway.registry, actor=ACTOR, organization=ORG, agent="bot")
    await refused(gateway, request(key).sent(), 403, "unauthorized_client")
    resume_agent(gateway.registry, actor=ACTOR, organization=ORG, agent="bot")
    assert (await gateway.send(request(key).sent())).status == 200
    gateway.data.runtime_db.rename(gateway.data.path / "moved.db")  # where nonces are kept
    await refused(gateway, request(key).sent(), 503, "temporarily_unavailable")
    assert await tokens_given(gateway) == 1


@pytest.fixture
def corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bad signatures of the data plane, as requests for tokens."""
    monkeypatch.setattr(signed, "draft", lambda key, **changed: request(key, **{"body": FORM} | changed))
    monkeypatch.setattr(signed, "BODY", FORM)


async def opened(gateway: Gateway, cases: list[tuple[str, bytes]]) -> list[tuple[str, int, bytes]]:
    """The cases that were not refused as they should be."""
    wrong = []
    for at in range(0, len(cases), 16):
        some = cases[at : at + 16]
        replies = await asyncio.gather(*(gateway.send(sent) for _, sent in some))
        wrong += [
            (note, each.status, each.body)
            for (note, _), each in zip(some, replies, strict=True)
            if each.status not in (400, 401, 404, 405, 413)
        ]
    assert gateway.upstream.seen == []
    assert await tokens_given(gateway) == 0
    return wrong


@pytest.mark.slow
@pytest.mark.usefixtures("corpus")
async def test_good_signatures_give_tokens_and_hundreds_of_bad_ones_none(gateway: Gateway) -> None:
    known = keys(gateway)
    cases = list(signed.cases(known))
    assert len(cases) > 800
    assert await opened(gateway, cases) == []
    assert "body_differs" in await details(gateway)
    served = [(note, sent) for note, sent in signed.good(known) if b"POST /oauth/token" in sent]
    assert len(served) >= 6
    for note, sent in served:
        reply = await gateway.send(sent)
        assert reply.status == 200, (note, reply.body)
    assert await tokens_given(gateway) == len(served)
    assert digest(FORM).encode() in served[0][1]
