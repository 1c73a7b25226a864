"""Durations as text: Go's ("-1h2.5m"), and with OPA's days, weeks and years of 365 days ("1d12h").

Go's are read with its own arithmetic, 64-bit integers and floating point for the decimals, so that the last nanosecond
agrees. As in OPA, longer units are turned into hours first, and every part into nanoseconds by itself.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from policy_engine.builtins.operands import shown

_UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,  # the micro sign
    "\u03bcs": 1_000,  # the Greek letter
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_LONG_UNITS: Final = {"d": 24, "w": 7 * 24, "y": 365 * 24}
"""In hours."""

_LIMIT: Final = 1 << 63


class DurationError(ValueError):
    """Text that is no duration."""


def parse_duration(text: str) -> int:
    """Nanoseconds, in 64 bits. Raises `DurationError`."""
    negative = text[:1] == "-"
    rest = text[1:] if text[:1] in ("+", "-") else text
    try:
        if any(unit in text for unit in _LONG_UNITS):
            total = _with_long_units(rest)
        else:
            total = 0 if rest == "0" else _total(rest)
        if total > _LIMIT or (total == _LIMIT and not negative):
            raise DurationError("more than 64 bits of nanoseconds")
    except DurationError as error:
        raise DurationError(f"invalid duration {shown(text)}: {error}") from None
    return -total if negative else total


_PART: Final = re.compile(r"([0-9.]+)(ms|us|\u00b5s|ns|[a-z])")
_PARTS: Final = re.compile(rf"(?:{_PART.pattern})+")


def _with_long_units(text: str) -> int:
    total = 0
    if not _PARTS.fullmatch(text):
        raise DurationError("expected numbers with units")
    for digits, unit in _PART.findall(text):
        if unit in _LONG_UNITS:
            if not digits.strip(".") or digits.count(".") > 1:
                raise DurationError(f"{digits} is no number")
            hours = Decimal(repr(float(digits) * _LONG_UNITS[unit]))
            total += _total(format(hours, "f") + "h")
        else:
            total += _total(digits + unit)
        if total > _LIMIT:
            break
    return total


_GO_PART: Final = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^.0-9]*)")


def _total(text: str) -> int:
    """The sum of a duration's parts; it stops when that is beyond 64 bits."""
    total = at = 0
    while at < len(text) or not at:
        found = _GO_PART.match(text, at)
        assert found  # it matches anything
        whole, fraction, unit = found.groups(default="")
        at = found.end()
        # Longer digits cannot be below the limit, and Python refuses to read very long ones.
        if not (whole or fraction) or len(whole.lstrip("0")) > 19 or int(whole or "0") > _LIMIT:
            raise DurationError("expected a number of 64 bits")
        if unit not in _UNITS:
            raise DurationError(f"unknown unit {shown(unit)}" if unit else "a unit is missing")
        total += int(whole or "0") * _UNITS[unit] + _fraction(fraction, _UNITS[unit])
        if total > _LIMIT:
            break
    return total


def _fraction(digits: str, unit: int) -> int:
    """Decimals of a unit in nanoseconds, in the floating point that Go does it in."""
    # Go drops digits once they do not fit in 63 bits.
    digits = digits[:19] if int(digits[:19] or "0") < _LIMIT else digits[:18]
    return int(float(int(digits or "0")) * (float(unit) / 10.0 ** len(digits)))
