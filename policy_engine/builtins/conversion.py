"""Types: tests of a value's type, and the number of a scalar."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Final

from policy_engine import types as t
from policy_engine.builtins.arithmetic import MAX_EXPONENT, too_big
from policy_engine.builtins.operands import number, operand_error, wrong
from policy_engine.builtins.table import Builtin, Cost
from policy_engine.errors import BuiltinError
from policy_engine.values import Value, literal, number_text, parse_number, type_name


def to_number(value: Value) -> int | float:
    """null and false are 0, true is 1; a string is read as Go's `strconv.ParseFloat` reads it, its text kept."""
    if value is None or value is False:
        return 0
    if value is True:
        return 1
    if value.__class__ is str:
        return _parse(value)
    if type_name(value) != "number":
        wrong("to_number", 1, value, "null", "boolean", "number", "string")
    return number(value, "to_number", 1)


_DIGITS: Final = r"[0-9](?:_?[0-9])*"
_HEX_DIGITS: Final = r"[0-9a-fA-F](?:_?[0-9a-fA-F])*"
_JSON_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_GO_NUMBER: Final = re.compile(
    rf"[+-]?(?:(?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE][+-]?{_DIGITS})?"
    rf"|0[xX](?:_?{_HEX_DIGITS}(?:\.(?:{_HEX_DIGITS})?)?|\.{_HEX_DIGITS})[pP][+-]?{_DIGITS})"
)


def _parse(text: str) -> int | float:
    if text.lstrip("+-").lower() in ("inf", "infinity", "nan"):
        operand_error("to_number", 1, "must be valid number string but got string")
    if len(text) > MAX_EXPONENT:
        raise too_big("to_number")
    if not _GO_NUMBER.fullmatch(text):
        raise _failed(text, "invalid syntax")
    plain = text.replace("_", "")
    try:
        finite = math.isfinite(float.fromhex(plain) if "x" in plain.lower() else float(plain))
    except OverflowError:
        finite = False
    if not finite:
        raise _failed(text, "value out of range")
    try:
        return parse_number(text if _JSON_NUMBER.fullmatch(text) else _json_text(plain))
    except ValueError:
        raise too_big("to_number") from None


def _json_text(text: str) -> str:
    """The JSON text for a number that Go reads although JSON does not have it: `+1`, `.5`, `5.`, `007`, `0x1p4`.

    OPA keeps the text as it is and then writes documents that are not JSON.
    """
    if "x" in text.lower():
        return number_text(float.fromhex(text)).removesuffix(".0")
    return str(Decimal(text)).replace("E", "e")


def _failed(text: str, why: str) -> BuiltinError:
    return BuiltinError(f"to_number: strconv.ParseFloat: parsing {literal(text)}: {why}")


def _is(name: str) -> Builtin:
    def check(value: Value) -> bool:
        return type_name(value) == name

    return Builtin(f"is_{name}", t.FunctionType((t.ANY,), t.BOOLEAN), check, cost=Cost.NOTHING)


BUILTINS: Final = (
    Builtin("to_number", t.FunctionType((t.union(t.NULL, t.BOOLEAN, t.NUMBER, t.STRING),), t.NUMBER), to_number),
    *map(_is, ("array", "boolean", "null", "number", "object", "set", "string")),
    Builtin("type_name", t.FunctionType((t.ANY,), t.STRING), type_name, cost=Cost.NOTHING),
)
