"""The API's operations on stops, public keys, issuers, webhooks and permissions."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from gateway.control.api import permissions as api_permissions
from gateway.identity import public_keys, token_keys
from gateway.identity.message_signatures import thumbprint
from gateway.policy import cache
from gateway.registry import emergency_stops
from gateway.registry.organizations.changes import create_organization, suspend_organization
from gateway.runtime.legacy_clients import ClientTraits, LegacyClients, _Calls
from gateway.runtime.store import RuntimeStore
from tests.gateway.conftest import ACTOR, ORG, Home
from tests.gateway.control.conftest import Client, Control
from tests.gateway.upstream.raw_upstream import Upstream, saying
from tests.rigs.cli.permissions import activate
from tests.rigs.control.nouns import recorded
from tests.rigs.webhooks.courier import receiving, status

_AUDIENCE = {"issuer": "https://token.actions.example.com", "audience": "https://gateway.example.com"}
_JWK = {"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}


@pytest.fixture
def acme(control: Control) -> Client:
    """An operator of another organization."""
    create_organization(control.home.registry, actor=ACTOR, name="acme")
    return control.operator("ann", organization="acme")


def test_everybody_is_stopped_and_goes_on(control: Control, owner: Client, acme: Client) -> None:
    assert owner("POST", "/stops", {"reason": "drill"}).problem(422) == "invalid_body"
    both = owner("POST", "/stops", {"reason": "drill", "everybody": True}, organization="acme")
    assert both.problem(422) == "invalid_body"
    everybody = owner("POST", "/stops", {"reason": "a key of acme leaked", "everybody": True}).ok()
    assert everybody["organization"] is None
    again = owner("POST", "/stops", {"reason": "drill", "everybody": True}).ok()
    assert again == everybody, "the first one is in force"
    mine = acme("POST", "/stops", {"reason": "fire"}).ok()
    assert (mine["organization"], mine["reason"]) == ("acme", "fire")
    assert [each["id"] for each in owner("GET", "/stops").ok()["items"]] == [everybody["id"], mine["id"]]
    assert [each["id"] for each in owner("GET", "/stops", organization=ORG).ok()["items"]] == [everybody["id"]]
    ended = owner("POST", f"/stops/{mine['id']}/resume", {"reason": "put out"}).ok()
    assert ended["ended"] is not None
    assert owner("POST", f"/stops/{mine['id']}/resume").ok() == ended, "it has ended, which was wanted"
    later = acme("POST", "/stops", {"reason": "again"}).ok()
    assert acme("POST", f"/stops/{mine['id']}/resume").problem(409) == "stop_ended"
    assert acme("GET", f"/stops/{later['id']}").ok()["ended"] is None
    assert owner("GET", "/stops/stp_nothing").problem(404) == "unknown_stop"
    found = [each for each in recorded(control.home, "acme") if each["what"].startswith("agents.")]
    assert [(each["what"], each["reason"]) for each in found] == [
        ("agents.stopped", "fire"),
        ("agents.resumed", "put out"),
        ("agents.stopped", "again"),
    ]


def test_an_organization_does_not_undo_what_the_gateways_operators_did_to_it(
    control: Control, owner: Client, acme: Client
) -> None:
    """Otherwise a suspended tenant lets itself in again."""
    stop = owner("POST", "/stops", {"reason": "abuse"}, organization="acme").ok()
    refused = acme("POST", f"/stops/{stop['id']}/resume")
    assert (refused.problem(403), "stopped by" in refused.json["detail"]) == ("forbidden", True)
    assert owner("POST", f"/stops/{stop['id']}/resume").ok()["ended"]
    assert acme("POST", f"/stops/{stop['id']}/resume").ok()["ended"], "it has ended: there is nothing to undo"
    mine = acme("POST", "/stops", {"reason": "fire"}).ok()
    second = control.operator("adam", "admin", "acme")
    assert second("POST", f"/stops/{mine['id']}/resume").ok()["ended"], "of the same organization"

    assert owner("POST", "/organizations/acme/suspend").ok()["status"] == "suspended"
    assert acme("PATCH", "/organizations/acme", {"review_days": 9}, headers={"if-match": "*"}).ok()["review_days"] == 9
    refused = acme("POST", "/organizations/acme/resume")
    assert (refused.problem(403), "suspended by" in refused.json["detail"]) == ("forbidden", True)
    assert owner("POST", "/organizations/acme/resume").ok()["status"] == "active"
    assert acme("POST", "/organizations/acme/resume").ok()["status"] == "active", "there is nothing to undo"
    assert acme("POST", "/organizations/acme/suspend").ok()["status"] == "suspended"
    assert acme("POST", "/organizations/acme/resume").ok()["status"] == "active"
    suspend_organization(control.home.registry, actor=ACTOR, organization="acme")
    assert acme("POST", "/organizations/acme/resume").problem(403) == "forbidden", "so did somebody at the machine"


@pytest.mark.slow
def test_stops_of_others(control: Control, owner: Client, acme: Client) -> None:
    theirs = owner("POST", "/stops", {"reason": "secret reason"}, organization=ORG).ok()
    everybody = owner("POST", "/stops", {"reason": "secret reason", "everybody": True}).ok()
    (seen,) = acme("GET", "/stops").ok()["items"]
    assert (seen["id"], seen["reason"], seen["actor"]) == (everybody["id"], "", "")
    assert b"secret" not in acme("GET", f"/stops/{everybody['id']}").raw
    assert acme("GET", f"/stops/{theirs['id']}").problem(404) == "unknown_stop"
    assert acme("POST", f"/stops/{theirs['id']}/resume").problem(404) == "unknown_stop"
    assert acme("POST", f"/stops/{everybody['id']}/resume").problem(403) == "forbidden"
    assert acme("POST", "/stops", {"reason": "x", "everybody": True}).problem(403) == "forbidden"
    assert acme("POST", "/stops", {"reason": "x"}, organization=ORG).problem(404) == "unknown_organization"
    assert len(emergency_stops.stops(control.home.registry)) == 2
    viewer = control.operator("vera", "viewer", "acme")
    assert viewer("GET", "/stops").ok()["items"] == [seen]
    assert viewer("POST", "/stops", {"reason": "x"}).problem(403) == "forbidden"
    scoped = control.operator("sam", "admin", "acme", scopes=["agents:write"])
    assert scoped("POST", "/stops", {"reason": "x"}).problem(403) == "token_scope"


@pytest.mark.slow
def test_public_keys(control: Control, owner: Client) -> None:
    control.home.agent("bot")
    key = public_keys.generate("ed25519").public_key()
    asked = {"agent": "bot", "public_key": public_keys.public_pem(key), "expires_in": 60, "scope": {"models": ["o3"]}}
    made = owner("POST", "/keys/public", asked).ok(201)
    assert (made["key_id"], made["method"], made["scope"]) == (thumbprint(key), "signature", {"models": ["o3"]})
    assert owner("POST", "/keys/public", asked).problem(409) == "key_exists"
    secret = owner("POST", "/keys", {"agent": "bot"}).ok(201)
    listed = {
        method: [each["id"] for each in owner("GET", "/keys", method=method).ok()["items"]]
        for method in ("api_key", "signature")
    }
    assert listed == {"api_key": [secret["id"]], "signature": [made["id"]]}
    assert owner("GET", "/keys", method="secret").problem(400) == "invalid_parameter"
    assert owner("GET", f"/keys/{made['key_id']}").ok()["id"] == made["id"]
    assert owner("POST", f"/keys/{made['key_id']}/revoke", {"reason": "lost"}).ok()["status"] == "revoked"
    assert owner("POST", "/keys/public", asked).problem(409) == "key_exists", "it does not come back"
    assert owner("GET", "/keys/public").problem(404) == "unknown_key"


@pytest.mark.slow
def test_spiffe_ids(control: Control, owner: Client, acme: Client) -> None:
    control.home.agent("bot")
    asked = {"agent": "bot", "spiffe_id": "spiffe://acme.example/bot", "scope": {"models": ["o3"]}}
    made = owner("POST", "/keys/spiffe", asked).ok(201)
    assert (made["key_id"], made["method"], made["scope"]) == (asked["spiffe_id"], "mtls", {"models": ["o3"]})
    assert [each["id"] for each in owner("GET", "/keys", method="mtls").ok()["items"]] == [made["id"]]
    assert owner("POST", "/keys/spiffe", asked).problem(409) == "key_exists"
    bad = {"agent": "bot", "spiffe_id": "https://acme.example/bot"}
    assert owner("POST", "/keys/spiffe", bad).problem(422).startswith("invalid_")
    acme("POST", "/agents", {"name": "bot"}).ok(201)
    assert acme("POST", "/keys/spiffe", {**asked, "scope": None}).problem(403) == "name_not_given"
    owner("POST", "/organizations/acme/names", {"kind": "trust_domain", "name": "acme.example"}).ok(201)
    theirs = acme("POST", "/keys/spiffe", {**asked, "scope": None})
    assert (theirs.problem(409), made["id"] in theirs.raw.decode()) == ("key_exists", False)
    assert acme("GET", f"/keys/{made['id']}").problem(404) == "unknown_key"
    viewer = control.operator("vera", "viewer")
    assert viewer("POST", "/keys/spiffe", asked).problem(403) == "forbidden"
    assert owner("POST", f"/keys/{made['id']}/revoke", {"reason": "moved"}).ok()["status"] == "revoked"
    assert acme("POST", "/keys/spiffe", {**asked, "scope": None}).ok(201)["agent"] == "bot"


@pytest.mark.slow
def test_adoptions(control: Control, owner: Client, acme: Client) -> None:
    owner("POST", "/upstreams", {"name": "openai", "provider": "openai", "secret": "sk-1"}).ok(201)
    key = "sk-that-everybody-knows"
    asked = {"upstream": "openai", "key": key, "expires_in": 86400, "reason": "the move"}
    nobody = owner("POST", "/adoptions", asked)
    assert (nobody.problem(422), nobody.json["hint"]) == ("owner_needed", 'say who moves the programs: send "owner"')
    made = owner("POST", "/adoptions", {**asked, "owner": "dana"}).ok(201)
    assert (made["state"], made["registered"], made["granted"], made["upstream"]) == ("running", True, False, "openai")
    later = owner("POST", "/adoptions", {**asked, "expires_in": 90 * 86400}).ok(201)
    states = [(each["id"], each["state"]) for each in owner("GET", "/adoptions").ok()["items"]]
    assert states == [(made["id"], "stopped"), (later["id"], "running")]
    assert owner("POST", "/adoptions", {**asked, "key": "short"}).problem(422) == "invalid_key"
    assert owner("POST", "/adoptions", {**asked, "upstream": "opena"}).problem(422) == "unknown_upstream"
    place = control.home.data.runtime_db
    clients = LegacyClients(RuntimeStore(place), control.home.peppers)
    clients._calls[ClientTraits(ORG, "OpenAI/Python", "10.1.2.3")] = _Calls(1, 2, 7, {"gpt-4o"})
    clients._moved[ClientTraits(ORG, "curl", "10.1.2.4")] = (9, "bot")
    clients._calls[ClientTraits(ORG, "curl", "10.1.2.4")] = _Calls(1, 2, 1, set())
    clients.close()
    (seen,) = owner("GET", "/adoptions/clients").ok()["items"]
    assert (seen["client"], seen["calls"], seen["models"], seen["moved"]) == ("OpenAI/Python", 7, ["gpt-4o"], None)
    first = owner("GET", "/adoptions/clients", moved="true", limit="1").ok()
    second = owner("GET", "/adoptions/clients", moved="true", limit="1", cursor=first["next"]).ok()
    assert {each["client"]: each["agent"] for each in first["items"] + second["items"]} == {
        "OpenAI/Python": None,
        "curl": "bot",
    }
    assert owner("GET", "/adoptions/clients", address="10.1.2.3").ok()["items"] == [seen]
    bad = owner("GET", "/adoptions/clients", address="10.1")
    assert (bad.status, "is not an address" in bad.json["detail"]) == (422, True)
    # Another organization sees nothing of it.
    assert acme("GET", "/adoptions").ok()["items"] == acme("GET", "/adoptions/clients").ok()["items"] == []
    assert acme("POST", "/adoptions/stop").problem(409) == "no_adoption"
    assert control.operator("vera", "viewer")("POST", "/adoptions/stop").problem(403) == "forbidden"
    scoped = control.operator("sam", "admin", scopes=["adoptions:write"])
    assert [each["id"] for each in scoped("POST", "/adoptions/stop").ok()["stopped"]] == [later["id"]]
    assert owner("POST", "/adoptions/stop", {"upstream": "openai"}).problem(409) == "no_adoption"
    assert key not in repr(recorded(control.home))


@pytest.mark.slow
def test_public_keys_that_nobody_may_have(control: Control, owner: Client) -> None:
    control.home.agent("bot")
    private = public_keys.generate("p256").private_bytes(
        public_keys.serialization.Encoding.PEM,
        public_keys.serialization.PrivateFormat.PKCS8,
        public_keys.serialization.NoEncryption(),
    )
    curve = public_keys.ec.generate_private_key(public_keys.ec.SECP384R1()).public_key()
    for text, why in (
        (private.decode(), "holds a private key"),
        (public_keys.public_pem(curve), "is for the curve secp384r1"),
        ("nonsense", "is not the PEM of a public key"),
        ("", "is not the PEM of a public key"),
        ("\u2603", "is not the PEM of a public key"),
    ):
        refused = owner("POST", "/keys/public", {"agent": "bot", "public_key": text})
        assert refused.problem(422) == "invalid_public_key"
        assert refused.json["detail"].startswith(f"the public key {why}")
        assert len(text) < 9 or text.splitlines()[1].encode() not in refused.raw
    assert owner("GET", "/keys").ok()["items"] == []


@pytest.mark.slow
def test_issuers_and_rules(control: Control, owner: Client) -> None:
    control.home.agent("bot")
    made = owner("POST", "/issuers", {"name": "github", **_AUDIENCE})
    assert (made.ok(201)["keys"], made.json["rules"]) == ("discovery", 0)
    assert made.headers["location"] == "/api/v1/issuers/github"
    assert owner("POST", "/issuers", {"name": "github", **_AUDIENCE}).problem(409) == "issuer_exists"
    away = {"name": "away", "issuer": "away", "audience": "gateway", "jwks": {"keys": [_JWK]}}
    assert owner("POST", "/issuers", away).ok(201)["keys"] == "file"
    assert owner("POST", "/issuers", {**away, "name": "x", "jwks_url": "https://a.example"}).problem(422)
    assert owner("POST", "/issuers", {**away, "name": "x", "jwks": {"keys": []}}).problem(422) == "invalid_jwks"
    assert owner("POST", "/issuers", {"name": "x", **_AUDIENCE, "jwks_url": "http://a.example"}).problem(422)
    claims = {"repository": "acme/app", "sub_ns": "1"}
    rule = owner("POST", "/issuers/github/rules", {"claims": claims, "agent": "bot"})
    assert (rule.ok(201)["claims"], rule.json["agent"]) == (claims, "bot")
    path = rule.headers["location"].removeprefix("/api/v1")
    assert owner("GET", path).ok() == rule.json
    same = owner("POST", "/issuers/github/rules", {"claims": claims, "agent": "bot"})
    assert same.problem(409) == "rule_exists"
    assert owner("POST", "/issuers/github/rules", {"claims": {"aud": "x"}, "agent": "bot"}).problem(422)
    assert owner("POST", "/issuers/github/rules", {"claims": claims, "agent": "bat"}).problem(422) == "unknown_agent"
    assert owner("POST", "/issuers/gitlab/rules", {"claims": claims, "agent": "bot"}).problem(404) == "unknown_issuer"
    assert owner("GET", path.replace("github", "away")).problem(404) == "unknown_rule"
    assert owner("DELETE", path.replace("github", "away")).problem(404) == "unknown_rule"
    assert owner("GET", "/issuers/github/rules").ok()["items"] == [rule.json]
    assert [each["rules"] for each in owner("GET", "/issuers").ok()["items"]] == [0, 1]
    assert owner("DELETE", path).ok()["id"] == rule.json["id"]
    assert owner("DELETE", path).problem(404) == "unknown_rule"
    away = {"jwks": {"keys": [_JWK]}, "reason": "it cannot be reached"}
    assert owner("PATCH", "/issuers/github", away).ok()["keys"] == "file"
    for wrong in (away | {"jwks_url": "https://a.example"}, {"jwks_url": "http://a.example"}, {"max_age": 60}):
        assert owner("PATCH", "/issuers/github", wrong).problem(422)
    assert owner("PATCH", "/issuers/github", {"jwks_url": "https://a.example"}).ok()["keys"] == "https://a.example"
    assert owner("PATCH", "/issuers/github", {"jwks_url": ""}).ok() == made.json
    assert owner("PATCH", "/issuers/gitlab", {"jwks_url": ""}).problem(404) == "unknown_issuer"
    assert owner("DELETE", "/issuers/github").ok()["name"] == "github"
    assert owner("GET", "/issuers/github").problem(404) == "unknown_issuer"
    found = [each for each in recorded(control.home) if each["what"].startswith("issuer")]
    assert [each["what"] for each in found] == [
        *("issuer.added", "issuer.added", "issuer_rule.added", "issuer_rule.removed"),
        *("issuer.updated", "issuer.updated", "issuer.updated", "issuer.removed"),
    ]
    assert [(each["keys"], each.get("reason", "")) for each in found[4:7]] == [
        *(("file", "it cannot be reached"), ("https://a.example", ""), ("discovery", "")),
    ]


@pytest.mark.slow
def test_issuers_of_persons(control: Control, owner: Client) -> None:
    control.home.agent("bot")
    tokens = {"kind": "access_token", "max_age": 600, "claims": ["groups"], "algorithms": ["RS256"]}
    made = owner("POST", "/issuers", {"name": "login", **_AUDIENCE, "persons": tokens}).ok(201)
    assert (made["purpose"], made["accepts"], made["max_age"]) == ("persons", "access_token", 600)
    assert (made["claims"], made["algorithms"]) == (["groups"], ["RS256"])
    rule = owner("POST", "/issuers/login/rules", {"claims": {}, "agent": "bot"}).ok(201)
    assert (rule["purpose"], rule["claims"]) == ("persons", {})
    for wrong in ({"kind": "x"}, {"max_age": 1}, {"claims": ["sub"]}, {"algorithms": ["none"]}, {"algorithms": []}):
        other = {"name": "x", "issuer": "https://x.example", "audience": "x", "persons": {**tokens, **wrong}}
        assert owner("POST", "/issuers", other).problem(422)
    changed = owner("PATCH", "/issuers/login", {"max_age": 900, "claims": []}).ok()
    assert changed == made | {"max_age": 900, "claims": [], "rules": 1}
    for wrong in ({"max_age": 1}, {"claims": ["sub"]}, {"algorithms": ["none"]}, {"algorithms": []}):
        assert owner("PATCH", "/issuers/login", wrong).problem(422)
    named = owner("POST", "/issuers/login/rules", {"claims": {"sub": "00u1"}, "agent": "bot"})
    assert named.problem(422) == "invalid_claim"


@pytest.mark.slow
def test_webhooks(control: Control, owner: Client) -> None:
    url = "https://alerts.example.com/gateway?to=a"
    asked = {"url": url, "events": ["agent.revoked"]}
    made = owner("POST", "/webhooks", asked, headers={"idempotency-key": "one"}).ok(201)
    assert made["secret"].startswith("whsec_")
    repeated = owner("POST", "/webhooks", asked, headers={"idempotency-key": "one"})
    assert repeated.ok(201) == made | {"secret": None}
    shown = owner("GET", f"/webhooks/{made['id']}").ok()
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    assert (shown["events"], shown["state"]["success"]) == (["agent.revoked"], None)
    assert owner("GET", "/webhooks").ok()["items"] == [shown]
    assert owner("POST", "/webhooks", asked).problem(409) == "webhook_exists"
    own = "whsec_" + "QUFB" * 10
    given = owner("POST", "/webhooks", {"url": "https://b.example.com/", "secret": own}).ok(201)
    assert (given["secret"], len(given["events"]) > 5) == (None, True)
    bad = owner("POST", "/webhooks", {"url": "https://c.example.com/", "secret": "hunter2"})
    assert (bad.problem(422), b"hunter2" in bad.raw) == ("invalid_secret", False)
    assert owner("POST", "/webhooks", {"url": "https://c.example.com/", "events": []}).problem(422) == "invalid_body"
    unknown = owner("POST", "/webhooks", {"url": "https://c.example.com/", "events": ["agent.revokd"]})
    assert (unknown.problem(422), unknown.json["hint"]) == ("unknown_event", "did you mean `agent.revoked`?")
    assert owner("DELETE", f"/webhooks/{made['id']}").ok() == shown
    assert owner("DELETE", f"/webhooks/{made['id']}").problem(404) == "unknown_webhook"
    for secret in (made["secret"], own):
        assert secret.removeprefix("whsec_") not in repr(recorded(control.home))


@pytest.mark.slow
async def test_a_webhook_is_tried_out(control: Control, owner: Client, acme: Client) -> None:
    async with receiving(status(500), status(204)) as receiver:
        asked = {"url": receiver.url, "insecure": True}
        made = await asyncio.to_thread(owner, "POST", "/webhooks", asked)

        def tried() -> dict[str, Any]:
            return dict(owner("POST", f"/webhooks/{made.ok(201)['id']}/test").ok())

        # Clients have a loop of their own, and so need a thread.
        failed = await asyncio.to_thread(tried)
        assert (failed["accepted"], "status 500" in failed["error"]) == (False, True)
        passed = await asyncio.to_thread(tried)
        assert (passed["accepted"], passed["error"], passed["url"]) == (True, "", receiver.url)
        assert [headers["webhook-id"] for headers, _ in receiver.got] == [failed["event"], passed["event"]]
        theirs = await asyncio.to_thread(acme, "POST", f"/webhooks/{made.ok(201)['id']}/test")
        assert theirs.problem(404) == "unknown_webhook"
        viewer = control.operator("vera", "viewer")
        assert (await asyncio.to_thread(viewer, "POST", f"/webhooks/{made.ok(201)['id']}/test")).status == 403


@pytest.mark.slow
def test_an_upstream_is_checked(control: Control, owner: Client, acme: Client) -> None:
    secret = "sk-live-0123456789"

    async def scenario() -> None:
        provider = Upstream(saying(status(401)))
        await provider.start()
        try:
            url = f"http://127.0.0.1:{provider.port}/v1"
            asked = {"name": "local", "provider": "openai-compatible", "base_url": url, "secret": secret}
            (await asyncio.to_thread(owner, "POST", "/upstreams", asked)).ok(201)
            path, why = "/upstreams/local/check", {"reason": "before the launch"}
            # Clients have a loop of their own, and so need a thread.
            reply = await asyncio.to_thread(owner, "POST", path, why)
            found = reply.ok()
            assert (found["ok"], found["reached"], found["key"], found["status"]) == (False, True, "refused", 401)
            assert f"Authorization: Bearer {secret}".encode() in provider.heads[0]
            assert secret not in reply.raw.decode()
            assert (await asyncio.to_thread(acme, "POST", path, why)).problem(404) == "unknown_upstream"
            viewer = control.operator("vera", "viewer")
            assert (await asyncio.to_thread(viewer, "POST", path, why)).status == 403
            assert len(provider.heads) == 1
        finally:
            await provider.stop()

    asyncio.run(scenario())
    [entry] = [each for each in recorded(control.home) if each.get("what") == "upstream.checked"]
    assert (entry["upstream_name"], entry["reason"], entry["has_secret"]) == ("local", "before the launch", True)
    assert entry["actor"].startswith("operator:")
    assert secret not in repr(recorded(control.home))


@pytest.mark.slow
def test_webhooks_into_the_gateways_network(owner: Client, acme: Client) -> None:
    """An operator of one organization must not have the gateway knock on doors around it."""
    for url, more in (
        ("http://127.0.0.1:9000/", {"insecure": True}),
        ("https://10.0.0.1/", {"allow_private": True}),
    ):
        refused = owner("POST", "/webhooks", {"url": url})
        assert refused.problem(422) == "invalid_url"
        assert "--" not in refused.raw.decode()
        assert acme("POST", "/webhooks", {"url": url, **more}).problem(403) == "forbidden"
        assert owner("POST", "/webhooks", {"url": url, **more}).ok(201)["url"] == url
    issuer = {"name": "x", **_AUDIENCE, "jwks_url": "http://127.0.0.1:9000/jwks"}
    assert owner("POST", "/issuers", issuer).problem(422) == "insecure_url"
    assert acme("POST", "/issuers", {**issuer, "insecure": True}).problem(403) == "forbidden"
    assert owner("POST", "/issuers", {**issuer, "insecure": True}).ok(201)["keys"] == issuer["jwks_url"]
    far = {**issuer, "name": "z", "audience": "z", "jwks_url": "https://z.example"}
    assert acme("POST", "/issuers", far).problem(403) == "name_not_given"
    for url, audience in (
        (far["issuer"], "z"),
        ("https://kubernetes.default.svc", "y"),
        ("https://10.0.0.1", "y"),
    ):
        name = {"kind": "issuer", "name": url, "audience": audience}
        assert acme("POST", "/organizations/acme/names", name).problem(403) == "forbidden"
        owner("POST", "/organizations/acme/names", name).ok(201)
    acme("POST", "/issuers", far).ok(201)
    for near in ("http://127.0.0.1:9000/jwks", "https://vault/jwks"):
        assert acme("PATCH", "/issuers/z", {"jwks_url": near, "insecure": True}).problem(403) == "forbidden"
    for url in ("https://10.0.0.1/jwks", "https://[::7f00:1]/jwks", "https://vault/jwks", "https://api.internal/jwks"):
        assert acme("POST", "/issuers", {**issuer, "jwks_url": url}).problem(403) == "forbidden"
        discovered = {"name": "y", "issuer": url, "audience": "y"}
        assert acme("POST", "/issuers", discovered).problem(403) == "forbidden"
    # Keys that are given are not fetched, so the name may be one of the network.
    given = {"name": "y", "issuer": "https://kubernetes.default.svc", "audience": "y", "jwks": {"keys": [_JWK]}}
    assert acme("POST", "/issuers", given).ok(201)["keys"] == "file"
    acme("POST", "/issuers", {**given, "name": "near", "issuer": "https://10.0.0.1"}).ok(201)
    assert acme("PATCH", "/issuers/near", {"jwks_url": ""}).problem(403) == "forbidden", "it would be asked"


def _now() -> str:
    now = time.time_ns()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9)) + f".{now % 10**9 // 1000:06d}Z"


@pytest.fixture
def fleet(control: Control, owner: Client) -> Home:
    """Five agents: two that may, one without a key, one that is suspended, one that has ended."""
    home = control.home
    activate(home, "a" * 40, '"gpt-4o", "o3"')
    for name in ("one", "two", "keyless", "asleep", "gone"):
        home.agent(name, team="red", environment="prod")
        if name != "keyless":
            home.key(name)
    bound = {"subject_kind": "team", "subject": "red", "bundle": "models"}
    owner("POST", "/bindings", bound).ok(201)
    owner("POST", "/agents/asleep/suspend").ok()
    owner("POST", "/agents/gone/retire").ok()
    return home


@pytest.mark.slow
def test_who_could_make_a_call(fleet: Home, owner: Client) -> None:
    found = owner("GET", "/permissions", model="o3").ok()
    assert {each["agent"]: each["code"] for each in found["items"]} == {
        "one": "allowed",
        "two": "allowed",
        "keyless": "no_key",
        "asleep": "agent_suspended",
    }
    assert (found["call"]["action"], found["next"]) == ("chat.completions", None)
    assert [each["agent"] for each in owner("GET", "/permissions", model="o3", allowed="true").ok()["items"]] == [
        "one",
        "two",
    ]
    seen: list[Any] = []
    cursor: dict[str, str] = {}
    for _ in range(3):
        page = owner("GET", "/permissions", model="o3", limit="2", **cursor).ok()
        seen += page["items"]
        cursor = {"cursor": page["next"]}
    assert (seen, page["next"]) == (found["items"], None)
    then = _now()
    activate(fleet, "b" * 40, '"gpt-4o"')
    assert owner("GET", "/agents/one/permissions", model="o3").ok()["items"][0]["code"] == "policy_denied"
    before = owner("GET", "/agents/one/permissions", model="o3", at=then).ok()
    assert (before["items"][0]["allowed"], before["activation"]["commit"]) == (True, "a" * 40)
    (judged,) = before["items"][0]["bindings"]
    assert (judged["bundle"], judged["commit"], judged["code"]) == ("models", "a" * 40, "allowed")
    denied = owner("GET", "/agents/one/permissions", model="gpt-4o", tool="shell").ok()["items"][0]
    assert denied["reasons"] == ["no shell"]
    assert owner("GET", "/agents/gone/permissions", model="o3").ok()["items"] == []


@pytest.mark.slow
@pytest.mark.usefixtures("fleet")
def test_questions_to_policies_are_bounded(owner: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle is compiled once for all questions, and a page ends when its time is over.

    Few ask at a time: `test_shares.py`.
    """
    compiled: list[str] = []
    compile_bundle = cache.compile_bundle

    def counted(files: Any, digest: str, *more: Any) -> cache.CompiledBundle:
        compiled.append(digest)
        return compile_bundle(files, digest, *more)

    monkeypatch.setattr(cache, "compile_bundle", counted)
    whole = owner("GET", "/permissions", model="o3").ok()["items"]
    for _ in range(3):
        owner("GET", "/permissions", model="gpt-4o").ok()
        owner("GET", "/agents/one/permissions", model="o3").ok()
    assert len(compiled) == 1
    monkeypatch.setattr(api_permissions, "_SECONDS", -1.0)
    seen: list[Any] = []
    cursor: dict[str, str] = {}
    for _ in range(5):
        page = owner("GET", "/permissions", model="o3", **cursor).ok()
        seen += page["items"]
        cursor = {"cursor": page["next"]}
    assert (seen, page["next"]) == (whole, None)


