"""io.jwt.decode, io.jwt.verify_* and io.jwt.decode_verify: JSON Web Tokens (RFC 7519) in compact form.

Signing is in `signing`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from policy_engine.builtins import gojson
from policy_engine.builtins.encoding_base64 import Base64Error, decode_url
from policy_engine.builtins.jwt.keys import ALGORITHMS, KeyFormatError, VerificationKey, verification_keys
from policy_engine.builtins.jwt.signatures import verify
from policy_engine.builtins.octets import from_bytes, to_bytes
from policy_engine.builtins.operands import NUMBERS, charge_made, charge_text, charged, object_, shown, string
from policy_engine.builtins.table import Builtin, Context
from policy_engine.errors import BuiltinError
from policy_engine.types import ANY, BOOLEAN, STRING, ArrayType, FunctionType
from policy_engine.types import object_ as object_of
from policy_engine.values import Value, compare, exact, sorted_items, to_term, type_name


class TokenError(ValueError):
    """Text that is no token of the kind that is supported, or a constraint that is none."""


@dataclass(frozen=True, slots=True)
class JwtToken:
    """The three parts as they were sent."""

    header: str
    payload: str
    signature: str

    def signed(self) -> bytes:
        """The octets that the signature is over."""
        return to_bytes(f"{self.header}.{self.payload}")


def split(text: str) -> JwtToken:
    if "." not in text:
        raise TokenError("encoded JWT had no period separators")
    parts = text.split(".")
    if len(parts) != 3:
        raise TokenError(f"encoded JWT must have 3 sections, found {len(parts)}")
    return JwtToken(*parts)


def _decoded(part: str, what: str = "") -> bytes:
    try:
        return decode_url(part)
    except Base64Error as error:
        raise TokenError(f"JWT {what} had invalid encoding: {error}" if what else str(error)) from None


def _document(ctx: Context, octets: bytes) -> dict[Any, Value]:
    try:
        value = gojson.read(from_bytes(octets), ctx)
    except gojson.JSONError as error:
        raise TokenError(f"invalid JSON: {error}") from None
    if value.__class__ is not dict:
        raise TokenError("decoded JSON type was not an Object")
    return value


def _header(ctx: Context, token: JwtToken) -> dict[Any, Value]:
    octets = _decoded(token.header, "header")
    try:
        header = _document(ctx, octets)
    except TokenError as error:
        raise TokenError(f"bad JWT header: {error}") from None
    if "enc" in header:
        raise TokenError("JWT is a JWE object, which is not supported")
    return header


def decode(ctx: Context, operand: Value) -> Value:
    """Header, payload and signature (hexadecimal) of a token; nothing is verified. Of nested tokens the innermost."""
    text = string(operand, "io.jwt.decode", 1)
    try:
        while True:
            charge_made(ctx, len(text), ascii_only=text.isascii())
            token = split(text)
            header = _header(ctx, token)
            payload = _decoded(token.payload, "payload")
            if header.get("cty") != "JWT":
                return [header, _document(ctx, payload), _decoded(token.signature, "signature").hex()]
            # Some tools write a token inside a token as a JSON string.
            text = from_bytes(payload).strip("\"'")
    except TokenError as error:
        raise BuiltinError(f"io.jwt.decode: {error}") from None


def _verify_secret(algorithm: str) -> Builtin:
    name = f"io.jwt.verify_{algorithm.lower()}"
    digest = f"sha{algorithm[2:]}"

    def verify_secret(ctx: Context, operand: Value, secret: Value) -> Value:
        text = string(operand, name, 1)
        key = to_bytes(string(secret, name, 2))
        charge_text(ctx, len(text) + len(key))
        try:
            token = split(text)
            signature = _decoded(token.signature)
        except TokenError as error:
            raise BuiltinError(f"{name}: {error}") from None
        return hmac.compare_digest(signature, hmac.digest(key, token.signed(), digest))

    return Builtin(name, FunctionType((STRING, STRING), BOOLEAN), verify_secret, context=True)


def _verify_key(algorithm: str) -> Builtin:
    name = f"io.jwt.verify_{algorithm.lower()}"

    def verify_key(ctx: Context, operand: Value, keys: Value) -> Value:
        text = string(operand, name, 1)
        charge_text(ctx, len(text))
        try:
            token = split(text)
            candidates = verification_keys(ctx, string(keys, name, 2))
            signature = _decoded(token.signature)
            header = _Header(ctx, _header(ctx, token))
        except (TokenError, KeyFormatError) as error:
            raise BuiltinError(f"{name}: {error}") from None
        message = token.signed()
        # The algorithm is the caller's, whatever the token says.
        return any(
            verify(algorithm, key, message, signature, strict=False)
            for key in _paid(ctx, _candidates(header, candidates), message)
        )

    return Builtin(name, FunctionType((STRING, STRING), BOOLEAN), verify_key, context=True)


class _Header:
    """The header parameters that mean something here (RFC 7515 section 4.1)."""

    def __init__(self, ctx: Context, parameters: dict[Any, Value]) -> None:
        self.critical: set[str] = set()
        self.unknown: set[Any] = set()
        texts = {"alg": "", "kid": "", "typ": "", "cty": ""}
        for name, value in charged(ctx, sorted_items(parameters, ctx.charge)):
            if name in texts:
                if value.__class__ is not str:
                    raise TokenError(f"{name}: must be a string")
                texts[name] = value
            elif name == "crit":
                self._read_critical(ctx, value)
            else:
                self.unknown.add(name)
        self.algorithm, self.key_id, self.content_type = texts["alg"], texts["kid"], texts["cty"]

    def _read_critical(self, ctx: Context, value: Value) -> None:
        if value.__class__ is not list:
            raise TokenError("crit: must be a list")
        for item in charged(ctx, value):
            if item.__class__ is not str:
                break
            self.critical.add(item)
        if not self.critical:
            raise TokenError("crit: must be a nonempty list")

    def valid(self) -> bool:
        """There is an algorithm, and nothing that must be understood and is not."""
        return bool(self.algorithm) and not self.critical & self.unknown


def _candidates(header: _Header, keys: tuple[VerificationKey, ...]) -> list[VerificationKey]:
    """The key with the token's key id, or else all that are for its algorithm or do not say for which."""
    if header.key_id:
        for key in keys:
            if key.id == header.key_id:
                return [key]
    return [key for key in keys if not key.algorithm or key.algorithm == header.algorithm]


