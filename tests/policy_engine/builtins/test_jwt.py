"""io.jwt.* against the real OPA: every algorithm, right and wrong keys, and tokens that attack the verifier."""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from policy_engine.values import Value
from tests.oracle import Oracle
from tests.policy_engine.builtins.conftest import Query, opa_outcome, outcome, verdict
from tests.policy_engine.rsa_keys import RSA, SMALL_RSA

Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
Signer = Callable[[str, Any, bytes], bytes]

EC: Final = {size: ec.generate_private_key(curve()) for size, curve in ((256, ec.SECP256R1), (384, ec.SECP384R1))}
EC[521] = ec.generate_private_key(ec.SECP521R1())
ED: Final = ed25519.Ed25519PrivateKey.generate()
NOW: Final = 1_700_000_000


def b64(value: Any) -> str:
    octets = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def number(value: int, length: int = 0) -> str:
    return b64(value.to_bytes(length or (value.bit_length() + 7) // 8, "big"))


def signature(algorithm: str, key: Any, message: bytes) -> bytes:
    """The signature of an honest signer, made independently of the tested code."""
    size = algorithm[2:]
    if algorithm[:2] == "HS":
        return hmac.digest(key, message, f"sha{size}")
    if algorithm == "EdDSA":
        return bytes(key.sign(message))
    digest = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}[size]
    if algorithm[:2] == "RS":
        return bytes(key.sign(message, padding.PKCS1v15(), digest))
    if algorithm[:2] == "PS":
        return bytes(key.sign(message, padding.PSS(padding.MGF1(digest), digest.digest_size), digest))
    length = (key.curve.key_size + 7) // 8
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(digest)))
    return r.to_bytes(length, "big") + s.to_bytes(length, "big")


def token(algorithm: str, key: Any, header: Value = None, payload: Value = None, sign: Signer = signature) -> str:
    head = {"alg": algorithm, **(header or {})}
    message = f"{b64(head)}.{b64({'a': 1} if payload is None else payload)}"
    return f"{message}.{b64(sign(algorithm, key, message.encode()))}"


def pem(key: Private) -> str:
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, kind).decode()


def jwk(key: Private, **more: Value) -> dict[str, Value]:
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        return {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e), **more}
    if isinstance(key, ec.EllipticCurvePrivateKey):
        point, length = key.public_key().public_numbers(), (key.curve.key_size + 7) // 8
        coordinates = {"x": number(point.x, length), "y": number(point.y, length)}
        return {"kty": "EC", "crv": f"P-{key.curve.key_size}", **coordinates, **more}
    return {"kty": "OKP", "crv": "Ed25519", "x": b64(key.public_key().public_bytes_raw()), **more}


