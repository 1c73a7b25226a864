"""The number kernel: exact integers, and binary floating point with a mantissa of 64 bits, as OPA computes.

Integers, however they are written (`2`, `2.0`, `1e30`), are added, subtracted and multiplied exactly. Everything else
follows Go's `big.Float`: operands are rounded to 64 bits, the result again, to nearest with ties to even, and the
result's text is the shortest decimal that reads back as the same 64 bits (which is why `1/3` is
0.33333333333333333334, and why `1e30/1` is right but `123456789012345678901234567890/1` ends in zeros).

`Dyadic` is a number m·2^e. Functions here take and return Rego numbers unless they say so. No Rego builtin lives here:
see `operators`, `aggregates` and `numbers`.
"""

from __future__ import annotations

import functools
import math
from decimal import Decimal
from typing import Final, NamedTuple

from policy_engine.errors import BuiltinError
from policy_engine.values import Number, exact, foreign, parse_number

PRECISION: Final = 64
"""Mantissa bits of a `big.Float` made from text."""

PRODUCT_PRECISION: Final = 53
"""`product` accumulates into a float that started as a float64, and keeps that precision."""

MAX_BITS: Final = 200_000
"""No integer result is longer. OPA reads literals up to 100,000 bits; C code cannot be interrupted at a deadline."""

MAX_EXPONENT: Final = 30_103
"""Decimal exponents beyond it (2^100,000) are not computed with: OPA's parser refuses them, documents may hold them."""


class Dyadic(NamedTuple):
    """mantissa · 2^exponent. `negative_zero` is the sign that a zero mantissa cannot carry."""

    mantissa: int
    exponent: int
    negative_zero: bool = False


def too_big(name: str) -> BuiltinError:
    """The error for a number that would take too long to compute with."""
    return BuiltinError(f"{name}: number too big")


def effort(number: float) -> int:
    """Steps for making a number what can be computed with: little but for many digits or large exponents."""
    if number.__class__ is Number:
        exponent = number.text.lower().partition("e")[2]
        return len(number.text) // 4 + min(abs(int(exponent or "0")), MAX_EXPONENT) // 4
    if number.__class__ is int:
        return number.bit_length() // 16 if number.bit_length() > _SHORT else 0
    return 0


_SHORT: Final = 1024
"""Bits of an integer that is computed with for nothing."""


def as_integer(number: float, name: str) -> int | None:
    """The integer that a number is, exactly; None for a fraction."""
    if number.__class__ is int:
        if number.bit_length() > MAX_BITS:
            raise too_big(name)
        return number
    if number.__class__ is float and -9e15 < number < 9e15:
        return int(number) if number.is_integer() else None
    value = _decimal(number, name)
    return int(value) if value == value.to_integral_value() else None


def integer_product(a: int, b: int, name: str) -> int:
    """The product, sized up before it is computed."""
    if a.bit_length() + b.bit_length() > MAX_BITS:
        raise too_big(name)
    return a * b


def _decimal(number: float, name: str) -> Decimal:
    value = exact(number)
    if not value.is_finite():
        foreign(number)
    if value and (abs(value.adjusted()) > MAX_EXPONENT or len(value.as_tuple().digits) > MAX_EXPONENT):
        raise too_big(name)
    return value


def to_dyadic(number: float, name: str) -> Dyadic:
    """The number rounded to 64 bits."""
    if number.__class__ is int:
        return round_quotient(number, 1, PRECISION)
    if number.__class__ is float and 1e-4 <= abs(number) < 1e15:
        return _float_to_dyadic(number)
    return decimal_to_dyadic(_decimal(number, name))


@functools.lru_cache(maxsize=4096)
def _float_to_dyadic(number: float) -> Dyadic:
    """The same for a float whose text has no exponent."""
    whole, _, fraction = float.__repr__(number).partition(".")
    return round_quotient(int(whole + fraction), 10 ** len(fraction), PRECISION)


