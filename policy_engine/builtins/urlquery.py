"""urlquery.*: the query part of a URL, as Go's `net/url` reads and writes it."""

from __future__ import annotations

from typing import Final

from policy_engine.builtins import gojson, percent
from policy_engine.builtins.measured import text_size
from policy_engine.builtins.octets import from_bytes, to_bytes
from policy_engine.builtins.operands import charge_made, charged, object_, operand_error, string
from policy_engine.builtins.percent import EscapeError
from policy_engine.builtins.table import Builtin, Context
from policy_engine.errors import BuiltinError
from policy_engine.types import STRING, FunctionType, set_, union
from policy_engine.types import array as array_of
from policy_engine.types import object_ as object_of
from policy_engine.values import Charge, Set, Value, sorted_items

_ESCAPES: Final = percent.table("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~") | {ord(" "): "+"}

MAX_PARAMETERS: Final = 10_000
"""Go's own limit (GODEBUG urlmaxqueryparams)."""


def escape(text: str, charge: Charge | None = None) -> str:
    return percent.escape(to_bytes(text), _ESCAPES, charge)


def unescape(text: str, charge: Charge | None = None) -> str:
    """The text that was escaped. Raises `EscapeError`."""
    if "%" not in text:
        return text.replace("+", " ")
    return from_bytes(percent.unescape(to_bytes(text.replace("+", " ")), charge))


def decode(ctx: Context, operand: Value) -> Value:
    text = string(operand, "urlquery.decode", 1)
    charge_made(ctx, len(text), ascii_only=text.isascii())
    try:
        return unescape(text, ctx.charge)
    except EscapeError as error:
        raise BuiltinError(f"urlquery.decode: {error}") from None


def encode(ctx: Context, operand: Value) -> Value:
    text = string(operand, "urlquery.encode", 1)
    if len(text) > _SHORT:
        ctx.charge(3 * text_size(text))  # an octet may become three characters
    return escape(text, ctx.charge)


_SHORT: Final = 64


def decode_object(ctx: Context, operand: Value) -> Value:
    """Parameters by name, each with all its values in order."""
    query = string(operand, "urlquery.decode_object", 1)
    charge_made(ctx, len(query), ascii_only=query.isascii())
    if query.count("&") >= MAX_PARAMETERS:
        raise BuiltinError(f"urlquery.decode_object: more than {MAX_PARAMETERS:,} parameters")
    if ";" in query:
        raise BuiltinError("urlquery.decode_object: semicolons must be escaped")
    values: dict[str, Value] = {}
    for parameter in charged(ctx, query.split("&")):
        name, _, value = parameter.partition("=")
        try:
            if parameter:
                values.setdefault(unescape(name, ctx.charge), []).append(unescape(value, ctx.charge))
        except EscapeError as error:
            raise BuiltinError(f"urlquery.decode_object: {error}") from None
    return values


def encode_object(ctx: Context, operand: Value) -> Value:
    """Parameters sorted by name; the values of an array or set in its order."""
    name = "urlquery.encode_object"
    parameters: dict[str, list[str]] = {}
    for key, value in charged(ctx, sorted_items(object_(operand, name, 1), ctx.charge)):
        many = value if value.__class__ is list else value.sorted(ctx.charge) if value.__class__ is Set else [value]
        for item in charged(ctx, many):
            if item.__class__ is not str:
                operand_error(name, 1, "values must be string, array[string], or set[string]")
        # As in all of JSON, a key that is no string counts as its JSON text.
        parameters[key if key.__class__ is str else gojson.write(key, ctx.charge)] = many
    pairs = ((key, item) for key, many in sorted(parameters.items()) for item in many)
    return "&".join([f"{escape(key)}={escape(item, ctx.charge)}" for key, item in charged(ctx, pairs, _pair_steps)])


def _pair_steps(pair: tuple[str, str]) -> int:
    return 8 + sum(map(text_size, pair))


_PARAMETERS: Final = object_of(STRING, array_of(STRING))
_MANY: Final = union(STRING, array_of(STRING), set_(STRING))

BUILTINS: Final = (
    Builtin("urlquery.decode", FunctionType((STRING,), STRING), decode, context=True),
    Builtin("urlquery.decode_object", FunctionType((STRING,), _PARAMETERS), decode_object, context=True),
    Builtin("urlquery.encode", FunctionType((STRING,), STRING), encode, context=True),
    Builtin("urlquery.encode_object", FunctionType((object_of(STRING, _MANY),), STRING), encode_object, context=True),
)
