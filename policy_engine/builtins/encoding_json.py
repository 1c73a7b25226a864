"""json.marshal, json.marshal_with_options, json.unmarshal, json.is_valid. The format itself is in `gojson`."""

from __future__ import annotations

from typing import Final

from policy_engine.builtins import gojson
from policy_engine.builtins.operands import object_, operand_error, string
from policy_engine.builtins.table import Builtin, Context
from policy_engine.errors import BuiltinError
from policy_engine.types import ANY, BOOLEAN, STRING, Function, Object
from policy_engine.values import UNDEFINED, Value, sorted_items, to_term, type_name


def marshal(ctx: Context, value: Value) -> Value:
    return gojson.write(value, ctx.charge)


def marshal_with_options(ctx: Context, value: Value, options: Value) -> Value:
    """As `marshal`, on many lines if `pretty`, or if `indent` or `prefix` is given and `pretty` is not."""
    name = "json.marshal_with_options"
    given: dict[str, Value] = {}
    for index, (key, option) in enumerate(sorted_items(object_(options, name, 2))):
        if key.__class__ is not str:
            failure = f"operand {index} must be string but got {type_name(key)}"
            operand_error(name, 2, f"failed to stringify key {to_term(key)} at index {index}: {failure}")
        if key in ("prefix", "indent"):
            if option.__class__ is not str:
                failure = f"operand {index} must be string but got {type_name(option)}"
                operand_error(name, 2, f'key "{key}" failed cast to string: {failure}')
        elif key == "pretty":
            if option.__class__ is not bool:
                type_name(option)
                operand_error(name, 2, 'key "pretty" failed cast to bool')
        else:
            operand_error(name, 2, f"object contained unknown key {to_term(key)}")
        given[key] = option
    if not given.get("pretty", bool(given)):
        return gojson.write(value, ctx.charge)
    prefix = given.get("prefix", "")
    # Go leaves the prefix out of the first line; OPA puts it there.
    return prefix + gojson.write(value, ctx.charge, (prefix, given.get("indent", "\t")))


def unmarshal(ctx: Context, operand: Value) -> Value:
    if operand.__class__ is not str:
        string(operand, "json.unmarshal", 1)
    _charge(ctx, operand)
    value = gojson.quick(operand)
    if value is not UNDEFINED:
        return value
    try:
        return gojson.read(operand)
    except gojson.JSONError as error:
        raise BuiltinError(f"json.unmarshal: {error}") from None


def is_valid(ctx: Context, operand: Value) -> Value:
    """Whether it is a string of JSON; anything but a string is not."""
    if operand.__class__ is not str:
        type_name(operand)
        return False
    _charge(ctx, operand)
    return gojson.is_valid(operand)


def _charge(ctx: Context, text: str) -> None:
    """Take reading a text from the budget before it is read: three characters can be an object of 60 bytes."""
    if len(text) > _SHORT:
        ctx.charge(len(text) // 4 + 8 * text.count("[") + 32 * text.count("{"))


_SHORT: Final = 256

_OPTIONS: Final = Object((("indent", STRING), ("prefix", STRING), ("pretty", BOOLEAN)), (STRING, ANY))

BUILTINS: Final = (
    Builtin("json.is_valid", Function((STRING,), BOOLEAN), is_valid, context=True),
    Builtin("json.marshal", Function((ANY,), STRING), marshal, context=True),
    Builtin("json.marshal_with_options", Function((ANY, _OPTIONS), STRING), marshal_with_options, context=True),
    Builtin("json.unmarshal", Function((STRING,), ANY), unmarshal, context=True),
)
