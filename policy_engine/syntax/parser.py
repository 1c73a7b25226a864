"""Rego source text to a syntax tree: `parse_module`, `parse_query`, `parse_term`.

    text ── lexer.py, brackets.py ──> tokens ── automaton.py, grammar.lark ──> calls of `RuleBuilder`, nodes
     └── a text that cannot be read ──> diagnosis ──> every error in it

The only exception that leaves here is `PolicyError`, for any text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from policy_engine.errors import PARSE_ERROR, PolicyError, combine
from policy_engine.syntax.automaton import Unexpected
from policy_engine.syntax.nodes import Body, Module, Term
from policy_engine.syntax.reading import Reading


def parse_module(source: str, file: str = "", *, syntax_only: bool = False) -> Module:
    """The module that `source` is. `syntax_only` leaves out what OPA's compiler refuses and its parser does not."""
    module: Module = _tree(source, file, "module", syntax_only=syntax_only)
    return module


def parse_modules(sources: Mapping[str, str]) -> dict[str, Module]:
    """The modules that some files are. Raises `PolicyError` with the parse errors of all of them."""
    modules: dict[str, Module] = {}
    errors: list[PolicyError] = []
    for file, source in sources.items():
        try:
            modules[file] = parse_module(source, file)
        except PolicyError as error:
            errors.append(error)
    if errors:
        raise combine(errors)
    return modules


def parse_foreign_module(source: str, file: str, pause: Callable[[], None]) -> Module:
    """The module that a text of unknown origin is, read as with `syntax_only` and in pieces.

    `pause` is called between pieces of work that take some milliseconds, and before and after the text is split into
    tokens, which is done at once. Its exceptions leave here. For a text that cannot be read, only the first mistake is
    named, and in short: finding what its author meant takes many times as long as reading it.
    """
    pause()
    reading = Reading(source, file, "module", pause)
    try:
        module: Module = reading.tree()
    except Unexpected as error:
        token = reading.tokens[error.index]
        what = "end of the file" if token.kind == "$END" else f"`{token.text[:_SHOWN]}`"
        raise PolicyError(PARSE_ERROR, f"unexpected {what}", token.loc) from None
    pause()
    if reading.errors:
        raise reading.errors[0]
    return module


_SHOWN: Final = 64


def parse_query(source: str, file: str = "") -> Body:
    """The body that `source` is."""
    body: Body = _tree(source, file, "query")
    return body


def parse_term(source: str) -> Term:
    """The one term that `source` is."""
    term: Term = _tree(source, "", "value")
    return term


def _tree(source: str, file: str, start: str, *, syntax_only: bool = False) -> Any:
    try:
        reading = Reading(source, file, start)
        tree = reading.tree()
    except (Unexpected, PolicyError):
        raise _error(source, file, start) from None
    if reading.errors:
        raise _error(source, file, start)
    if reading.compile_errors and not syntax_only:
        raise combine(reading.compile_errors)
    return tree


def _error(source: str, file: str, start: str) -> PolicyError:
    from policy_engine.syntax import diagnosis  # most processes never need it

    return combine(diagnosis.errors(source, file, start))
