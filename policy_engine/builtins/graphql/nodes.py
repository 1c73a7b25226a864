"""Syntax trees of policies as those of graphql-core, which validates queries. Importing this imports graphql-core.

What validation does not look at is left out: descriptions, and directives in schemas.
"""

from __future__ import annotations

from typing import Any, Final

from graphql.language import ast

from policy_engine.builtins.graphql import parser
from policy_engine.builtins.graphql.parser import Document, GraphQLError, Position, Tree
from policy_engine.builtins.graphql.schema import Schema, built_in

_OPERATIONS: Final = {operation.value: operation for operation in ast.OperationType}


class QueryNodes:
    """The nodes of one query, and where they are in its text, by identity."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.positions: dict[int, Position] = {}
        tree = document.tree
        definitions = [self.operation(one) for one in tree.get("Operations", [])]
        definitions += [self.fragment_definition(one) for one in tree.get("Fragments", [])]
        self.node = ast.DocumentNode(definitions=tuple(definitions))

    def placed(self, node: Any, tree: Tree) -> Any:
        position = self.document.position(tree)
        if position is not None:
            self.positions[id(node)] = position
        return node

    def operation(self, tree: Tree) -> Any:
        operation = _OPERATIONS.get(tree.get("Operation", ""))
        if operation is None:
            raise GraphQLError(f"{tree.get('Operation', '')!r} is no operation")
        node = ast.OperationDefinitionNode(
            operation=operation,
            name=_name(tree["Name"]) if tree.get("Name") else None,
            variable_definitions=self.variables(tree.get("VariableDefinitions", [])),
            directives=self.directives(tree),
            selection_set=self.selections(tree),
        )
        return self.placed(node, tree)

    def fragment_definition(self, tree: Tree) -> Any:
        node = ast.FragmentDefinitionNode(
            name=_name(tree.get("Name", "")),
            variable_definitions=self.variables(tree.get("VariableDefinition", [])),
            type_condition=self.placed(_named(tree.get("TypeCondition", "")), tree),
            directives=self.directives(tree),
            selection_set=self.selections(tree),
        )
        return self.placed(node, tree)

    def variables(self, trees: list[Tree]) -> tuple[ast.VariableDefinitionNode, ...]:
        return tuple(
            self.placed(
                ast.VariableDefinitionNode(
                    variable=self.placed(ast.VariableNode(name=_name(tree.get("Variable", ""))), tree),
                    type=self.type(tree.get("Type", {})),
                    default_value=self.value(tree["DefaultValue"]) if "DefaultValue" in tree else None,
                    directives=self.directives(tree),
                ),
                tree,
            )
            for tree in trees
        )

    def selections(self, tree: Tree) -> ast.SelectionSetNode:
        return ast.SelectionSetNode(selections=tuple(self.selection(one) for one in tree.get("SelectionSet", [])))

    def selection(self, tree: Tree) -> Any:
        node: ast.SelectionNode
        if "TypeCondition" in tree:
            condition = tree["TypeCondition"]
            node = ast.InlineFragmentNode(
                type_condition=self.placed(_named(condition), tree) if condition else None,
                directives=self.directives(tree),
                selection_set=self.selections(tree),
            )
        elif "Alias" in tree:
            node = ast.FieldNode(
                alias=_name(tree["Alias"]) if tree["Alias"] not in ("", tree["Name"]) else None,
                name=_name(tree["Name"]),
                arguments=self.arguments(tree),
                directives=self.directives(tree),
                selection_set=self.selections(tree) if "SelectionSet" in tree else None,
            )
        else:
            name = self.placed(_name(tree["Name"]), tree)
            node = ast.FragmentSpreadNode(name=name, directives=self.directives(tree))
        return self.placed(node, tree)

    def arguments(self, tree: Tree) -> tuple[ast.ArgumentNode, ...]:
        return tuple(
            self.placed(ast.ArgumentNode(name=_name(one.get("Name", "")), value=self.value(one.get("Value", {}))), one)
            for one in tree.get("Arguments", [])
        )

    def directives(self, tree: Tree) -> Any:
        return tuple(
            self.placed(ast.DirectiveNode(name=_name(one.get("Name", "")), arguments=self.arguments(one)), one)
            for one in tree.get("Directives", [])
        )

    def value(self, tree: Tree) -> Any:
        return self.placed(self._value(tree), tree)

    def _value(self, tree: Tree) -> Any:
        kind, raw, children = tree.get("Kind", 0), tree.get("Raw", ""), tree.get("Children", [])
        if kind == parser.LIST:
            return ast.ListValueNode(values=tuple(self.value(child.get("Value", {})) for child in children))
        if kind == parser.OBJECT:
            return ast.ObjectValueNode(
                fields=tuple(
                    self.placed(
                        ast.ObjectFieldNode(name=_name(child["Name"]), value=self.value(child.get("Value", {}))), child
                    )
                    for child in children
                )
            )
        if kind == parser.VARIABLE:
            return ast.VariableNode(name=_name(raw))
        if kind == parser.BOOLEAN:
            return ast.BooleanValueNode(value=raw == "true")
        if kind == parser.NULL:
            return ast.NullValueNode()
        if kind in _TEXTS:
            return _TEXTS[kind](value=raw)
        raise GraphQLError(f"{kind} is no kind of value")

    def type(self, tree: Tree) -> Any:
        return self.placed(_type(tree), tree)


_TEXTS: Final[dict[int, Any]] = {
    parser.INT: ast.IntValueNode,
    parser.FLOAT: ast.FloatValueNode,
    parser.STRING: ast.StringValueNode,
    parser.BLOCK: ast.StringValueNode,
    parser.ENUM: ast.EnumValueNode,
}


def _name(text: str) -> ast.NameNode:
    return ast.NameNode(value=text)


def _named(text: str) -> ast.NamedTypeNode:
    return ast.NamedTypeNode(name=_name(text))


def _type(tree: Tree) -> Any:
    inner = ast.ListTypeNode(type=_type(tree["Elem"])) if "Elem" in tree else _named(tree.get("NamedType", ""))
    return ast.NonNullTypeNode(type=inner) if tree.get("NonNull") else inner


def schema_document(schema: Schema) -> ast.DocumentNode:
    """A loaded schema as the document that graphql-core builds one from. It knows the introspection types itself."""
    own = {one["Name"] for one in built_in()["Definitions"]}
    definitions: list[Any] = [_definition(tree) for name, tree in schema.types.items() if name not in own]
    definitions += [_directive(tree) for tree in schema.directives.values()]
    roots = tuple(
        ast.OperationTypeDefinitionNode(operation=_OPERATIONS[operation], type=_named(name))
        for operation, name in schema.roots.items()
        if operation in _OPERATIONS
    )
    return ast.DocumentNode(definitions=(*definitions, ast.SchemaDefinitionNode(operation_types=roots)))


def _definition(tree: Tree) -> Any:
    kind, name = tree.get("Kind", ""), _name(tree.get("Name", ""))
    if kind in ("OBJECT", "INTERFACE"):
        node = ast.ObjectTypeDefinitionNode if kind == "OBJECT" else ast.InterfaceTypeDefinitionNode
        fields = tuple(
            ast.FieldDefinitionNode(
                name=_name(one["Name"]), arguments=_inputs(one, "Arguments"), type=_type(one["Type"])
            )
            for one in tree.get("Fields", [])
        )
        interfaces = tuple(_named(one) for one in dict.fromkeys(tree.get("Interfaces", [])))
        return node(name=name, interfaces=interfaces, fields=fields)
    if kind == "UNION":
        return ast.UnionTypeDefinitionNode(name=name, types=tuple(_named(one) for one in tree.get("Types", [])))
    if kind == "ENUM":
        values = tuple(ast.EnumValueDefinitionNode(name=_name(one["Name"])) for one in tree.get("EnumValues", []))
        return ast.EnumTypeDefinitionNode(name=name, values=values)
    if kind == "INPUT_OBJECT":
        one_of = [one for one in tree.get("Directives", []) if one.get("Name") == "oneOf"]
        directives = (ast.ConstDirectiveNode(name=_name("oneOf"), arguments=()),) if one_of else ()
        return ast.InputObjectTypeDefinitionNode(name=name, fields=_inputs(tree, "Fields"), directives=directives)
    if kind == "SCALAR":
        return ast.ScalarTypeDefinitionNode(name=name)
    raise GraphQLError(f"{kind!r} is no kind of definition")


def _inputs(tree: Tree, part: str) -> tuple[ast.InputValueDefinitionNode, ...]:
    # Nobody asks where in a schema something is.
    reader = QueryNodes(Document({}, {}))
    return tuple(
        ast.InputValueDefinitionNode(
            name=_name(one["Name"]),
            type=_type(one["Type"]),
            default_value=reader.value(one["DefaultValue"]) if "DefaultValue" in one else None,
        )
        for one in tree.get(part, [])
    )


def _directive(tree: Tree) -> ast.DirectiveDefinitionNode:
    return ast.DirectiveDefinitionNode(
        name=_name(tree.get("Name", "")),
        arguments=_inputs(tree, "Arguments"),
        locations=tuple(_name(one) for one in tree.get("Locations", [])),
        repeatable=bool(tree.get("IsRepeatable")),
    )
