"""Syntax trees that a policy hands back, as the text that they are trees of; see `trees` for what they look like.

Unknown fields are dropped and missing ones get their zero value, as OPA's JSON decoder does. It takes every selection
for a field, so fragments are lost there; here they stay what they are. Names have to be names and numbers numbers, so
that a tree cannot smuggle in text of another structure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Final, TypeVar

from graphql.language import OperationType
from graphql.language.block_string import is_printable_as_block_string, print_block_string

from policy_engine.builtins.graphql import trees
from policy_engine.builtins.graphql.text import GraphQLError
from policy_engine.builtins.graphql.trees import Tree
from policy_engine.values import Charge, Value, type_name

_STEPS: Final = 16
"""Steps for reading an object."""

_NAME: Final = re.compile("(?:[_A-Za-z][_0-9A-Za-z]*)?")
_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_OPERATIONS: Final = frozenset(operation.value for operation in OperationType)
_KEYWORDS: Final = {
    "SCALAR": "scalar",
    "OBJECT": "type",
    "INTERFACE": "interface",
    "UNION": "union",
    "ENUM": "enum",
    "INPUT_OBJECT": "input",
}

_Zero = TypeVar("_Zero")


def query_text(tree: Tree, charge: Charge) -> str:
    """Raises `GraphQLError`."""
    printer = _QueryPrinter(charge)
    printer.fragments = {*printer.each(tree, "Fragments", lambda one: printer.name(one, "Name"))}
    definitions = printer.each(tree, "Operations", printer.operation)
    return "\n".join(definitions + printer.each(tree, "Fragments", printer.fragment_definition))


def schema_text(tree: Tree, charge: Charge) -> str:
    """Raises `GraphQLError`."""
    printer = _SchemaPrinter(charge)
    definitions = [
        *printer.each(tree, "Schema", printer.schema),
        *(f"extend {one}" for one in printer.each(tree, "SchemaExtension", printer.schema)),
        *printer.each(tree, "Directives", printer.directive_definition),
        *printer.each(tree, "Definitions", printer.definition),
        *(f"extend {one}" for one in printer.each(tree, "Extensions", printer.definition)),
    ]
    return "\n".join(definitions)


class _Printer:
    """Reads the fields of objects, and prints what queries and schemas have in common."""

    def __init__(self, charge: Charge) -> None:
        self._charge = charge

    def field(self, tree: Tree, name: str, zero: _Zero) -> _Zero:
        """The value of a field; `zero` if there is none. Raises `GraphQLError` if its class is not that of `zero`."""
        value: Value = tree.get(name)
        if value is None:
            return zero
        if value.__class__ is not zero.__class__:
            raise GraphQLError(f"{name} must be {type_name(zero)} but is {type_name(value)}")
        return value

    def name(self, tree: Tree, field: str) -> str:
        return _checked(_NAME, self.field(tree, field, ""), field)

    def names(self, tree: Tree, field: str, separator: str) -> str:
        given: list[Value] = self.field(tree, field, [])
        return separator.join([_checked(_NAME, one, field) for one in given])

    def each(self, tree: Tree, field: str, part: Callable[[Tree], str]) -> list[str]:
        """The text that `part` gives for each object of a field, empty ones left out."""
        given: list[Value] = self.field(tree, field, [])
        for one in given:
            self._charge(_STEPS)
            if one is not None and one.__class__ is not dict:
                raise GraphQLError(f"{field} must be an array of objects but contains {type_name(one)}")
        return [part(one) for one in given if one]

    def within(self, brackets: str, parts: list[str]) -> str:
        """Parts in brackets; nothing if there are none."""
        return f"{brackets[0]}{' '.join(parts)}{brackets[1]}" if parts else ""

    def directives(self, tree: Tree) -> str:
        return "".join(self.each(tree, "Directives", lambda one: f" @{self.name(one, 'Name')}{self.arguments(one)}"))

    def arguments(self, tree: Tree) -> str:
        return self.within("()", self.each(tree, "Arguments", self.argument))

    def argument(self, tree: Tree) -> str:
        return f"{self.name(tree, 'Name')}: {self.value(self.field(tree, 'Value', {}))}"

    def default(self, tree: Tree) -> str:
        value: Tree = self.field(tree, "DefaultValue", {})
        return f" = {self.value(value)}" if value else ""

    def value(self, tree: Tree) -> str:
        self._charge(_STEPS)
        kind, raw = self.field(tree, "Kind", 0), self.field(tree, "Raw", "")
        if kind == trees.LIST:
            items = self.each(tree, "Children", lambda one: self.value(self.field(one, "Value", {})))
            return f"[{' '.join(items)}]"
        if kind == trees.OBJECT:
            return f"{{{' '.join(self.each(tree, 'Children', self.argument))}}}"
        if kind == trees.VARIABLE:
            return f"${_checked(_NAME, raw, 'Raw')}"
        if kind in (trees.INT, trees.FLOAT):
            return _checked(_NUMBER, raw, "Raw")
        if kind == trees.BLOCK and is_printable_as_block_string(raw):
            return print_block_string(raw)
        if kind in (trees.STRING, trees.BLOCK):
            return json.dumps(raw)
        if kind in (trees.BOOLEAN, trees.NULL, trees.ENUM):
            return _checked(_NAME, raw, "Raw")
        raise GraphQLError(f"{kind} is no kind of value")

    def type(self, tree: Tree) -> str:
        self._charge(_STEPS)
        inner: Tree = self.field(tree, "Elem", {})
        text = f"[{self.type(inner)}]" if inner else self.name(tree, "NamedType")
        return f"{text}!" if self.field(tree, "NonNull", zero=False) else text


class _QueryPrinter(_Printer):
    def __init__(self, charge: Charge) -> None:
        super().__init__(charge)
        self.fragments: set[str] = set()

    def operation(self, tree: Tree) -> str:
        variables = self.within("()", self.each(tree, "VariableDefinitions", self.variable_definition))
        return f"{_operation(self, tree)} {self.name(tree, 'Name')}{variables}{self.rest(tree)}"

    def fragment_definition(self, tree: Tree) -> str:
        variables = self.within("()", self.each(tree, "VariableDefinition", self.variable_definition))
        condition = self.name(tree, "TypeCondition")
        return f"fragment {self.name(tree, 'Name')}{variables} on {condition}{self.rest(tree)}"

    def variable_definition(self, tree: Tree) -> str:
        type_ = self.type(self.field(tree, "Type", {}))
        return f"${self.name(tree, 'Variable')}: {type_}{self.default(tree)}{self.directives(tree)}"

    def rest(self, tree: Tree) -> str:
        return self.directives(tree) + self.within("{}", self.each(tree, "SelectionSet", self.selection))

    def selection(self, tree: Tree) -> str:
        if "TypeCondition" in tree:
            condition = self.name(tree, "TypeCondition")
            return f"...{' on ' if condition else ''}{condition}{self.rest(tree)}"
        name = self.name(tree, "Name")
        if name in self.fragments and tree.keys() <= {"Comment", "Name", "Directives"}:
            # A field that was parsed always has an alias.
            return f"...{name}{self.directives(tree)}"
        alias = self.name(tree, "Alias")
        prefix = f"{alias}: " if alias not in ("", name) else ""
        return f"{prefix}{name}{self.arguments(tree)}{self.rest(tree)}"


class _SchemaPrinter(_Printer):
    def description(self, tree: Tree) -> str:
        text = self.field(tree, "Description", "")
        return f"{json.dumps(text)} " if text else ""

    def schema(self, tree: Tree) -> str:
        roots = self.each(tree, "OperationTypes", lambda one: f"{_operation(self, one)}: {self.name(one, 'Type')}")
        return f"{self.description(tree)}schema{self.directives(tree)}{self.within('{}', roots)}"

    def definition(self, tree: Tree) -> str:
        kind = self.field(tree, "Kind", "")
        if kind not in _KEYWORDS:
            raise GraphQLError(f"{kind!r} is no kind of definition")
        interfaces, members = self.names(tree, "Interfaces", " & "), self.names(tree, "Types", " | ")
        block = self.each(tree, "Fields", self.field_definition) + self.each(tree, "EnumValues", self.enum_value)
        return (
            f"{self.description(tree)}{_KEYWORDS[kind]} {self.name(tree, 'Name')}"
            f"{' implements ' if interfaces else ''}{interfaces}{self.directives(tree)}"
            f"{' = ' if members else ''}{members}{self.within('{}', block)}"
        )

    def field_definition(self, tree: Tree) -> str:
        """A field of a type or of an input, or an argument of one."""
        arguments = self.within("()", self.each(tree, "Arguments", self.field_definition))
        type_ = self.type(self.field(tree, "Type", {}))
        name = self.description(tree) + self.name(tree, "Name")
        return f"{name}{arguments}: {type_}{self.default(tree)}{self.directives(tree)}"

    def enum_value(self, tree: Tree) -> str:
        return f"{self.description(tree)}{self.name(tree, 'Name')}{self.directives(tree)}"

    def directive_definition(self, tree: Tree) -> str:
        arguments = self.within("()", self.each(tree, "Arguments", self.field_definition))
        repeatable = " repeatable" if self.field(tree, "IsRepeatable", zero=False) else ""
        name = f"{self.description(tree)}directive @{self.name(tree, 'Name')}"
        return f"{name}{arguments}{repeatable} on {self.names(tree, 'Locations', ' | ')}"


def _checked(pattern: re.Pattern[str], value: Value, field: str) -> str:
    if value.__class__ is not str or not pattern.fullmatch(value):
        raise GraphQLError(f"{field} is no {'name' if pattern is _NAME else 'number'}")
    return value


def _operation(printer: _Printer, tree: Tree) -> str:
    name = printer.field(tree, "Operation", "")
    if name not in _OPERATIONS:
        raise GraphQLError(f"{name!r} is no operation")
    return name
