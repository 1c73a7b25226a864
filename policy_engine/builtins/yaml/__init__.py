"""yaml.marshal, yaml.unmarshal, yaml.is_valid. go-yaml decides what is read and how it is written."""

from __future__ import annotations

from typing import Final

from policy_engine.builtins import gojson
from policy_engine.builtins.operands import string
from policy_engine.builtins.table import Builtin, Context
from policy_engine.builtins.yaml import reader, writer
from policy_engine.errors import BuiltinError
from policy_engine.types import ANY, BOOLEAN, STRING, FunctionType
from policy_engine.values import Value, type_name


def unmarshal(ctx: Context, operand: Value) -> Value:
    text = string(operand, "yaml.unmarshal", 1)
    try:
        return reader.read(text, ctx.charge)
    except reader.YAMLError as error:
        raise BuiltinError(f"yaml.unmarshal: {error}") from None


def is_valid(ctx: Context, operand: Value) -> Value:
    """True for a string of YAML that can be written as JSON, false for every other value."""
    if operand.__class__ is not str:
        type_name(operand)
        return False
    try:
        reader.read(operand, ctx.charge)
    except reader.YAMLError:
        return False
    return True


def marshal(ctx: Context, operand: Value) -> Value:
    """As in OPA by way of JSON, which go-yaml reads as YAML: `1.50` becomes 1.5 and integers beyond 64 bits floats."""
    text = gojson.write(operand, ctx.charge)
    try:
        value = reader.load(text, ctx.charge)
    except reader.YAMLError as error:
        raise BuiltinError(f"yaml.marshal: {error}") from None
    return writer.write(value, ctx.charge)


BUILTINS: Final = (
    Builtin("yaml.is_valid", FunctionType((STRING,), BOOLEAN), is_valid, context=True),
    Builtin("yaml.marshal", FunctionType((ANY,), STRING), marshal, context=True),
    Builtin("yaml.unmarshal", FunctionType((STRING,), ANY), unmarshal, context=True),
)
