"""Operand checks, and the texts of their errors, shared by every family.

A builtin checks its operands itself, in order, because the compiler's type check cannot see into input and data. The
texts are OPA's (v1/topdown/builtins): policies' tests compare them. `name` is the builtin's, `position` 1-based.

Every check ends in `values.type_name` when it fails, so an object that is no Rego value raises `invalid_input`, never
"wrong type": a wrong type is undefined outside strict mode and would let a `not` succeed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final, NoReturn

from policy_engine.builtins.arithmetic import as_integer
from policy_engine.builtins.table import Context
from policy_engine.errors import EVAL_TYPE_ERROR, BuiltinError
from policy_engine.values import (
    CONTAINERS,
    Number,
    Set,
    Value,
    foreign,
    freeze,
    is_nan,
    literal,
    number_text,
    thaw,
    to_term,
    type_name,
)

NUMBERS: Final[frozenset[Any]] = frozenset((int, float, Number))
"""The classes of a Rego number (`bool` is none of them)."""

INT64_MIN: Final = -(1 << 63)
INT64_MAX: Final = (1 << 63) - 1


def operand_error(name: str, position: int, text: str) -> NoReturn:
    """Refuse an operand: `name: operand 1 text`."""
    raise BuiltinError(f"{name}: operand {position} {text}", EVAL_TYPE_ERROR)


def wrong(name: str, position: int, got: Value, *expected: str) -> NoReturn:
    """Refuse an operand whose type is none of the expected ones."""
    names = expected[0] if len(expected) == 1 else "one of {" + ", ".join(expected) + "}"
    operand_error(name, position, f"must be {names} but got {type_name(got)}")


def wrong_element(name: str, position: int, composite: Value, got: Value, *expected: str) -> NoReturn:
    """Refuse an array, object or set because of what it contains."""
    outer = type_name(composite)
    names = f"{expected[0]}s" if len(expected) == 1 else "(any of) {" + ", ".join(expected) + "}"
    operand_error(name, position, f"must be {outer} of {names} but got {outer} containing {type_name(got)}")


def string(value: Value, name: str, position: int) -> str:
    if value.__class__ is not str:
        wrong(name, position, value, "string")
    return value


def number(value: Value, name: str, position: int) -> int | float:
    """Any number; NaN, which Python lets into a document, is refused as no value at all."""
    if value.__class__ not in NUMBERS:
        wrong(name, position, value, "number")
    if value.__class__ is not int and is_nan(value):
        foreign(value)
    return value  # type: ignore[no-any-return]


def integer(value: Value, name: str, position: int) -> int:
    """An integer of 64 bits. OPA refuses larger ones, and `2e0`, in the words it has for fractions."""
    found = int64(number(value, name, position))
    if found is None:
        operand_error(name, position, "must be integer number but got floating-point number")
    return found


def big_integer(value: Value, name: str, position: int) -> int:
    """An integer of any size, however it is written (`2.0`, `1e3`)."""
    if value.__class__ not in NUMBERS:
        wrong(name, position, value, "integer")
    whole = as_integer(number(value, name, position), name)
    if whole is None:
        operand_error(name, position, "must be integer number but got floating-point number")
    return whole


def int64(value: float) -> int | None:
    """The 64-bit integer that a number is *written* as: digits, at most with zeros behind a point."""
    if value.__class__ is int:
        return value if INT64_MIN <= value <= INT64_MAX else None
    whole, _, fraction = number_text(value).partition(".")
    digits = whole.lstrip("-")
    if fraction.strip("0") or (fraction and len(digits) + len(fraction) > _DIGITS_WITH_POINT):
        return None
    # `-0` is no int here but digits all the same.
    if len(digits) > _DIGITS or not digits.isdigit():
        return None
    return int(whole) if INT64_MIN <= int(whole) <= INT64_MAX else None


_DIGITS: Final = 19
_DIGITS_WITH_POINT: Final = 18
"""The most digits of a 64-bit integer, and the most that OPA reads, zeros behind a point included."""


def array(value: Value, name: str, position: int) -> list[Value]:
    if value.__class__ is not list:
        wrong(name, position, value, "array")
    return value


def object_(value: Value, name: str, position: int) -> dict[Any, Value]:
    if value.__class__ is not dict:
        wrong(name, position, value, "object")
    return value


def set_(value: Value, name: str, position: int) -> Set:
    if value.__class__ is not Set:
        wrong(name, position, value, "set")
    return value


def items(value: Value, name: str, position: int) -> list[Value]:
    """The elements of an array, or the members of a set in Rego's order. Shared: do not change the list."""
    if value.__class__ is list:
        return value
    if value.__class__ is Set:
        return value.sorted()
    wrong(name, position, value, "array", "set")


