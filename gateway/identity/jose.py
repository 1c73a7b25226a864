"""JSON Web Signatures, read strictly: one form of a token, three algorithms, and keys that the caller has.

A token's own words about keys or algorithms decide nothing. A header that names a key (`jwk`, `jku`, `x5c`, `x5u`),
demands an extension (`crit`) or has any member that is not listed here is refused. The algorithm belongs to the key,
so an RSA key cannot be taken for a shared secret. `joserfc` does the arithmetic; this file decides what is given to it.
Sources: RFC 7515, RFC 7517, RFC 7518, RFC 8037, RFC 8725.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from joserfc import jwk, jws
from joserfc.errors import JoseError

from gateway.errors import GatewayError

Algorithm: TypeAlias = Literal["EdDSA", "ES256", "RS256"]

ALGORITHMS: Final[tuple[Algorithm, ...]] = ("EdDSA", "ES256", "RS256")
MAX_LENGTH: Final = 8192
"""Characters of a token, which must fit into a header."""

_HEADER_MEMBERS = frozenset({"alg", "typ", "kid", "x5t", "x5t#S256"})
_FORM = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_MAX_KID = 256
_MAX_KEYS = 100
_RSA_BITS = range(2048, 8193)
_MAX_DEPTH = 16  # levels in a header or claims; the longest chain of agents is nested most deeply


_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def ascii_lower(text: str) -> str:
    """Lower case for comparisons that let somebody in: of ASCII letters only.

    `str.lower` maps letters of other scripts to ASCII ones (the Kelvin sign becomes a `k`), so somebody else's address
    or domain would be equal to the one that a rule names.
    """
    return text.translate(_LOWER)


class InvalidTokenError(GatewayError):
    """A token is not valid; the message says why in few words, none of which come from the token."""

    def __init__(self, why: str) -> None:
        super().__init__("invalid_token", why)


@dataclass(frozen=True, slots=True)
class Compact:
    """A well-formed token in compact form, whose signature is not verified yet. So nothing in it is true yet."""

    text: str = field(repr=False)
    algorithm: Algorithm
    typ: str  # in lower case; empty if it has none
    kid: str | None
    claims: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Key:
    """A key with the one algorithm that it is for."""

    kid: str | None
    algorithm: Algorithm
    key: jwk.Key = field(repr=False)


class _Registry(jws.JWSRegistry):
    """The algorithms of this file, without `joserfc`'s warning that newer RFCs call EdDSA `Ed25519`."""

    def get_alg(self, name: str) -> Any:
        if name not in ALGORITHMS:
            raise JoseError(f"algorithm {name}")
        return self.algorithms[name]


_registry = _Registry(algorithms=list(ALGORITHMS))


def parse(text: str, most: int = MAX_LENGTH) -> Compact:
    """Read a token of at most so many characters without verifying it; raises `InvalidTokenError`."""
    form = _FORM.fullmatch(text) if len(text) <= most else None
    if form is None:
        raise InvalidTokenError("malformed")
    header, claims = _object(_bytes(form[1])), _object(_bytes(form[2]))
    _bytes(form[3])
    if not header.keys() <= _HEADER_MEMBERS:
        raise InvalidTokenError("header_member")
    if header.get("alg") not in ALGORITHMS:
        raise InvalidTokenError("algorithm")
    typ, kid = header.get("typ", ""), header.get("kid")
    if not isinstance(typ, str) or not (kid is None or (isinstance(kid, str) and len(kid) <= _MAX_KID)):
        raise InvalidTokenError("header_member")
    return Compact(text, header["alg"], ascii_lower(typ).removeprefix("application/"), kid, claims)


def verify(compact: Compact, keys: Iterable[Key]) -> Key:
    """The key that signed the token; raises `InvalidTokenError`: `unknown_key` if there is none of its name.

    A token without the name of a key is taken only if there is just one key that it can mean.
    """
    candidates = [each for each in keys if compact.kid is None or each.kid == compact.kid]
    if len(candidates) != 1:
        raise InvalidTokenError("unknown_key")
    (key,) = candidates
    if key.algorithm != compact.algorithm:
        raise InvalidTokenError("algorithm")
    try:
        jws.deserialize_compact(compact.text, key.key, [key.algorithm], _registry)
    except (JoseError, ValueError):  # ValueError: numbers that are no signature
        raise InvalidTokenError("signature") from None
    return key


def sign(header: Mapping[str, str], claims: Mapping[str, Any], key: Key) -> str:
    """A token in compact form."""
    protected = {"alg": key.algorithm, "kid": key.kid, **header}
    payload = json.dumps(claims, separators=(",", ":")).encode()
    return jws.serialize_compact(protected, payload, key.key, [key.algorithm], _registry)


