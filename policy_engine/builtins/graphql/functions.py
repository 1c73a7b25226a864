"""The functions of graphql.*. Importing this imports graphql-core."""

from __future__ import annotations

from typing import Final

from graphql import GraphQLSchema
from graphql.language import ast

from policy_engine.builtins.graphql.printer import query_text, schema_text
from policy_engine.builtins.graphql.text import QUERY, SCHEMA, GraphQLError, parse_text
from policy_engine.builtins.graphql.trees import query_tree, schema_tree
from policy_engine.builtins.graphql.validation import build_schema, check_query
from policy_engine.builtins.operands import string, wrong
from policy_engine.builtins.remembered import Remembered
from policy_engine.builtins.table import Context
from policy_engine.errors import BuiltinError
from policy_engine.values import Charge, Value, type_name

_SCHEMAS: Final = 64
"""Schemas to keep: they come with policies, and making one takes longer than most queries."""

_KEPT: Final = 65_536
"""Characters of a schema that is kept. Making it cannot be interrupted."""


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
    """[true, query, schema] with both syntax trees if the schema allows the query, else [false, {}, {}]."""
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


def parse_query(ctx: Context, operand: Value) -> Value:
    name = "graphql.parse_query"
    text = string(operand, name, 1)
    try:
        return query_tree(parse_text(text, QUERY, ctx.charge))
    except GraphQLError as error:
        raise BuiltinError(f"{name}: {error}") from None


def parse_schema(ctx: Context, operand: Value) -> Value:
    name = "graphql.parse_schema"
    text = string(operand, name, 1)
    try:
        return schema_tree(parse_text(text, SCHEMA, ctx.charge))
    except GraphQLError as error:
        raise BuiltinError(f"{name}: {error}") from None


def schema_is_valid(ctx: Context, schema: Value) -> Value:
    try:
        _schema(ctx, schema)
    except GraphQLError:
        return False
    return True


def _verified(ctx: Context, query: Value, schema: Value) -> tuple[Value, Value]:
    """Both syntax trees. Raises `GraphQLError` if one is wrong or the schema does not allow the query."""
    document = _query(ctx, query)
    tree, built = _schema(ctx, schema)
    check_query(built, document, ctx.charge)
    return query_tree(document), tree


def _query(ctx: Context, operand: Value) -> ast.DocumentNode:
    if operand.__class__ is str:
        return parse_text(operand, QUERY, ctx.charge)
    return parse_text(query_text(_object(operand), ctx.charge), QUERY, ctx.charge, is_printed=True)


def _schema(ctx: Context, operand: Value) -> tuple[Value, GraphQLSchema]:
    """The syntax tree of a schema, and the schema."""
    if operand.__class__ is not str:
        text = schema_text(_object(operand), ctx.charge)
        return _built(parse_text(text, SCHEMA, ctx.charge, is_printed=True), ctx.charge)
    if len(operand) > _KEPT:
        return _built(parse_text(operand, SCHEMA, ctx.charge), ctx.charge)
    found = _KNOWN.get(ctx, operand, _make)
    if isinstance(found, GraphQLError):
        raise found
    return found


def _object(operand: Value) -> dict[Value, Value]:
    if operand.__class__ is not dict:
        raise GraphQLError(f"must be string or object but got {type_name(operand)}")
    return operand


def _built(document: ast.DocumentNode, charge: Charge) -> tuple[Value, GraphQLSchema]:
    return schema_tree(document), build_schema(document, charge)


def _make(text: str) -> tuple[tuple[Value, GraphQLSchema] | GraphQLError, int]:
    """A schema, or what is wrong with it, which takes as long to find out and is kept as well."""
    steps = 0

    def count(work: int) -> None:
        nonlocal steps
        steps += work

    try:
        return _built(parse_text(text, SCHEMA, count), count), steps
    except GraphQLError as error:
        return error.with_traceback(None), steps


_KNOWN: Final[Remembered[str, tuple[Value, GraphQLSchema] | GraphQLError]] = Remembered(_SCHEMAS)
