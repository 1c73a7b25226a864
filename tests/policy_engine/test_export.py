"""Results: small ones are copied whole, and that gives what copying member by member gives."""

from __future__ import annotations

import random
from typing import Any

import pytest

import policy_engine as pe
from policy_engine.codegen import export
from policy_engine.codegen.context import LEFT, START
from policy_engine.values import Number, Set

LEAVES: list[Any] = [
    None, True, False, 0, -7, 2**90, 1.0, 1.5, Number("1.50"), "", "ann", "É", "\ud800", "x" * 3000, [], {}, Set(),
    Set(["b", "a"]), {1: 2}, {None: "x"}, {"\ud800": 1}, {"É": 1}, ["\ud800"], [["deep"]], {"a": {"b": {"c": 1}}},
]  # fmt: skip


def _value(made: random.Random, depth: int) -> Any:
    if not depth or made.random() < 0.4:
        return made.choice(LEAVES)
    size = made.choice([0, 1, 2, 3, 70])
    if made.random() < 0.5:
        return [_value(made, depth - 1) for _ in range(size)]
    return {f"k{number}": _value(made, depth - 1) for number in range(size)}


def _containers(value: Any) -> list[int]:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    inside = [number for item in below for number in _containers(item)]
    return [id(value), *inside] if isinstance(value, (dict, list)) else inside


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 40))])
def test_a_copy_at_once_is_a_copy_member_by_member(seed: int) -> None:
    made = random.Random(seed)
    for _ in range(100):
        value = _value(made, 3)
        query: list[Any] = [None] * 20
        query[LEFT], query[START] = 10**9, (None, False, pe.Limits())
        found = export.export(value, query)
        assert repr(found) == repr(export.Export(query).value(value))
        # The caller owns the result: it shares nothing with the decision.
        assert not set(_containers(found)) & set(_containers(value))


@pytest.mark.parametrize("value", ['["aaaa", ["bbbb", "cccc"]]', '{"aaaa": {"bbbb": 1}, "c": [1, 2, 3]}'])
def test_a_small_result_counts_against_the_output_budget(value: str) -> None:
    def ask(budget: int) -> Any:
        limits = pe.Limits(output_bytes=budget)
        return pe.compile({"t.rego": f"package t\np := {value}"}, limits=limits).entrypoint("data.t.p")()

    assert ask(100) == pe.parse_value(value)
    with pytest.raises(pe.PolicyError, match="output budget"):
        ask(10)