_STRINGS: Final = frozenset({str})


def strings(value: Value, name: str, position: int) -> list[str]:
    """The elements of an array or set of strings."""
    given = value.members if value.__class__ is Set else items(value, name, position)
    if {*map(type, given)} <= _STRINGS:
        return items(value, name, position)
    wrong_element(name, position, value, next(thaw(item) for item in given if item.__class__ is not str), "string")


def shown(value: Value) -> str:
    """A value in the text of an error: a string is cut off where it is long, a collection only called by its type."""
    if value.__class__ is str:
        return literal(value) if len(value) <= _SHOWN else f"{literal(value[:_SHOWN])}…"
    return f"an {type_name(value)}" if value.__class__ in CONTAINERS else to_term(value)[:_SHOWN]


_SHOWN: Final = 200


def all_strings(name: str, *values: Value) -> None:
    """Check that every operand is a string. Hot callers test the usual case first, because this call takes longer."""
    for position, value in enumerate(values, 1):
        string(value, name, position)


def _one(_: Value) -> int:
    return 1


def charged(ctx: Context, items: Iterable[Value], cost: Callable[[Value], int] = _one) -> Iterator[Value]:
    """The items one by one, each paid for before it is given: a long loop must notice that the deadline has passed."""
    due = 0
    if items.__class__ is Set:
        items = items.sorted(ctx.charge)
    for item in items:
        due += cost(item)
        if due >= _CHARGED_TOGETHER:
            ctx.charge(due)
            due = 0
        yield item
    ctx.charge(due)


_CHARGED_TOGETHER: Final = 256


def watched(ctx: Context, items: Collection[Any]) -> Iterable[Any]:
    """The items, which are paid for: between pieces of many the clock is looked at. It hardly slows a loop down."""
    return items if len(items) <= _PIECE else itertools.chain.from_iterable(_pieces(ctx, iter(items)))


def _pieces(ctx: Context, items: Iterator[Any]) -> Iterator[list[Any]]:
    while piece := list(itertools.islice(items, _PIECE)):
        ctx.look_at_clock()
        yield piece


_PIECE: Final = 4096


def few_charged(ctx: Context, items: Collection[Any]) -> Iterable[Any]:
    """The items, a step for each: few of them paid for at once, and many one by one."""
    if len(items) > _CHARGED_TOGETHER:
        return charged(ctx, items)
    ctx.charge(len(items))
    return items


def frozen(ctx: Context, values: list[Value]) -> Iterator[object]:
    """The values as keys of objects or members of sets, charged as they are made."""
    return (freeze(value, ctx.charge) for value in charged(ctx, values))


def charge_made(ctx: Context, length: int, *, ascii_only: bool) -> None:
    """Take making a text from the budget, before it is made: a step for every four bytes, as it may be kept."""
    if length > _FREE_CHARACTERS:
        ctx.charge(length // 4 if ascii_only else length)


def charge_text(ctx: Context, length: int) -> None:
    """Take reading a text of so many characters from the budget.

    A loop is charged by its length when it is entered, so the work of a call inside it must not depend on how long its
    operands are. Short texts are part of the call's own step.
    """
    if length > _FREE_CHARACTERS:
        ctx.charge(length // _CHARACTERS_PER_STEP)


_FREE_CHARACTERS: Final = 1024
_CHARACTERS_PER_STEP: Final = 16
