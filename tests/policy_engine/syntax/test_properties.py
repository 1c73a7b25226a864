"""Laws that hold for any text: nothing but `PolicyError` leaves, and what parses survives being printed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from policy_engine.errors import LIMIT_REACHED, PolicyError
from policy_engine.syntax.nodes import Module
from policy_engine.syntax.parser import parse_module, parse_query, parse_term
from policy_engine.syntax.printer import to_text
from policy_engine.syntax.visitor import walk
from tests.policy_engine.refusals.bases import BASES
from tests.policy_engine.syntax.mutations import mutate, sources, tokens_of

SOURCES = [tokens_of(source) for source in sources()]
REGO = st.text(alphabet=list("abx_ 01.,;:=<>!|&+-*/%()[]{}\"`$#\\\n\r\t'@é\0\ufeff\ud800"), max_size=60)
WORDS = st.lists(
    st.sampled_from([
        "package", "a", "import", "data.x", "as", "y", "default", "p", "if", "else", "contains", "not", "some", "every",
        "in", "with", "true", "null", "set()", "and", "or", "{", "}", "[", "]", "(", ")", ",", ";", ":", ":=", "=",
        "==", "|", "&", "-", "+", "*", ".x", "[0]", "(x)", "1", '"s"', "`r`", '$"{', '"', "\n",
    ]),
    max_size=30,
).map(" ".join)  # fmt: skip


def attempt(parse: Callable[[str], Any], source: str) -> Any:
    """The tree, or the error: any other exception than `PolicyError` fails the test."""
    try:
        return parse(source)
    except PolicyError as error:
        return error


def read(source: str) -> Module | None:
    """The module that `source` is, if it is one. Its error must be fit to be shown."""
    attempt(parse_query, source)
    attempt(parse_term, source)
    result = attempt(parse_module, source)
    if isinstance(result, Module):
        return result
    for error in result.errors:
        assert (error.message + error.hint).encode()
        assert "\n" not in error.message + error.hint
        if error.message != LIMIT_REACHED:
            assert 1 <= error.location.row <= source.count("\n") + 1
            assert error.location.col >= 1
    return None


@given(st.text(max_size=200))
@example('package a\np := "\\u')
@example("package a\np := 1e")
@example("package a\np := $`{`")
@example('package a\nimport future.keywords["and"]')
def test_any_text(source: str) -> None:
    read(source)
    read("package a\np := " + source)


@given(REGO)
def test_any_characters_of_rego(source: str) -> None:
    read("package a\np := " + source)
    read("package a\np if {" + source + "}")


@given(WORDS, st.sampled_from(["", "import future.keywords\n"]))
def test_any_words_of_rego(source: str, imports: str) -> None:
    for text in (f"package a\n{imports}{source}", f"package a\n{imports}p if {{ {source} }}"):
        module = read(text)
        if module is not None:
            assert parse_module(to_text(module)) == module, to_text(module)


@settings(max_examples=40)
@given(st.sampled_from(sorted(BASES)), st.lists(st.tuples(st.integers(min_value=0), REGO), min_size=1, max_size=3))
def test_modules_with_mistakes(name: str, changes: list[tuple[int, str]]) -> None:
    source = BASES[name]
    for place, text in changes:
        at = place % len(source)
        source = source[:at] + text[:3] + source[at + place % 2 :]
    read(source)


@settings(max_examples=150)
@given(st.integers(min_value=0))
def test_mutated_modules(seed: int) -> None:
    generator = random.Random(seed)
    source = mutate(generator, generator.choice(SOURCES), generator.choice(SOURCES))
    module = read(source)
    if module is not None:
        assert parse_module(to_text(module)) == module, to_text(module)
        assert all(node.loc.row for node in walk(module))
