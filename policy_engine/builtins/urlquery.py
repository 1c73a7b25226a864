"""urlquery.*: the query part of a URL, as Go's `net/url` reads and writes it."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from policy_engine.builtins import gojson
from policy_engine.builtins.measured import text_size
from policy_engine.builtins.octets import from_bytes, to_bytes
from policy_engine.builtins.operands import charge_made, object_, operand_error, string
from policy_engine.builtins.table import Builtin, Context
from policy_engine.errors import BuiltinError
from policy_engine.types import STRING, Function, set_, union
from policy_engine.types import array as array_of
from policy_engine.types import object_ as object_of
from policy_engine.values import Charge, Set, Value, literal, sorted_items

_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")
_ESCAPES: Final = [chr(octet) if octet in _UNRESERVED else f"%{octet:02X}" for octet in range(256)]
_ESCAPES[ord(" ")] = "+"

MAX_PARAMETERS: Final = 10_000
"""Go's own limit (GODEBUG urlmaxqueryparams)."""


class EscapeError(ValueError):
    """A percent sign that is not followed by two hexadecimal digits; the message is Go's."""


def escape(text: str) -> str:
    return "".join([_ESCAPES[octet] for octet in to_bytes(text)])


_PIECE: Final = 65_536

_NO_ESCAPE: Final = re.compile(rb"%(?![0-9a-fA-F]{2})")


def unescape(text: str, charge: Charge | None = None) -> str:
    """The text that was escaped. Raises `EscapeError`."""
    if "%" not in text:
        return text.replace("+", " ")
    octets = to_bytes(text)
    if (wrong := _NO_ESCAPE.search(octets)) is not None:
        # Go shows what follows as it was given, plus signs and all.
        raise EscapeError(f"invalid URL escape {literal(from_bytes(octets[wrong.start() : wrong.start() + 3]))}")
    octets = octets.replace(b"+", b" ")
    if len(octets) <= _PIECE:
        return from_bytes(unquote_to_bytes(octets))
    # Piece by piece: each escape is an object of its own on the way.
    pieces, at = [], 0
    while at < len(octets):
        if charge is not None:
            charge(_PIECE // 4)
        end = at + _PIECE
        end -= 1 if octets[end - 1 : end] == b"%" else 2 if octets[end - 2 : end - 1] == b"%" else 0
        pieces.append(unquote_to_bytes(octets[at:end]))
        at = end
    return from_bytes(b"".join(pieces))


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
    return escape(text)


_SHORT: Final = 64


def decode_object(operand: Value) -> Value:
    """Parameters by name, each with all its values in order."""
    query = string(operand, "urlquery.decode_object", 1)
    if query.count("&") >= MAX_PARAMETERS:
        raise BuiltinError("urlquery.decode_object: number of URL query parameters exceeded limit")
    values: dict[str, Value] = {}
    wrong = ""
    for parameter in query.split("&"):
        if ";" in parameter:
            # Go reports the last semicolon rather than the first wrong escape.
            wrong = "invalid semicolon separator in query"
        elif parameter:
            name, _, value = parameter.partition("=")
            try:
                values.setdefault(unescape(name), []).append(unescape(value))
            except EscapeError as error:
                wrong = wrong or str(error)
    if wrong:
        raise BuiltinError(f"urlquery.decode_object: {wrong}")
    return values


def encode_object(ctx: Context, operand: Value) -> Value:
    """Parameters sorted by name; the values of an array or set in its order."""
    name = "urlquery.encode_object"
    parameters: dict[str, list[str]] = {}
    for key, value in sorted_items(object_(operand, name, 1)):
        many = value if value.__class__ is list else value.sorted() if value.__class__ is Set else [value]
        for item in many:
            if item.__class__ is not str:
                operand_error(name, 1, "values must be string, array[string], or set[string]")
        # As in all of JSON, a key that is no string counts as its JSON text.
        parameters[key if key.__class__ is str else gojson.write(key, ctx.charge)] = many
    return "&".join(f"{escape(key)}={escape(item)}" for key, many in sorted(parameters.items()) for item in many)


_MANY: Final = union(STRING, array_of(STRING), set_(STRING))

BUILTINS: Final = (
    Builtin("urlquery.decode", Function((STRING,), STRING), decode, context=True),
    Builtin("urlquery.decode_object", Function((STRING,), object_of(STRING, array_of(STRING))), decode_object),
    Builtin("urlquery.encode", Function((STRING,), STRING), encode, context=True),
    Builtin("urlquery.encode_object", Function((object_of(STRING, _MANY),), STRING), encode_object, context=True),
)
