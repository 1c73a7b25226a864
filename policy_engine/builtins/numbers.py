"""Numbers one at a time: abs, ceil, floor, round, ranges, and random integers.

OPA takes integers of 32 bits as they are here and sends everything else through 64-bit mantissas, so `floor(1e30)` is
1000000000000000000024696061952. `floor(-0.5)` is 0 and `ceil(-0.5)` is 1: it looks at the sign of the integer part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from policy_engine import types as t
from policy_engine.builtins import arithmetic
from policy_engine.builtins.arithmetic import Dyadic
from policy_engine.builtins.operands import big_integer, integer, number, string
from policy_engine.builtins.table import Builtin, Context
from policy_engine.errors import BuiltinError
from policy_engine.values import Value


def _small(value: float) -> bool:
    return value.__class__ is int and -(1 << 31) <= value < 1 << 31


def abs_(value: Value) -> int | float:
    number(value, "abs", 1)
    if _small(value):
        return abs(value)  # type: ignore[no-any-return]
    mantissa, exponent, _ = arithmetic.to_dyadic(value, "abs")
    return arithmetic.to_number(Dyadic(abs(mantissa), exponent))


def round_(value: Value) -> int:
    """The nearest integer, halves away from zero."""
    return _whole(value, "round", lambda exact: arithmetic.truncate(arithmetic.add(exact, _half(exact))))


def _half(like: Dyadic) -> Dyadic:
    return Dyadic(-1 if arithmetic.negative(like) else 1, -1)


def ceil(value: Value) -> int:
    def up(exact: Dyadic) -> int:
        whole = arithmetic.truncate(exact)
        return whole if whole < 0 or arithmetic.is_whole(exact) else whole + 1

    return _whole(value, "ceil", up)


def floor(value: Value) -> int:
    def down(exact: Dyadic) -> int:
        whole = arithmetic.truncate(exact)
        return whole if whole >= 0 or arithmetic.is_whole(exact) else whole - 1

    return _whole(value, "floor", down)


def _whole(value: Value, name: str, to_integer: Callable[[Dyadic], int]) -> int:
    number(value, name, 1)
    return value if _small(value) else to_integer(arithmetic.to_dyadic(value, name))


def range_(ctx: Context, first: Value, last: Value) -> list[int]:
    """The integers from one to the other, both included, up or down."""
    start, end = big_integer(first, "numbers.range", 1), big_integer(last, "numbers.range", 2)
    return _range(ctx, start, end, 1)


def range_step(ctx: Context, first: Value, last: Value, step: Value) -> list[int]:
    """Every `step`-th integer of the range."""
    name = "numbers.range_step"
    start, end = big_integer(first, name, 1), big_integer(last, name, 2)
    size = big_integer(step, name, 3)
    if size <= 0:
        raise BuiltinError(f"{name}: {name}: step must be a positive integer")
    return _range(ctx, start, end, size)


def _range(ctx: Context, start: int, end: int, step: int) -> list[int]:
    """A range, made in pieces that are paid for one by one, so that the clock is looked at often.

    A range that exceeds the budget is not begun, because the budget also bounds memory.
    """
    price = _PRICE * (1 + max(start.bit_length(), end.bit_length()) // 256)
    whole = range(start, end + 1, step) if start <= end else range(start, end - 1, -step)
    length = abs(end - start) // step + 1  # `len` takes no more than 2⁶³
    ctx.afford(price * length)
    made: list[int] = []
    for first in range(0, length, _PIECE):
        piece = whole[first : first + _PIECE]
        ctx.charge(price * len(piece))
        made += piece
    return made


_PRICE: Final = 5
"""Steps for an integer, which is an object of its own: one for every eight bytes of it and of its place in the list."""
_PIECE: Final = 1024


def intn(ctx: Context, key: Value, limit: Value) -> int:
    """A random integer from 0 up to the limit, which is not included; one per key and limit within a query."""
    string(key, "rand.intn", 1)
    size = abs(integer(limit, "rand.intn", 2))
    if not size:
        return 0
    # 64 bits more than the limit has: the remainder is as good as uniform.
    bits = size.bit_length() + 64
    return ctx.remember("rand.intn", (key, limit), lambda: ctx.random_bits(bits, f"rand.intn {key}-{size}") % size)  # type: ignore[no-any-return]


_UNARY: Final = t.FunctionType((t.NUMBER,), t.NUMBER)
_RANGE: Final = t.array(t.NUMBER)

BUILTINS: Final = (
    Builtin("abs", _UNARY, abs_),
    Builtin("ceil", _UNARY, ceil),
    Builtin("floor", _UNARY, floor),
    Builtin("round", _UNARY, round_),
    Builtin("numbers.range", t.FunctionType((t.NUMBER, t.NUMBER), _RANGE), range_, context=True),
    Builtin("numbers.range_step", t.FunctionType((t.NUMBER, t.NUMBER, t.NUMBER), _RANGE), range_step, context=True),
    Builtin("rand.intn", t.FunctionType((t.STRING, t.NUMBER), t.NUMBER), intn, context=True, nondeterministic=True),
)