def _paid(ctx: Context, keys: list[VerificationKey], message: bytes) -> Iterator[Any]:
    """The keys, each paid for before a signature is verified under it."""
    return (key.key for key in charged(ctx, keys, lambda key: key.steps + len(message) // _OCTETS_PER_STEP))


_OCTETS_PER_STEP: Final = 256
"""Octets of a message that are hashed in a step."""


@dataclass(slots=True)
class _Constraints:
    """The constraints of io.jwt.decode_verify. Empty texts demand nothing."""

    secret: str = ""
    alg: str = ""
    iss: str = ""
    aud: str = ""
    keys: tuple[VerificationKey, ...] | None = None
    time: float | None = None

    @classmethod
    def read(cls, ctx: Context, constraints: dict[Any, Value]) -> _Constraints:
        self = cls()
        for name, value in charged(ctx, sorted_items(constraints, ctx.charge)):
            if name == "cert":
                self.keys = verification_keys(ctx, _constraint_text("cert", value))
            elif name == "time":
                self.time = _seconds(value)
            elif name in ("secret", "alg", "iss", "aud"):
                setattr(self, name, _constraint_text(name, value))
            else:
                raise TokenError(f"unknown token validation constraint: {shown(name)}")
        if self.keys is not None and self.secret:
            raise TokenError("duplicate key constraints")
        if self.keys is None and not self.secret:
            raise TokenError("no key constraint")
        return self

    def verify(self, ctx: Context, header: _Header, token: JwtToken, signature: bytes) -> bool:
        secret = VerificationKey(to_bytes(self.secret))
        candidates = [secret] if self.keys is None else _candidates(header, self.keys)
        message = token.signed()
        return header.algorithm in ALGORITHMS and any(
            verify(header.algorithm, key, message, signature) for key in _paid(ctx, candidates, message)
        )


def _constraint_text(name: str, value: Value) -> str:
    if value.__class__ is not str:
        type_name(value)
        raise TokenError(f"{name} constraint: must be a string")
    return value


def _seconds(value: Value) -> float:
    """A time in nanoseconds, in seconds; as in OPA in floating point."""
    if value.__class__ not in NUMBERS:
        type_name(value)
        raise TokenError("token time constraint: must be a number")
    if exact(value).adjusted() > 300:
        raise TokenError("token time constraint: unvalid float64")
    if value < 0:
        raise TokenError("token time constraint: must not be negative")
    return float(value) / 1_000_000_000


def decode_verify(ctx: Context, operand: Value, constraints: Value) -> Value:
    """[true, header, payload] if the signature verifies and all constraints are met; [false, {}, {}] if not.

    The record of the call contains neither the token nor the secret.
    """
    name = "io.jwt.decode_verify"
    demanded = object_(constraints, name, 2)

    def compute() -> Value:
        try:
            return _decode_verify(ctx, operand, _Constraints.read(ctx, demanded))
        except (TokenError, KeyFormatError) as error:
            raise BuiltinError(f"{name}: {error}") from None

    return ctx.remember(name, (digest_of(ctx, operand, constraints),), compute)


def digest_of(ctx: Context, *operands: Value) -> str:
    """A digest that stands for secret operands in the records of calls."""
    text = to_term(list(operands), ctx.charge)
    charge_made(ctx, len(text), ascii_only=text.isascii())
    return "sha256:" + hashlib.sha256(to_bytes(text)).hexdigest()


def _decode_verify(ctx: Context, operand: Value, constraints: _Constraints) -> Value:
    unverified: Value = [False, {}, {}]
    text = string(operand, "io.jwt.decode_verify", 1)
    while True:
        charge_text(ctx, len(text))
        token = split(text)
        parameters = _header(ctx, token)
        header = _Header(ctx, parameters)
        if not header.valid() or (constraints.alg and constraints.alg != header.algorithm):
            return unverified
        signature = _decoded(token.signature)
        if not constraints.verify(ctx, header, token, signature):
            return unverified
        payload = _decoded(token.payload, "payload")
        if header.content_type.lower() != "jwt":
            break
        text = from_bytes(payload)  # a token inside the token, which has to verify too
    claims = _document(ctx, payload)
    time = ctx.now_ns() / 1_000_000_000 if constraints.time is None else constraints.time
    return [True, parameters, claims] if _claims_hold(ctx, claims, constraints, time) else unverified


def _claims_hold(ctx: Context, claims: dict[Any, Value], constraints: _Constraints, time: float) -> bool:
    """Issuer, audience and times (RFC 7519 section 4.1). A token for an audience needs an audience to be demanded."""
    if constraints.iss and claims.get("iss") != constraints.iss:
        return False
    audience = claims.get("aud") if "aud" in claims else constraints.aud and []
    if audience.__class__ is list:
        ctx.charge(len(audience))
        if constraints.aud not in audience:
            return False
    elif audience != constraints.aud:
        return False
    return _time_holds(claims, "exp", lambda expiry: compare(time, expiry) < 0) and _time_holds(
        claims, "nbf", lambda start: compare(time, start) >= 0
    )


def _time_holds(claims: dict[Any, Value], name: str, holds: Callable[[Value], bool]) -> bool:
    if name not in claims:
        return True
    if claims[name].__class__ not in NUMBERS:
        raise TokenError(f"{name} value must be a number")
    return holds(claims[name])


_ANY_OBJECT: Final = object_of(ANY, ANY)
_BY_KEY: Final = ("EdDSA", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512")

BUILTINS: Final = (
    Builtin(
        "io.jwt.decode", FunctionType((STRING,), ArrayType((_ANY_OBJECT, _ANY_OBJECT, STRING))), decode, context=True
    ),
    Builtin(
        "io.jwt.decode_verify",
        FunctionType((STRING, object_of(STRING, ANY)), ArrayType((BOOLEAN, _ANY_OBJECT, _ANY_OBJECT))),
        decode_verify,
        context=True,
        nondeterministic=True,
    ),
    *map(_verify_secret, ("HS256", "HS384", "HS512")),
    *map(_verify_key, _BY_KEY),
)