@pytest.mark.slow
def test_calls_that_nobody_could_make(fleet: Home, owner: Client, acme: Client) -> None:
    assert owner("GET", "/permissions").problem(400) == "invalid_parameter"
    wrong = owner("GET", "/permissions", model="o3", action="chat.completion")
    assert (wrong.problem(422), wrong.json["hint"]) == ("unknown_action", "did you mean `chat.completions`?")
    assert owner("GET", "/permissions", model="o3", upstream="x").problem(422) == "unknown_upstream"
    assert owner("GET", "/agents/nobody/permissions", model="o3").problem(404) == "unknown_agent"
    assert acme("GET", "/permissions", model="o3").ok()["items"] == []
    assert acme("GET", "/agents/one/permissions", model="o3").problem(404) == "unknown_agent"
    page = owner("GET", "/permissions", model="o3", limit="1").ok()["next"]
    assert acme("GET", "/permissions", model="o3", cursor=page).problem(400) == "invalid_cursor"


@pytest.mark.slow
def test_an_agent_is_reviewed(owner: Client) -> None:
    owner("POST", "/agents", {"name": "bot", "labels": {"built_ns": "7"}}).ok(201)
    assert owner("POST", "/agents/bot/review", {}, headers={"if-match": '"2"'}).problem(412) == "changed_meanwhile"
    reviewed = owner("POST", "/agents/bot/review", {"reason": "still needed"}, headers={"if-match": '"1"'})
    assert (reviewed.ok()["version"], reviewed.json["reviewed"] is None) == (2, False)
    assert reviewed.json["labels"] == {"built_ns": "7"}, "a label may be called like a time"