def decimal_to_dyadic(value: Decimal) -> Dyadic:
    """The decimal rounded to 64 bits. Its exponent is not beyond `MAX_EXPONENT`."""
    if not value:
        return Dyadic(0, 0, value.is_signed())
    sign, digits, power = value.as_tuple()
    assert isinstance(power, int)
    if len(digits) > _DIGITS_FIRST:
        # Few digits tell, unless the number is next to the middle between two roundings.
        power += len(digits) - _DIGITS_FIRST
        first = int("".join(map(str, digits[:_DIGITS_FIRST])))
        below, above = (_scaled_by_ten(-size if sign else size, power) for size in (first, first + 1))
        if below == above:
            return below
        power -= len(digits) - _DIGITS_FIRST
    return _scaled_by_ten(int(Decimal((sign, digits, 0))), power)


_DIGITS_FIRST: Final = 40


def _scaled_by_ten(mantissa: int, power: int) -> Dyadic:
    return round_quotient(mantissa * 10 ** max(power, 0), 10 ** max(-power, 0), PRECISION)


def round_quotient(numerator: int, denominator: int, bits: int) -> Dyadic:
    """numerator / denominator, to nearest, ties to even. The denominator is positive."""
    size = abs(numerator)
    if not size:
        return Dyadic(0, 0)
    if denominator == 1 and size.bit_length() <= bits:
        return Dyadic(numerator, 0)
    # Two bits more than needed, so that what is cut off can be compared with a half.
    shift = bits + 2 - (size.bit_length() - denominator.bit_length())
    if denominator == 1 and shift < 0:
        # A division, even one by a power of two, takes time that is quadratic in the digits.
        quotient, rest = size >> -shift, size & ((1 << -shift) - 1)
    elif shift >= 0:
        quotient, rest = divmod(size << shift, denominator)
    else:
        quotient, rest = divmod(size, denominator << -shift)
    extra = quotient.bit_length() - bits
    half, low = 1 << (extra - 1), quotient & ((1 << extra) - 1)
    quotient >>= extra
    if low > half or (low == half and (rest or quotient & 1)):
        quotient += 1
    return Dyadic(quotient if numerator > 0 else -quotient, extra - shift)


def add(a: Dyadic, b: Dyadic, bits: int = PRECISION) -> Dyadic:
    low = min(a.exponent, b.exponent)
    total = (a.mantissa << (a.exponent - low)) + (b.mantissa << (b.exponent - low))
    return _scaled(round_quotient(total, 1, bits), low)


def subtract(a: Dyadic, b: Dyadic) -> Dyadic:
    return add(a, Dyadic(-b.mantissa, b.exponent))


def multiply(a: Dyadic, b: Dyadic, bits: int = PRECISION) -> Dyadic:
    product = _scaled(round_quotient(a.mantissa * b.mantissa, 1, bits), a.exponent + b.exponent)
    return product if product.mantissa else Dyadic(0, 0, negative(a) != negative(b))


def divide(a: Dyadic, b: Dyadic) -> Dyadic:
    """The quotient. `b` is not zero."""
    numerator = a.mantissa if b.mantissa > 0 else -a.mantissa
    quotient = _scaled(round_quotient(numerator, abs(b.mantissa), PRECISION), a.exponent - b.exponent)
    return quotient if quotient.mantissa else Dyadic(0, 0, negative(a) != negative(b))


def negative(a: Dyadic) -> bool:
    """The sign bit."""
    return a.mantissa < 0 or a.negative_zero


def _scaled(a: Dyadic, exponent: int) -> Dyadic:
    return Dyadic(a.mantissa, a.exponent + exponent) if a.mantissa else a


def is_whole(a: Dyadic) -> bool:
    return a.exponent >= 0 or not a.mantissa & ((1 << -a.exponent) - 1)


def truncate(a: Dyadic) -> int:
    """The integer part, towards zero."""
    if a.exponent >= 0:
        return a.mantissa << a.exponent
    size = abs(a.mantissa) >> -a.exponent
    return size if a.mantissa >= 0 else -size


