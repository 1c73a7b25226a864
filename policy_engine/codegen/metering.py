"""The calling convention of builtins in generated code: the function, and the argument before the operands.

A builtin that charges for its own work takes the decision's `Run`. One that is charged by the sizes of its operands and
its result (`builtins.measured`) is wrapped in a function that takes the context: most operands are so short that
nothing is charged, and such a decision needs no `Run`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Final

from policy_engine.builtins import TABLE
from policy_engine.builtins.measured import MADE_FREELY, MAKING, READ_AT_ONCE, is_measured, reading
from policy_engine.builtins.table import Builtin, Cost
from policy_engine.codegen.context import Query, charge, charging, run_of
from policy_engine.values import CONTAINERS, Number, Value

Callee = Callable[..., Any]


class First(enum.Enum):
    """The first argument of a function, before the operands of a call."""

    NOTHING = enum.auto()
    RUN = enum.auto()
    QUERY = enum.auto()


def callee(builtin: Builtin) -> tuple[Callee, First]:
    """The function to call for a builtin."""
    if builtin.context:
        return builtin.function, First.RUN
    # A function of the host, which may have a builtin's name, is not metered: its cost is unknown.
    if TABLE.get(builtin.name) is builtin and builtin.name in _METERED:
        return _METERED[builtin.name], First.QUERY
    return builtin.function, First.NOTHING


def of_query(builtin: Builtin) -> Callee:
    """A builtin with the calling convention of a rule's function."""
    function, first = callee(builtin)
    if first is First.QUERY:
        return function
    if first is First.RUN:
        return lambda q, *args: function(run_of(q), *args)
    return lambda q, *args: function(*args)


def _metered(builtin: Builtin) -> Callee:
    """The builtin's function with its calls charged.

    Most calls have one operand or two, and short texts. A loop over operands, or a look-up of their classes, would cost
    more than such a call.
    """
    function = builtin.function

    def one(q: Query, a: Value) -> Value:
        if a.__class__ is str:
            if len(a) >= READ_AT_ONCE:
                charge(q, len(a) // READ_AT_ONCE)
        elif work := reading(a):
            charge(q, work)
        result = function(a)
        if result is True or result is False:
            return result
        cls = result.__class__
        if (cls is str and len(result) <= MADE_FREELY) or (cls is int and -_WORD < result < _WORD):
            return result
        return _made(q, result)

    def two(q: Query, a: Value, b: Value) -> Value:
        if (a.__class__ is not str or len(a) >= READ_AT_ONCE) and (work := reading(a)):
            charge(q, work)
        if (b.__class__ is not str or len(b) >= READ_AT_ONCE) and (work := reading(b)):
            charge(q, work)
        result = function(a, b)
        if result is True or result is False:
            return result
        cls = result.__class__
        if (cls is str and len(result) <= MADE_FREELY) or (cls is int and -_WORD < result < _WORD):
            return result
        return _made(q, result)

    def many(q: Query, *operands: Value) -> Value:
        for operand in operands:
            if work := reading(operand):
                charge(q, work)
        return _made(q, function(*operands))

    by_operands: dict[int, Callee] = {1: one, 2: two}
    return by_operands.get(len(builtin.decl.args), many)


_WORD: Final = 1 << 62


def _made(q: Query, result: Value) -> Value:
    measure = MAKING.get(result.__class__)
    if measure is not None and (work := measure(result)):
        charge(q, work)
    return result


def _comparing(builtin: Builtin) -> Callee:
    """A comparison, which is charged for what it looks at."""
    function = builtin.function

    def compared(q: Query, a: Value, b: Value) -> bool:
        if a.__class__ in _DEEP:
            return function(a, b, charging(q))  # type: ignore[no-any-return]
        return function(a, b)  # type: ignore[no-any-return]

    return compared


_DEEP: Final = CONTAINERS | {Number}

_METERED: Final = {name: _metered(builtin) for name, builtin in TABLE.items() if is_measured(builtin)} | {
    name: _comparing(builtin) for name, builtin in TABLE.items() if builtin.cost is Cost.COMPARISON
}
