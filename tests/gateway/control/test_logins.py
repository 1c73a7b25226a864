"""Logins of operators through a real provider and the real control API, over real sockets."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
from joserfc import jwk

from gateway.control import logins as desk
from gateway.errors import GatewayError
from gateway.registry.operators import login_providers, operators
from gateway.registry.operators import logins as operator_logins
from gateway.registry.organizations.changes import create_organization
from tests.gateway.conftest import ACTOR
from tests.gateway.control.oidc_provider import CLIENT, OLGA, Provider, Token
from tests.gateway.dataplane.issuer import new_key
from tests.rigs.control.logins import PORT, Rig, bare, rig  # noqa: F401  # fixtures among them

# --- what a login gives -----------------------------------------------------------------------------------------------


def test_a_person_of_the_group_gets_a_token(rig: Rig) -> None:
    made = rig.log_in()
    me = rig.me(made["token"]).json()
    assert (me["name"], me["role"], me["organization"], me["subject"]) == ("olga", "admin", None, OLGA["sub"])
    assert me["token"]["login_rule"] == made["login_rule"]
    ends = datetime.fromisoformat(made["expires"]) - datetime.fromisoformat(made["created"])
    assert ends.total_seconds() == pytest.approx(login_providers.SESSION_SECONDS, abs=2)
    added, logged_in = rig.entries("operator.")
    assert (added["what"], added["actor"]) == ("operator.added", "login:acme")
    assert (logged_in["what"], logged_in["actor"]) == ("operator.logged_in", f"operator:{me['id']}")
    assert (logged_in["token"], logged_in["login_rule"]) == (made["id"], made["login_rule"])
    logged = json.dumps(rig.entries())
    assert all(text not in logged for text in (made["token"], OLGA["sub"], "acme.example", "Olga"))
    assert rig.http.post("/logout", headers={"authorization": f"Bearer {made['token']}"}).json()["status"] == "revoked"
    assert rig.me(made["token"]).status_code == 401


@pytest.mark.slow
def test_the_same_person_is_the_same_operator(rig: Rig) -> None:
    first, second = rig.begin(), rig.begin()  # two at once
    tokens = [rig.finish(each).json() for each in (second, first)]
    assert len({each["operator_id"] for each in tokens}) == 1
    assert [rig.me(each["token"]).status_code for each in tokens] == [200, 200]
    rig.provider.person |= {"sub": "another", "email": "olga@acme.example"}
    other = rig.log_in()
    assert rig.me(other["token"]).json()["name"] == "olga-2"


@pytest.mark.slow
def test_the_oldest_of_too_many_logins_ends(rig: Rig) -> None:
    made = [rig.log_in() for _ in range(operators.MAX_LIVE_TOKENS + 1)]
    assert [rig.me(each["token"]).status_code for each in made[:2]] == [401, 200]
    assert rig.me(made[-1]["token"]).status_code == 200


@pytest.mark.slow
def test_the_highest_role_counts_and_an_organization_can_be_chosen(rig: Rig) -> None:
    create_organization(rig.home.registry, actor=ACTOR, name="acme")
    create_organization(rig.home.registry, actor=ACTOR, name="other")
    rig.rule("viewer", groups="staff")
    rig.rule("owner", "acme", email="olga@ACME.example")
    assert rig.me(rig.log_in()["token"]).json()["role"] == "admin"
    me = rig.me(rig.log_in(organization="acme")["token"]).json()
    assert (me["organization"], me["role"]) == ("acme", "owner")
    assert rig.finish(rig.begin(organization="other")).status_code == 401
    rig.provider.person |= {"groups": ["support"]}
    rig.rule("viewer", "other", groups="support")
    answer = rig.finish(rig.begin())
    assert (answer.status_code, answer.json()["code"]) == (409, "which_organization")
    assert "acme, other" in answer.json()["detail"]


# --- what takes it away -----------------------------------------------------------------------------------------------


def test_a_group_that_is_gone_at_the_next_login_ends_what_it_gave(rig: Rig) -> None:
    token = rig.log_in()["token"]
    rig.provider.person |= {"groups": ["staff"]}
    assert rig.me(token).status_code == 200
    assert rig.finish(rig.begin()).status_code == 401
    assert rig.me(token).status_code == 401
    assert rig.entries("operator_login.refused")[-1]["refusal"] == "no_rule"


@pytest.mark.slow
def test_a_role_follows_the_rules(rig: Rig) -> None:
    token = rig.log_in()["token"]
    rig.rule("auditor", groups="staff")
    rig.provider.person |= {"groups": ["staff"]}
    rig.log_in()
    assert rig.me(token).json()["role"] == "auditor"


@pytest.mark.slow
@pytest.mark.parametrize("what", ["rule", "provider", "operator"])
def test_what_it_rests_on_is_removed(rig: Rig, what: str) -> None:
    made = rig.log_in()
    login = rig.begin()
    registry = rig.home.registry
    if what == "rule":
        assert login_providers.remove_rule(registry, actor=ACTOR, rule=made["login_rule"])[1] == 1
    elif what == "provider":
        assert login_providers.remove_provider(registry, actor=ACTOR, name="acme")[1] == 1
    else:
        operators.revoke_operator(registry, actor=ACTOR, organization=None, operator="olga")
    assert rig.me(made["token"]).status_code == 401
    assert rig.finish(login).status_code == 401  # it had begun before
    assert [each.status for each in operators.all_operators(registry)] == [
        "revoked" if what == "operator" else "active"
    ]
    if what == "operator":
        assert rig.finish(rig.begin()).status_code == 401
        assert rig.entries("operator_login.refused")[-1]["refusal"] == "operator_revoked"
        operator_logins.readmit(registry, actor=ACTOR, organization=None, operator="olga")
        assert rig.me(rig.log_in()["token"]).json()["name"] == "olga"


@pytest.mark.slow
def test_what_is_made_of_logins_is_changed_by_logins_only(rig: Rig) -> None:
    token = rig.log_in()["token"]
    root = rig.client()
    with pytest.raises(GatewayError, match="come from logins"):
        operators.create_token(rig.home.registry, rig.home.peppers, actor=ACTOR, organization=None, operator="olga")
    answer = rig.http.patch("/operators/olga", json={"role": "owner"}, headers={**root, "if-match": "*"})
    assert (answer.status_code, answer.json()["code"]) == (409, "role_of_rules")
    assert rig.me(token).json()["role"] == "admin"


# --- attacks ----------------------------------------------------------------------------------------------------------


def bent(**claims: Any) -> Callable[[Token], str]:
    def bend(token: Token) -> str:
        token.claims |= {name: value(token) if callable(value) else value for name, value in claims.items()}
        return token.text()

    return bend


def headed(**header: Any) -> Callable[[Token], str]:
    def bend(token: Token) -> str:
        token.header |= header
        return token.text()

    return bend


def unsigned(token: Token) -> str:
    return token.text().rpartition(".")[0] + "."


def none_with_a_signature(token: Token) -> str:
    head = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    return f"{head}.{token.text().partition('.')[2]}"


def with_the_client_id(token: Token) -> str:
    return Token({"alg": "HS256", "kid": "first"}, token.claims, jwk.import_key(CLIENT * 3, "oct")).text()


def of_another_key(token: Token) -> str:
    return Token(token.header, token.claims, new_key("ES256", "first")).text()


def later(seconds: int) -> Callable[[Token], int]:
    return lambda token: int(time.time()) + seconds


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bend", "why"),
    [
        pytest.param(bent(iss="https://login.other.example"), "issuer", id="issuer"),
        pytest.param(bent(aud="another-client"), "audience", id="audience"),
        pytest.param(bent(aud=[CLIENT, "another-client"]), "party", id="audiences without azp"),
        pytest.param(bent(azp="another-client"), "party", id="azp"),
        pytest.param(bent(nonce="n-0S6_WzA2Mj"), "nonce", id="nonce"),
        pytest.param(bent(nonce=None), "nonce", id="no nonce"),
        pytest.param(bent(nonce=["n"]), "nonce", id="nonce of another type"),
        pytest.param(bent(exp=later(-1)), "expired", id="expired"),
        pytest.param(bent(exp=None), "claims", id="no end"),
        pytest.param(bent(iat=later(-301)), "too_old", id="too old"),
        pytest.param(bent(iat=later(60)), "not_yet_valid", id="from the future"),
        pytest.param(bent(iat=None), "claims", id="no time"),
        pytest.param(bent(sub=None), "claims", id="no subject"),
        pytest.param(bent(cnf={"jkt": "x"}), "claims", id="bound to a key"),
        pytest.param(bent(sub=CLIENT, azp=CLIENT), "no_person", id="a program"),
        pytest.param(headed(alg="none"), "malformed", id="none"),
        pytest.param(headed(typ="at+jwt"), "type", id="an access token"),
        pytest.param(headed(jku="https://evil.example/keys"), "header_member", id="jku"),
        pytest.param(headed(kid="second"), "unknown_key", id="unknown key"),
        pytest.param(unsigned, "malformed", id="no signature"),
        pytest.param(none_with_a_signature, "algorithm", id="none with a signature"),
        pytest.param(with_the_client_id, "algorithm", id="the client id as a secret"),
        pytest.param(of_another_key, "signature", id="another key"),
    ],
)
def test_a_wrong_id_token(rig: Rig, bend: Callable[[Token], str], why: str) -> None:
    rig.provider.bend = bend
    assert rig.refused(rig.finish(rig.begin())) == f"id_token_{why}"
    rig.provider.bend = Token.text
    rig.log_in()


@pytest.mark.slow
@pytest.mark.parametrize(
    "person",
    [
        {"groups": None},
        {"groups": ["platform-readers"]},
        {"groups": "staff platform"},
        {"groups": {"platform": True}},
        {"groups": None, "email_verified": False},
        {"groups": None, "email_verified": "true"},
        {"groups": None, "email": "olga@acme.example.evil.example"},
        {"groups": None, "email": ["olga@acme.example"]},
    ],
)
def test_a_person_whom_no_rule_lets_in(rig: Rig, person: dict[str, Any]) -> None:
    rig.rule("owner", email="olga@acme.example")
    if "email" not in person and "email_verified" not in person:
        rig.provider.person |= {"email": "eve@evil.example"}
    rig.provider.person |= person
    assert rig.refused(rig.finish(rig.begin())) == "no_rule"
    missing = rig.entries("operator_login.refused")[-1].get("missing_claims", "")
    assert ("groups" in missing.split()) == (person["groups"] is None)


def test_a_login_gives_one_token(rig: Rig) -> None:
    """Also if the provider takes a code again, and makes another id_token with the same nonce."""
    rig.provider.codes_last = True
    login = rig.begin()
    assert [rig.finish(login).status_code for _ in range(3)] == [201, 401, 401]
    assert rig.provider.asked["/token"] == 3
    assert len(operators.tokens(rig.home.registry, None, "olga")) == 1
    assert {each["refusal"] for each in rig.entries("operator_login.refused")} == {"used_before"}


@pytest.mark.slow
def test_one_login_finished_many_times_at_once(rig: Rig) -> None:
    rig.provider.codes_last = True
    login = rig.begin()
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: rig.finish(login).status_code, range(6)))
    assert sorted(answers) == [201] + [401] * 5


def test_the_code_of_another_login(rig: Rig) -> None:
    """Somebody has brought a victim's code, but has neither its verifier nor its ticket."""
    victim, attacker = rig.begin(), rig.begin()
    assert rig.refused(rig.finish(attacker, code=victim.back["code"])) == "code"
    victim, attacker = rig.begin(), rig.begin()
    assert rig.finish(victim, code_verifier=attacker.verifier).status_code == 401
    rig.provider.checks_pkce = False  # a careless provider: the nonce is in the id_token
    victim, attacker = rig.begin(), rig.begin()
    assert rig.finish(attacker, code=victim.back["code"]).status_code == 401
    victim = rig.begin()
    assert rig.finish(victim, code_verifier=attacker.verifier).status_code == 401  # the gateway compares it, too
    rig.nobody_got_in()


