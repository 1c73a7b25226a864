"""base64.*, base64url.* and hex.*. `decode` and `decode_url` serve the other families that meet base64."""

from __future__ import annotations

import binascii
import re
from typing import Final

from policy_engine.builtins.octets import from_bytes, to_bytes
from policy_engine.builtins.operands import string
from policy_engine.builtins.table import Builtin
from policy_engine.errors import BuiltinError
from policy_engine.types import BOOLEAN, STRING, FunctionType
from policy_engine.values import Value, type_name


class Base64Error(ValueError):
    """Text that is not base64."""


_SOUND: Final = re.compile(rb"[A-Za-z0-9+/]*={0,2}")
"""The alphabet and the padding; that the length is a multiple of four is looked at apart, which takes no memory."""

_TO_STANDARD: Final = bytes.maketrans(b"-_+/", b"+/--")
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")


def decode(text: str) -> bytes:
    """Standard base64 with padding (RFC 4648 section 4); line breaks are skipped. Raises `Base64Error`."""
    return _decoded(to_bytes(text))


def decode_url(text: str) -> bytes:
    """The alphabet for URLs (RFC 4648 section 5), with or without padding. Raises `Base64Error`."""
    octets = to_bytes(text)
    if not octets.endswith(b"="):
        missing = -len(octets) % 4
        if missing == 3:
            raise Base64Error("not base64: a character is missing or too much")
        octets += b"=" * missing
    # `+` and `/` become `-`, which the standard alphabet lacks, so that they are refused.
    return _decoded(octets.translate(_TO_STANDARD))


def _decoded(octets: bytes) -> bytes:
    joined = octets.translate(None, b"\r\n")
    if _is_sound(joined):
        return binascii.a2b_base64(joined)
    raise Base64Error("not base64")


def _is_sound(octets: bytes) -> bool:
    return len(octets) % 4 == 0 and _SOUND.fullmatch(octets) is not None


def encode_url(octets: bytes) -> str:
    """Base64 for URLs, without padding."""
    return binascii.b2a_base64(octets, newline=False).translate(_TO_URL).rstrip(b"=").decode()


def base64_decode(operand: Value) -> Value:
    text = string(operand, "base64.decode", 1)
    try:
        return from_bytes(decode(text))
    except Base64Error as error:
        raise BuiltinError(f"base64.decode: {error}") from None


def base64_encode(operand: Value) -> Value:
    return binascii.b2a_base64(to_bytes(string(operand, "base64.encode", 1)), newline=False).decode()


def base64_is_valid(operand: Value) -> Value:
    """True for a string of standard base64, false for every other value."""
    if operand.__class__ is not str:
        type_name(operand)
        return False
    return _is_sound(to_bytes(operand).translate(None, b"\r\n"))


def base64url_decode(operand: Value) -> Value:
    text = string(operand, "base64url.decode", 1)
    try:
        return from_bytes(decode_url(text))
    except Base64Error as error:
        raise BuiltinError(f"base64url.decode: {error}") from None


def base64url_encode(operand: Value) -> Value:
    octets = to_bytes(string(operand, "base64url.encode", 1))
    return binascii.b2a_base64(octets, newline=False).translate(_TO_URL).decode()


def base64url_encode_no_pad(operand: Value) -> Value:
    return encode_url(to_bytes(string(operand, "base64url.encode_no_pad", 1)))


def hex_encode(operand: Value) -> Value:
    return to_bytes(string(operand, "hex.encode", 1)).hex()


def hex_decode(operand: Value) -> Value:
    try:
        return from_bytes(binascii.a2b_hex(to_bytes(string(operand, "hex.decode", 1))))
    except ValueError as error:
        raise BuiltinError(f"hex.decode: {str(error).lower()}") from None


_TEXT_TO_TEXT: Final = FunctionType((STRING,), STRING)

BUILTINS: Final = (
    Builtin("base64.decode", _TEXT_TO_TEXT, base64_decode),
    Builtin("base64.encode", _TEXT_TO_TEXT, base64_encode),
    Builtin("base64.is_valid", FunctionType((STRING,), BOOLEAN), base64_is_valid),
    Builtin("base64url.decode", _TEXT_TO_TEXT, base64url_decode),
    Builtin("base64url.encode", _TEXT_TO_TEXT, base64url_encode),
    Builtin("base64url.encode_no_pad", _TEXT_TO_TEXT, base64url_encode_no_pad),
    Builtin("hex.decode", _TEXT_TO_TEXT, hex_decode),
    Builtin("hex.encode", _TEXT_TO_TEXT, hex_encode),
)
