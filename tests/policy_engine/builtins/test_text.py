"""Characters one by one: case, white space and quoting, for everything that Unicode 3.2 had.

Of later characters, case depends on the Unicode version of Python on one side and of Go on the other.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pytest

from policy_engine.builtins import gotext
from policy_engine.values import literal
from tests.oracle import Oracle


@pytest.fixture(scope="module")
def characters() -> list[str]:
    known = unicodedata.ucd_3_2_0
    return [char for char in map(chr, range(0x110000)) if known.category(char) not in ("Cn", "Cs", "Co", "Lo")]


@pytest.mark.parametrize(("expression", "function"), [("upper(s)", gotext.upper), ("lower(s)", gotext.lower)])
def test_case(expression: str, function: Callable[[str], str], characters: list[str], oracle: Oracle) -> None:
    assert _differing(characters, expression, function, oracle) == []


def test_white_space(characters: list[str], oracle: Oracle) -> None:
    texts = [f"{char}x{char}" for char in characters]
    assert _differing(texts, "trim_space(s)", lambda text: text.strip(gotext.WHITE_SPACE), oracle) == []


def test_quoting(characters: list[str], oracle: Oracle) -> None:
    assert _differing(characters, '$"{[s]}"', lambda char: f"[{literal(char)}]", oracle) == []


def test_quoting_of_what_unicode_14_and_15_have(oracle: Oracle) -> None:
    texts = ["\U0001fae8\U0001fa75\U0001f6dc", "\u0cf3\u0ece", "\U0001faa0\U0001f9ff"]
    assert _differing(texts, '$"{[s]}"', lambda char: f"[{literal(char)}]", oracle) == []
    assert all(f'"{text}"' == literal(text) for text in texts)


def _differing(texts: list[str], expression: str, function: Callable[[str], str], oracle: Oracle) -> list[str]:
    answer = oracle.query(f"x := [{expression} | some s in input]", input=texts)
    assert not answer.code, answer.message
    return [text for text, want in zip(texts, answer.bindings[0]["x"], strict=True) if function(text) != want]