@pytest.mark.slow
def test_a_code_for_another_client(rig: Rig) -> None:
    login = rig.begin()
    rig.provider.codes[login.back["code"]] |= {"client_id": f"{CLIENT}-of-others"}
    assert rig.refused(rig.finish(login)) == "code"


@pytest.mark.slow
def test_the_answer_of_another_provider(rig: Rig) -> None:
    login = rig.begin()
    assert rig.refused(rig.finish(login, iss="https://login.other.example")) == "issuer"
    assert rig.finish(login, iss=None).status_code == 401  # this provider says that it always names itself
    assert "/token" not in rig.provider.asked


@pytest.mark.slow
def test_tickets(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    login = rig.begin()
    ticket = login.begun["login"]
    for wrong in ("x", ticket[:-2], ticket[:-4] + "AAAA", ticket + "AAAA"):
        assert rig.finish(login, login=wrong).status_code == 401
    assert rig.refused(rig.finish(login, login="x")) == "ticket"
    now = time.time()
    monkeypatch.setattr(desk.time, "time", lambda: now + desk.TICKET_SECONDS + 1)
    assert rig.finish(login).status_code == 401
    monkeypatch.undo()
    assert "/token" not in rig.provider.asked
    assert rig.finish(login).status_code == 201


@pytest.mark.slow
def test_failures_are_limited_and_recorded_together(rig: Rig) -> None:
    login = rig.begin()
    answers = [rig.finish(login, code="made-up") for _ in range(12)]
    assert [each.status_code for each in answers] == [401] * 10 + [429] * 2
    assert int(answers[-1].headers["retry-after"]) > 0
    assert rig.http.post("/login", json={"code_challenge": "x" * 43, "port": 1}).status_code == 429
    assert len({json.dumps(each.json()) for each in answers[:10]}) == 1
    assert rig.provider.asked["/token"] == 10
    assert [each["count"] for each in rig.entries("operator_login.refused")] == [1]


@pytest.mark.slow
def test_beginnings_are_limited(rig: Rig) -> None:
    asked = {"code_challenge": "x" * 43, "port": PORT}
    answers = [rig.http.post("/login", json=asked).status_code for _ in range(desk.MAX_BEGUN + 1)]
    assert answers == [200] * desk.MAX_BEGUN + [429]


# --- the provider -----------------------------------------------------------------------------------------------------


def test_nothing_is_on_until_there_is_a_provider(bare: Rig) -> None:
    asked = {"code_challenge": "x" * 43, "port": PORT}
    answer = bare.http.post("/login", json=asked)
    assert (answer.status_code, answer.json()["code"]) == (404, "no_login")
    bare.add()
    assert bare.finish(bare.begin()).status_code == 401  # nobody before there is a rule
    other = Provider()
    other.start()
    login_providers.add_provider(
        bare.home.registry, bare.home.vault, actor=ACTOR, name="b", issuer=other.url, client_id="x", insecure=True
    )
    assert bare.http.post("/login", json=asked).json()["code"] == "which_provider"
    assert bare.http.post("/login", json=asked | {"provider": "acne"}).json()["hint"] == "did you mean `acme`?"
    assert bare.http.post("/login", json=asked | {"provider": "acme"}).status_code == 200
    other.stop()


@pytest.mark.slow
@pytest.mark.parametrize("port", [0, 65536, "80", True])
def test_the_browser_comes_back_to_this_machine_only(rig: Rig, port: Any) -> None:
    assert rig.http.post("/login", json={"code_challenge": "x" * 43, "port": port}).status_code == 422


@pytest.mark.slow
def test_a_provider_that_is_down_lets_nobody_in(rig: Rig) -> None:
    login = rig.begin()
    rig.provider.down = True
    answer = rig.finish(login)
    assert (answer.status_code, answer.json()["code"]) == (503, "provider_unavailable")
    assert "retry-after" in answer.headers
    rig.provider.down = False
    for reply in ((500, {}), (400, {"error": "invalid_client"}), (200, {"access_token": "x"}), (302, {})):
        rig.provider.answer = reply
        assert rig.finish(login).status_code == 503
    rig.nobody_got_in()
    rig.provider.answer = None
    assert rig.finish(login).status_code == 201


@pytest.mark.slow
@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://login.other.example"},
        {"token_endpoint": None},
        {"token_endpoint": "http://login.other.example/token"},
        {"authorization_endpoint": "file:///etc/passwd"},
        {"code_challenge_methods_supported": ["plain"]},
    ],
)
def test_a_provider_that_is_none(rig: Rig, metadata: dict[str, Any]) -> None:
    rig.provider.metadata = metadata
    assert rig.http.post("/login", json={"code_challenge": "x" * 43, "port": PORT}).status_code == 503


