"""GraphQL schema definitions as syntax trees; see `parser` for what they look like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from policy_engine.builtins.graphql import lexer
from policy_engine.builtins.graphql.parser import Document, QueryParser, Tree, comments
from policy_engine.values import Charge

_KINDS: Final = {
    "scalar": "SCALAR",
    "type": "OBJECT",
    "interface": "INTERFACE",
    "union": "UNION",
    "enum": "ENUM",
    "input": "INPUT_OBJECT",
}

_QUERY_LOCATIONS: Final = (
    *("QUERY", "MUTATION", "SUBSCRIPTION", "FIELD", "FRAGMENT_DEFINITION", "FRAGMENT_SPREAD", "INLINE_FRAGMENT"),
    "VARIABLE_DEFINITION",
)
_SCHEMA_LOCATIONS: Final = (
    *("SCHEMA", "SCALAR", "OBJECT", "FIELD_DEFINITION", "ARGUMENT_DEFINITION", "INTERFACE", "UNION", "ENUM"),
    *("ENUM_VALUE", "INPUT_OBJECT", "INPUT_FIELD_DEFINITION"),
)
_LOCATIONS: Final = frozenset((*_QUERY_LOCATIONS, *_SCHEMA_LOCATIONS))


def parse_schema(text: str, charge: Charge | None = None) -> Document:
    """`charge` is told of each token. Raises `GraphQLError`."""
    parser = _SchemaParser(text, charge)
    return Document(parser.schema_document(), parser.positions)


class _SchemaParser(QueryParser):
    def schema_document(self) -> Tree:
        start = self.token
        parts: dict[str, list[Tree]] = {}
        while self.token.kind != lexer.EOF:
            about = self.described(always=True)
            if self.token.kind != lexer.NAME:
                self.unexpected()
            word = self.token.value
            if word == "extend":
                if about["Description"]:
                    self.unexpected((self.previous, *self.token.comments)[-1])
                self.next()
                name, part = self.extension({**about, "BeforeDescriptionComment": None})
            elif word in _KINDS:
                name, part = "Definitions", self.definition(about)
            elif word == "schema":
                name, part = "Schema", self.schema(about)
            elif word == "directive":
                name, part = "Directives", self.directive_definition(about)
            else:
                self.unexpected()
            parts.setdefault(name, []).append(part)
        return self.node(start, Comment=comments(self.token), **parts)

    def described(self, *, always: bool = False) -> Tree:
        """The description that may be ahead, with the comments before and behind it.

        Unless `always`, comments before an empty description do not count.
        """
        before, text = None, ""
        if self.token.kind in (lexer.STRING, lexer.BLOCK_STRING):
            before, text = comments(self.token), self.next().value
        return {
            "BeforeDescriptionComment": before if text or always else None,
            "Description": text,
            "AfterDescriptionComment": comments(self.token),
        }

    def extension(self, about: Tree) -> tuple[str, Tree]:
        """One that adds nothing is refused."""
        word = self.token.value
        if word == "schema":
            name, part = "SchemaExtension", self.schema(about)
        elif word in _KINDS:
            name, part = "Extensions", self.definition(about, extends=True)
        else:
            self.unexpected()
        if not part.keys() & {"OperationTypes", "Interfaces", "Directives", "Fields", "Types", "EnumValues"}:
            self.unexpected()
        return name, part

    def schema(self, about: Tree) -> Tree:
        self.expect_keyword("schema")
        start = self.token
        directives = self.directives(constant=True)
        return self.node(start, **about, Directives=directives, **self.block("OperationTypes", self.root_operation))

    def root_operation(self) -> Tree:
        start = self.token
        operation = self.operation_type()
        self.expect(":")
        return self.node(start, Comment=comments(start), Operation=operation, Type=self.name())

    def definition(self, about: Tree, *, extends: bool = False) -> Tree:
        word = self.next().value
        start = self.token
        # Extensions of interfaces implement nothing, and those of inputs may use variables; both are gqlparser's.
        implementing = word == "type" or (word == "interface" and not extends)
        parts: dict[str, Any] = {
            "Name": self.name(),
            "Interfaces": self.interfaces() if implementing else None,
            "Directives": self.directives(constant=not (extends and word == "input")),
        }
        if word in ("type", "interface"):
            parts |= self.block("Fields", self.field_definition)
        elif word == "input":
            parts |= self.block("Fields", self.input_value)
        elif word == "enum":
            parts |= self.block("EnumValues", self.enum_value)
        elif word == "union":
            parts["Types"] = self.names("|", self.name) if self.skip("=") else None
        return self.node(start, Kind=_KINDS[word], BuiltIn=False, **about, **parts)

    def block(self, name: str, part: Callable[[], Tree]) -> Tree:
        """Parts in braces as a field of a node, and the comments before the closing one as another."""
        if self.token.kind != "{":
            return {}
        parts = self.many("{", "}", part, least=1)
        return {name: parts, "EndOfDefinitionComment": comments(self.previous)}

    def interfaces(self) -> list[str]:
        if self.token.value != "implements":
            return []
        self.next()
        return self.names("&", self.name)

    def names(self, separator: str, name: Callable[[], str]) -> list[str]:
        """One or more; a separator may also stand before the first."""
        self.skip(separator)
        found = [name()]
        while self.skip(separator):
            found.append(name())
        return found

    def field_definition(self) -> Tree:
        start = self.token
        about, name = self.described(), self.name()
        arguments = self.many("(", ")", self.input_value, least=1)
        self.expect(":")
        return self.node(
            start,
            **about,
            Name=name,
            Arguments=arguments,
            Type=self.type(),
            Directives=self.directives(constant=True),
        )

    def input_value(self) -> Tree:
        start = self.token
        about, name = self.described(), self.name()
        self.expect(":")
        return self.node(
            start,
            **about,
            Name=name,
            Type=self.type(),
            DefaultValue=self.default(),
            Directives=self.directives(constant=True),
        )

    def enum_value(self) -> Tree:
        start = self.token
        about, name = self.described(), self.name()
        return self.node(start, **about, Name=name, Directives=self.directives(constant=True))

    def directive_definition(self, about: Tree) -> Tree:
        self.next()
        self.expect("@")
        start = self.token
        name = self.name()
        arguments = self.many("(", ")", self.input_value, least=1)
        repeatable = self.token.kind == lexer.NAME and self.token.value == "repeatable"
        if repeatable:
            self.next()
        self.expect_keyword("on")
        return self.node(
            start,
            **about,
            Name=name,
            Arguments=arguments,
            Locations=self.names("|", self.location),
            IsRepeatable=repeatable,
        )

    def location(self) -> str:
        token = self.expect(lexer.NAME)
        if token.value not in _LOCATIONS:
            self.unexpected(token)
        return token.value
