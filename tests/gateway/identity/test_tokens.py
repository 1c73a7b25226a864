"""Tokens without a gateway around them: what is read out of a good one, and that a bad one is refused."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.errors import GatewayError
from gateway.identifiers import new_id
from gateway.identity import jose, token_keys, token_scope, tokens, workload
from gateway.identity.jose import InvalidTokenError
from gateway.identity.key_scope import KeyScope
from gateway.identity.token_keys import TokenKeys
from gateway.identity.workload import Rule, WorkloadIssuer
from tests.gateway.corpus import tokens as corpus
from tests.gateway.corpus.tokens import WRONG_TIMES, Signer
from tests.rigs.identity.tokens import keys, link, token  # noqa: F401  # fixtures among them


def signer(directory: Path, keys: TokenKeys) -> Signer:
    assert keys.newest is not None
    assert keys.newest.kid is not None
    return Signer(Ed25519PrivateKey.from_private_bytes((directory / "token.1").read_bytes()), "EdDSA", keys.newest.kid)


@pytest.mark.parametrize("length", [1, 2, 3, tokens.MAX_CHAIN])
def test_what_was_issued_is_read(length: int, keys: TokenKeys) -> None:
    scope = KeyScope(("chat.completions",), ("gpt-4o*",))
    for actor in (None, new_id("agt")):
        made = token(*(link() for _ in range(length)), actor=actor, scope=scope)
        text = tokens.issue(made, "test", keys)
        assert tokens.read(text, "test", keys) == made
        assert tokens.is_token(text)
        assert len(text) < 6144
        with pytest.raises(InvalidTokenError, match="issuer"):
            tokens.read(text, "other", keys)


def test_the_largest_token_fits_into_a_header(keys: TokenKeys) -> None:
    scope = token_scope.parse(
        " ".join("a" * 62 for _ in range(1)) + "".join(f" model:{n:02}{'m' * 50}" for n in range(32))
    )
    made = token(*(link() for _ in range(tokens.MAX_CHAIN)), scope=scope, actor=new_id("agt"))
    assert len(tokens.issue(made, "d" * 63, keys)) < 6144


def test_bad_tokens_are_refused(keys: TokenKeys, tmp_path: Path) -> None:
    own = signer(tmp_path, keys)
    good = tokens.issue(token(), "test", keys)
    said = jose.parse(good).claims
    changed = {
        "iss": ["other", None, ["test"]],
        "aud": ["other", "test/token", ["test/data"], None],
        "sub": ["bot", None, [said["sub"]], said["sub"] + "\n"],
        "cid": ["key_x", None],
        "exp": [*WRONG_TIMES, 1.5],
        "jti": [None, "x"],
        "scope": [None, ["a"], "a  b"],
        "act": [{}, [], "x", {"sub": said["sub"]}, {**said, "x": 1}],
        "may_act": [{}, "x", {"sub": said["sub"]}],
    }
    cases = [
        *corpus.forged(good, own),
        *corpus.headers(good, own),
        *corpus.claims_of(good, own, changed),
    ]
    assert len(cases) > 250
    for note, text in cases:
        try:
            read = tokens.read(text, "test", keys)
        except InvalidTokenError:
            continue
        assert read.expires <= time.time(), note  # expiry is for the caller to check


def test_a_key_that_was_added_signs_and_is_found(tmp_path: Path) -> None:
    token_keys.create(tmp_path)
    token_keys.create(tmp_path)  # has one: nothing happens
    before, after = TokenKeys(tmp_path), TokenKeys(tmp_path)
    said = token()
    old = tokens.issue(said, "test", after)
    assert token_keys.add(tmp_path) == 2
    text = tokens.issue(said, "test", after)  # by keys that knew the first one only
    assert jose.parse(text).kid != jose.parse(old).kid
    assert tokens.read(old, "test", before) == tokens.read(text, "test", before) == said
    published = json.loads(after.public())["keys"]
    assert (published[0]["kid"], len(published)) == (jose.parse(text).kid, 2)
    assert "seed" not in repr(after)
    (tmp_path / "token.3").write_bytes(b"short")
    (tmp_path / "token.3").chmod(0o600)
    assert TokenKeys(tmp_path).newest is not None  # a bad file takes away nothing
    bad, signing, replaced = token_keys.states(tmp_path)
    assert (bad.signs, bad.kept_until_ns, "exactly 32 bytes" in bad.fault) == (False, None, True)
    assert (signing.signs, signing.kept_until_ns, signing.kid) == (True, None, published[0]["kid"])
    assert replaced.kept_until_ns == signing.made_ns + token_keys.KEPT_SECONDS * 10**9
    token_keys.remove(tmp_path, [1, 3, 7])  # one that is gone already is fine
    with pytest.raises(InvalidTokenError, match="unknown_key"):
        tokens.read(old, "test", before)
    assert [each["kid"] for each in json.loads(before.public())["keys"]] == [signing.kid]
    tmp_path.rename(tmp_path.with_name("elsewhere"))
    with pytest.raises(GatewayError, match="cannot be read"):
        tokens.read(text, "test", before)
    assert [each["kid"] for each in json.loads(before.public())["keys"]] == [signing.kid]


@pytest.mark.parametrize(
    ("parents", "wanted", "found"),
    [
        ([], None, ""),
        ([], "a model:m", "a model:m"),
        ([KeyScope(("a", "b"), ("gpt-*",))], None, "a b model:gpt-*"),
        ([KeyScope(("a", "b"), ("gpt-*",))], "a model:gpt-4o", "a model:gpt-4o"),
        ([KeyScope(("a", "b"), ("gpt-*",))], "a", "a model:gpt-*"),
        ([KeyScope(("a", "b")), KeyScope(("b", "c"), ("x",))], None, "b model:x"),
        ([KeyScope(("files.*",)), KeyScope(("files.list", "f*"))], None, "files.list files.*"),
        ([KeyScope((), (), ("10.0.0.0/8",)), None], None, ""),
        ([KeyScope(("a",)), KeyScope(("b",))], None, "invalid"),
        ([KeyScope(("a",))], "b", "invalid"),
        ([KeyScope((), ("gpt-4*",))], "model:gpt-*", "invalid"),
        ([KeyScope((), ("gpt-4",))], "model:gpt-4*", "invalid"),
    ],
)
def test_scopes_only_shrink(parents: list[KeyScope | None], wanted: str | None, found: str) -> None:
    asked = None if wanted is None else token_scope.parse(wanted)
    if found == "invalid":
        with pytest.raises(GatewayError) as error:
            token_scope.narrowed(parents, asked)
        assert error.value.code == "invalid_scope"
    else:
        assert token_scope.text(token_scope.narrowed(parents, asked)) == found


def test_a_rule_needs_every_claim_with_its_whole_value() -> None:
    rules = [Rule("rul_2", "agt_1", {"a": "x", "n": "7"}), Rule("rul_1", "agt_1", {"flag": "true"})]
    assert workload.matching(rules, {"a": "x", "n": 7}).id == "rul_2"
    assert workload.matching(rules, {"a": "x", "n": 7, "flag": True}).id == "rul_1"
    for claims in ({"a": "x"}, {"a": "x", "n": 7.0}, {"a": "x", "n": [7]}, {"a": ["x"], "n": 7}, {"flag": 1}, {}):
        with pytest.raises(InvalidTokenError, match="no_rule"):
            workload.matching(rules, claims)
    with pytest.raises(InvalidTokenError, match="several_agents"):
        workload.matching([*rules, Rule("rul_3", "agt_2", {"a": "x"})], {"a": "x", "n": 7})


def test_a_clock_may_be_a_little_ahead() -> None:
    key = Signer(Ed25519PrivateKey.generate(), "EdDSA", "k")
    public = jose.public_key(
        {"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": corpus.text(key.key.public_key().public_bytes_raw())}
    )
    assert public is not None
    issuer = WorkloadIssuer("iss_1", "default", "ci", "https://x.example", "gateway", "", "")
    now = 1_000_000
    claims = {"iss": issuer.issuer, "aud": "gateway", "sub": "s", "exp": now + 60}
    for name, value, valid in (("nbf", now + 29, True), ("nbf", now + 31, False), ("iat", now + 31, False)):
        compact = jose.parse(corpus.sign(key, {"alg": "EdDSA", "kid": "k"}, {**claims, name: value}))
        if valid:
            assert workload.verify(compact, issuer, [public], now).expires == now + 60
        else:
            with pytest.raises(InvalidTokenError, match="not_yet_valid"):
                workload.verify(compact, issuer, [public], now)
