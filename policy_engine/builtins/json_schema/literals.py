"""Numbers and literal values of JSON Schema as they are compared, and as messages show them.

Limits are compared exactly. `const`, `enum` and `uniqueItems` compare what is left of numbers in a float, as OPA does:
1 and 1.0 are the same, and so are integers that only differ beyond 53 bits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal, DecimalException
from typing import Final

from policy_engine.builtins import gojson
from policy_engine.values import Number, Value, exact, number_text


def decimal(value: Value) -> Decimal | None:
    """A number exactly, None for what is none."""
    if value.__class__ is not int and value.__class__ is not float and value.__class__ is not Number:
        return None
    try:
        return exact(value)
    except DecimalException:
        raise gojson.JSONError(f"number {number_text(value)} is out of range") from None


def is_integral(number: Decimal) -> bool:
    return number == number.to_integral_value()


def is_multiple(number: Decimal, unit: Decimal) -> bool:
    """True if the number is a multiple of the unit. No large power of ten is ever written out."""
    digits, exponent = _integer_parts(number)
    unit_digits, unit_exponent = _integer_parts(unit)
    shift = exponent - unit_exponent
    if shift >= 0:
        return digits * pow(10, shift, unit_digits) % unit_digits == 0
    # The unit is the larger power of ten: what it multiplies cannot be longer than the number is.
    return digits == 0 or (-shift <= digits.bit_length() and digits % (unit_digits * 10**-shift) == 0)


def _integer_parts(number: Decimal) -> tuple[int, int]:
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int), "a JSON number is finite"
    return int(Decimal((sign, digits, 0))), exponent


def shown(number: Decimal) -> str:
    """As Go prints a `big.Float`: the digits that matter, with an exponent from a million on and below 0.0001."""
    sign, digits, _ = number.as_tuple()
    text = "".join(map(str, digits)).strip("0")
    if not text:
        return "0"
    minus, place = "-" if sign else "", number.adjusted()
    if -4 <= place < 0:
        return f"{minus}0.{'0' * (-place - 1)}{text}"
    if 0 <= place < 6:
        whole, fraction = text[: place + 1].ljust(place + 1, "0"), text[place + 1 :]
    else:
        whole, fraction = text[0], text[1:]
    power = "" if 0 <= place < 6 else f"e{'-' if place < 0 else '+'}{abs(place):02}"
    return f"{minus}{whole}{'.' if fraction else ''}{fraction}{power}"


_STRING_OR_NUMBER: Final = re.compile(r'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*')


def canonical(value: Value, charge: Callable[[int], None]) -> str:
    """JSON text that is the same for values that count as the same. Raises `JSONError` for what no float can hold."""
    return _STRING_OR_NUMBER.sub(_rounded, gojson.write(value, charge))


def _rounded(found: re.Match[str]) -> str:
    text = found.group()
    if text.startswith('"'):
        return text
    number = float(text)
    if math.isinf(number):
        raise gojson.JSONError(f"json: cannot unmarshal number {text} into Go value of type float64")
    if number and not 1e-6 <= abs(number) < 1e21:
        return repr(number).replace("e-0", "e-")
    return format(Decimal(repr(number)), "f").removesuffix(".0")
