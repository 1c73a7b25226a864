"""json.marshal, json.marshal_with_options, json.unmarshal, json.is_valid. The format itself is in `gojson`."""

from __future__ import annotations

from typing import Final

from policy_engine.builtins import gojson
from policy_engine.builtins.operands import object_, operand_error, shown, string
from policy_engine.builtins.table import Builtin, Context
from policy_engine.errors import BuiltinError
from policy_engine.types import ANY, BOOLEAN, STRING, FunctionType, ObjectType
from policy_engine.values import UNDEFINED, Value, sorted_items, type_name


def marshal(ctx: Context, value: Value) -> Value:
    return gojson.write(value, ctx.charge)


def marshal_with_options(ctx: Context, value: Value, options: Value) -> Value:
    """As `marshal`, on many lines if `pretty`, or if `indent` or `prefix` is given and `pretty` is not."""
    name = "json.marshal_with_options"
    given: dict[str, Value] = {}
    for key, option in sorted_items(object_(options, name, 2), ctx.charge):
        if key.__class__ is not str:
            operand_error(name, 2, f"must have string keys but has {shown(key)}")
        if key in ("prefix", "indent"):
            if option.__class__ is not str:
                operand_error(name, 2, f'key "{key}" must be string but is {type_name(option)}')
        elif key == "pretty":
            if option.__class__ is not bool:
                operand_error(name, 2, f'key "pretty" must be boolean but is {type_name(option)}')
        else:
            operand_error(name, 2, f"object contained unknown key {shown(key)}")
        given[key] = option
    if not given.get("pretty", bool(given)):
        return gojson.write(value, ctx.charge)
    prefix = given.get("prefix", "")
    # Go leaves the prefix out of the first line; OPA puts it there.
    return prefix + gojson.write(value, ctx.charge, (prefix, given.get("indent", "\t")))


def unmarshal(ctx: Context, operand: Value) -> Value:
    if operand.__class__ is not str:
        string(operand, "json.unmarshal", 1)
    if len(operand) <= _SHORT:
        # Most texts are short, and Python's parser has no question about them.
        value = gojson.quick(operand)
        if value is not UNDEFINED:
            return value
    try:
        return gojson.read(operand, ctx)
    except gojson.JSONError as error:
        raise BuiltinError(f"json.unmarshal: {error}") from None


def is_valid(ctx: Context, operand: Value) -> Value:
    """True for a string of JSON, false for every other value."""
    if operand.__class__ is not str:
        type_name(operand)
        return False
    return gojson.is_valid(operand, ctx)


_SHORT: Final = 256

_OPTIONS: Final = ObjectType((("indent", STRING), ("prefix", STRING), ("pretty", BOOLEAN)), (STRING, ANY))

BUILTINS: Final = (
    Builtin("json.is_valid", FunctionType((STRING,), BOOLEAN), is_valid, context=True),
    Builtin("json.marshal", FunctionType((ANY,), STRING), marshal, context=True),
    Builtin("json.marshal_with_options", FunctionType((ANY, _OPTIONS), STRING), marshal_with_options, context=True),
    Builtin("json.unmarshal", FunctionType((STRING,), ANY), unmarshal, context=True),
)
