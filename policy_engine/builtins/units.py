"""Amounts with units: `units.parse` (SI, `m` is milli and `M` is mega) and `units.parse_bytes` (no case)."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import Final

from policy_engine import types as t
from policy_engine.builtins import gotext
from policy_engine.builtins.arithmetic import MAX_EXPONENT, decimal_to_dyadic, multiply, to_dyadic, too_big, truncate
from policy_engine.builtins.operands import string
from policy_engine.builtins.table import Builtin
from policy_engine.errors import BuiltinError
from policy_engine.values import Value, parse_number

_POWERS: Final = "kmgtpe"
_SI: Final = {letter: 1000 ** (power + 1) for power, letter in enumerate(_POWERS)}
_BINARY: Final = {f"{letter}i": 1024 ** (power + 1) for power, letter in enumerate(_POWERS)}

_UNITS: Final[dict[str, Fraction | int]] = {
    "": 1,
    "m": Fraction(0.001),
    "M": _SI["m"],
    **{letter: size for letter, size in _SI.items() if letter != "m"},
    **{letter.upper(): size for letter, size in _SI.items()},
    **_BINARY,
    **{letter.capitalize(): size for letter, size in _BINARY.items()},
}
"""Milli is the float64 that Go makes of 0.001."""

_BYTES: Final = {"": 1, **_SI, **_BINARY, **{f"{unit}b": size for unit, size in (*_SI.items(), *_BINARY.items())}}


def parse(text: Value) -> int | float:
    """`10K` is 10000, `1Ki` is 1024; what is no integer has ten digits behind the point."""
    name = "units.parse"
    number, unit = _amount_and_unit(string(text, name, 1), name, "amount")
    unit = unit[:1] + gotext.lower(unit[1:])
    if unit not in _UNITS:
        raise _error(name, f"unit {unit} not recognized")
    value = Fraction(_decimal(number, name, "amount")) * _UNITS[unit]
    if value.denominator == 1:
        return value.numerator
    # Halves away from zero, where Python's own rounding prefers the even digit.
    scaled, rest = divmod(abs(value.numerator) * 10**10, value.denominator)
    digits = str(scaled + (2 * rest >= value.denominator)).rjust(11, "0")
    return parse_number(f"{'-' if value < 0 else ''}{digits[:-10]}.{digits[-10:]}")


def parse_bytes(text: Value) -> int:
    """`10KB` is 10000, `10KiB` and `10Ki` are 10240; fractions of a byte are cut off."""
    name = "units.parse_bytes"
    number, unit = _amount_and_unit(string(text, name, 1), name, "byte amount")
    unit = gotext.lower(unit)
    if unit not in _BYTES:
        raise _error(name, f"byte unit {unit} not recognized")
    amount = decimal_to_dyadic(_decimal(number, name, "byte amount"))
    return truncate(multiply(amount, to_dyadic(_BYTES[unit], name)))


def _amount_and_unit(text: str, name: str, amount: str) -> tuple[str, str]:
    """The number-like part at the front, and the rest. An `e` belongs to the number if an exponent can follow."""
    text = text.replace('"', "")
    if " " in text:
        raise _error(name, "spaces not allowed in resource strings")
    if len(text) > MAX_EXPONENT:
        raise too_big(name)
    found = _NUMBER_LIKE.match(text)
    assert found is not None
    if any(len(digits) > _EXPONENT_DIGITS for digits in _EXPONENT.findall(found[0])):
        raise _error(name, "exponent too large")
    if not found[0]:
        raise _error(name, f"no {amount} provided")
    return found[0], text[found.end() :]


_NUMBER_LIKE: Final = re.compile(r"(?:[0-9.+-]|[eE][+-]|[eE](?=[0-9]))*", re.ASCII)
_EXPONENT: Final = re.compile(r"[eE][+-]?([0-9]*)", re.ASCII)
_EXPONENT_DIGITS: Final = 6
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)


def _decimal(number: str, name: str, amount: str) -> Decimal:
    if not _NUMBER.fullmatch(number):
        raise _error(name, f"could not parse {amount} to a number")
    value = Decimal(number)
    if value and (abs(value.adjusted()) > MAX_EXPONENT or len(number) > MAX_EXPONENT):
        raise too_big(name)
    return value


def _error(name: str, why: str) -> BuiltinError:
    # OPA's own texts begin with the name as well, so that it stands there twice.
    return BuiltinError(f"{name}: {name}: {why}")


_PARSE: Final = t.FunctionType((t.STRING,), t.NUMBER)

BUILTINS: Final = (
    Builtin("units.parse", _PARSE, parse),
    Builtin("units.parse_bytes", _PARSE, parse_bytes),
)
