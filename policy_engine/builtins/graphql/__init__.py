"""graphql.*: parsing GraphQL queries and schemas, and asking whether a schema allows a query.

Parsing (`parser`, `schema_parser`) and checking schemas (`schema`) are here; validating queries
is graphql-core's, imported when a policy first does it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from policy_engine import types as t
from policy_engine.builtins.graphql.objects import read_query, read_schema
from policy_engine.builtins.graphql.parser import Document, GraphQLError, parse_query
from policy_engine.builtins.graphql.schema import load_schema
from policy_engine.builtins.graphql.schema_parser import parse_schema
from policy_engine.builtins.operands import charge_text, string, wrong
from policy_engine.builtins.remembered import Remembered
from policy_engine.builtins.table import Builtin, Context
from policy_engine.errors import BuiltinError
from policy_engine.values import Charge, Value, type_name

if TYPE_CHECKING:
    from graphql import GraphQLSchema

_SCHEMAS: Final = 64
"""Schemas to keep: they come with policies, and making one takes longer than most queries."""


def parse(ctx: Context, query: Value, schema: Value) -> Value:
    """The syntax trees of a query and of the schema that allows it."""
    name = "graphql.parse"
    if query.__class__ is not str and query.__class__ is not dict:
        wrong(name, 0, query, "string", "object")
    try:
        if schema.__class__ is not str and schema.__class__ is not dict:
            _query(ctx, query)  # of two mistakes the query's comes first
            wrong(name, 1, schema, "string", "object")
        return [*_verified(ctx, query, schema)]
    except GraphQLError as error:
        raise BuiltinError(f"{name}: {error}") from None


def parse_and_verify(ctx: Context, query: Value, schema: Value) -> Value:
    """Whether the schema allows the query, and both syntax trees if it does."""
    try:
        return [True, *_verified(ctx, query, schema)]
    except GraphQLError:
        return [False, {}, {}]


def is_valid(ctx: Context, query: Value, schema: Value) -> Value:
    try:
        _verified(ctx, query, schema)
    except GraphQLError:
        return False
    return True


def query_tree(ctx: Context, operand: Value) -> Value:
    name = "graphql.parse_query"
    text = string(operand, name, 1)
    charge_text(ctx, len(text))
    try:
        return parse_query(text, ctx.charge).tree
    except GraphQLError as error:
        raise BuiltinError(f"{name}: {error}") from None


def schema_tree(ctx: Context, operand: Value) -> Value:
    name = "graphql.parse_schema"
    text = string(operand, name, 1)
    charge_text(ctx, len(text))
    try:
        return parse_schema(text, ctx.charge).tree
    except GraphQLError as error:
        raise BuiltinError(f"{name}: {error}") from None


def schema_is_valid(ctx: Context, schema: Value) -> Value:
    try:
        load_schema(_schema(ctx, schema), ctx.charge)
    except GraphQLError:
        return False
    return True


def _query(ctx: Context, operand: Value) -> Document:
    if operand.__class__ is str:
        charge_text(ctx, len(operand))
        return parse_query(operand, ctx.charge)
    if operand.__class__ is dict:
        return read_query(operand, ctx.charge)
    raise GraphQLError(f"neither text nor object but {type_name(operand)}")


def _schema(ctx: Context, operand: Value) -> Document:
    if operand.__class__ is str:
        charge_text(ctx, len(operand))
        return parse_schema(operand, ctx.charge)
    if operand.__class__ is dict:
        return read_schema(operand, ctx.charge)
    raise GraphQLError(f"neither text nor object but {type_name(operand)}")


def _verified(ctx: Context, query: Value, schema: Value) -> tuple[Value, Value]:
    """Both syntax trees. Raises `GraphQLError` if one is wrong or the schema does not allow the query."""
    from policy_engine.builtins.graphql import validation

    document = _query(ctx, query)
    if schema.__class__ is str and len(schema) <= _KEPT:
        charge_text(ctx, len(schema))
        found = _KNOWN.get(ctx, schema, _make)
        if isinstance(found, GraphQLError):
            raise found
        tree, built = found
    else:
        tree, built = _built(_schema(ctx, schema), ctx.charge)
    validation.validate(built, document, ctx.charge)
    return document.tree, tree


def _built(source: Document, charge: Charge) -> tuple[Value, GraphQLSchema]:
    from policy_engine.builtins.graphql import validation

    return source.tree, validation.build(load_schema(source, charge))


def _make(text: str) -> tuple[tuple[Value, GraphQLSchema] | GraphQLError, int]:
    """A schema, or what is wrong with it, which takes as long to find out and is kept as well."""
    steps = 0

    def count(work: int) -> None:
        nonlocal steps
        steps += work

    try:
        return _built(parse_schema(text, count), count), steps
    except GraphQLError as error:
        return error.with_traceback(None), steps


_KNOWN: Final[Remembered[str, tuple[Value, GraphQLSchema] | GraphQLError]] = Remembered(_SCHEMAS)

_KEPT: Final = 65_536
"""Characters of a schema that is kept. Making it cannot be interrupted."""


_DOCUMENT: Final = t.union(t.STRING, t.object_())
_TREE: Final = t.object_()

BUILTINS: Final = (
    Builtin("graphql.is_valid", t.Function((_DOCUMENT, _DOCUMENT), t.BOOLEAN), is_valid, context=True),
    Builtin("graphql.parse", t.Function((_DOCUMENT, _DOCUMENT), t.Array((_TREE, _TREE))), parse, context=True),
    Builtin(
        "graphql.parse_and_verify",
        t.Function((_DOCUMENT, _DOCUMENT), t.Array((t.BOOLEAN, _TREE, _TREE))),
        parse_and_verify,
        context=True,
    ),
    Builtin("graphql.parse_query", t.Function((t.STRING,), _TREE), query_tree, context=True),
    Builtin("graphql.parse_schema", t.Function((t.STRING,), _TREE), schema_tree, context=True),
    Builtin("graphql.schema_is_valid", t.Function((_DOCUMENT,), t.BOOLEAN), schema_is_valid, context=True),
)
