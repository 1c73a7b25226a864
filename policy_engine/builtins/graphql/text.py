"""GraphQL text parsed by graphql-core, within limits: every token is charged, and nesting is bounded.

Both kinds of definitions are in one grammar there; a query has none of a schema's, and a schema none of a query's.
"""

from __future__ import annotations

import re
from typing import Final

import graphql
from graphql.language import Lexer, Source, Token, TokenKind, ast
from graphql.language.parser import Parser

from policy_engine.values import Charge

MAX_CHARACTERS: Final = 2_000_000
MAX_DEPTH: Final = 64
"""The most brackets that may be open at one place."""

_STEPS_PER_TOKEN: Final = 32
_CHARACTERS_PER_STEP: Final = 4

Kinds = tuple[type[ast.Node], ...]

_EMPTY: Final = re.compile("(?:[\t\n\r ,\ufeff]|#[^\n\r]*)*")
_OPENING: Final = frozenset((TokenKind.BRACE_L, TokenKind.BRACKET_L, TokenKind.PAREN_L))
_CLOSING: Final = frozenset((TokenKind.BRACE_R, TokenKind.BRACKET_R, TokenKind.PAREN_R))


class GraphQLError(ValueError):
    """A document is not valid; the message says why."""


QUERY: Final[Kinds] = (ast.OperationDefinitionNode, ast.FragmentDefinitionNode)
SCHEMA: Final[Kinds] = (ast.TypeSystemDefinitionNode, ast.SchemaExtensionNode)
"""The nodes that a query and a schema consist of."""


def parse_text(text: str, kinds: Kinds, charge: Charge, *, is_printed: bool = False) -> ast.DocumentNode:
    """A document of these kinds of definitions only, possibly of none. Raises `GraphQLError`.

    Places in a text that was printed of a tree mean nothing to anybody.
    """
    charge(len(text) // _CHARACTERS_PER_STEP)
    if len(text) > MAX_CHARACTERS:
        raise GraphQLError(f"more than {MAX_CHARACTERS:,} characters")
    if _EMPTY.fullmatch(text):
        return ast.DocumentNode(definitions=())
    try:
        document = Parser(
            text,
            lexer=_Lexer(text, charge),
            no_location=is_printed,
            allow_empty_selection_sets=False,
            experimental_fragment_arguments=True,
        ).parse_document()
    except graphql.GraphQLError as error:
        raise GraphQLError(described(error, with_place=not is_printed)) from None
    for definition in document.definitions:
        if not isinstance(definition, kinds):
            raise GraphQLError(f"{_place(definition.loc)}unexpected {definition.kind.replace('_', ' ')}")
    return document


class _Lexer(Lexer):
    """Charges for each token, and counts the open brackets."""

    def __init__(self, text: str, charge: Charge) -> None:
        super().__init__(Source(text))
        self._charge = charge
        self._depth = 0

    def read_next_token(self, start: int) -> Token:
        self._charge(_STEPS_PER_TOKEN)
        token = super().read_next_token(start)
        if token.kind in _OPENING:
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise graphql.GraphQLSyntaxError(self.source, start, f"nested more than {MAX_DEPTH} levels deep")
        elif token.kind in _CLOSING:
            self._depth -= 1
        return token


def described(error: graphql.GraphQLError, *, with_place: bool = True) -> str:
    """The message of graphql-core, after the place if that is known."""
    message = error.message.removeprefix("Syntax Error: ").removesuffix(".")
    if not with_place or not error.locations:
        return message
    return f"line {error.locations[0].line}, column {error.locations[0].column}: {message}"


def _place(location: ast.Location | None) -> str:
    if location is None:
        return ""
    return f"line {location.start_token.line}, column {location.start_token.column}: "
