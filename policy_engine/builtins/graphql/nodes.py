"""Syntax trees that a policy hands back, read as the nodes that graphql-core would have parsed; see `trees` for them.

Unknown fields are dropped and missing ones get their zero value, as OPA's JSON decoder does. It takes every selection
for a field, so fragments are lost there; here they stay what they are. Names have to be names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

from graphql.language import ast

from policy_engine.builtins.graphql import trees
from policy_engine.builtins.graphql.text import MAX_DEPTH, GraphQLError
from policy_engine.builtins.graphql.trees import Tree
from policy_engine.values import Charge, Value, type_name

_STEPS: Final = 16
"""Steps for reading an object."""

_IS_NAME: Final = re.compile("(?:[_A-Za-z][_0-9A-Za-z]*)?")
_OPERATIONS: Final = {operation.value: operation for operation in ast.OperationType}

_DEFINITIONS: Final[dict[str, tuple[type[ast.Node], type[ast.Node]]]] = {
    "SCALAR": (ast.ScalarTypeDefinitionNode, ast.ScalarTypeExtensionNode),
    "OBJECT": (ast.ObjectTypeDefinitionNode, ast.ObjectTypeExtensionNode),
    "INTERFACE": (ast.InterfaceTypeDefinitionNode, ast.InterfaceTypeExtensionNode),
    "UNION": (ast.UnionTypeDefinitionNode, ast.UnionTypeExtensionNode),
    "ENUM": (ast.EnumTypeDefinitionNode, ast.EnumTypeExtensionNode),
    "INPUT_OBJECT": (ast.InputObjectTypeDefinitionNode, ast.InputObjectTypeExtensionNode),
}
"""The node of a definition of each kind, and that of an extension."""

_TEXTS: Final[dict[int, Any]] = {
    trees.INT: ast.IntValueNode,
    trees.FLOAT: ast.FloatValueNode,
    trees.STRING: ast.StringValueNode,
    trees.ENUM: ast.EnumValueNode,
}

_Part = TypeVar("_Part")


def read_query(tree: Tree, charge: Charge) -> ast.DocumentNode:
    """Raises `GraphQLError`."""
    reader = _QueryReader(charge)
    reader.fragments = {one.value for one in reader.many(tree, "Fragments", lambda part: reader.name(part, "Name"))}
    operations = reader.many(tree, "Operations", reader.operation)
    return ast.DocumentNode(definitions=(*operations, *reader.many(tree, "Fragments", reader.fragment_definition)))


def read_schema(tree: Tree, charge: Charge) -> ast.DocumentNode:
    """Raises `GraphQLError`."""
    reader = _SchemaReader(charge)
    definitions: tuple[Any, ...] = (
        *reader.many(tree, "Schema", reader.schema),
        *reader.many(tree, "SchemaExtension", reader.schema_extension),
        *reader.many(tree, "Directives", reader.directive_definition),
        *reader.many(tree, "Definitions", reader.definition),
        *reader.many(tree, "Extensions", reader.extension),
    )
    return ast.DocumentNode(definitions=definitions)


class _Reader:
    """Reads the fields of objects, and what queries and schemas have in common."""

    def __init__(self, charge: Charge) -> None:
        self._charge = charge
        self._depth = 0

    def field(self, tree: Tree, name: str, zero: _Part) -> _Part:
        """What is at a field; the zero value of the same class if nothing is."""
        value: Value = tree.get(name)
        if value is None:
            return zero
        if value.__class__ is not zero.__class__:
            raise GraphQLError(f"{name} must be {type_name(zero)} but is {type_name(value)}")
        return value

    def name(self, tree: Tree, field: str) -> ast.NameNode:
        return _name(self.field(tree, field, ""), field)

    def named(self, tree: Tree, field: str) -> ast.NamedTypeNode:
        return ast.NamedTypeNode(name=self.name(tree, field))

    def names(self, tree: Tree, field: str) -> tuple[ast.NameNode, ...]:
        given: list[Value] = self.field(tree, field, [])
        return tuple(_name(one, field) for one in given)

    def many(self, tree: Tree, field: str, part: Callable[[Tree], _Part]) -> tuple[_Part, ...]:
        """What `part` makes of each object at a field, but for empty ones."""
        found = []
        given: list[Value] = self.field(tree, field, [])
        for one in given:
            if one is not None and one.__class__ is not dict:
                raise GraphQLError(f"{field} must be an array of objects but contains {type_name(one)}")
            if one:
                found.append(self.nested(part, one))
        return tuple(found)

    def nested(self, part: Callable[[Tree], _Part], tree: Tree) -> _Part:
        self._charge(_STEPS)
        self._depth += 1
        if self._depth > 2 * MAX_DEPTH:
            raise GraphQLError("nested too deeply")
        made = part(tree)
        self._depth -= 1
        return made

    def directives(self, tree: Tree) -> tuple[Any, ...]:
        return self.many(
            tree,
            "Directives",
            lambda one: ast.DirectiveNode(name=self.name(one, "Name"), arguments=self.arguments(one)),
        )

    def arguments(self, tree: Tree) -> tuple[ast.ArgumentNode, ...]:
        return self.many(
            tree, "Arguments", lambda one: ast.ArgumentNode(name=self.name(one, "Name"), value=self.value_at(one))
        )

    def default(self, tree: Tree) -> Any:
        return self.value_at(tree, "DefaultValue") if tree.get("DefaultValue") else None

    def value_at(self, tree: Tree, field: str = "Value") -> Any:
        return self.nested(self.value, self.field(tree, field, {}))

    def value(self, tree: Tree) -> ast.ValueNode:
        kind, raw = self.field(tree, "Kind", 0), self.field(tree, "Raw", "")
        if kind == trees.LIST:
            return ast.ListValueNode(values=self.many(tree, "Children", self.value_at))
        if kind == trees.OBJECT:
            return ast.ObjectValueNode(fields=self.many(tree, "Children", self.object_field))
        if kind == trees.VARIABLE:
            return ast.VariableNode(name=_name(raw, "Raw"))
        if kind == trees.BOOLEAN:
            return ast.BooleanValueNode(value=raw == "true")
        if kind == trees.NULL:
            return ast.NullValueNode()
        if kind == trees.BLOCK:
            return ast.StringValueNode(value=raw, block=True)
        if kind in _TEXTS:
            return _TEXTS[kind](value=raw)  # type: ignore[no-any-return]
        raise GraphQLError(f"{kind} is no kind of value")

    def object_field(self, tree: Tree) -> ast.ObjectFieldNode:
        return ast.ObjectFieldNode(name=self.name(tree, "Name"), value=self.value_at(tree))

    def type_at(self, tree: Tree, field: str = "Type") -> Any:
        return self.nested(self.type, self.field(tree, field, {}))

    def type(self, tree: Tree) -> ast.TypeNode:
        inner: Any = self.named(tree, "NamedType")
        if tree.get("Elem"):
            inner = ast.ListTypeNode(type=self.type_at(tree, "Elem"))
        return ast.NonNullTypeNode(type=inner) if self.field(tree, "NonNull", zero=False) else inner


class _QueryReader(_Reader):
    def __init__(self, charge: Charge) -> None:
        super().__init__(charge)
        self.fragments: set[str] = set()

    def operation(self, tree: Tree) -> ast.OperationDefinitionNode:
        name = self.name(tree, "Name")
        return ast.OperationDefinitionNode(
            operation=_operation(self.field(tree, "Operation", "")),
            name=name if name.value else None,
            variable_definitions=self.many(tree, "VariableDefinitions", self.variable_definition),
            directives=self.directives(tree),
            selection_set=self.selections(tree),
        )

    def fragment_definition(self, tree: Tree) -> ast.FragmentDefinitionNode:
        return ast.FragmentDefinitionNode(
            name=self.name(tree, "Name"),
            variable_definitions=self.many(tree, "VariableDefinition", self.variable_definition),
            type_condition=self.named(tree, "TypeCondition"),
            directives=self.directives(tree),
            selection_set=self.selections(tree),
        )

    def variable_definition(self, tree: Tree) -> ast.VariableDefinitionNode:
        return ast.VariableDefinitionNode(
            variable=ast.VariableNode(name=self.name(tree, "Variable")),
            type=self.type_at(tree),
            default_value=self.default(tree),
            directives=self.directives(tree),
        )

    def selections(self, tree: Tree) -> ast.SelectionSetNode:
        return ast.SelectionSetNode(selections=self.many(tree, "SelectionSet", self.selection))

    def selection(self, tree: Tree) -> ast.SelectionNode:
        if "TypeCondition" in tree:
            condition = self.named(tree, "TypeCondition")
            return ast.InlineFragmentNode(
                type_condition=condition if condition.name.value else None,
                directives=self.directives(tree),
                selection_set=self.selections(tree),
            )
        name = self.name(tree, "Name")
        if name.value in self.fragments and tree.keys() <= {"Comment", "Name", "Directives"}:
            # A field that was parsed always has an alias.
            return ast.FragmentSpreadNode(name=name, directives=self.directives(tree))
        alias = self.name(tree, "Alias")
        return ast.FieldNode(
            alias=alias if alias.value not in ("", name.value) else None,
            name=name,
            arguments=self.arguments(tree),
            directives=self.directives(tree),
            selection_set=self.selections(tree) if tree.get("SelectionSet") else None,
        )


class _SchemaReader(_Reader):
    def schema(self, tree: Tree) -> ast.SchemaDefinitionNode:
        return ast.SchemaDefinitionNode(
            description=self.description(tree), directives=self.directives(tree), operation_types=self.roots(tree)
        )

    def schema_extension(self, tree: Tree) -> ast.SchemaExtensionNode:
        return ast.SchemaExtensionNode(directives=self.directives(tree), operation_types=self.roots(tree))

    def roots(self, tree: Tree) -> tuple[ast.OperationTypeDefinitionNode, ...]:
        return self.many(
            tree,
            "OperationTypes",
            lambda one: ast.OperationTypeDefinitionNode(
                operation=_operation(self.field(one, "Operation", "")), type=self.named(one, "Type")
            ),
        )

    def description(self, tree: Tree) -> ast.StringValueNode | None:
        text = self.field(tree, "Description", "")
        return ast.StringValueNode(value=text) if text else None

    def definition(self, tree: Tree) -> Any:
        node, _ = self.kind(tree)
        return node(**self.parts(tree), description=self.description(tree))

    def extension(self, tree: Tree) -> Any:
        _, node = self.kind(tree)
        return node(**self.parts(tree))

    def kind(self, tree: Tree) -> tuple[Any, Any]:
        kind = self.field(tree, "Kind", "")
        if kind not in _DEFINITIONS:
            raise GraphQLError(f"{kind!r} is no kind of definition")
        return _DEFINITIONS[kind]

    def parts(self, tree: Tree) -> dict[str, Any]:
        kind = self.field(tree, "Kind", "")
        parts = {"name": self.name(tree, "Name"), "directives": self.directives(tree)}
        if kind in ("OBJECT", "INTERFACE"):
            interfaces = self.names(tree, "Interfaces")
            parts["interfaces"] = tuple(ast.NamedTypeNode(name=name) for name in interfaces)
            parts["fields"] = self.many(tree, "Fields", self.field_definition)
        elif kind == "INPUT_OBJECT":
            parts["fields"] = self.inputs(tree, "Fields")
        elif kind == "UNION":
            parts["types"] = tuple(ast.NamedTypeNode(name=name) for name in self.names(tree, "Types"))
        elif kind == "ENUM":
            parts["values"] = self.many(tree, "EnumValues", self.enum_value)
        return parts

    def field_definition(self, tree: Tree) -> ast.FieldDefinitionNode:
        return ast.FieldDefinitionNode(
            description=self.description(tree),
            name=self.name(tree, "Name"),
            arguments=self.inputs(tree, "Arguments"),
            type=self.type_at(tree),
            directives=self.directives(tree),
        )

    def inputs(self, tree: Tree, field: str) -> tuple[ast.InputValueDefinitionNode, ...]:
        return self.many(
            tree,
            field,
            lambda one: ast.InputValueDefinitionNode(
                description=self.description(one),
                name=self.name(one, "Name"),
                type=self.type_at(one),
                default_value=self.default(one),
                directives=self.directives(one),
            ),
        )

    def enum_value(self, tree: Tree) -> ast.EnumValueDefinitionNode:
        return ast.EnumValueDefinitionNode(
            description=self.description(tree), name=self.name(tree, "Name"), directives=self.directives(tree)
        )

    def directive_definition(self, tree: Tree) -> ast.DirectiveDefinitionNode:
        return ast.DirectiveDefinitionNode(
            description=self.description(tree),
            name=self.name(tree, "Name"),
            arguments=self.inputs(tree, "Arguments"),
            locations=self.names(tree, "Locations"),
            repeatable=self.field(tree, "IsRepeatable", zero=False),
        )


def _name(value: Value, field: str) -> ast.NameNode:
    if value.__class__ is not str or not _IS_NAME.fullmatch(value):
        raise GraphQLError(f"{field} is not a name")
    return ast.NameNode(value=value)


def _operation(name: str) -> ast.OperationType:
    if name not in _OPERATIONS:
        raise GraphQLError(f"{name!r} is no operation")
    return _OPERATIONS[name]
