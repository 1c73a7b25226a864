"""Aggregates over arrays and sets: count, max, min, product, sort, sum.

Numbers are added and multiplied by the kernel in `arithmetic`, order is that of `values`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from policy_engine import types as t
from policy_engine.builtins import arithmetic
from policy_engine.builtins.arithmetic import PRODUCT_PRECISION, Dyadic
from policy_engine.builtins.operands import NUMBERS, charged, wrong, wrong_element
from policy_engine.builtins.table import Builtin, Context, InPlace
from policy_engine.values import UNDEFINED, Set, Value, Walk, foreign, is_nan, sort, type_name


def count(collection: Value) -> int:
    """Elements, properties, members or characters."""
    cls = collection.__class__
    if cls is list or cls is dict or cls is Set or cls is str:
        return len(collection)
    wrong("count", 1, collection, "array", "object", "set", "string")


def _items(ctx: Context, collection: Value, name: str) -> list[Value]:
    if collection.__class__ is list:
        return collection
    if collection.__class__ is Set:
        return collection.sorted(ctx.charge)
    wrong(name, 1, collection, "set", "array")


def max_(ctx: Context, collection: Value) -> Value:
    """The greatest item; of equal ones (`1`, `1.0`) the last. Undefined if there is none."""
    return _extreme(ctx, _items(ctx, collection, "max"), max, -1)


def min_(ctx: Context, collection: Value) -> Value:
    """The least item; of equal ones the last. Undefined if there is none."""
    return _extreme(ctx, _items(ctx, collection, "min"), min, 1)


def _extreme(ctx: Context, items: list[Value], quick: Callable[[list[Value]], Value], worse: int) -> Value:
    """`worse` is the order of an item that is farther from the extreme than the next one."""
    if not items:
        return UNDEFINED
    classes = {*map(type, items)}
    if classes == {str} or classes == {int}:
        ctx.charge(len(items))
        return quick(items)
    walk = Walk(ctx.charge)
    found = items[0]
    type_name(found)
    for item in charged(ctx, items[1:]):
        if walk.compare(found, item) in (worse, 0):
            found = item
    walk.settle()
    return found


def sort_(ctx: Context, collection: Value) -> list[Value]:
    items = _items(ctx, collection, "sort")
    ctx.charge(len(items))
    return sort(items, ctx.charge)


def sum_(ctx: Context, collection: Value) -> int | float:
    if collection.__class__ is list and (total := _integer_sum(ctx, collection)) is not None:
        return total

    def add(total: Dyadic, item: Dyadic) -> Dyadic:
        return arithmetic.add(total, item)

    def add_exactly(total: int, item: int) -> int:
        return total + item

    return _accumulate(ctx, collection, "sum", 0, add_exactly, add, arithmetic.PRECISION)


def _integer_sum(ctx: Context, items: list[Value]) -> int | None:
    """The sum of a list of integers; None if another value, or a very long integer, is among them.

    It is made in pieces, each paid for by itself, so that the clock is looked at on the way.
    """
    total = 0
    for first in range(0, len(items), _PIECE):
        piece = items[first : first + _PIECE]
        if {*map(type, piece)} != {int}:
            return None
        longest = max(map(int.bit_length, piece))
        ctx.charge(len(piece) * (1 + longest // _BITS))
        if longest > arithmetic.MAX_BITS:
            return None
        total += sum(piece)
    return total


_PIECE: Final = 4096


def product(ctx: Context, collection: Value) -> int | float:
    def multiply(total: Dyadic, item: Dyadic) -> Dyadic:
        return arithmetic.multiply(total, item, PRODUCT_PRECISION)

    def multiply_exactly(total: int, item: int) -> int:
        return arithmetic.integer_product(total, item, "product")

    return _accumulate(ctx, collection, "product", 1, multiply_exactly, multiply, PRODUCT_PRECISION)


def _accumulate(
    ctx: Context,
    collection: Value,
    name: str,
    start: int,
    exactly: Callable[[int, int], int],
    rounded: Callable[[Dyadic, Dyadic], Dyadic],
    bits: int,
) -> int | float:
    """Exact as long as every item is an integer; else all over again in floats, as OPA does."""
    items = _items(ctx, collection, name)
    for item in charged(ctx, items):
        if item.__class__ not in NUMBERS:
            wrong_element(name, 1, collection, item, "number")
        if is_nan(item):
            foreign(item)
    total = start
    inexact = Dyadic(start, 0)

    def steps_exactly(item: float) -> int:
        return arithmetic.effort(item) + total.bit_length() // _BITS

    def steps_rounded(item: float) -> int:
        return 4 + arithmetic.effort(item) + abs(inexact.exponent) // 64

    for item in charged(ctx, items, steps_exactly):
        whole = arithmetic.as_integer(item, name)
        if whole is None:
            break
        total = exactly(total, whole)
    else:
        return total
    for item in charged(ctx, items, steps_rounded):
        inexact = rounded(inexact, arithmetic.to_dyadic(item, name))
    return arithmetic.to_number(inexact, bits)


_BITS: Final = 4096
"""Bits of a long integer that are computed with in one step."""

_ITEMS: Final = t.union(t.array(t.ANY), t.set_(t.ANY))
_NUMBERS: Final = t.union(t.array(t.NUMBER), t.set_(t.NUMBER))
_COUNTABLE: Final = t.union(t.STRING, t.array(t.ANY), t.object_(), t.set_(t.ANY))
_COUNTED: Final = " or ".join(f"{{0}}.__class__ is {cls}" for cls in ("list", "str", "dict"))

BUILTINS: Final = (
    Builtin("count", t.FunctionType((_COUNTABLE,), t.NUMBER), count, inline=InPlace("len({0})", (None,), _COUNTED)),
    Builtin("max", t.FunctionType((_ITEMS,), t.ANY), max_, context=True),
    Builtin("min", t.FunctionType((_ITEMS,), t.ANY), min_, context=True),
    Builtin("product", t.FunctionType((_NUMBERS,), t.NUMBER), product, context=True),
    Builtin("sort", t.FunctionType((_ITEMS,), t.array(t.ANY)), sort_, context=True),
    Builtin("sum", t.FunctionType((_NUMBERS,), t.NUMBER), sum_, context=True),
)
