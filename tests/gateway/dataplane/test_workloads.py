"""Agents without a stored secret: tokens of an outside issuer, which really runs."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.errors import GatewayError
from gateway.identity import jose, workload
from gateway.outbound.addresses import ANYWHERE, PUBLIC
from gateway.registry import issuers
from gateway.registry.agents.changes import revoke_agent, suspend_agent
from gateway.registry.agents.registration import register_agent
from gateway.registry.issuers import IssuerUpdate
from gateway.registry.organizations.changes import create_organization
from gateway.tokens import issuer_keys
from tests.gateway.dataplane.conftest import ACTOR, ORG, Gateway, Reply
from tests.gateway.dataplane.issuer import Issuer, new_key, signed
from tests.rigs.dataplane.tokens import EXCHANGE, TYPES, another, ask, bearer
from tests.rigs.dataplane.workloads import CLAIMS, present, rule, trusted, with_issuer

Run = Callable[..., None]


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_an_outside_token_becomes_one_of_the_gateway(algorithm: str, run: Run) -> None:
    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trusted(gateway, issuer)
        reply = await present(gateway, issuer.token())
        assert reply.status == 200, reply.body
        assert reply.json["token_type"] == "Bearer"
        token = reply.json["access_token"]
        assert (await gateway.chat("gpt-4o", bearer(token))).status == 200
        issued = (await gateway.entries("change"))[-1]
        assert (issued["what"], issued["issuer_name"]) == ("token.issued", "ci")
        assert issued["outside_subject"] == "repo:acme/app:ref:refs/heads/main"
        (decided,) = await gateway.entries("decided")
        assert (decided["agent_name"], decided["credential_strength"]) == ("bot", 3)
        assert decided["key"].startswith("rul_")
        # The same by the other grant, and with less.
        form = {"subject_token": issuer.token(), "subject_token_type": f"{TYPES}jwt", "scope": "models.list"}
        narrow = await ask(gateway, grant_type=EXCHANGE, **form)
        assert narrow.json["scope"] == "models.list"
        assert (await gateway.chat("gpt-4o", bearer(narrow.json["access_token"]))).code == "key_scope"
        assert issuer.asked == {"/.well-known/openid-configuration": 1, "/keys": 1}

    run(with_issuer(test, algorithm))


@pytest.mark.slow
def test_it_may_name_several_audiences_and_ends_no_later(run: Run) -> None:
    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trusted(gateway, issuer)
        ends = issuer.claims()["exp"] - 200
        reply = await present(gateway, issuer.token(aud=["kubernetes", "gateway"], exp=ends))
        assert jose.parse(reply.json["access_token"]).claims["exp"] == ends

    run(with_issuer(test))


@pytest.mark.slow
def test_it_can_name_who_may_act_for_it(run: Run) -> None:
    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trusted(gateway, issuer)
        _, key = another(gateway, "worker")
        granted = (await present(gateway, issuer.token(), requested_actor="worker")).json["access_token"]
        form = {"subject_token": granted, "subject_token_type": f"{TYPES}jwt"}
        reply = await ask(gateway, key=key, grant_type=EXCHANGE, **form)
        assert (await gateway.chat("gpt-4o", bearer(reply.json["access_token"]))).status == 200

    run(with_issuer(test))


@pytest.mark.slow
@pytest.mark.parametrize("end", ["rule", "issuer", "agent"])
def test_its_token_ends_with_the_rule_the_issuer_and_the_agent(end: str, run: Run) -> None:
    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trusted(gateway, issuer)
        token = (await present(gateway, issuer.token())).json["access_token"]
        assert (await gateway.chat("gpt-4o", bearer(token))).status == 200
        if end == "agent":
            revoke_agent(gateway.registry, actor=ACTOR, organization=ORG, agent="bot")
        elif end == "issuer":
            issuers.remove_issuer(gateway.registry, actor=ACTOR, organization=ORG, name="ci")
        else:
            (known,) = issuers.issuers(gateway.registry, ORG)
            issuers.remove_rule(gateway.registry, actor=ACTOR, organization=ORG, rule=known.rules[0].id)
        assert (await gateway.chat("gpt-4o", bearer(token))).code == "bad_credentials"
        refused = await present(gateway, issuer.token())
        assert (refused.status, refused.json["error"]) == (400, "invalid_grant")

    run(with_issuer(test))


def test_no_rule_or_two_agents_are_refused(run: Run) -> None:
    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trusted(gateway, issuer)
        assert (await present(gateway, issuer.token(ref="refs/heads/other"))).status == 400
        assert (await present(gateway, issuer.token(ref=None))).status == 400
        # The same agent by two rules is no contradiction.
        rule(gateway, "bot", {"repository": "acme/app"})
        assert (await present(gateway, issuer.token())).status == 200
        another(gateway, "other")
        rule(gateway, "other", {"ref": "refs/heads/main"})
        refused = await present(gateway, issuer.token())
        assert (refused.status, refused.json["error"]) == (400, "invalid_grant")
        assert "several agents" in refused.json["error_description"]

    run(with_issuer(test))


@pytest.mark.slow
def test_a_suspended_agent_gets_none(run: Run) -> None:
    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trusted(gateway, issuer)
        suspend_agent(gateway.registry, actor=ACTOR, organization=ORG, agent="bot")
        assert (await present(gateway, issuer.token())).json["error"] == "invalid_grant"

    run(with_issuer(test))


@pytest.mark.parametrize(
    ("issuer", "jwks_url", "url", "wanted"),
    [
        ("https://issuer.example", "", "https://keys.example/jwks", PUBLIC),
        ("https://issuer.example", "", "http://keys.example/jwks", None),
        ("https://issuer.example", "", "http://127.0.0.1:8081/api/v1/me", None),
        ("https://issuer.example", "", "http://localhost/keys", None),
        ("https://issuer.example", "http://127.0.0.1:9/keys", "http://127.0.0.1:9/keys", ANYWHERE),
        ("http://127.0.0.1:9", "", "http://127.0.0.1:9/keys", ANYWHERE),
        ("http://127.0.0.1:9", "", "http://issuer.example/keys", None),
        ("https://issuer.example", "", "file:///etc/passwd", None),
        ("https://issuer.example", "", "https://127.0.0.1:8443/keys", PUBLIC),
        ("https://issuer.example", "", "https://2130706433/keys", PUBLIC),
        ("https://issuer.example", "", "https://vault/keys", PUBLIC),
        ("https://10.0.0.1", "", "https://10.0.0.1:8443/keys", ANYWHERE),
        ("https://issuer.example", "https://10.0.0.1/keys", "https://10.0.0.1/keys", ANYWHERE),
    ],
)
def test_an_issuer_elsewhere_names_no_place_on_this_machine(
    issuer: str, jwks_url: str, url: str, wanted: str | None
) -> None:
    """Its discovery document is no operator's word."""
    registered = workload.WorkloadIssuer("iss_1", ORG, "one", issuer, "aud", jwks_url, "", reach=ANYWHERE)
    assert issuer_keys.reach_of(registered, url) == wanted
    # An operator of one organization has no word in this.
    assert issuer_keys.reach_of(registered._replace(reach=PUBLIC), url) in (None, PUBLIC)