def sign_bytes(protected: str, payload: bytes, key: Key) -> str:
    """A signature over any bytes, in compact form. `protected` is the encoded header, which names the key."""
    header = json.loads(base64.urlsafe_b64decode(protected + "=" * (-len(protected) % 4)))
    text = jws.serialize_compact(header, payload, key.key, [key.algorithm], _registry)
    if not text.startswith(f"{protected}."):
        raise ValueError("the header was encoded in another way")
    return text


def is_signed(text: str, key: Key) -> bool:
    """True if this key made this signature in compact form, whatever its payload is."""
    try:
        jws.deserialize_compact(text, key.key, [key.algorithm], _registry)
    except (JoseError, ValueError):  # ValueError: numbers that are no signature
        return False
    return True


def key_set(text: str | bytes) -> tuple[Key, ...]:
    """The keys of a JWK set that can verify signatures here; others in it are left out.

    Raises `GatewayError` if it is no JWK set, if none is left, and if it holds a secret: then it is no public document.
    """
    try:
        document = _strict(text)
    except ValueError as error:
        raise unusable("it is not JSON") from error
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > _MAX_KEYS or not all(isinstance(each, dict) for each in listed):
        raise unusable(f"it must be an object with a list `keys` of at most {_MAX_KEYS}")
    if any(each.get("kty") == "oct" or "d" in each for each in listed):
        raise unusable("it holds a secret key", "replace that key, and publish only public ones")
    keys = tuple(found for each in listed if (found := public_key(each)) is not None)
    if not keys:
        raise unusable(f"none of its keys is for {', '.join(ALGORITHMS)}")
    named = [each.kid for each in keys]
    if len(set(named)) != len(named):
        raise unusable("two of its keys have the same `kid`")
    return keys


def public_key(document: Mapping[str, Any]) -> Key | None:
    """The public key that a JWK describes; None if it is not one for signatures of this file."""
    kty, crv, kid = document.get("kty"), document.get("crv"), document.get("kid")
    algorithm: Algorithm
    members: tuple[str, ...]
    if kty == "OKP" and crv == "Ed25519":
        algorithm, members = "EdDSA", ("kty", "crv", "x")
    elif kty == "EC" and crv == "P-256":
        algorithm, members = "ES256", ("kty", "crv", "x", "y")
    elif kty == "RSA":
        algorithm, members = "RS256", ("kty", "n", "e")
    else:
        return None
    # A key for encryption is often kept where many can use it, so what it has signed proves nothing.
    if "key_ops" in document and document["key_ops"] != ["verify"]:
        return None
    if document.get("use", "sig") != "sig" or document.get("alg", algorithm) not in (algorithm, _NEWER.get(algorithm)):
        return None
    if not (kid is None or (isinstance(kid, str) and len(kid) <= _MAX_KID)):
        return None
    try:
        # Only what the mathematics needs: everything else in the document is about other uses.
        key = jwk.import_key({name: document[name] for name in members})
        numbers = key.raw_value  # parsed here, so that no request meets a key that is none
    except (JoseError, KeyError, ValueError, TypeError, AttributeError):
        return None
    if algorithm == "RS256" and getattr(numbers, "key_size", 0) not in _RSA_BITS:
        return None
    return Key(kid, algorithm, key)


_NEWER = {"EdDSA": "Ed25519"}  # RFC 9864


def unusable(why: str, hint: str = "") -> GatewayError:
    """The error for a key set that cannot be used."""
    return GatewayError("invalid_jwks", f"the key set cannot be used: {why}", hint=hint)


def _bytes(text: str) -> bytes:
    """Decode base64url. Only one text stands for these bytes, so that a token cannot be written in two ways."""
    try:
        found = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise InvalidTokenError("malformed") from None
    if base64.urlsafe_b64encode(found).rstrip(b"=").decode() != text:
        raise InvalidTokenError("malformed")
    return found


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = _strict(text)
    except ValueError:
        raise InvalidTokenError("malformed") from None
    if not isinstance(found, dict):
        raise InvalidTokenError("malformed")
    return found


def _strict(text: str | bytes) -> Any:
    """JSON that has one meaning: UTF-8, no name twice, no NaN, nothing nested deeply; `ValueError` otherwise."""
    decoded = text.decode("utf-8") if isinstance(text, bytes) else text
    try:
        found = json.loads(decoded, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _check(found, _MAX_DEPTH)
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name appears twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _check(value: Any, depth: int) -> None:
    if depth == 0:
        raise ValueError("it is nested too deeply")
    if isinstance(value, str):
        value.encode()  # a lone surrogate raises a ValueError
    elif isinstance(value, dict):
        for name, each in value.items():
            name.encode()
            _check(each, depth - 1)
    elif isinstance(value, list):
        for each in value:
            _check(each, depth - 1)
