"""One value under one verb of Go's `fmt`: `%-8.3f`, `%#x`, `%q`, and what Go writes for a verb that does not fit.

The arguments that `sprintf` has are int (`int64`, or `*big.Int` beyond 64 bits), float (`float64`) and str (`string`);
templates also have bool, None (nil), lists, maps and `JsonNumber`. Reading a format string is `formatting`'s business.
See Go's packages fmt, strconv and math/big.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from policy_engine.builtins.arithmetic import general_text
from policy_engine.builtins.octets import to_bytes
from policy_engine.builtins.operands import INT64_MAX, INT64_MIN
from policy_engine.unicode15 import is_printable
from policy_engine.values import int_text, literal

Argument: TypeAlias = int | float | str | bool | list[Any] | dict[str, Any] | None


class JsonNumber(str):
    """A JSON number, which Go's decoder keeps as its text: a string type of its own."""

    __slots__ = ()


_LAST_CODE_POINT: Final = 0x10FFFF
_REPLACEMENT: Final = "\ufffd"


@dataclass(slots=True)
class Spec:
    """The flags, width and precision in front of a verb. `%v` has its own meaning for two flags: see `for_value`."""

    sharp: bool = False
    zero: bool = False
    plus: bool = False
    minus: bool = False
    space: bool = False
    go_syntax: bool = False
    field_names: bool = False
    width: int | None = None
    precision: int | None = None

    def for_value(self) -> None:
        """Read the flags as `%v` does: `#` asks for Go syntax, `+` for field names (of which there are none here)."""
        self.go_syntax, self.sharp = self.sharp, False
        self.field_names, self.plus = self.plus, False

    def pad(self, text: str, *, zeros: bool = True) -> str:
        """Fill up to the width: with spaces, or zeros on the left if that flag is set."""
        if self.width is None or len(text) >= self.width:
            return text
        if self.minus:
            return text.ljust(self.width)
        return text.rjust(self.width, "0" if self.zero and zeros else " ")

    def sign(self, negative: bool) -> str:
        return "-" if negative else "+" if self.plus else " " if self.space else ""


def type_name(argument: Argument) -> str:
    """The argument's type in Go."""
    if argument.__class__ is int:
        return "int64" if _is_int64(argument) else "*big.Int"
    return _TYPE_NAMES[argument.__class__]


_TYPE_NAMES: Final[dict[type, str]] = {
    str: "string",
    float: "float64",
    bool: "bool",
    JsonNumber: "json.Number",
    list: "[]interface {}",
    dict: "map[string]interface {}",
    type(None): "<nil>",
}


def _is_int64(number: int) -> bool:
    return INT64_MIN <= number <= INT64_MAX


def format_value(spec: Spec, verb: str, argument: Argument) -> str:
    """The argument under the verb."""
    if verb == "T":
        return spec.pad(_truncated(spec, type_name(argument)))
    if isinstance(argument, str):
        text = _format_string(spec, verb, argument)
    elif argument is None:
        return spec.pad("<nil>") if verb == "v" else f"%!{verb}(<nil>)"
    elif isinstance(argument, bool):
        text = spec.pad("true" if argument else "false") if verb in "tv" else None
    elif isinstance(argument, float):
        text = _format_float(spec, verb, argument)
    elif isinstance(argument, int):
        text = (_format_int64 if _is_int64(argument) else _format_big)(spec, verb, argument)
    else:
        return _format_composite(spec, verb, argument)
    # Go shows the value as `%v` would, under the same flags.
    return f"%!{verb}({type_name(argument)}={format_value(spec, 'v', argument)})" if text is None else text


def _format_composite(spec: Spec, verb: str, composite: list[Any] | dict[str, Any]) -> str:
    """Each element under the verb."""
    if isinstance(composite, list):
        return "[" + " ".join(format_value(spec, verb, item) for item in composite) + "]"
    pairs = (f"{format_value(spec, verb, key)}:{format_value(spec, verb, item)}" for key, item in composite.items())
    return "map[" + " ".join(pairs) + "]"