@pytest.mark.slow
def test_keys_are_fetched_again_for_an_unknown_one_but_not_often(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer_keys, "UNKNOWN_SECONDS", 1e9)

    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trusted(gateway, issuer, jwks_url=f"{issuer.url}/keys")
        assert (await present(gateway, issuer.token())).status == 200
        second = new_key("RS256", "second")
        issuer.publish(issuer.key, second)
        token = signed({"alg": "RS256", "kid": "second"}, issuer.claims(), second)
        refused = await present(gateway, token)
        assert "does not have the key" in refused.json["error_description"]
        assert issuer.asked == {"/keys": 1}
        monkeypatch.setattr(issuer_keys, "UNKNOWN_SECONDS", 0.0)
        assert (await present(gateway, token)).status == 200
        assert issuer.asked == {"/keys": 2}
        # Many at once share one fetch.
        monkeypatch.setattr(issuer_keys, "FRESH_SECONDS", 0.0)
        monkeypatch.setattr(issuer_keys, "RETRY_SECONDS", 1e9)
        replies = await asyncio.gather(*(present(gateway, token) for _ in range(10)))
        assert {each.status for each in replies} == {200}
        assert issuer.asked == {"/keys": 2}

    run(with_issuer(test))


@pytest.mark.slow
def test_an_issuer_that_cannot_be_reached(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer_keys, "RETRY_SECONDS", 0.0)

    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trusted(gateway, issuer)
        issuer.down = True
        token = issuer.token()
        refused = await present(gateway, token)
        assert (refused.status, refused.json["error"]) == (503, "temporarily_unavailable")
        assert refused.json["error_description"].startswith("the keys of the token's issuer cannot be fetched")
        issuer.down = False
        assert (await present(gateway, token)).status == 200
        # The fetched keys count for a while when the issuer is gone.
        monkeypatch.setattr(issuer_keys, "FRESH_SECONDS", 0.0)
        issuer.down = True
        assert (await present(gateway, token)).status == 200
        monkeypatch.setattr(issuer_keys, "KEPT_SECONDS", 0.0)
        assert (await present(gateway, token)).status == 503

    run(with_issuer(test))


