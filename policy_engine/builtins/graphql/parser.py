"""GraphQL queries as the syntax trees that OPA hands to policies: objects with the field names of gqlparser.

Fields that are null or empty are left out, as OPA leaves them out. The grammar is the specification's (October 2021),
with variables on fragments. Definitions of schemas are in `schema_parser`. Error texts are gqlparser's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn, TypeVar

from policy_engine.builtins.graphql import lexer
from policy_engine.builtins.graphql.lexer import Lexer, Token
from policy_engine.values import Charge, literal

Tree = dict[str, Any]
Position = tuple[int, int]
"""Line and column."""

MAX_DEPTH: Final = 64
"""Of selections, values and types in each other."""

VARIABLE, INT, FLOAT, STRING, BLOCK, BOOLEAN, NULL, ENUM, LIST, OBJECT = range(10)
"""`Kind` of a value."""

_LITERALS: Final = {lexer.INT: INT, lexer.FLOAT: FLOAT, lexer.STRING: STRING, lexer.BLOCK_STRING: BLOCK}
_WORDS: Final = {"true": BOOLEAN, "false": BOOLEAN, "null": NULL}
_OPERATIONS: Final = ("query", "mutation", "subscription")

_Part = TypeVar("_Part")


class GraphQLError(ValueError):
    """What is wrong with a document, as OPA says it."""


def located(text: str, position: Position) -> str:
    line, column = position
    # A block string may seem to begin before its line.
    if column < 0:
        return f"GraphQL parse error: input:{line}:{column}: {text}"
    return f"{text} in GraphQL string at location {line}:{column}"


class Document:
    """A syntax tree, and where its nodes begin, by identity."""

    def __init__(self, tree: Tree, positions: dict[int, Position]) -> None:
        self.tree = tree
        self.positions = positions

    def position(self, node: object) -> Position | None:
        return self.positions.get(id(node))


def parse_query(text: str, charge: Charge | None = None) -> Document:
    """`charge` is told of each token. Raises `GraphQLError`."""
    parser = QueryParser(text, charge)
    return Document(parser.query_document(), parser.positions)


_STEPS_PER_TOKEN: Final = 16


class Parser:
    """The text ahead, one token at a time."""

    def __init__(self, text: str, charge: Charge | None = None) -> None:
        self._charge = charge
        self._lexer = Lexer(text, charge)
        self.token = self._lexer.read()
        self.previous = self.token
        self.positions: dict[int, Position] = {}
        self._depth = 0

    def fail(self, text: str, token: Token | None = None) -> NoReturn:
        place = token or self.token
        raise GraphQLError(located(text, (place.line, place.column)))

    def unexpected(self, token: Token | None = None) -> NoReturn:
        self.fail(f"Unexpected {_shown(token or self.token)}", token)

    def next(self) -> Token:
        if self._charge is not None:
            self._charge(_STEPS_PER_TOKEN)
        self.previous, self.token = self.token, self._lexer.read()
        return self.previous

    def expect(self, kind: str) -> Token:
        if self.token.kind != kind:
            self.fail(f"Expected {kind}, found {self.token.kind}")
        return self.next()

    def expect_keyword(self, word: str) -> None:
        if self.token.kind != lexer.NAME or self.token.value != word:
            self.fail(f"Expected {literal(word)}, found {_shown(self.token)}")
        self.next()

    def skip(self, kind: str) -> bool:
        found = self.token.kind == kind
        if found:
            self.next()
        return found

    def name(self) -> str:
        return self.expect(lexer.NAME).value

    def many(self, opening: str, closing: str, part: Callable[[], _Part], least: int = 0) -> list[_Part]:
        """Parts in brackets, nothing if the opening one is not there."""
        parts: list[_Part] = []
        if self.skip(opening):
            while self.token.kind != closing:
                parts.append(part())
            if len(parts) < least:
                self.fail(f"expected at least one definition, found {self.token.kind}")
            self.next()
        return parts

    def nested(self, part: Callable[[], _Part]) -> _Part:
        """A part that may contain others like it."""
        if self._depth == MAX_DEPTH:
            self.fail(f"nested more than {MAX_DEPTH} levels deep")
        self._depth += 1
        parsed = part()
        self._depth -= 1
        return parsed

    def node(self, start: Token, **fields: Any) -> Tree:
        """An object of the syntax tree, without what is null or empty."""
        made = {name: value for name, value in fields.items() if value is not None and value != [] and value != {}}
        self.positions[id(made)] = (start.line, start.column)
        return made


def comments(token: Token) -> Tree | None:
    """The comments before a token, as a field of a node."""
    return {"List": [{"Value": comment.value} for comment in token.comments]} if token.comments else None


def _shown(token: Token) -> str:
    return f"{token.kind} {literal(token.value)}" if token.value and token.kind != lexer.INVALID else token.kind


class QueryParser(Parser):
    def query_document(self) -> Tree:
        start = self.token
        operations: list[Tree] = []
        fragments: list[Tree] = []
        while self.token.kind != lexer.EOF:
            word = self.token.value if self.token.kind == lexer.NAME else ""
            if self.token.kind == "{" or word in _OPERATIONS:
                operations.append(self.operation())
            elif word == "fragment":
                fragments.append(self.fragment_definition())
            else:
                self.unexpected()
        return self.node(start, Operations=operations, Fragments=fragments)

    def operation(self) -> Tree:
        start = self.token
        if start.kind == "{":
            return self.node(start, Operation="query", Name="", SelectionSet=self.selections())
        return self.node(
            start,
            Comment=comments(start),
            Operation=self.next().value,
            Name=self.next().value if self.token.kind == lexer.NAME else "",
            VariableDefinitions=self.variables(),
            Directives=self.directives(),
            SelectionSet=self.selections(),
        )

    def operation_type(self) -> str:
        token = self.next()
        if token.kind == lexer.INVALID:
            self.fail(token.value, token)
        if token.value not in _OPERATIONS:
            self.unexpected(token)
        return token.value

    def variables(self) -> list[Tree]:
        return self.many("(", ")", self.variable_definition, least=1)

    def variable_definition(self) -> Tree:
        start = self.token
        name = self.variable()
        self.expect(":")
        return self.node(
            start,
            Comment=comments(start),
            Variable=name,
            Type=self.type(),
            DefaultValue=self.default(),
            Directives=self.directives(),
            Used=False,
        )

    def variable(self) -> str:
        self.expect("$")
        return self.name()

    def default(self) -> Tree | None:
        return self.value(constant=True) if self.skip("=") else None

    def selections(self) -> list[Tree]:
        if self.token.kind != "{":
            self.fail(f"Expected {{, found {self.token.kind}")
        return self.nested(lambda: self.many("{", "}", self.selection, least=1))

    def selection(self) -> Tree:
        return self.fragment() if self.token.kind == lexer.SPREAD else self.field()

    def field(self) -> Tree:
        start = self.token
        alias = self.name()
        return self.node(
            start,
            Comment=comments(start),
            Alias=alias,
            Name=self.name() if self.skip(":") else alias,
            Arguments=self.arguments(constant=False),
            Directives=self.directives(),
            SelectionSet=self.selections() if self.token.kind == "{" else None,
        )

    def arguments(self, *, constant: bool) -> list[Tree]:
        return self.many("(", ")", lambda: self.argument(constant=constant), least=1)

    def argument(self, *, constant: bool) -> Tree:
        start = self.token
        name = self.name()
        self.expect(":")
        return self.node(start, Comment=comments(start), Name=name, Value=self.value(constant=constant))

    def fragment(self) -> Tree:
        """The use of one, or one that is written in place."""
        comment = comments(self.expect(lexer.SPREAD))
        start = self.token
        if start.kind == lexer.NAME and start.value != "on":
            return self.node(start, Comment=comment, Name=self.name(), Directives=self.directives())
        condition = ""
        if start.value == "on":
            self.next()
            condition = self.name()
        return self.node(
            start,
            Comment=comment,
            TypeCondition=condition,
            Directives=self.directives(),
            SelectionSet=self.selections(),
        )

    def fragment_definition(self) -> Tree:
        start = self.next()
        if self.token.value == "on":
            self.unexpected()
        name, variables = self.name(), self.variables()
        self.expect_keyword("on")
        return self.node(
            start,
            Comment=comments(start),
            Name=name,
            VariableDefinition=variables,
            TypeCondition=self.name(),
            Directives=self.directives(),
            SelectionSet=self.selections(),
        )

    def value(self, *, constant: bool) -> Tree:
        start = self.token
        if start.kind == "$" and not constant:
            return self.value_node(start, VARIABLE, self.variable())
        if start.kind == "[":
            items = self.nested(lambda: self.many("[", "]", lambda: self.item(constant=constant)))
            return self.value_node(start, LIST, "", items)
        if start.kind == "{":
            fields = self.nested(lambda: self.many("{", "}", lambda: self.argument(constant=constant)))
            return self.value_node(start, OBJECT, "", fields)
        if start.kind == lexer.NAME:
            return self.value_node(start, _WORDS.get(start.value, ENUM), self.next().value)
        if start.kind in _LITERALS:
            return self.value_node(start, _LITERALS[start.kind], self.next().value)
        self.unexpected()

    def value_node(self, start: Token, kind: int, raw: str, children: list[Tree] | None = None) -> Tree:
        comment = comments(start) if kind in (LIST, OBJECT) else None
        return self.node(start, Comment=comment, Raw=raw, Children=children, Kind=kind, ExpectedTypeHasDefault=False)

    def item(self, *, constant: bool) -> Tree:
        return self.node(self.token, Name="", Value=self.value(constant=constant))

    def directives(self, *, constant: bool = False) -> list[Tree]:
        found: list[Tree] = []
        while self.skip("@"):
            start = self.token
            found.append(self.node(start, Name=self.name(), Arguments=self.arguments(constant=constant), Location=""))
        return found

    def type(self) -> Tree:
        start = self.token
        if self.skip("["):
            start = self.token
            element, name = self.nested(self.type), ""
            self.expect("]")
        else:
            element, name = None, self.name()
        return self.node(start, NamedType=name, Elem=element, NonNull=self.skip("!"))
