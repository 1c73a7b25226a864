"""Builtins that OPA has deprecated. Modules that call one are refused; their names stay known for a good error.

They work where OPA does not look for them, which is in queries.
"""

from __future__ import annotations

from typing import Final

from policy_engine import types as t
from policy_engine.builtins import regex
from policy_engine.builtins.operands import items, set_, wrong
from policy_engine.builtins.table import Builtin, Context
from policy_engine.values import Set, Value, type_name


def all_(values: Value) -> bool:
    return all(value is True for value in items(values, "all", 1))


def any_(values: Value) -> bool:
    return any(value is True for value in items(values, "any", 1))


def cast_array(value: Value) -> list[Value]:
    return items(value, "cast_array", 1)


def cast_set(value: Value) -> Set:
    return Set(items(value, "cast_set", 1))


def re_match(ctx: Context, pattern: Value, text: Value) -> bool:
    return regex.match_as("re_match", ctx, pattern, text)


def set_diff(ctx: Context, x: Value, y: Value) -> Set:
    members, others = set_(x, "set_diff", 1).members, set_(y, "set_diff", 2).members
    ctx.charge(len(members))
    return Set.of({member: None for member in members if member not in others})


def _cast(kind: str, result: t.Type) -> Builtin:
    def check(value: Value) -> Value:
        if type_name(value) != kind:
            wrong(f"cast_{kind}", 1, value, kind)
        return value

    return Builtin(f"cast_{kind}", t.FunctionType((t.ANY,), result), check, deprecated=True)


_ITEMS: Final = t.union(t.array(t.ANY), t.set_(t.ANY))
_ANY_SET: Final = t.set_(t.ANY)

BUILTINS: Final = (
    Builtin("all", t.FunctionType((_ITEMS,), t.BOOLEAN), all_, deprecated=True),
    Builtin("any", t.FunctionType((_ITEMS,), t.BOOLEAN), any_, deprecated=True),
    Builtin("cast_array", t.FunctionType((t.ANY,), t.array(t.ANY)), cast_array, deprecated=True),
    _cast("boolean", t.BOOLEAN),
    _cast("null", t.NULL),
    _cast("object", t.object_()),
    Builtin("cast_set", t.FunctionType((t.ANY,), _ANY_SET), cast_set, deprecated=True),
    _cast("string", t.STRING),
    Builtin("re_match", t.FunctionType((t.STRING, t.STRING), t.BOOLEAN), re_match, context=True, deprecated=True),
    Builtin("set_diff", t.FunctionType((_ANY_SET, _ANY_SET), _ANY_SET), set_diff, context=True, deprecated=True),
)
