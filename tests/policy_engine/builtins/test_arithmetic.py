"""The number kernel: thousands of random operations with OPA's text, and what must hold without asking it."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Final

import pytest

from policy_engine.builtins import arithmetic
from policy_engine.values import Value, exact, number_text
from tests.oracle import Oracle
from tests.policy_engine.builtins import generate as g
from tests.policy_engine.builtins.conftest import outcome

OPERATIONS: Final = {"plus": "+", "minus": "-", "mul": "*", "div": "/"}


@pytest.mark.parametrize("name", OPERATIONS)
def test_thousands_of_operations(name: str, oracle: Oracle) -> None:
    rnd = random.Random(name)
    for _ in range(10):
        pairs = [(g.number(rnd), _divisor(rnd) if name == "div" else g.number(rnd)) for _ in range(200)]
        # The operator, not the function: OPA's parser reads `1 - -2`, and there is no function for literals to hide in.
        terms = ", ".join(f"{number_text(a)} {OPERATIONS[name]} {number_text(b)}" for a, b in pairs)
        answer = oracle.query(f'text := $"{{[{terms}]}}"')
        assert not answer.code, answer.message
        want = answer.bindings[0]["text"].strip("[]").split(", ")
        got = [outcome(name, a, b).strip("[]") for a, b in pairs]
        wrong = [(a, b, x, y) for (a, b), x, y in zip(pairs, got, want, strict=True) if x != y]
        assert not wrong, f"{name}: operands, got, want: {wrong[0]}"


def _divisor(rnd: random.Random) -> Value:
    while not exact(number := g.number(rnd)):
        pass
    return number


@pytest.mark.parametrize("bits", [24, 53, 64])
def test_shortest_text_reads_back(bits: int) -> None:
    rnd = random.Random(bits)
    for _ in range(2000):
        mantissa, exponent = rnd.getrandbits(bits) | 1 << (bits - 1), rnd.randint(-300, 300)
        digits, point = arithmetic.shortest_digits(mantissa, exponent, bits)
        numerator, denominator = Decimal(f"{digits}e{point - len(digits)}").as_integer_ratio()
        back = arithmetic.round_quotient(numerator, denominator, bits)
        assert _value(back) == _value(arithmetic.Dyadic(mantissa, exponent))
        assert digits == digits.strip("0")


def _value(number: arithmetic.Dyadic) -> tuple[int, int]:
    trailing = (number.mantissa & -number.mantissa).bit_length() - 1
    return number.mantissa >> trailing, number.exponent + trailing


def test_rounding_prefers_the_even_mantissa_at_a_tie() -> None:
    for odd in range(1, 40, 2):
        # odd / 2 lies halfway between two integers of that many bits.
        bits = (odd // 2).bit_length()
        if bits:
            rounded = arithmetic.round_quotient(odd, 2, bits)
            assert Decimal(rounded.mantissa) * 2**rounded.exponent == (Decimal(odd) / 2).to_integral_value(
                "ROUND_HALF_EVEN"
            )


def test_a_size_is_refused_before_it_is_computed() -> None:
    large = 1 << (arithmetic.MAX_BITS - 1)
    assert outcome("mul", large, large) == "eval_builtin_error: mul: number too big"
    assert outcome("product", [2**60_000] * 100) == "eval_builtin_error: product: number too big"
    assert outcome("bits.lsh", 1, 10**12) == "eval_builtin_error: bits.lsh: number too big"
    assert outcome("plus", arithmetic.parse_number("1e999999999"), 1) == "eval_builtin_error: plus: number too big"
    assert outcome("div", 1, arithmetic.parse_number("1e-999999999")) == "eval_builtin_error: div: number too big"
    assert outcome("units.parse", "1e999999") == "eval_builtin_error: units.parse: number too big"
    assert outcome("to_number", "1" * 100_000) == "eval_builtin_error: to_number: number too big"