BAD_SETS = {
    "no JSON": (b"<html>", "200 OK", ()),
    "an error": ({"keys": []}, "500 Internal Server Error", ()),
    "a redirect": (b"", "302 Found", ("location: /elsewhere",)),
    "no keys": ({"keys": []}, "200 OK", ()),
    "not a list": ({"keys": {}}, "200 OK", ()),
    "a shared secret": ({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "first"}]}, "200 OK", ()),
    "a private key": ({"keys": [new_key("EdDSA", "first").as_dict(private=True)]}, "200 OK", ()),
    "too much": (b'{"keys": [' + b" " * issuer_keys.MAX_BYTES + b"]}", "200 OK", ()),
    "a short key": (
        {"keys": [{"kty": "RSA", "kid": "first", "e": "AQAB", "n": "t" * 171}]}, "200 OK", ()
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("what", BAD_SETS)
def test_a_bad_set_of_keys_lets_nobody_in(what: str, run: Run) -> None:
    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trusted(gateway, issuer)
        issuer.serve("/elsewhere", {"keys": [issuer.key.as_dict(private=False)]})
        document, status, lines = BAD_SETS[what]
        issuer.serve("/keys", document, status, *lines)
        refused = await present(gateway, issuer.token())
        assert (refused.status, refused.json["error"]) == (503, "temporarily_unavailable")
        assert "/elsewhere" not in issuer.asked

    run(with_issuer(test))


@pytest.mark.slow
@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://other.example", "jwks_uri": "<url>/keys"},
        {"issuer": "<url>"},
        {"issuer": "<url>", "jwks_uri": "http://192.0.2.1/keys"},
        {"issuer": "<url>", "jwks_uri": "file:///etc/passwd"},
        {"issuer": "<url>", "jwks_uri": 7},
        [],
    ],
)
def test_a_bad_discovery_document_lets_nobody_in(document: Any, run: Run) -> None:
    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trusted(gateway, issuer)
        text = json.dumps(document).replace("<url>", issuer.url)
        issuer.serve("/.well-known/openid-configuration", text.encode())
        assert (await present(gateway, issuer.token())).status == 503

    run(with_issuer(test))


@pytest.mark.slow
def test_keys_from_a_file_need_no_connection(run: Run) -> None:
    async def test(gateway: Gateway, issuer: Issuer) -> None:
        given = json.dumps({"keys": [issuer.key.as_dict(private=False)]})
        trusted(gateway, issuer, jwks=given)
        assert (await present(gateway, issuer.token())).status == 200
        assert issuer.asked == {}
        # A token of one key needs no `kid`.
        unnamed = signed({"alg": "RS256"}, issuer.claims(), issuer.key)
        assert (await present(gateway, unnamed)).status == 200

    run(with_issuer(test))


@pytest.mark.slow
def test_other_keys_of_an_issuer_count_at_once_and_its_rules_stay(run: Run) -> None:
    async def test(gateway: Gateway, issuer: Issuer) -> None:
        old, new = issuer.key, new_key("RS256", "new")
        update = functools.partial(
            issuers.update_issuer, gateway.registry, actor=ACTOR, organization=ORG, name="ci", reason="rotated"
        )

        async def presented(key: Any) -> Reply:
            header = {"alg": "RS256", "kid": key.as_dict()["kid"]}
            return await present(gateway, signed(header, issuer.claims(), key))

        trusted(gateway, issuer, jwks=json.dumps({"keys": [old.as_dict(private=False)]}))
        before = await presented(old)
        assert (before.status, (await presented(new)).status) == (200, 400)
        update(update=IssuerUpdate(jwks=json.dumps({"keys": [new.as_dict(private=False)]})))
        assert ((await presented(old)).status, (await presented(new)).status) == (400, 200)
        assert (await gateway.chat("gpt-4o", bearer(before.json["access_token"]))).status == 200, (
            "a token from before goes on"
        )
        issuer.publish(old)
        update(update=IssuerUpdate(jwks_url=f"{issuer.url}/keys", insecure=True))
        assert ((await presented(old)).status, (await presented(new)).status) == (200, 400)
        update(update=IssuerUpdate(jwks=json.dumps({"keys": [new.as_dict(private=False)]})))
        assert (await presented(old)).status == 400, "what was fetched counts no more"

    run(with_issuer(test))


@pytest.mark.slow
def test_the_issuers_of_two_organizations_are_apart(run: Run) -> None:
    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trusted(gateway, issuer)
        create_organization(gateway.registry, actor=ACTOR, name="other")
        theirs = register_agent(gateway.registry, actor=ACTOR, organization="other", name="bot")
        with pytest.raises(GatewayError, match="cannot be used for tokens of"):
            issuers.add_issuer(
                gateway.registry, actor=ACTOR, organization="other", name="ci",
                issuer=issuer.url, audience="gateway", insecure=True,
            )  # fmt: skip
        issuers.add_issuer(
            gateway.registry, actor=ACTOR, organization="other", name="ci",
            issuer=issuer.url, audience="other", insecure=True,
        )  # fmt: skip
        issuers.add_rule(gateway.registry, actor=ACTOR, organization="other", issuer="ci", claims=CLAIMS, agent="bot")
        said = jose.parse((await present(gateway, issuer.token(aud="other"))).json["access_token"]).claims
        assert said["sub"] == theirs.id
        assert jose.parse((await present(gateway, issuer.token())).json["access_token"]).claims["sub"] != theirs.id
        # For both: a guess would be one of two tenants.
        assert (await present(gateway, issuer.token(aud=["gateway", "other"]))).status == 400

    run(with_issuer(test))