def private_jwk(key: Private) -> dict[str, Value]:
    if isinstance(key, rsa.RSAPrivateKey):
        n = key.private_numbers()
        parts = {"d": n.d, "p": n.p, "q": n.q, "dp": n.dmp1, "dq": n.dmq1, "qi": n.iqmp}
        return jwk(key, **{name: number(part) for name, part in parts.items()})
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return jwk(key, d=number(key.private_numbers().private_value, (key.curve.key_size + 7) // 8))
    return jwk(key, d=b64(key.private_bytes_raw()))


def key_set(*keys: Value) -> str:
    return json.dumps({"keys": keys})


def _each_algorithm() -> Iterator[tuple[str, str, str]]:
    """(algorithm, token, keys) with right keys, wrong keys and keys of a wrong kind, in each way to give them."""
    for algorithm in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"):
        made = token(algorithm, RSA)
        for key in (RSA, SMALL_RSA, EC[256], ED):
            yield algorithm, made, pem(key)
            yield algorithm, made, json.dumps(jwk(key, alg=algorithm))
        yield algorithm, made, key_set(jwk(SMALL_RSA, kid="x"), jwk(RSA, kid="y", alg="RS256"))
        yield "RS256", made, pem(RSA)
    for algorithm, key in (("ES256", EC[256]), ("ES384", EC[384]), ("ES512", EC[521]), ("ES256", EC[384])):
        made = token(algorithm, key)
        for other in (key, EC[256], RSA):
            yield algorithm, made, pem(other)
            yield algorithm, made, json.dumps(jwk(other))
        yield algorithm, made[:-4], pem(key)
        yield algorithm, made.rpartition(".")[0] + ".", pem(key)
    made = token("EdDSA", ED)
    for key in (ED, RSA, EC[256]):
        yield "EdDSA", made, pem(key)
        yield "EdDSA", made, json.dumps(jwk(key))


def _short_salt(algorithm: str, key: Any, message: bytes) -> bytes:
    return bytes(key.sign(message, padding.PSS(padding.MGF1(hashes.SHA256()), 20), hashes.SHA256()))


def _der(algorithm: str, key: Any, message: bytes) -> bytes:
    return bytes(key.sign(message, ec.ECDSA(hashes.SHA256())))


def _padded(algorithm: str, key: Any, message: bytes) -> bytes:
    made = signature(algorithm, key, message)
    return b"\0\0" + made[:32] + b"\0\0" + made[32:]


def _odd_ones() -> Iterator[tuple[str, str, str]]:
    yield "PS256", token("PS256", RSA, sign=_short_salt), pem(RSA)
    yield "ES256", token("ES256", EC[256], sign=_der), pem(EC[256])
    yield "ES256", token("ES256", EC[256], sign=_padded), pem(EC[256])
    yield "EdDSA", token("EdDSA", ED, sign=lambda *_: b""), pem(ED)
    for key, algorithm in ((RSA, "RS256"), (EC[256], "ES256"), (ED, "EdDSA")):
        yield algorithm, token(algorithm, key), json.dumps(private_jwk(key))
    named = token("RS256", RSA, {"kid": "x"})
    for keys in (
        [jwk(RSA, kid="x")],
        [jwk(SMALL_RSA, kid="x"), jwk(RSA)],
        [jwk(SMALL_RSA, kid="y"), jwk(RSA, kid="z")],
        [jwk(EC[256], kid="x"), jwk(RSA)],
        [jwk(RSA, kid="x", alg="RS384")],
        *([jwk(RSA, alg=algorithm)] for algorithm in ("RS384", "HS256", "RSA-OAEP", "dir", "ES256K", "none")),
        [{"kty": "oct", "k": "cw"}, jwk(RSA)],
    ):
        yield "RS256", named, key_set(*keys)


@pytest.mark.parametrize("cases", [_each_algorithm, _odd_ones])
def test_verification(cases: Callable[[], Iterator[tuple[str, str, str]]], oracle: Oracle) -> None:
    for algorithm, made, keys in cases():
        for name, operands in (
            (f"io.jwt.verify_{algorithm.lower()}", (made, keys)),
            ("io.jwt.decode_verify", (made, {"cert": keys})),
        ):
            assert verdict(name, *operands) == opa_outcome(oracle.call(name, *operands)), (name, operands)


def test_a_public_key_is_no_secret() -> None:
    """The classic confusion: HS256 over the text of the RSA public key that the verifier was given."""
    public = pem(RSA)
    forged = token("HS256", public.encode())
    assert outcome("io.jwt.decode_verify", forged, {"cert": public}) == "[[false, {}, {}]]"
    assert outcome("io.jwt.verify_rs256", forged, public) == "[false]"


@pytest.mark.parametrize("algorithm", ["none", "None", "RS256", "ES256", "EdDSA", "hs256", ""])
def test_only_the_secrets_algorithms_verify_under_a_secret(algorithm: str) -> None:
    forged = token(algorithm, b"s", sign=lambda _, key, message: signature("HS256", key, message))
    assert outcome("io.jwt.decode_verify", forged, {"secret": "s"}) == "[[false, {}, {}]]"
    assert outcome("io.jwt.decode_verify", forged.rpartition(".")[0] + ".", {"secret": "s"}) == "[[false, {}, {}]]"


_HEADERS: Final = (
    *({}, {"alg": "none"}, {"crit": ["x"]}, {"crit": ["x"], "x": 1}, {"crit": []}, {"crit": 1}, {"crit": [1]}),
    *({"alg": 1}, {"kid": 1}, {"typ": 1}, {"alg": "zz"}, {"cty": "x"}, {"cty": 1}, {"crit": ["alg"]}, {"enc": 1}),
    {"crit": ["b64"], "b64": False},
)
_CLAIMS: Final = (
    *({"exp": NOW + 10}, {"exp": NOW}, {"exp": NOW - 1}, {"exp": NOW + 0.5}, {"exp": "x"}, {"exp": None}, {"nbf": NOW}),
    *({"nbf": NOW + 1}, {"nbf": NOW - 0.5}, {"nbf": "x"}, {"aud": "a"}, {"aud": ["a", "b"]}, {"aud": []}, {"aud": 1}),
    *({"aud": None}, {"iss": "i"}, {"iss": "j"}),
)
_CONSTRAINTS: Final = (
    *({}, {"secret": ""}, {"secret": 1}, {"x": 1}, {"secret": "s", "cert": '{"kty":"oct","k":"cw"}'}, {"cert": 1}),
    *(
        {"secret": "s", "alg": "HS256"},
        {"secret": "s", "alg": "HS512"},
        {"secret": "s", "alg": 1},
        {"secret": "s", "alg": ""},
    ),
    *(
        {"secret": "s", "iss": 1},
        {"secret": "s", "aud": 1},
        {"secret": "s", "time": "x"},
        {"secret": "s", "time": -1},
        1,
    ),
)


def test_headers_claims_and_constraints(oracle: Oracle) -> None:
    calls: list[tuple[Value, Value]] = []
    calls += [(token("HS256", b"s", header), {"secret": "s"}) for header in _HEADERS]
    for claims in _CLAIMS:
        for more in ({}, {"iss": "i"}, {"aud": "a"}):
            calls.append((token("HS256", b"s", None, claims), {"secret": "s", "time": NOW * 10**9, **more}))
    calls += [(token("HS256", b"s"), constraints) for constraints in _CONSTRAINTS]
    calls += [(1, {"secret": "s"}), ("a.b", {"secret": "s"})]
    for operands in calls:
        want = opa_outcome(oracle.call("io.jwt.decode_verify", *operands))
        assert verdict("io.jwt.decode_verify", *operands) == want, operands


def test_nested_tokens_have_to_verify_too(oracle: Oracle) -> None:
    inner = token("HS256", b"s", None, {"z": 1})
    for header, payload in (("jwt", inner), ("JWT", inner), ("JWT", token("HS256", b"x"))):
        message = f"{b64({'alg': 'HS256', 'cty': header})}.{b64(payload.encode())}"
        outer = f"{message}.{b64(signature('HS256', b's', message.encode()))}"
        for name, *more in (("io.jwt.decode_verify", {"secret": "s"}), ("io.jwt.decode",)):
            assert verdict(name, outer, *more) == opa_outcome(oracle.call(name, outer, *more)), (name, header)


def test_broken_tokens(oracle: Oracle) -> None:
    good = b64({"alg": "HS256"})
    texts = ["a", "a.b", "a.b.c", "", "..", "a.b.c.d", f"{good}.!.c", f"{good}.{b64([1])}.c", f"{b64([1])}.{good}.c"]
    texts += [f"{b64(b'x')}.{good}.c", f"{b64({'enc': 1})}.{good}.", f"{good}.{good}.!", f".{good}."]
    texts += [f"{good}.{b64(payload)}." for payload in (b"{}x", b'{"a":1,"a":2}', b"\xff")]
    for text in [*texts, 1]:
        assert verdict("io.jwt.decode", text) == opa_outcome(oracle.call("io.jwt.decode", text)), text
        for name in ("io.jwt.verify_hs256", "io.jwt.verify_es256"):
            key = '{"kty":"oct","k":"cw"}'
            assert verdict(name, text, key) == opa_outcome(oracle.call(name, text, key)), (name, text)


_BAD_KEYS: Final = (
    *("x", "", "{}", "[]", "null", '{"kty":"xx"}', '{"kty":"RSA"}', '{"kty":1}', '{"keys":1}', '{"keys":[1]}'),
    *('{"kty":"oct","k":1}', '{"kty":"oct","k":"!"}', '{"kty":"oct","k":""}', '{"kty":"oct","k":"cw","alg":"zz"}'),
    *(
        '{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}',
        '{"kty":"OKP","crv":"Ed25519","x":"AA"}',
        '{"kty":"RSA","n":"AQ","e":""}',
    ),
    *('{"keys":[{"kty":"oct","k":"cw"},{"kty":"zz"}]}', "-----BEGIN X-----\nAA==\n-----END X-----"),
    *(f"-----BEGIN {label}-----\nAA==\n-----END {label}-----\n" for label in ("CERTIFICATE", "PUBLIC KEY")),
)


@pytest.mark.parametrize("text", _BAD_KEYS)
def test_broken_keys_are_errors(text: str, oracle: Oracle) -> None:
    """The texts are not OPA's, which show how its libraries call each other; that it is an error is."""
    got = verdict("io.jwt.verify_rs256", token("RS256", RSA), text)
    want = opa_outcome(oracle.call("io.jwt.verify_rs256", token("RS256", RSA), text))
    assert got.partition(":")[0] == want.partition(":")[0] == "eval_builtin_error"


_ODD_MEMBERS: Final[tuple[dict[str, Value], ...]] = (
    *({"x5c": value} for value in ([], None, "x", [1], ["AAAA"], ["x"], [""], {})),
    *({name: value} for name in ("x5t", "x5t#S256", "x5u", "use", "kid", "alg") for value in ("", "x", None, 1)),
    *({"key_ops": value} for value in ([], None, ["x"], [1], "verify")),
    *({"e": value} for value in ("AA", "AQABAQABAQABAQAB", "")),
    {"n": "AA"},
)


@pytest.mark.parametrize("members", _ODD_MEMBERS, ids=str)
def test_malformed_unused_members_make_a_key_invalid(members: dict[str, Value], oracle: Oracle) -> None:
    operands = (token("RS256", RSA), json.dumps(jwk(RSA, **members)))
    got = verdict("io.jwt.verify_rs256", *operands)
    want = opa_outcome(oracle.call("io.jwt.verify_rs256", *operands))
    assert got.partition(":")[0] == want.partition(":")[0]


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        *((name, RSA) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        *((f"ES{digest}", EC[size]) for digest, size in ((256, 256), (384, 384), (512, 521))),
        ("EdDSA", ED),
    ],
)
def test_each_verifies_what_the_other_signed(algorithm: str, key: Private, oracle: Oracle) -> None:
    operands = ({"alg": algorithm}, {"x": 1}, private_jwk(key))
    verified = f'[[true, {{"alg": "{algorithm}"}}, {{"x": 1}}]]'
    ours, theirs = verdict("io.jwt.encode_sign", *operands), opa_outcome(oracle.call("io.jwt.encode_sign", *operands))
    assert opa_outcome(oracle.call("io.jwt.decode_verify", json.loads(ours)[0], {"cert": pem(key)})) == verified
    assert verdict("io.jwt.decode_verify", json.loads(theirs)[0], {"cert": pem(key)}) == verified


def test_signing_with_a_secret(oracle: Oracle) -> None:
    secret = {"kty": "oct", "k": "cw"}
    headers = [
        {"alg": "HS256"},
        {"alg": "HS384", "typ": "x"},
        {"alg": "HS512", "typ": 1, "z": "<&>"},
        {"alg": "zz"},
        {},
    ]
    for header in headers:
        for keys in (secret, {"keys": [secret]}):
            operands = (header, {"b": [1, "é"]}, keys)
            assert verdict("io.jwt.encode_sign", *operands) == opa_outcome(oracle.call("io.jwt.encode_sign", *operands))
    for text in ("{}", "e", '{"alg":"HS256"}', '{"alg":"HS256","typ":"x"}', ' {"alg":"HS256"}'):
        for payload in ("", "x", "{}"):
            operands = (text, payload, json.dumps(secret))
            want = opa_outcome(oracle.call("io.jwt.encode_sign_raw", *operands))
            assert verdict("io.jwt.encode_sign_raw", *operands) == want, operands


@pytest.mark.parametrize(
    ("name", "operands"),
    [
        ("io.jwt.encode_sign", ({"alg": "ES256"}, {"x": 1}, private_jwk(EC[256]))),
        ("io.jwt.decode_verify", (token("HS256", b"s"), {"secret": "s"})),
    ],
)
def test_what_is_recorded_holds_no_secret(name: str, operands: tuple[Value, ...]) -> None:
    query = Query()
    first = outcome(name, *operands, query=query)
    assert first == outcome(name, *operands, query=query), "computed once a query"
    ((recorded, arguments),) = query.remembered
    assert recorded == name
    assert re.fullmatch(r'\["sha256:[0-9a-f]{64}"\]', arguments)
