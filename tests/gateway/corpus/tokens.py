"""Tokens that must open nothing: forged, changed, re-used for something else, or signed for another purpose.

`own` are made from a good token of the gateway, `outside` from a good one of an issuer. Some are signed with the right
key although no attacker has it: then the checks of claims have to refuse them, and not the signature alone.
"""

from __future__ import annotations

import base64
import json
import struct
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

ORDER = 2**252 + 27742317777372353535851937790883648493  # of Ed25519's group
FOREVER = 4_000_000_000


class Signer(NamedTuple):
    """A private key, its `alg` and its `kid`."""

    key: Any
    algorithm: str
    kid: str


def text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def raw(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def sign(signer: Signer, header: Mapping[str, Any] | bytes, claims: Mapping[str, Any] | bytes) -> str:
    """A token with exactly this header, whatever it says, signed as the key signs."""
    parts = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in (header, claims)]
    message = ".".join(map(text, parts)).encode()
    if isinstance(signer.key, ed25519.Ed25519PrivateKey):
        signature = signer.key.sign(message)
    elif isinstance(signer.key, rsa.RSAPrivateKey):
        signature = signer.key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    else:
        signature = _fixed(signer.key.sign(message, ec.ECDSA(hashes.SHA256())))
    return f"{message.decode()}.{text(signature)}"


