"""Builtins that make something large look at the clock on the way, and make nothing that the budget does not reach to.

The clock of these tests is told by looking at it: each look is a second later than the one before. So they count the
work between two looks, and no machine is too slow for them.
"""

from __future__ import annotations

import itertools
import time
import tracemalloc
from typing import Any

import pytest

import policy_engine as pe
from policy_engine import values

SIZE = 60_000
LARGE: dict[str, Any] = {str(number): number for number in range(SIZE)}
DEADLINE = "the deadline of this decision has passed"

MAKING = {
    "a range": "count(numbers.range(1, 60000))",
    "a range downwards": "count(numbers.range(60000, 1))",
    "a range with a step": "count(numbers.range_step(1, 180000, 3))",
    "keys": "count(object.keys(input))",
    "an object without a key": 'count(object.remove(input, ["1"]))',
    "an object of all keys": "count(object.filter(input, object.keys(input)))",
    "an object of one key": 'count(object.filter(input, ["1"]))',
    "a document of one path": 'count(json.filter(input, ["/1"]))',
    "a subset": "object.subset(input, input)",
    "a document without a path": 'count(json.remove(input, ["/1"]))',
    "a union of sets": "count(union({{x} | some x in object.keys(input)}))",
    "an intersection of sets": "count(intersection({{x} | some x in object.keys(input)}))",
    "a walk": "count([1 | walk(input)])",
    "a walk with paths": "count([1 | walk(input, [path, _]); count(path) > 1])",
    "all paths of a document": "count(json.filter(input, object.keys(input)))",
}


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the looks at the clock."""
    told = [0]

    def tell() -> float:
        told[0] += 1
        return float(told[0])

    monkeypatch.setattr(time, "monotonic", tell)
    return told


def ask(expression: str, limits: pe.Limits, value: Any = None) -> Any:
    return pe.compile({"a.rego": f"package a\n\np := {expression}"}, limits=limits).entrypoint("data.a.p")(value)


@pytest.mark.slow
@pytest.mark.parametrize("what", MAKING)
def test_the_clock_is_looked_at_on_the_way(what: str, looks: list[int]) -> None:
    ask(MAKING[what], pe.Limits(seconds=1e9), LARGE)
    assert looks[0] >= SIZE // 4096 - 1


@pytest.mark.slow
@pytest.mark.parametrize("what", MAKING)
def test_the_deadline_ends_it_half_way(what: str, looks: list[int]) -> None:
    """An error of the deadline, not of the budget, which has room."""
    with pytest.raises(pe.PolicyError) as raised:
        ask(MAKING[what], pe.Limits(seconds=10), LARGE)
    assert (raised.value.code, raised.value.message) == ("eval_cancel_error", DEADLINE)
    assert looks[0] < 20


def test_keys_are_paid_for() -> None:
    with pytest.raises(pe.PolicyError, match="the work budget of this decision is used up"):
        ask("count(object.keys(input))", pe.Limits(work=3 * SIZE), LARGE)


TAKING = {
    "a sum": ("sum(input)", list(range(SIZE))),
    "the text of an array": ('count(sprintf("%v", [input]))', list(range(SIZE))),
    "the text of an object": ('count(sprintf("%v", [input]))', LARGE),
    "the text of a template": ('count($"{input}")', list(range(SIZE))),
}


@pytest.mark.parametrize("what", TAKING)
def test_reading_many_members_looks_at_the_clock(what: str, looks: list[int]) -> None:
    expression, value = TAKING[what]
    ask(expression, pe.Limits(seconds=1e9), value)
    assert looks[0] >= SIZE // 8192
    looks[0] = 0
    with pytest.raises(pe.PolicyError, match=DEADLINE):
        ask(expression, pe.Limits(seconds=5), value)
    assert looks[0] < 10


def test_little_is_made_before_the_deadline(looks: list[int]) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(pe.PolicyError, match=DEADLINE):
            ask("count(numbers.range_step(1, 10000000, 3))", pe.Limits(seconds=10))
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert looks[0] < 20


@pytest.mark.parametrize("last", [5_000_000, 10**18, 2**200])
def test_a_range_beyond_the_budget_is_not_begun(last: int) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(pe.PolicyError, match="the work budget of this decision is used up"):
            ask(f"count(numbers.range(1, {last}))", pe.Limits())
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_a_step_is_eight_bytes_of_a_range() -> None:
    """So the default budget bounds a range to 160 MB, as it bounds everything else that is made."""
    wide = pe.Limits(work=60_000)
    assert ask("count(numbers.range(1, 10000))", wide) == 10_000
    with pytest.raises(pe.PolicyError, match="budget"):
        ask("count(numbers.range(1, 12001))", wide)


@pytest.mark.parametrize(
    "call",
    [
        "union({SETS})",
        "intersection({SETS})",
        'json.filter({"a": 1}, {TEXTS})',
        'json.remove({"a": 1}, {TEXTS})',
        'graph.reachable({"a": []}, {TEXTS})',
        'graph.reachable_paths({"a": []}, {TEXTS})',
    ],
)
def test_no_large_set_is_sorted_for_nothing(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A builtin that goes through a set in its order pays for the order: sorting many sets took seconds."""
    sort = values.Set.sorted
    free: list[int] = []

    def sorted_(found: values.Set, charge: Any = None) -> list[Any]:
        if charge is None and found._sorted is None and len(found) > 1:
            free.append(len(found))
        return sort(found, charge)

    monkeypatch.setattr(values.Set, "sorted", sorted_)
    call = call.replace("{SETS}", "{{x} | some x in input}").replace("{TEXTS}", '{$"{x}" | some x in input}')
    ask(call, pe.Limits(), [number * 7919 % 2003 for number in range(2003)])
    assert free == []


@pytest.mark.parametrize(
    ("first", "last", "step"),
    [(1, 5000, 1), (5000, 1, 1), (1, 5000, 7), (5000, -3, 7), (3, 3, 2), (2**70, 2**70 + 9, 4)],
)
def test_the_pieces_are_the_range(first: int, last: int, step: int) -> None:
    towards = itertools.count(first, step if first <= last else -step)
    whole = list(itertools.takewhile(lambda each: each <= last if first <= last else each >= last, towards))
    assert ask(f"numbers.range_step({first}, {last}, {step})", pe.Limits()) == whole
