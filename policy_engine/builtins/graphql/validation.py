"""Whether a schema allows a query, by the rules of the specification. Importing this imports graphql-core.

The rules are graphql-core's, which has the same origin as OPA's gqlparser, so most texts agree. Comparing every field
with every other takes quadratic time; it is charged before it is done.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import graphql
from graphql.language import OperationDefinitionNode
from graphql.utilities import build_ast_schema

from policy_engine.builtins.graphql.nodes import QueryNodes, schema_document
from policy_engine.builtins.graphql.parser import Document, GraphQLError, Position, Tree, located
from policy_engine.builtins.graphql.schema import Schema
from policy_engine.builtins.operands import INT64_MAX, INT64_MIN


class _KnownRootType(graphql.ValidationRule):
    def enter_operation_definition(self, node: OperationDefinitionNode, *_: Any) -> None:
        if self.context.schema.get_root_type(node.operation) is None:
            text = f'Schema does not support operation type "{node.operation.value}"'
            self.report_error(graphql.GraphQLError(text, node))


_RULES: Final = (
    graphql.FieldsOnCorrectTypeRule,
    graphql.FragmentsOnCompositeTypesRule,
    graphql.KnownArgumentNamesRule,
    graphql.KnownDirectivesRule,
    graphql.KnownFragmentNamesRule,
    _KnownRootType,
    graphql.KnownTypeNamesRule,
    graphql.LoneAnonymousOperationRule,
    graphql.NoFragmentCyclesRule,
    graphql.NoUndefinedVariablesRule,
    graphql.NoUnusedFragmentsRule,
    graphql.NoUnusedVariablesRule,
    graphql.OverlappingFieldsCanBeMergedRule,
    graphql.PossibleFragmentSpreadsRule,
    graphql.ProvidedRequiredArgumentsRule,
    graphql.ScalarLeafsRule,
    graphql.SingleFieldSubscriptionsRule,
    graphql.UniqueArgumentNamesRule,
    graphql.UniqueDirectivesPerLocationRule,
    graphql.UniqueFragmentNamesRule,
    graphql.UniqueInputFieldNamesRule,
    graphql.UniqueOperationNamesRule,
    graphql.UniqueVariableNamesRule,
    graphql.ValuesOfCorrectTypeRule,
    graphql.VariablesAreInputTypesRule,
    graphql.VariablesInAllowedPositionRule,
)
"""Those of gqlparser, in its order."""


def build(schema: Schema) -> graphql.GraphQLSchema:
    """A loaded schema to validate with. Raises `GraphQLError`."""
    try:
        return build_ast_schema(schema_document(schema), assume_valid=True, assume_valid_sdl=True)
    except (graphql.GraphQLError, TypeError) as error:
        raise GraphQLError(f"not a schema: {error}") from None


def validate(schema: graphql.GraphQLSchema, document: Document, charge: Callable[[int], None]) -> None:
    """Raises `GraphQLError` with everything that is wrong with the query."""
    selections = _count(document.tree)
    charge(8 * selections * selections)
    nodes = QueryNodes(document)
    errors = [
        error
        for error in graphql.validate(schema, nodes.node, _RULES, hide_suggestions=True)
        if not _is_int64(error.message)
    ]
    if errors:
        raise GraphQLError(_text(errors, nodes.positions))


def _is_int64(message: str) -> bool:
    """Whether all that is wrong is an Int of more than 32 bits: gqlparser lets it have 64."""
    found = _LARGE_INT.fullmatch(message)
    return found is not None and INT64_MIN <= int(found[1]) <= INT64_MAX


_LARGE_INT: Final = re.compile(r"Int cannot represent non 32-bit signed integer value: (-?[0-9]{10,19})")


def _count(tree: Tree) -> int:
    """The selections in a query, at any depth."""
    count, pending = 0, [*tree.get("Operations", []), *tree.get("Fragments", [])]
    while pending:
        inner = pending.pop().get("SelectionSet", [])
        count += len(inner)
        pending += inner
    return count


_QUOTED: Final = re.compile(r"\B'|'\B")
"""Quotes around what messages name, which gqlparser writes as double ones; not an apostrophe inside a word."""
_FIRST: Final = re.compile(r"input:([0-9]+):([0-9]+): (.*)", re.DOTALL)


def _text(errors: list[graphql.GraphQLError], positions: dict[int, Position]) -> str:
    """All messages, a line each; OPA then takes the first one's place out of the text."""
    lines = []
    for error in errors:
        places = [positions[id(node)] for node in error.nodes or [] if id(node) in positions]
        where = f"input:{places[0][0]}:{places[0][1]}" if places else "input"
        message = _QUOTED.sub('"', error.message)
        lines.append(f"{where}: {message}\n")
    text = "".join(lines)
    found = _FIRST.fullmatch(text)
    if found is None:
        return f"GraphQL parse error: {text}"
    return located(found[3].removesuffix(".\n"), (int(found[1]), int(found[2])))
