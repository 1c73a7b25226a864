"""json.match_schema and json.verify_schema: whether a document fits a JSON Schema, and whether a schema is one."""

from __future__ import annotations

from typing import Final

from policy_engine import types as t
from policy_engine.builtins import gojson
from policy_engine.builtins.json_schema.compiler import Schema, compile_schema
from policy_engine.builtins.json_schema.references import SchemaError
from policy_engine.builtins.json_schema.validator import validate
from policy_engine.builtins.table import Builtin, Context
from policy_engine.errors import BuiltinError
from policy_engine.values import Value, type_name


def match_schema(ctx: Context, document: Value, schema: Value) -> Value:
    """[valid, errors]: the errors say why the document does not match the schema."""
    name = "json.match_schema"
    try:
        value = _json(document, ctx)
        errors = validate(_compiled(schema, ctx), value, ctx, name)
    except (SchemaError, gojson.JSONError) as error:
        raise BuiltinError(f"{name}: {error}") from None
    return [not errors, errors]


def verify_schema(ctx: Context, schema: Value) -> Value:
    """[valid, error]: the error says why the document is no schema."""
    try:
        _compiled(schema, ctx)
    except (SchemaError, gojson.JSONError) as error:
        return [False, f"jsonschema: {error}"]
    return [True, None]


def _compiled(schema: Value, ctx: Context) -> Schema:
    return compile_schema(_json(schema, ctx), ctx.charge)


def _json(value: Value, ctx: Context) -> Value:
    """The JSON that a text is, or that an object or array would be written as; nothing of it is shared."""
    cls = value.__class__
    if cls is dict or cls is list:
        return gojson.read(gojson.write(value, ctx.charge), ctx)
    if cls is not str:
        type_name(value)
        raise SchemaError("wrong type, expected string or object")
    try:
        return gojson.read(value, ctx)
    except gojson.JSONError:
        raise SchemaError("invalid JSON string") from None


_DOCUMENT: Final = t.union(t.STRING, t.object_())
_ERROR: Final = t.ObjectType((("desc", t.STRING), ("error", t.STRING), ("field", t.STRING), ("type", t.STRING)))
_MATCH: Final = t.ArrayType((t.BOOLEAN, t.array(_ERROR)))
_VERDICT: Final = t.ArrayType((t.BOOLEAN, t.union(t.NULL, t.STRING)))

BUILTINS: Final = (
    Builtin("json.match_schema", t.FunctionType((_DOCUMENT, _DOCUMENT), _MATCH), match_schema, context=True),
    Builtin("json.verify_schema", t.FunctionType((_DOCUMENT,), _VERDICT), verify_schema, context=True),
)
