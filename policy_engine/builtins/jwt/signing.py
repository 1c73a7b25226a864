"""io.jwt.encode_sign and io.jwt.encode_sign_raw: tokens made by policies.

Some algorithms sign differently every time, so a call is computed once and recorded. The record has a digest of
the operands, because one of them is a private key.
"""

from __future__ import annotations

from typing import Final

from policy_engine.builtins import gojson
from policy_engine.builtins.encoding_base64 import encode_url
from policy_engine.builtins.jwt.keys import ALGORITHMS, KeyFormatError, jwk_set
from policy_engine.builtins.jwt.signatures import SigningError, sign
from policy_engine.builtins.jwt.tokens import digest_of
from policy_engine.builtins.octets import to_bytes
from policy_engine.builtins.operands import string
from policy_engine.builtins.table import Builtin, Context
from policy_engine.errors import BuiltinError
from policy_engine.types import ANY, STRING, FunctionType
from policy_engine.types import object_ as object_of
from policy_engine.values import Value


def encode_sign(ctx: Context, header: Value, payload: Value, key: Value) -> Value:
    """The operands as JSON, signed with the first key of a JWK or set."""
    texts = [gojson.write(operand, ctx.charge) for operand in (header, payload, key)]
    return _recorded(ctx, "io.jwt.encode_sign", texts)


def encode_sign_raw(ctx: Context, header: Value, payload: Value, key: Value) -> Value:
    """The same of JSON texts, which are signed as they are."""
    name = "io.jwt.encode_sign_raw"
    key_text = string(key, name, 3)
    return _recorded(ctx, name, [string(header, name, 1), string(payload, name, 2), key_text])


def _recorded(ctx: Context, name: str, texts: list[str]) -> Value:
    def compute() -> Value:
        try:
            return _token(ctx, *texts)
        except (KeyFormatError, SigningError) as error:
            raise BuiltinError(f"{name}: {error}") from None

    return ctx.remember(name, (digest_of(ctx, *texts),), compute)


def _token(ctx: Context, header: str, payload: str, key: str) -> str:
    ctx.charge((len(header) + len(payload) + len(key)) // 16)
    keys = jwk_set(key, ctx.charge)
    if not keys:
        raise SigningError("no keys found in JWK set")
    algorithm, is_jwt = _read_header(ctx, header)
    if algorithm not in ALGORITHMS:
        raise SigningError(f"unknown JWS algorithm: {algorithm}")
    if is_jwt and not gojson.is_valid(payload, ctx):
        raise SigningError("type is JWT but payload is not JSON")
    ctx.charge(_SIGNING * keys[0].steps)
    signed = f"{encode_url(to_bytes(header))}.{encode_url(to_bytes(payload))}"
    return f"{signed}.{encode_url(sign(algorithm, keys[0].key, signed.encode()))}"


def _read_header(ctx: Context, text: str) -> tuple[str, bool]:
    """The algorithm, and whether the token has to be a JWT, which it is if it does not say what else."""
    if not text.strip():
        raise SigningError("missing or invalid 'alg' header: cannot parse JSON: cannot parse empty string")
    try:
        header = gojson.read(text, ctx)
    except gojson.JSONError as error:
        if text.lstrip()[:1] == "{":
            raise SigningError(f"missing or invalid 'alg' header: cannot parse JSON: {error}") from None
        header = {}
    if header.__class__ is not dict or "alg" not in header:
        raise SigningError("missing or invalid 'alg' header: jwsbb: header \"alg\" not found")
    if header["alg"].__class__ is not str:
        raise SigningError("missing or invalid 'alg' header: jwsbb: header \"alg\" is not a string")
    kind = header.get("typ")
    return header["alg"], kind.__class__ is not str or kind == "JWT"


_SIGNING: Final = 8
"""The price of signing, as a multiple of that of verifying."""

_OBJECT: Final = object_of(STRING, ANY)

BUILTINS: Final = (
    Builtin(
        "io.jwt.encode_sign",
        FunctionType((_OBJECT, _OBJECT, _OBJECT), STRING),
        encode_sign,
        context=True,
        nondeterministic=True,
    ),
    Builtin(
        "io.jwt.encode_sign_raw",
        FunctionType((STRING, STRING, STRING), STRING),
        encode_sign_raw,
        context=True,
        nondeterministic=True,
    ),
)
