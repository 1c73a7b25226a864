"""Redaction: nothing that a pattern matches is left, and nothing else is lost."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.redaction import REDACTED, Redactor, check
from gateway.errors import GatewayError

CARD = "[0-9]{6,16}"
MAIL = r"[a-z]+@[a-z]+\.example"
TEXTS = st.text(alphabet='ab @.0123456789é\u2028😀"\\', max_size=40) | st.sampled_from(
    ["dana@acme.example", "4111111111"]
)
DOCUMENTS: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(DOCUMENTS)
def test_nothing_that_matches_is_left(document: Any) -> None:
    redactor = Redactor([CARD, MAIL])
    found = redactor.document(document)
    text = json.dumps(found, ensure_ascii=False)
    assert not re.search(CARD, text)
    assert not re.search(MAIL, text)
    before = json.dumps(document, ensure_ascii=False)
    assert bool(redactor.count) == bool(re.search(CARD, before) or re.search(MAIL, before))
    if not redactor.count:
        assert found == document


@given(TEXTS)
def test_the_rest_of_a_text_stays(text: str) -> None:
    assert Redactor([CARD]).text(text) == re.sub(CARD, REDACTED, text)


def test_a_boundary_hides_nothing() -> None:
    redactor = Redactor([r"\b"])
    assert (redactor.text("one two"), redactor.count) == ("one two", 0)


def test_hostile_patterns_take_linear_time() -> None:
    assert Redactor(["(a+)+b"]).text("a" * 100_000) == "a" * 100_000


@pytest.mark.parametrize("pattern", ["(", "a*", "", "x" * 501, "(?=a)", "\ud800"])
def test_patterns_that_are_refused(pattern: str) -> None:
    with pytest.raises(GatewayError) as caught:
        check([pattern])
    assert caught.value.code == "invalid_pattern"


def test_patterns_are_kept_once_and_in_order() -> None:
    assert check(["b", "a", "b"]) == ["b", "a"]
    with pytest.raises(GatewayError, match="at most 20"):
        check([str(number) for number in range(21)])
