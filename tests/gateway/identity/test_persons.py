"""Tokens of persons without a gateway around them: what one must be, who may act, and what is kept of it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.identifiers import new_id
from gateway.identity import jose, persons, tokens
from gateway.identity.jose import InvalidTokenError
from gateway.identity.persons import Person
from gateway.identity.tokens import Token
from gateway.identity.workload import Rule, WorkloadIssuer
from tests.gateway.corpus import tokens as corpus
from tests.gateway.corpus.tokens import Signer
from tests.rigs.identity.tokens import keys, link, token

__all__ = ["keys"]

SIGNER = Signer(Ed25519PrivateKey.generate(), "EdDSA", "k")
NOW = 1_000_000
CLAIMS = {"iss": "https://x.example", "aud": "app", "sub": "00u1", "iat": NOW - 10, "exp": NOW + 600}
ISSUER = WorkloadIssuer("iss_1", "default", "idp", "https://x.example", "app", "", "", "persons", "id_token", 3600)


def verified(issuer: WorkloadIssuer = ISSUER, kind: str = "jwt", typ: str = "JWT", **changed: Any) -> str:
    """The subject of a token with these claims, or why it is refused; a claim that is None is left out."""
    key = jose.public_key(
        {"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": corpus.text(SIGNER.key.public_key().public_bytes_raw())}
    )
    assert key is not None
    claims = {name: value for name, value in {**CLAIMS, **changed}.items() if value is not None}
    compact = jose.parse(corpus.sign(SIGNER, {"alg": "EdDSA", "kid": "k", "typ": typ}, claims))
    try:
        return str(persons.verify(compact, issuer, [key], NOW, kind).claims["sub"])
    except InvalidTokenError as error:
        return error.message


ACCESS = ISSUER._replace(accepts="access_token")


@pytest.mark.parametrize(
    ("issuer", "kind", "typ", "changed", "found"),
    [
        (ISSUER, "id_token", "JWT", {}, "00u1"),
        (ISSUER, "jwt", "JWT", {"azp": "app"}, "00u1"),
        (ISSUER, "jwt", "JWT", {"aud": ["app", "other"], "azp": "app"}, "00u1"),
        (ISSUER, "jwt", "JWT", {"aud": ["app", "other"]}, "party"),
        (ISSUER, "jwt", "JWT", {"azp": "other"}, "party"),
        (ISSUER, "jwt", "JWT", {"azp": ""}, "party"),
        (ISSUER, "access_token", "JWT", {}, "kind"),
        (ISSUER, "jwt", "at+jwt", {}, "type"),
        (ISSUER, "jwt", "logout+jwt", {}, "type"),
        (ACCESS, "access_token", "at+jwt", {"azp": "other"}, "00u1"),
        (ACCESS, "id_token", "JWT", {}, "kind"),
        (ACCESS, "jwt", "JWT", {"client_id": "00u1"}, "no_person"),
        (ACCESS, "jwt", "JWT", {"azp": "00u1"}, "no_person"),
        (ACCESS, "jwt", "JWT", {"azp": "x", "sub": "x@clients"}, "no_person"),
        (ACCESS, "jwt", "JWT", {"gty": "client-credentials"}, "no_person"),
        (ACCESS, "jwt", "JWT", {"idtyp": "app"}, "no_person"),
        (ACCESS, "jwt", "JWT", {"azp": "CI", "preferred_username": "service-account-ci"}, "no_person"),
        (ACCESS, "jwt", "JWT", {"azp": "ci", "preferred_username": "service-account-of-dana"}, "00u1"),
        (ACCESS, "jwt", "JWT", {"azp": "ci", "clientHost": "10.0.0.1"}, "no_person"),
        (ISSUER, "jwt", "JWT", {"iat": None}, "claims"),
        (ISSUER, "jwt", "JWT", {"iat": NOW - 3600}, "00u1"),
        (ISSUER, "jwt", "JWT", {"iat": NOW - 3601}, "too_old"),
        (ISSUER, "jwt", "JWT", {"iat": NOW + 31}, "not_yet_valid"),
        (ISSUER, "jwt", "JWT", {"cnf": {"jkt": "x"}}, "claims"),
        (ISSUER, "jwt", "JWT", {"act": {"sub": "x"}}, "claims"),
        (ISSUER, "jwt", "JWT", {"may_act": {"sub": "x"}}, "claims"),
        (ISSUER, "jwt", "JWT", {"sub": "a" * 255}, "a" * 255),
        (ISSUER, "jwt", "JWT", {"sub": "a" * 256}, "claims"),
        (ISSUER, "jwt", "JWT", {"sub": "a\nb"}, "claims"),
        (ISSUER._replace(algorithms=("RS256",)), "jwt", "JWT", {}, "algorithm"),
    ],
)
def test_what_a_person_s_token_must_be(
    issuer: WorkloadIssuer, kind: str, typ: str, changed: dict[str, Any], found: str
) -> None:
    assert verified(issuer, kind, typ, **changed) == found


def test_an_agent_needs_a_right_to_act_for_such_a_person() -> None:
    rules = [
        Rule("rul_3", "agt_1", {"groups": "staff"}),
        Rule("rul_2", "agt_1", {"groups": "finance", "mfa": "true"}),
        Rule("rul_1", "agt_2", {}),
    ]
    assert persons.right_of(rules, "agt_1", {"groups": ["staff", "finance"], "mfa": True}).id == "rul_2"
    assert persons.right_of(rules, "agt_1", {"groups": ["staff", "finance"]}).id == "rul_3"
    assert persons.right_of(rules, "agt_1", {"groups": "staff"}).id == "rul_3"
    assert persons.right_of(rules, "agt_2", {}).id == "rul_1"
    for groups in (["sta"], [["staff"]], {"staff": 1}, "staff,finance", None, "STAFF"):
        with pytest.raises(InvalidTokenError, match="no_right"):
            persons.right_of(rules, "agt_1", {"groups": groups})
    with pytest.raises(InvalidTokenError, match="no_right"):
        persons.right_of(rules, "agt_3", {"groups": ["staff"]})


def test_only_chosen_claims_are_kept() -> None:
    said = {"groups": ["a", "b"], "level": 3, "mfa": True, "email": "Dana@ACME.example", "email_verified": True}
    assert persons.chosen([], said) == {}
    assert persons.chosen(["groups", "mfa", "level", "missing"], said) == {
        "groups": ["a", "b"],
        "mfa": True,
        "level": 3,
    }
    assert persons.chosen(["email_domain"], said) == {"email_domain": "acme.example"}
    for address, is_verified in (
        ("dana", True),
        (7, True),
        ("dana@", True),
        ("d@a.example", False),
        ("d@a.example", 1),
    ):
        changed = {**said, "email": address, "email_verified": is_verified, "email_domain": "evil.example"}
        assert persons.chosen(["email_domain"], changed) == {}
    for value in (1.5, {"a": 1}, [1], [["a"]], 2**53, "a" * 257, ["a"] * 65):
        with pytest.raises(InvalidTokenError, match="claim_value"):
            persons.chosen(["groups"], {"groups": value})
    with pytest.raises(InvalidTokenError, match="claims_too_long"):
        persons.chosen(["groups"], {"groups": ["a" * 100] * 11})


def test_a_token_names_its_person(keys: Any) -> None:
    person = Person(new_id("rul"), "00u1", {"groups": ["finance"], "mfa": True})
    for actor in (None, new_id("agt")):
        plain = token(link(), link(), actor=actor)
        made = Token(plain.id, plain.chain, plain.scope, plain.issued, plain.expires, actor, person)
        assert tokens.read(tokens.issue(made, "test", keys), "test", keys) == made


BAD = [
    {}, [], "00u1", 1, False, {"sub": "a"}, {"sub": "a", "cid": "rul_1", "claims": {}},
    {"sub": "", "claims": {}}, {"sub": 1, "claims": {}}, {"sub": "a\n", "claims": {}}, {"sub": "a" * 256, "claims": {}},
    {"sub": "a", "claims": []}, {"sub": "a", "claims": None}, {"sub": "a", "claims": {"x": {}}},
    {"sub": "a", "claims": {"x": 1.5}}, {"sub": "a", "claims": {"x": None}}, {"sub": "a", "claims": {"": 1}},
    {"sub": "a", "claims": {}, "x": 1}, {"sub": "a", "claims": {}, "cid": None},
]  # fmt: skip


@pytest.mark.parametrize("claim", BAD, ids=str)
def test_a_claim_that_names_nobody_is_refused(claim: Any) -> None:
    value = {"cid": new_id("rul"), **claim} if isinstance(claim, dict) and "claims" in claim else claim
    with pytest.raises(InvalidTokenError, match="claims"):
        persons.of_claim(value)


def test_times_are_checked_against_the_caller_s_clock() -> None:
    assert verified(exp=NOW) == "expired"
    assert time.time() > NOW  # so it is not this machine's
