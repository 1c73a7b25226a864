"""Aggregates over arrays and sets: count, max, min, product, sort, sum.

Numbers are added and multiplied by the kernel in `arithmetic`, order is that of `values`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from policy_engine import types as t
from policy_engine.builtins import arithmetic
from policy_engine.builtins.arithmetic import PRODUCT_PRECISION, Dyadic
from policy_engine.builtins.operands import NUMBERS, wrong, wrong_element
from policy_engine.builtins.table import Builtin, Context
from policy_engine.values import UNDEFINED, Number, Set, Value, compare, foreign, sort


def count(collection: Value) -> int:
    """Elements, properties, members or characters."""
    cls = collection.__class__
    if cls is list or cls is dict or cls is Set or cls is str:
        return len(collection)
    wrong("count", 1, collection, "array", "object", "set", "string")


def _items(collection: Value, name: str) -> list[Value]:
    if collection.__class__ is list:
        return collection
    if collection.__class__ is Set:
        return collection.sorted()
    wrong(name, 1, collection, "set", "array")


def max_(ctx: Context, collection: Value) -> Value:
    """The greatest item; of equal ones (`1`, `1.0`) the last. Undefined if there is none."""
    found: Value = UNDEFINED
    items = _items(collection, "max")
    ctx.charge(len(items))
    for item in items:
        if found is UNDEFINED or compare(found, item, ctx.charge) <= 0:
            found = item
    return found


def min_(ctx: Context, collection: Value) -> Value:
    """The least item; of equal ones the last. Undefined if there is none."""
    found: Value = UNDEFINED
    items = _items(collection, "min")
    ctx.charge(len(items))
    for item in items:
        if found is UNDEFINED or compare(found, item, ctx.charge) >= 0:
            found = item
    return found


def sort_(ctx: Context, collection: Value) -> list[Value]:
    items = _items(collection, "sort")
    ctx.charge(len(items))
    return sort(items, ctx.charge)


def sum_(ctx: Context, collection: Value) -> int | float:
    if collection.__class__ is list and {*map(type, collection)} == {int}:
        ctx.charge(len(collection))
        if max(map(int.bit_length, collection)) <= arithmetic.MAX_BITS:
            return sum(collection)

    def add(total: Dyadic, item: Dyadic) -> Dyadic:
        return arithmetic.add(total, item)

    def add_exactly(total: int, item: int) -> int:
        return total + item

    return _accumulate(ctx, collection, "sum", 0, add_exactly, add, arithmetic.PRECISION)


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
    items = _items(collection, name)
    ctx.charge(len(items))
    for item in items:
        if item.__class__ not in NUMBERS:
            wrong_element(name, 1, collection, item, "number")
        if item != item:
            foreign(item)
    total = start
    for item in items:
        if item.__class__ is Number:
            ctx.charge(arithmetic.effort(item))
        whole = arithmetic.as_integer(item, name)
        if whole is None:
            break
        total = exactly(total, whole)
    else:
        return total
    inexact, work = Dyadic(start, 0), 0
    for item in items:
        work += 4 if item.__class__ is float else 4 + arithmetic.effort(item) + abs(inexact.exponent) // 64
        if work > _SLICE:
            ctx.charge(work)
            work = 0
        inexact = rounded(inexact, arithmetic.to_dyadic(item, name))
    return arithmetic.to_number(inexact, bits)


_SLICE: Final = 1024
"""Steps of a sum that are charged at once."""

_ITEMS: Final = t.union(t.array(t.ANY), t.set_(t.ANY))
_NUMBERS: Final = t.union(t.array(t.NUMBER), t.set_(t.NUMBER))
_COUNTABLE: Final = t.union(t.STRING, t.array(t.ANY), t.object_(), t.set_(t.ANY))

BUILTINS: Final = (
    Builtin("count", t.Function((_COUNTABLE,), t.NUMBER), count),
    Builtin("max", t.Function((_ITEMS,), t.ANY), max_, context=True),
    Builtin("min", t.Function((_ITEMS,), t.ANY), min_, context=True),
    Builtin("product", t.Function((_NUMBERS,), t.NUMBER), product, context=True),
    Builtin("sort", t.Function((_ITEMS,), t.array(t.ANY)), sort_, context=True),
    Builtin("sum", t.Function((_NUMBERS,), t.NUMBER), sum_, context=True),
)
