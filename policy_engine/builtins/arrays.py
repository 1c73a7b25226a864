"""array.*: concat, flatten, reverse, slice. Results share their elements with the operands."""

from __future__ import annotations

from typing import Final

from policy_engine.builtins.operands import array, integer
from policy_engine.builtins.table import Builtin, Context
from policy_engine.types import ANY, NUMBER, FunctionType
from policy_engine.types import array as array_of
from policy_engine.values import Value


def concat(ctx: Context, first: Value, second: Value) -> Value:
    front, back = array(first, "array.concat", 1), array(second, "array.concat", 2)
    ctx.charge(len(front) + len(back))
    return front + back


def flatten(ctx: Context, operand: Value) -> Value:
    """One level: the elements of arrays inside the array, everything else as it is."""
    result: list[Value] = []
    for item in array(operand, "array.flatten", 1):
        ctx.charge(len(item) if item.__class__ is list else 1)
        if item.__class__ is list:
            result.extend(item)
        else:
            result.append(item)
    return result


def reverse(operand: Value) -> Value:
    return array(operand, "array.reverse", 1)[::-1]


def slice_(operand: Value, start: Value, stop: Value) -> Value:
    """From `start` to before `stop`, both clamped to the array: unlike Python's, negative ones mean 0."""
    elements = array(operand, "array.slice", 1)
    first = integer(start, "array.slice", 2)
    last = integer(stop, "array.slice", 3)
    return elements[max(first, 0) : max(last, 0)]


_ARRAY: Final = array_of(ANY)

BUILTINS: Final = (
    Builtin("array.concat", FunctionType((_ARRAY, _ARRAY), _ARRAY), concat, context=True),
    Builtin("array.flatten", FunctionType((_ARRAY,), _ARRAY), flatten, context=True),
    Builtin("array.reverse", FunctionType((_ARRAY,), _ARRAY), reverse),
    Builtin("array.slice", FunctionType((_ARRAY, NUMBER, NUMBER), _ARRAY), slice_),
)