@pytest.mark.slow
def test_keys_that_sign_tokens(control: Control, owner: Client) -> None:
    keys = control.home.data.keys
    token_keys.create(keys)
    [first] = owner("GET", "/token-keys").ok()["items"]
    assert (first["number"], first["signs"], first["kept_until"], first["fault"]) == (1, True, None, "")
    done = owner("POST", "/token-keys/rotate", {"reason": "yearly"}, headers={"idempotency-key": "a"}).ok()
    assert (done["key"]["number"], [each["number"] for each in done["older"]]) == (2, [1])
    again = owner("POST", "/token-keys/rotate", {"reason": "yearly"}, headers={"idempotency-key": "a"})
    assert (again.ok(), again.headers["idempotency-replayed"]) == (done, "true")
    page = owner("GET", "/token-keys", limit="1").ok()
    assert [each["number"] for each in page["items"]] == [2]
    rest = owner("GET", "/token-keys", limit="1", cursor=page["next"]).ok()
    assert ([each["number"] for each in rest["items"]], rest["next"]) == ([1], None)
    ended = owner("POST", "/token-keys/rotate", {"at_once": True, "reason": "leaked"}).ok()
    assert (ended["key"]["number"], ended["older"], ended["at_once"]) == (3, [], True)
    assert [each.name for each in keys.glob("token.*")] == ["token.3"]
    rotations = [each for each in recorded(control.home, "system") if each["what"] == "token_key.rotated"]
    assert [(each["token_key"], each["reason"]) for each in rotations] == [(2, "yearly"), (3, "leaked")]
    assert all(each["actor"].startswith("operator:opr_") for each in rotations)
    # Owners of the whole gateway, and nobody else.
    for name, role, organization in (("adam", "admin", None), ("ann", "owner", ORG), ("vic", "viewer", None)):
        other = control.operator(name, role, organization=organization)
        assert other("POST", "/token-keys/rotate", {}).problem(403) == "forbidden"
        listed = other("GET", "/token-keys")
        assert listed.status == (403 if organization else 200)
    scoped = control.operator("sam", scopes=["agents:write"])
    assert scoped("POST", "/token-keys/rotate", {}).problem(403) == "token_scope"
    assert scoped("GET", "/token-keys").problem(403) == "token_scope"
    assert [each.name for each in keys.glob("token.*")] == ["token.3"]