def _format_string(spec: Spec, verb: str, text: str) -> str | None:
    if verb == "s" or (verb == "v" and not spec.go_syntax):
        return spec.pad(_truncated(spec, text))
    if verb in ("q", "v"):
        return spec.pad(_quoted(spec, _truncated(spec, text)))
    if verb in ("x", "X"):
        return _hex_of_bytes(spec, to_bytes(text)[: spec.precision], upper=verb == "X")
    return None


def _truncated(spec: Spec, text: str) -> str:
    return text if spec.precision is None else text[: spec.precision]


def _quoted(spec: Spec, text: str) -> str:
    if spec.sharp and not any(char in "`\x7f\ufeff" or (char < " " and char != "\t") for char in text):
        return f"`{text}`"
    return literal(text, ascii_only=spec.plus)


def _hex_of_bytes(spec: Spec, data: bytes, *, upper: bool) -> str:
    prefix = "0x" if spec.sharp else ""
    text = data.hex(" ").replace(" ", f" {prefix}") if spec.space else data.hex()
    text = f"{prefix}{text}" if data else ""
    return spec.pad(text.upper() if upper else text)


_BASES: Final = {"b": 2, "o": 8, "O": 8, "d": 10, "v": 10, "x": 16, "X": 16}


def _digits(size: int, base: int) -> str:
    if base == 10:
        return int_text(size)
    return format(size, {2: "b", 8: "o", 16: "x"}[base])


def _format_int64(spec: Spec, verb: str, number: int) -> str | None:
    if verb == "c":
        return spec.pad(_character(number))
    if verb == "q":
        return spec.pad(literal(_character(number), "'", ascii_only=spec.plus))
    if verb == "U":
        return _code_point(spec, number)
    base = _BASES.get(verb)
    if base is None:
        return None
    digits = _digits(abs(number), base)
    wanted = spec.precision
    if wanted is not None:
        if wanted == 0 and number == 0:
            return " " * (spec.width or 0)
    elif spec.zero and not spec.minus and spec.width is not None:
        # Zeros up to the width count as precision; a sign takes one of their places, a prefix does not.
        wanted = spec.width - len(spec.sign(number < 0))
    digits = digits.rjust(wanted or 0, "0")
    text = spec.sign(number < 0) + _prefix(spec, verb, digits) + digits
    return spec.pad(text.upper() if verb == "X" else text, zeros=False)


def _prefix(spec: Spec, verb: str, digits: str) -> str:
    octal = "0" if spec.sharp and verb in "oO" and not digits.startswith("0") else ""
    if verb in "oO":
        return f"0o{octal}" if verb == "O" else octal
    return {"b": "0b", "x": "0x", "X": "0x"}.get(verb, "") if spec.sharp else ""


def _character(number: int) -> str:
    if not 0 <= number <= _LAST_CODE_POINT or 0xD800 <= number < 0xE000:
        return _REPLACEMENT
    return chr(number)


def _code_point(spec: Spec, number: int) -> str:
    digits = f"{number % (1 << 64):X}".rjust(max(4, spec.precision or 0), "0")
    text = f"U+{digits}"
    if spec.sharp and 0 <= number <= _LAST_CODE_POINT and is_printable(chr(number)):
        text += f" '{chr(number)}'"
    return spec.pad(text, zeros=False)


def _format_big(spec: Spec, verb: str, number: int) -> str | None:
    """`big.Int` formats itself, by rules of its own: it takes `%s`, and a verb it does not know is no error of Go's."""
    if verb in ("w", "p"):
        return None
    base = 10 if verb == "s" else _BASES.get(verb)
    if base is None:
        return f"%!{verb}(big.Int={int_text(number)})"
    digits = _digits(abs(number), base).rjust(spec.precision or 0, "0")
    # It does not tell `%+d` from `%+v`.
    sign = "+" if spec.field_names and number > 0 else spec.sign(number < 0)
    prefix = "0o" if verb == "O" else "0" if verb == "o" and spec.sharp else _prefix(spec, verb, digits)
    if spec.zero and not spec.minus and spec.precision is None:
        digits = digits.rjust((spec.width or 0) - len(sign) - len(prefix), "0")
    text = sign + prefix + digits
    return spec.pad(text.upper() if verb == "X" else text, zeros=False)


