"""Validation of schemas, and of queries against a schema, by the rules of graphql-core.

OPA's gqlparser has the same rules, but that it knows `@defer`, does not ask for a root type, and lets extensions extend
what is not defined. Work that grows faster than the document is charged before it is done.
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Collection
from typing import Any, Final, NoReturn

import graphql
from graphql.language import ParallelVisitor, ast, visit
from graphql.type.validate import SchemaValidationContext
from graphql.utilities import build_ast_schema
from graphql.validation import SDLValidationContext
from graphql.validation.specified_rules import specified_sdl_rules

from policy_engine.builtins.graphql.text import GraphQLError, described
from policy_engine.builtins.operands import INT64_MAX, INT64_MIN
from policy_engine.values import Charge

_DEFER: Final = graphql.parse(
    "directive @defer(if: Boolean = true, label: String) on FRAGMENT_SPREAD | INLINE_FRAGMENT", no_location=True
).definitions[0]

_STEPS_PER_DEFINITION: Final = 64


def build_schema(document: ast.DocumentNode, charge: Charge) -> graphql.GraphQLSchema:
    """A schema to validate with. Raises `GraphQLError`."""
    _charge_interfaces(document, charge)
    document = _completed(document)
    try:
        context = SDLValidationContext(document, None, _refuse)
        visit(document, ParallelVisitor([rule(context) for rule in specified_sdl_rules]))
        schema = build_ast_schema(document, assume_valid=True, assume_valid_sdl=True)
        checker = _SchemaChecker(schema)
        checker.validate_directives()
        checker.validate_types()
    except graphql.GraphQLError as error:
        raise GraphQLError(f"not a schema: {described(error)}") from None
    except TypeError as error:
        raise GraphQLError(f"not a schema: {error}") from None
    return schema


def check_query(schema: graphql.GraphQLSchema, document: ast.DocumentNode, charge: Charge) -> None:
    """Raises `GraphQLError` with everything that is wrong with the query. Every field is compared with every other."""
    selections = _count(document)
    charge(8 * selections * selections)
    errors = [
        error for error in graphql.validate(schema, document, hide_suggestions=True) if not _is_int64(error.message)
    ]
    if errors:
        raise GraphQLError("; ".join(map(described, errors)))


class _SchemaChecker(SchemaValidationContext):
    """Stops at the first error: there may be as many as pairs of definitions."""

    def report_error(self, message: str, nodes: ast.Node | Collection[ast.Node | None] | None = None) -> NoReturn:
        raise graphql.GraphQLError(message)


def _refuse(error: graphql.GraphQLError) -> NoReturn:
    raise error


def _completed(document: ast.DocumentNode) -> ast.DocumentNode:
    """With a definition of `@defer`, and where only extensions of a type are there, the first made its definition."""
    definitions: list[Any] = []
    defined = {one.name.value for one in document.definitions if isinstance(one, ast.TypeDefinitionNode)}
    for definition in document.definitions:
        if isinstance(definition, ast.TypeExtensionNode) and definition.name.value not in defined:
            defined.add(definition.name.value)
            parts = {field.name: getattr(definition, field.name) for field in dataclasses.fields(definition)}
            definitions.append(_DEFINITIONS[type(definition)](**parts))
        else:
            definitions.append(definition)
    directives = {one.name.value for one in definitions if isinstance(one, ast.DirectiveDefinitionNode)}
    if "defer" not in directives:
        definitions.append(_DEFER)
    return ast.DocumentNode(definitions=tuple(definitions))


_DEFINITIONS: Final[dict[type[ast.Node], Any]] = {
    ast.ScalarTypeExtensionNode: ast.ScalarTypeDefinitionNode,
    ast.ObjectTypeExtensionNode: ast.ObjectTypeDefinitionNode,
    ast.InterfaceTypeExtensionNode: ast.InterfaceTypeDefinitionNode,
    ast.UnionTypeExtensionNode: ast.UnionTypeDefinitionNode,
    ast.EnumTypeExtensionNode: ast.EnumTypeDefinitionNode,
    ast.InputObjectTypeExtensionNode: ast.InputObjectTypeDefinitionNode,
}


def _charge_interfaces(document: ast.DocumentNode, charge: Charge) -> None:
    """Charge for the definitions, and for comparing each type with its interfaces, and these with each other."""
    fields: defaultdict[str, int] = defaultdict(int)
    interfaces: defaultdict[str, int] = defaultdict(int)
    for one in document.definitions:
        if isinstance(one, _IMPLEMENTING):
            fields[one.name.value] += len(one.fields or ())
            interfaces[one.name.value] += len(one.interfaces or ())
    charge(_STEPS_PER_DEFINITION * (len(document.definitions) + sum(fields.values())))
    most = max(interfaces.values(), default=0)
    charge(sum(number * (8 * fields[name] + number * most) for name, number in interfaces.items()))


_IMPLEMENTING: Final = (
    ast.ObjectTypeDefinitionNode,
    ast.ObjectTypeExtensionNode,
    ast.InterfaceTypeDefinitionNode,
    ast.InterfaceTypeExtensionNode,
)


def _is_int64(message: str) -> bool:
    """True if the only mistake is an Int of more than 32 bits: gqlparser lets it have 64."""
    found = _LARGE_INT.search(message)
    return found is not None and INT64_MIN <= int(found[1]) <= INT64_MAX


_LARGE_INT: Final = re.compile(r"Int cannot represent non 32-bit signed integer value: (-?[0-9]{10,19})\.?$")


def _count(document: ast.DocumentNode) -> int:
    """The selections in a query, at any depth."""
    count = 0
    pending: list[Any] = [*document.definitions]
    while pending:
        selection_set = getattr(pending.pop(), "selection_set", None)
        if selection_set:
            count += len(selection_set.selections)
            pending += selection_set.selections
    return count