def to_number(a: Dyadic, bits: int = PRECISION) -> int | float:
    """The Rego number whose text OPA would write."""
    mantissa, exponent, minus_zero = a
    if not mantissa:
        return Number("-0") if minus_zero else 0
    trailing = (mantissa & -mantissa).bit_length() - 1
    if exponent + trailing >= 0:
        value = mantissa << exponent if exponent >= 0 else mantissa >> -exponent
        if value.bit_length() <= bits:
            return value
        digits, point = shortest_digits(abs(mantissa), exponent, bits)
        return int(Decimal(f"{'-' if mantissa < 0 else ''}{digits}e{point - len(digits)}"))
    if bits == PRECISION and -120 < exponent < 0:
        # Most results are short decimals: then the shortest text of the float next to it reads back as the same bits,
        # and is the shortest of all that do.
        number = math.ldexp(mantissa, exponent)
        if 1e-4 <= abs(number) < 1e6 and to_dyadic(number, "") == normal(mantissa, exponent):
            return number
    digits, point = shortest_digits(abs(mantissa), exponent, bits)
    return parse_number(("-" if mantissa < 0 else "") + general_text(digits, point))


def normal(mantissa: int, exponent: int) -> Dyadic:
    """The same value as `round_quotient` gives it: with all of its 64 bits."""
    shift = PRECISION - mantissa.bit_length()
    return Dyadic(mantissa << shift, exponent - shift) if shift > 0 else Dyadic(mantissa, exponent)


def general_text(digits: str, point: int) -> str:
    """Digits with the decimal point behind the `point`-th, as Go's `%g` writes a shortest decimal."""
    exponent = point - 1
    if exponent < -4 or exponent >= 6:
        fraction = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{digits[0]}{fraction}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    if point <= 0:
        return "0." + "0" * -point + digits
    if point >= len(digits):
        return digits.ljust(point, "0")
    return f"{digits[:point]}.{digits[point:]}"


def shortest_digits(mantissa: int, exponent: int, bits: int) -> tuple[str, int]:
    """The fewest digits that read back as mantissa·2^exponent at that many bits, and where the decimal point goes.

    Go's algorithm, with its habits: the value's digits are cut where the result still lies within half a unit in the
    last place, below or above (inclusive if the mantissa is even). It ignores that the spacing halves below a power of
    two, and it does not consider rounding up where the upper bound's own digits end early.
    """
    shift = bits - mantissa.bit_length()
    mantissa = mantissa << shift if shift >= 0 else mantissa >> -shift
    inclusive = not mantissa & 1
    # In units of half the last place, the bounds are one less and one more than the value.
    middle, power = mantissa << 1, exponent - shift - 1
    digits, point, more = _leading_digits(middle, power)
    lower, _, lower_more = _leading_digits(middle - 1, power)
    upper, _, upper_more = _leading_digits(middle + 1, power)
    for i, digit in enumerate(digits):
        # Behind its last digit a bound continues with zeros.
        below, above = lower[i : i + 1] or "0", upper[i : i + 1] or "0"
        ok_down = below != digit or (inclusive and i + 1 == len(lower) and not lower_more)
        ok_up = digit != above and (inclusive or ord(digit) + 1 < ord(above) or i + 1 < len(upper) or upper_more)
        if ok_down or ok_up:
            head, tail = int(digits[: i + 1]), digits[i + 1 :]
            half = tail[:1] == "5" and len(tail) == 1 and not more
            nearer_up = bool(head & 1) if half else tail[:1] >= "5"
            text = str(head + (ok_up and (nearer_up or not ok_down)))
            # Rounding up may have made one digit more: 9.99 -> 10.0
            return text.rstrip("0"), point + len(text) - (i + 1)
    return digits, point


def _leading_digits(mantissa: int, exponent: int) -> tuple[str, int, bool]:
    """The first digits of mantissa·2^exponent without trailing zeros, the decimal point's place, and if more follow."""
    point = math.floor((mantissa.bit_length() - 1 + exponent) * _LOG10_2) + 1
    numerator = mantissa << exponent if exponent > 0 else mantissa
    denominator = 1 << -exponent if exponent < 0 else 1
    scale = _DIGITS - point
    if scale >= 0:
        numerator *= 10**scale
    else:
        denominator *= 10**-scale
    leading, rest = divmod(numerator, denominator)
    text = str(leading)
    # The guess is one short where the mantissa is large; then there is a digit more than asked for.
    point += len(text) - _DIGITS
    return text.rstrip("0"), point, rest != 0


_DIGITS: Final = 24
"""Digits to look at: 20 always suffice for 64 bits."""

_LOG10_2: Final = math.log10(2)