@pytest.mark.slow
def test_a_confidential_client(bare: Rig) -> None:
    bare.provider.secret = "s3cret:%&/ü".encode("ascii", "ignore").decode()
    bare.add(secret=bare.provider.secret)
    bare.rule()
    bare.log_in()
    root = bare.client()
    shown = bare.http.get("/login-providers", headers=root).json()["items"]
    assert [each["has_secret"] for each in shown] == [True]
    assert bare.provider.secret not in json.dumps([shown, bare.entries()])
    bare.provider.secret = "another"
    assert bare.finish(bare.begin()).status_code == 503


# --- managing it ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_providers_and_rules_over_the_api(bare: Rig) -> None:
    root, http = bare.client(), bare.http
    new = {"name": "acme", "issuer": bare.provider.url, "client_id": CLIENT, "insecure": True, "scopes": ["groups"]}
    made = http.post("/login-providers", json=new, headers=root)
    assert (made.status_code, made.json()["scopes"]) == (201, ["openid", "email", "groups"])
    etag = {"if-match": made.headers["etag"]}
    assert http.post("/login-providers", json=new | {"name": "b"}, headers=root).status_code == 409
    changed = http.patch("/login-providers/acme", json={"session_seconds": 300}, headers={**root, **etag})
    assert (changed.status_code, changed.json()["session_seconds"]) == (200, 300)
    assert http.patch("/login-providers/acme", json={}, headers={**root, **etag}).status_code == 412
    rules = "/login-providers/acme/rules"
    rule = http.post(rules, json={"claims": {"groups": "platform"}, "role": "viewer"}, headers=root)
    assert rule.status_code == 201
    assert http.post(rules, json={"claims": {}, "role": "viewer"}, headers=root).json()["code"] == "invalid_claim"
    assert http.get(rules, headers=root).json()["items"] == [rule.json()]
    token = bare.log_in()["token"]
    assert http.get("/login-providers", headers={"authorization": f"Bearer {token}"}).status_code == 403  # a viewer
    removed = http.delete(f"{rules}/{rule.json()['id']}", headers=root)
    assert removed.json()["tokens_ended"] == 1
    assert bare.me(token).status_code == 401
    assert http.delete("/login-providers/acme", headers=root).status_code == 200
    assert http.get("/login-providers/acme", headers=root).status_code == 404
    create_organization(bare.home.registry, actor=ACTOR, name="acme")
    theirs = bare.client("owner", "acme", "theirs")
    assert http.get("/login-providers", headers=theirs).status_code == 403
    assert http.post("/login-providers", json=new, headers=theirs).status_code == 403