def _format_float(spec: Spec, verb: str, number: float) -> str | None:
    if verb not in "vbgGxXfFeE":
        return None
    style = {"v": "g", "F": "f"}.get(verb, verb)
    precision = spec.precision
    if precision is None and style in "feE":
        precision = 6
    text = _unsigned_float(abs(number), style, precision)
    if spec.sharp and style != "b":
        text = _with_point(text, style, spec.precision)
    sign = spec.sign(math.copysign(1.0, number) < 0)
    if sign and spec.zero and not spec.minus and spec.width is not None:
        # The sign stands before the zeros.
        return sign + text.rjust(spec.width - len(sign), "0")
    return spec.pad(sign + text)


def _unsigned_float(number: float, style: str, precision: int | None) -> str:
    """As `strconv.FormatFloat` writes it; without a precision, the shortest text that reads back."""
    if style == "b":
        # Denormal numbers, and zero, have the lowest exponent.
        exponent = max(math.frexp(number)[1] - 53, -1074) if number else -1074
        return f"{int(math.ldexp(number, -exponent))}p{exponent:+d}"
    if style in "xX":
        text = _hex_float(number, precision)
    elif precision is not None:
        return format(number, f".{precision}{style}")
    elif number:
        _, digits, power = _shortest(number)
        text = general_text(digits, power + len(digits))
    else:
        text = "0"
    return text.upper() if style.isupper() else text


def _shortest(number: float) -> tuple[float, str, int]:
    """The number's shortest digits, and the power of ten that the last of them counts."""
    mantissa, _, exponent = f"{number!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    trimmed = digits.rstrip("0")
    return number, trimmed, int(exponent or 0) - len(fraction) + len(digits) - len(trimmed)


def _hex_float(number: float, precision: int | None) -> str:
    """`0x1.8p+00`: one hexadecimal digit before the point, a power of two with at least two digits."""
    fraction, exponent = math.frexp(number)
    mantissa, exponent = (int(fraction * (1 << 53)), exponent - 1) if number else (0, 0)
    digits = 13
    if precision is not None and precision < digits:
        drop = 4 * (digits - precision)
        kept, rest = mantissa >> drop, mantissa & ((1 << drop) - 1)
        half = 1 << (drop - 1)
        mantissa = kept + (rest > half or (rest == half and kept & 1))
        digits = precision
        if mantissa >> (4 * digits) == 2:
            mantissa, exponent = mantissa >> 1, exponent + 1
    whole, tail = mantissa >> (4 * digits), mantissa & ((1 << 4 * digits) - 1)
    shown = f"{tail:0{digits}x}" if digits else ""
    shown = shown.rstrip("0") if precision is None else shown.ljust(precision, "0")
    return f"0x{whole}{'.' if shown else ''}{shown}p{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def _with_point(text: str, style: str, precision: int | None) -> str:
    """Apply the flag `#`: the number has a decimal point, and no trailing zeros are removed."""
    mark = "p" if style in "xX" else "e"
    at = text.lower().find(mark)
    number, tail = (text[:at], text[at:]) if at >= 0 else (text, "")
    wanted = 0
    if style in "gGx":
        wanted = 6 if precision is None else precision
        # Digits count from the first that is not zero. (Go counts the 0 of `0x` and the x as well.)
        counted = number.replace(".", "")
        wanted -= len(counted.lstrip("0"))
        if "." not in number and number == "0":
            wanted -= 1
    return number + ("" if "." in number else ".") + "0" * max(wanted, 0) + tail
