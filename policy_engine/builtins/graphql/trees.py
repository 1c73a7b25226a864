"""Nodes of graphql-core as the syntax trees that OPA hands to policies: objects with the field names of gqlparser.

Fields that are null or empty are left out, as OPA leaves them out, but for texts, flags and numbers. Comments belong to
what they stand before; nodes that were not parsed from text have none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from graphql.language import Token, TokenKind, ast

Tree = dict[str, Any]

VARIABLE, INT, FLOAT, STRING, BLOCK, BOOLEAN, NULL, ENUM, LIST, OBJECT = range(10)
"""`Kind` of a value."""


def query_tree(document: ast.DocumentNode) -> Tree:
    operations = [one for one in document.definitions if isinstance(one, ast.OperationDefinitionNode)]
    fragments = [one for one in document.definitions if isinstance(one, ast.FragmentDefinitionNode)]
    return _tree(Operations=_all(_operation, operations), Fragments=_all(_fragment_definition, fragments))


def schema_tree(document: ast.DocumentNode) -> Tree:
    parts: dict[str, list[Tree]] = {}
    for definition in document.definitions:
        field, made = _schema_part(definition)
        parts.setdefault(field, []).append(made)
    end = document.loc.end_token if document.loc else None
    return _tree(Comment=_comments_before(end), **parts)


def _tree(**fields: Any) -> Tree:
    """An object without what is null or empty."""
    return {name: value for name, value in fields.items() if value is not None and value != [] and value != {}}


def _all(part: Callable[[Any], Tree], nodes: Iterable[Any] | None) -> list[Tree]:
    return [part(node) for node in nodes or ()]


def _comments(node: ast.Node) -> Tree | None:
    return _comments_before(node.loc.start_token if node.loc else None)


def _comments_before(token: Token | None) -> Tree | None:
    """The comments that stand right before a token."""
    found: list[Tree] = []
    while token and token.prev and token.prev.kind is TokenKind.COMMENT:
        token = token.prev
        found.append({"Value": f"#{token.value}"})
    return {"List": found[::-1]} if found else None


def _name(node: ast.NameNode | None) -> str:
    return node.value if node else ""


def _names(nodes: Iterable[Any] | None) -> list[str]:
    return [node.name.value for node in nodes or ()]


# Queries


def _operation(node: ast.OperationDefinitionNode) -> Tree:
    is_shorthand = node.loc is not None and node.loc.start_token.kind is TokenKind.BRACE_L
    return _tree(
        Comment=None if is_shorthand else _comments(node),
        Operation=node.operation.value,
        Name=_name(node.name),
        VariableDefinitions=_all(_variable_definition, node.variable_definitions),
        Directives=_all(_directive, node.directives),
        SelectionSet=_selections(node),
    )


def _fragment_definition(node: ast.FragmentDefinitionNode) -> Tree:
    return _tree(
        Comment=_comments(node),
        Name=_name(node.name),
        VariableDefinition=_all(_variable_definition, node.variable_definitions),
        TypeCondition=node.type_condition.name.value,
        Directives=_all(_directive, node.directives),
        SelectionSet=_selections(node),
    )


def _variable_definition(node: ast.VariableDefinitionNode) -> Tree:
    return _tree(
        Comment=_comments(node),
        Variable=node.variable.name.value,
        Type=_type(node.type),
        DefaultValue=_value(node.default_value),
        Directives=_all(_directive, node.directives),
        Used=False,
    )


def _selections(node: Any) -> list[Tree]:
    return _all(_selection, node.selection_set.selections if node.selection_set else None)


def _selection(node: ast.SelectionNode) -> Tree:
    parts: Tree = {"Comment": _comments(node), "Directives": _all(_directive, node.directives)}
    if isinstance(node, ast.FragmentSpreadNode):
        return _tree(**parts, Name=node.name.value)
    if isinstance(node, ast.InlineFragmentNode):
        condition = node.type_condition.name.value if node.type_condition else ""
        return _tree(**parts, TypeCondition=condition, SelectionSet=_selections(node))
    assert isinstance(node, ast.FieldNode)
    return _tree(
        **parts,
        Alias=_name(node.alias or node.name),
        Name=node.name.value,
        Arguments=_all(_argument, node.arguments),
        SelectionSet=_selections(node),
    )


def _directive(node: ast.DirectiveNode) -> Tree:
    return _tree(Name=node.name.value, Arguments=_all(_argument, node.arguments), Location="")


def _argument(node: ast.ArgumentNode | ast.ObjectFieldNode) -> Tree:
    return _tree(Comment=_comments(node), Name=node.name.value, Value=_value(node.value))


_SCALARS: Final[dict[type[ast.Node], int]] = {
    ast.IntValueNode: INT,
    ast.FloatValueNode: FLOAT,
    ast.EnumValueNode: ENUM,
}


def _value(node: ast.ValueNode | None) -> Tree | None:
    if node is None:
        return None
    comment, children = None, []
    if isinstance(node, ast.VariableNode):
        kind, raw = VARIABLE, node.name.value
    elif isinstance(node, ast.StringValueNode):
        kind, raw = BLOCK if node.block else STRING, node.value
    elif isinstance(node, ast.BooleanValueNode):
        kind, raw = BOOLEAN, "true" if node.value else "false"
    elif isinstance(node, ast.NullValueNode):
        kind, raw = NULL, "null"
    elif isinstance(node, ast.ListValueNode):
        kind, raw, comment = LIST, "", _comments(node)
        children = [_tree(Name="", Value=_value(item)) for item in node.values]
    elif isinstance(node, ast.ObjectValueNode):
        kind, raw, comment = OBJECT, "", _comments(node)
        children = _all(_argument, node.fields)
    else:
        kind, raw = _SCALARS[type(node)], node.value  # type: ignore[attr-defined]
    return _tree(Comment=comment, Raw=raw, Children=children, Kind=kind, ExpectedTypeHasDefault=False)


def _type(node: ast.TypeNode) -> Tree:
    is_required = isinstance(node, ast.NonNullTypeNode)
    inner: Any = node.type if isinstance(node, ast.NonNullTypeNode) else node
    if isinstance(inner, ast.ListTypeNode):
        return _tree(NamedType="", Elem=_type(inner.type), NonNull=is_required)
    return _tree(NamedType=inner.name.value, NonNull=is_required)


# Schemas


def _schema_part(node: Any) -> tuple[str, Tree]:
    """A definition or an extension, and the field of the document that it belongs to."""
    if isinstance(node, ast.SchemaDefinitionNode):
        return "Schema", _schema(node)
    if isinstance(node, ast.SchemaExtensionNode):
        return "SchemaExtension", _schema(node)
    if isinstance(node, ast.DirectiveDefinitionNode):
        return "Directives", _directive_definition(node)
    if isinstance(node, ast.TypeExtensionNode):
        return "Extensions", _definition(node)
    return "Definitions", _definition(node)


def _about(node: Any) -> Tree:
    """The description of a definition, and the comments before and behind it."""
    description: ast.StringValueNode | None = getattr(node, "description", None)
    if description is None:
        return {"Description": "", "AfterDescriptionComment": _comments(node)}
    behind = description.loc.end_token.next if description.loc else None
    while behind and behind.kind is TokenKind.COMMENT:
        behind = behind.next
    return {
        "BeforeDescriptionComment": _comments(description),
        "Description": description.value,
        "AfterDescriptionComment": _comments_before(behind),
    }


def _comments_at_end(node: ast.Node) -> Tree | None:
    """The comments before the brace that closes a definition, if it has a block."""
    if node.loc is None or node.loc.end_token.kind is not TokenKind.BRACE_R:
        return None
    return _comments_before(node.loc.end_token)


def _schema(node: ast.SchemaDefinitionNode | ast.SchemaExtensionNode) -> Tree:
    return _tree(
        **_about(node),
        Directives=_all(_directive, node.directives),
        OperationTypes=_all(_root_operation, node.operation_types),
        EndOfDefinitionComment=_comments_at_end(node),
    )


def _root_operation(node: ast.OperationTypeDefinitionNode) -> Tree:
    return _tree(Comment=_comments(node), Operation=node.operation.value, Type=node.type.name.value)


def _definition(node: Any) -> Tree:
    return _tree(
        **_about(node),
        Kind=node.kind.rpartition("_type_")[0].upper(),
        Name=node.name.value,
        BuiltIn=False,
        Interfaces=_names(getattr(node, "interfaces", None)),
        Directives=_all(_directive, node.directives),
        Fields=_all(_field, getattr(node, "fields", None)),
        Types=_names(getattr(node, "types", None)),
        EnumValues=_all(_enum_value, getattr(node, "values", None)),
        EndOfDefinitionComment=_comments_at_end(node),
    )


def _field(node: Any) -> Tree:
    """A field of a type or of an input, or an argument of one."""
    return _tree(
        **_about(node),
        Name=node.name.value,
        Arguments=_all(_field, getattr(node, "arguments", None)),
        Type=_type(node.type),
        DefaultValue=_value(getattr(node, "default_value", None)),
        Directives=_all(_directive, node.directives),
    )


def _enum_value(node: ast.EnumValueDefinitionNode) -> Tree:
    return _tree(**_about(node), Name=node.name.value, Directives=_all(_directive, node.directives))


def _directive_definition(node: ast.DirectiveDefinitionNode) -> Tree:
    return _tree(
        **_about(node),
        Name=node.name.value,
        Arguments=_all(_field, node.arguments),
        Locations=[location.value for location in node.locations],
        IsRepeatable=node.repeatable,
    )
