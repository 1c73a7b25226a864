"""What every builtin of the table promises: values only, operands left alone, one answer a query."""

from __future__ import annotations

import random
from collections import OrderedDict
from enum import StrEnum
from typing import Any, Final

import pytest

from policy_engine.builtins import TABLE
from policy_engine.errors import EVAL_CONFLICT_ERROR
from policy_engine.values import UNDEFINED, Set, to_term
from tests.policy_engine.builtins import generate as g
from tests.policy_engine.builtins.conftest import Query, outcome
from tests.policy_engine.builtins.test_differential import SIGNATURES


class Colour(StrEnum):
    RED = "red"


FOREIGN: Final = (object(), (1, 2), Colour.RED, OrderedDict(), b"a", float("nan"))


@pytest.mark.parametrize("name", sorted(name for name, builtin in TABLE.items() if builtin.decl.args))
def test_an_object_that_is_no_value_is_never_just_of_another_type(name: str) -> None:
    # Of another type would be undefined outside strict mode, and `not` would hold.
    for foreign in FOREIGN:
        operands = [foreign] * len(TABLE[name].decl.args)
        assert outcome(name, *operands).startswith("invalid_input: ")


@pytest.mark.parametrize("name", SIGNATURES)
def test_operands_are_left_alone(name: str) -> None:
    rnd = random.Random(name)
    for _ in range(50):
        operands = g.operands(rnd, SIGNATURES[name])
        before = to_term(operands)
        outcome(name, *operands)
        assert to_term(operands) == before


@pytest.mark.parametrize(("name", "operands"), [("rand.intn", ["k", 1000]), ("uuid.rfc4122", ["k"])])
def test_one_answer_for_one_key_and_query(name: str, operands: list[Any]) -> None:
    query, other = Query(), Query()
    first = outcome(name, *operands, query=query)
    assert outcome(name, *operands, query=query) == first
    assert list(query.remembered) == [(name, to_term(operands))]
    # The recorded answer is what counts, not the randomness: this is how a decision is replayed.
    other.remembered = {(name, to_term(operands)): 7}
    assert outcome(name, *operands, query=other) == "[7]"


def test_random_integers_stay_below_the_limit() -> None:
    got = {TABLE["rand.intn"].function(Query(), f"key {n}", 3) for n in range(100)}
    assert got == {0, 1, 2}
    assert outcome("rand.intn", "k", 0) == "[0]"
    assert outcome("rand.intn", "k", -1) == "[0]"


def test_a_random_uuid_is_of_version_4() -> None:
    text = TABLE["uuid.rfc4122"].function(Query(), "k")
    assert outcome("uuid.parse", text) == '[{"variant": "RFC4122", "version": 4}]'


def test_print_joins_what_there_is() -> None:
    query = Query()
    outcome("print", "a", Set([1]), UNDEFINED, ["x\0"], query=query)
    outcome("internal.print", [Set(["a"]), Set([]), Set([1, 2])], query=query)
    outcome("trace", "t", query=query)
    assert query.prints == ['a {1} <undefined> ["x\\x00"]', "a <undefined> 1", "a <undefined> 2", "t"]


def test_template_strings() -> None:
    assert outcome("internal.template_string", ["a", Set([Set([1])]), Set([]), None]) == '["a{1}<undefined>null"]'
    two = outcome("internal.template_string", [Set([1, 2])])
    assert two == f"{EVAL_CONFLICT_ERROR}: template-strings must not produce multiple outputs"
