"""Bad tokens, hundreds of each sort: none opens anything, and none makes the gateway fail.

`tests/gateway/identity/test_tokens.py` tries many of them without a gateway around it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateway.registry.agents.changes import revoke_agent
from gateway.tokens import issuer_keys
from tests.gateway.corpus import tokens as corpus
from tests.gateway.corpus.tokens import WRONG_TIMES, Signer
from tests.gateway.dataplane.conftest import ACTOR, ORG, Gateway, answer
from tests.gateway.dataplane.issuer import Issuer
from tests.rigs.dataplane.token_corpus import no_call, no_token, signer_of
from tests.rigs.dataplane.tokens import EXCHANGE, TYPES, another, claims, own
from tests.rigs.dataplane.workloads import BEARER, present, trusted, with_issuer

pytestmark = pytest.mark.slow

Run = Callable[..., None]


async def own_cases(gateway: Gateway) -> list[tuple[str, str]]:
    """Bad tokens of the gateway's own, from a good one of the agent `bot`."""
    good = await own(gateway)
    signer, said = signer_of(gateway, good), claims(good)
    other, other_key = another(gateway, "other")
    others = claims(await own(gateway, other_key))["cid"]
    revoked_agent, revoked_key = another(gateway, "revoked")
    revoked = await own(gateway, revoked_key)
    revoke_agent(gateway.registry, actor=ACTOR, organization=ORG, agent=revoked_agent)
    mine, theirs = {"sub": said["sub"], "cid": said["cid"]}, {"sub": other, "cid": others}
    nobody = said["sub"][:-1] + ("0" if said["sub"][-1] != "0" else "1")
    deep: dict[str, Any] = dict(mine)
    for _ in range(20):
        deep = {**mine, "act": deep}
    changed: dict[str, list[Any]] = {
        "iss": ["other", "", None, 1, ["test"], {"test": 1}, "TEST", "test "],
        "aud": ["other", "test", "test/token", ["test/data"], ["test/data", "x"], None, "", "test/data/", "TEST/DATA"],
        "sub": [nobody, other, "bot", "", None, 1, [said["sub"]], "agt_x", f"{said['sub']}\n", "' OR 1=1 --"],
        "cid": [others, "key_x", "", None, 7, said["cid"] + " ", "rul_" + said["cid"][4:], claims(revoked)["cid"]],
        "exp": [each for each in WRONG_TIMES if each != 2**64] + [2**64, 1.5, float(said["exp"])],
        "iat": [None, "now", True, 1.5, []],
        "jti": ["", None, 1, "x", "tok_x", "key_" + said["jti"][4:]],
        "scope": [None, 1, ["chat.completions"], "a  b", " ", "\x00", "a" * 5000, "model:", "é"],
        "act": [
            {}, [], "x", 1, {"sub": other}, {"cid": others}, {**theirs, "x": 1}, {**theirs, "cid": said["cid"]},
            {**theirs, "sub": nobody}, {**theirs, "act": {}}, {**theirs, "act": "x"}, deep,
            {"sub": revoked_agent, "cid": claims(revoked)["cid"]}, {**theirs, "sub": [other]},
        ],
        "may_act": [{"sub": other}, {"sub": said["sub"]}, {}, [], "x", {"sub": 1}, {"sub": other, "x": 1}],
    }  # fmt: skip
    cases = [
        *corpus.forged(good, signer),
        *corpus.headers(good, signer),
        *corpus.claims_of(good, signer, changed),
        ("of a revoked agent", revoked),
        ("a grant", await own(gateway, requested_actor="other")),
    ]
    return [(note, token) for note, token in cases if token != good]


def outside_cases(issuer: Issuer) -> Iterator[tuple[str, str]]:
    """Bad tokens of an issuer, from a good one."""
    good = issuer.token()
    signer = Signer(issuer.key.private_key, issuer.algorithm, "first")
    now = int(time.time())
    changed: dict[str, list[Any]] = {
        "iss": ["https://other.example", "", None, 1, [issuer.url], issuer.url + "/", issuer.url.upper(), "test"],
        "aud": ["other", "", None, 1, ["other"], [], [["gateway"]], {"gateway": 1}, "Gateway", "gateway ", ["x"] * 100],
        "sub": ["", None, 1, ["repo"], {}],
        "exp": WRONG_TIMES,
        "nbf": [now + 3600, "x", True, [], 2**64],
        "iat": [now + 3600, "x", True, [], -1],
        "repository": [
            "acme/other", "ACME/APP", "acme/app ", " acme/app", "acme/app\u0000", "acme/app/", "", None, 1, True,
            ["acme/app"], {"acme/app": 1}, "acme/ap", "acme/app\n", "аcme/app", "acme%2fapp", "acme/app,acme/other",
        ],
        "ref": ["refs/heads/other", "refs/heads/main/x", "refs/pull/1/merge", None, "", "refs/tags/main", "*"],
    }  # fmt: skip
    yield from corpus.forged(good, signer)
    yield from ((note, token) for note, token in corpus.headers(good, signer) if "'typ': None" not in note)
    yield from corpus.claims_of(good, signer, changed)


# A token without these is good all the same.
_OPTIONAL = ("without nbf", "without iat", "without jti", "nbf = None", "iat = None")
# Characters that a form or a header takes away are not part of the token.
_STRIPPED = ("part 0 after ' '", "part 0 after '\\t'", "part 2 with ' '", "part 2 with '\\t'")


async def try_own(gateway: Gateway) -> int:
    cases = [case for case in await own_cases(gateway) if case[0] not in _STRIPPED]
    _, actor = another(gateway, "actor")
    for note, token in cases:
        await no_call(gateway, note, token)
        await no_token(gateway, note, grant_type="client_credentials", client_secret=token)
        kinds = ("jwt",) if note == "a grant" else ("jwt", "access_token")
        for kind in kinds:
            form = {"subject_token": token, "subject_token_type": TYPES + kind, "grant_type": EXCHANGE}
            await no_token(gateway, note, client_secret=actor, **form)
    return len(cases)


async def test_all_bad_tokens_of_the_gateway_open_nothing(gateway: Gateway) -> None:
    gateway.upstream.handler = answer({"error": "nothing may come here"}, status=500)
    count = await try_own(gateway)
    assert count > 350
    assert gateway.upstream.seen == []
    issued = [each for each in await gateway.entries("change") if each["what"] == "token.issued"]
    assert {each["agent_name"] for each in issued} == {"bot", "other", "revoked"}  # the good ones


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_all_bad_tokens_of_an_issuer_open_nothing(algorithm: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer_keys, "UNKNOWN_SECONDS", 1e9)
    monkeypatch.setattr(issuer_keys, "FRESH_SECONDS", 1e9)

    async def test(gateway: Gateway, issuer: Issuer) -> None:
        trusted(gateway, issuer)
        count = 0
        for note, token in outside_cases(issuer):
            if note.startswith(_OPTIONAL):
                continue
            count += 1
            await no_token(gateway, note, grant_type=BEARER, assertion=token)
            if count % 5 == 0:
                await no_call(gateway, note, token)
                form = {"subject_token": token, "subject_token_type": f"{TYPES}jwt", "grant_type": EXCHANGE}
                await no_token(gateway, note, **form)
        assert count > 350
        assert (await present(gateway, issuer.token())).status == 200  # and nothing of it did harm
        assert issuer.asked["/keys"] == 1

    run(with_issuer(test, algorithm))