def _fixed(der: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    return b"".join(number.to_bytes(32, "big") for number in decode_dss_signature(der))


def mac(secret: bytes, algorithm: str, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    digest = {"HS256": hashes.SHA256(), "HS384": hashes.SHA384(), "HS512": hashes.SHA512()}[algorithm]
    message = f"{text(json.dumps({**header, 'alg': algorithm}).encode())}.{text(json.dumps(claims).encode())}"
    made = hmac.HMAC(secret, digest)
    made.update(message.encode())
    return f"{message}.{text(made.finalize())}"


def forged(good: str, signer: Signer) -> Iterator[tuple[str, str]]:
    """Forgeries of a good token without its key; the public key is known to all."""
    head, body, signature = good.split(".")
    header, claims = json.loads(raw(head)), json.loads(raw(body))
    for name in ("none", "None", "NONE", "nOnE", "", "NULL", None, 0, ["none"], {"alg": "none"}):
        plain = text(json.dumps({**header, "alg": name}).encode())
        for end in ("", signature, text(b"\0")):
            yield f"alg {name!r} with {end[:4]!r}", f"{plain}.{body}.{end}"
    public = signer.key.public_key()
    encodings = [
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        b"",
        b"secret",
        signer.kid.encode(),
    ]
    if isinstance(public, ed25519.Ed25519PublicKey):
        encodings.append(public.public_bytes_raw())
    for number, secret in enumerate(encodings):
        for algorithm in ("HS256", "HS384", "HS512"):
            yield f"{algorithm} with the public key {number}", mac(secret, algorithm, header, claims)
            yield (
                f"{algorithm} with the key {number} for ever",
                mac(secret, algorithm, header, {**claims, "exp": FOREVER}),
            )
    yield from _foreign_keys(header, claims)
    yield from _signatures(head, body, signature)
    yield from _spellings(good, head, body, signature)
    for name, value in (
        ("exp", FOREVER), ("sub", "agt_00000000-0000-7000-8000-000000000000"), ("aud", "other"), ("iss", "other"),
        ("scope", ""), ("act", {}), ("may_act", None), ("jti", "x"), ("cid", "x"), ("repository", "acme/other"),
    ):  # fmt: skip
        yield f"{name} changed", f"{head}.{text(json.dumps({**claims, name: value}).encode())}.{signature}"
    for name, value in (("typ", "JWT"), ("kid", "other"), ("alg", "ES256"), ("x", 1)):
        yield f"header {name} changed", f"{text(json.dumps({**header, name: value}).encode())}.{body}.{signature}"


def _foreign_keys(header: Mapping[str, Any], claims: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Signed with a key of the attacker, who says in the header where it is."""
    keys: list[tuple[Any, str]] = [
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (rsa.generate_private_key(65537, 2048), "RS256"),
    ]
    for key, algorithm in keys:
        thief = Signer(key, algorithm, "thief")
        jwk = _jwk(key)
        url = "https://attacker.example/keys"
        for more in (
            {},
            {"kid": "thief"},
            {"jwk": jwk},
            {"jwk": jwk, "kid": "thief"},
            {"jku": url},
            {"x5u": url},
            {"x5c": ["MIIB"]},
            {"jwk": jwk, "crit": ["jwk"]},
            {"kid": "../../../dev/null"},
            {"kid": "' OR '1'='1"},
            {"kid": ""},
            {"kid": url},
            {"kid": None},
            {"kid": ["thief"]},
            {"kid": {"k": 1}},
            {"kid": 0},
            {"kid": "a" * 5000},
        ):
            given = {**header, "alg": algorithm, **more}
            yield f"{algorithm} with {', '.join(more) or 'the kid'} {str(more)[:40]}", sign(thief, given, claims)
            stated = {**given, "alg": header["alg"]}
            if algorithm != header["alg"]:
                yield f"{algorithm} said to be {header['alg']} {str(more)[:40]}", sign(thief, stated, claims)


def _jwk(key: Any) -> dict[str, str]:
    numbers = key.public_key()
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": text(numbers.public_bytes_raw())}
    if isinstance(key, rsa.RSAPrivateKey):
        n = numbers.public_numbers().n
        return {"kty": "RSA", "e": "AQAB", "n": text(n.to_bytes((n.bit_length() + 7) // 8, "big"))}
    point = numbers.public_numbers()
    return {"kty": "EC", "crv": "P-256", "x": text(point.x.to_bytes(32, "big")), "y": text(point.y.to_bytes(32, "big"))}


def _signatures(head: str, body: str, signature: str) -> Iterator[tuple[str, str]]:
    value = raw(signature)
    made: list[tuple[str, bytes]] = [
        ("empty", b""),
        ("zeros", bytes(len(value))),
        ("ones", b"\xff" * len(value)),
        ("short", value[:-1]),
        ("long", value + b"\0"),
        ("twice", value + value),
        ("backwards", value[::-1]),
        ("swapped", value[32:] + value[:32]),
        ("r and s are 1", b"\0" * 31 + b"\x01" + b"\0" * 31 + b"\x01"),
        ("DER", b"\x30\x06\x02\x01\x01\x02\x01\x01"),
        ("small order", bytes([1]) + bytes(63)),
        ("long number", struct.pack(">Q", 1) * 200),
    ]
    for place in range(0, len(value), max(1, len(value) // 40)):
        changed = bytearray(value)
        changed[place] ^= 1 << (place % 8)
        made.append((f"bit of byte {place}", bytes(changed)))
    if len(value) == 64:
        more = int.from_bytes(value[32:], "little") + ORDER
        made.append(("the other s", value[:32] + more.to_bytes(33, "little")[:32]))
    for note, each in made:
        yield f"signature: {note}", f"{head}.{body}.{text(each)}"


def _spellings(good: str, head: str, body: str, signature: str) -> Iterator[tuple[str, str]]:
    """The same bytes in another form, or several tokens in one."""
    yield "padded", ".".join(part + "=" * (-len(part) % 4 or 4) for part in (head, body, signature))
    for number in range(3):
        parts = [head, body, signature]
        for mark in ("=", "==", "\n", " ", "\t", "%0a", "%2e", "+", "/", "\u00ad", "A", ".", "\x7f"):
            changed = [*parts]
            changed[number] += mark
            yield f"part {number} with {mark!r}", ".".join(changed)
            changed[number] = mark + parts[number]
            yield f"part {number} after {mark!r}", ".".join(changed)
        last = parts[number][-1]
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        if len(parts[number]) % 4 in (2, 3):  # the last character has unused bits
            changed = [*parts]
            changed[number] = parts[number][:-1] + alphabet[alphabet.index(last) ^ 1]
            yield f"part {number} with unused bits", ".".join(changed)
        yield f"without part {number}", ".".join(parts[:number] + parts[number + 1 :])
        yield f"empty part {number}", ".".join(["" if at == number else each for at, each in enumerate(parts)])
    yield "only dots", ".."
    yield "five parts", f"{good}.{head}.{body}"
    yield "four parts", f"{good}.{signature}"
    yield "two tokens", f"{good},{good}"
    yield "two tokens with a space", f"{good} {good}"
    yield "in quotes", f'"{good}"'
    yield "upper case", good.upper()
    yield "lower case", good.lower()
    yield "shortened", good[:-5]
    yield "cut in the middle", good[: len(good) // 2]
    yield "very long", f"{head}.{text(b' ' * 9000)}.{signature}"
    yield "scheme inside", f"Bearer {good}"
    document = {"payload": body, "protected": head, "signature": signature}
    yield "flattened", json.dumps(document)
    yield "flattened without a space", json.dumps(document, separators=(",", ":"))
    yield "detached", f"{head}..{signature}"


def headers(good: str, signer: Signer) -> Iterator[tuple[str, str]]:
    """Signed with the right key, and a header that is not to be taken."""
    header, claims = json.loads(raw(good.split(".")[0])), json.loads(raw(good.split(".")[1]))
    for more in (
        {"crit": ["exp"]}, {"crit": []}, {"crit": ["b64"], "b64": False}, {"b64": False}, {"b64": True}, {"zip": "DEF"},
        {"cty": "JWT"}, {"jku": "https://x.example"}, {"x5u": "https://x.example"}, {"x5c": []}, {"jwk": {}},
        {"enc": "A256GCM"}, {"epk": {}}, {"url": "https://x.example"}, {"nonce": "1"}, {"iss": claims["iss"]},
        {"alg": "none"}, {"alg": "HS256"}, {"alg": "PS256"}, {"alg": "ES512"}, {"alg": "Ed448"}, {"alg": ""},
        {"typ": "JWE"}, {"typ": 1}, {"typ": None}, {"typ": "dpop+jwt"}, {"typ": "delegation+jwt"},
        {"kid": "other"}, {"kid": None if signer.algorithm == "EdDSA" else 1}, {"kid": [signer.kid]},
    ):  # fmt: skip
        yield f"header {more}", sign(signer, {**header, **more}, claims)
    whole = json.dumps(header)
    for note, changed in (
        ("a name twice", whole[:-1] + ', "alg": "none"}'),
        ("a name twice, the good one last", '{"alg": "none", ' + whole[1:]),
        ("no object", "[]"),
        ("null", "null"),
        ("nothing", ""),
        ("not UTF-8", "\udcff"),
        ("a mark before it", "\ufeff" + whole),
        ("more after it", whole + "{}"),
        ("deep", whole[:-1] + ', "x5t": ' + "[" * 500 + "]" * 500 + "}"),
    ):
        yield f"header with {note}", sign(signer, changed.encode("utf-8", "surrogateescape"), claims)


def claims_of(good: str, signer: Signer, changes: Mapping[str, list[Any]]) -> Iterator[tuple[str, str]]:
    """Signed with the right key, and claims that are not to be taken: each without a value, or with one of these."""
    header, claims = json.loads(raw(good.split(".")[0])), json.loads(raw(good.split(".")[1]))
    for name, values in changes.items():
        if name in claims:
            yield f"without {name}", sign(signer, header, {each: claims[each] for each in claims if each != name})
        for value in values:
            yield f"{name} = {str(value)[:60]}", sign(signer, header, {**claims, name: value})
    whole = json.dumps(claims)
    for note, changed in (
        ("a name twice", whole[:-1] + f', "exp": {FOREVER}}}'),
        ("NaN", whole[:-1] + ', "x": NaN}'),
        ("Infinity", whole[:-1] + ', "exp": Infinity}'),
        ("no object", "[]"),
        ("a text", '"x"'),
        ("nothing", ""),
        ("not UTF-8", "\udcff"),
        ("deep", whole[:-1] + ', "x": ' + "[" * 900 + "]" * 900 + "}"),
        ("a lone surrogate", whole[:-1] + ', "x": "\\ud800"}'),
        ("more after it", whole + "{}"),
    ):
        yield f"claims with {note}", sign(signer, header, changed.encode("utf-8", "surrogateescape"))


WRONG_TIMES: list[Any] = [0, 1, -1, int(time.time()) - 1, "9999999999", None, True, [FOREVER], {}, 1e308, 2**64]
