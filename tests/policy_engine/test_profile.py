"""Profiles: what they count, whom they charge, and that nothing is answered otherwise for it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import policy_engine as pe
from policy_engine.codegen import profile as profiles
from policy_engine.engine import PreparedQuery
from tests.policy_engine.language.cases import CASES, without_remarks

MODULE = """package w

default allow := false

allow if {
	input.role == "a"
	some g in data.grants
	g.level > 2; g.level < lower_bound(upper(input.action))
}

deny contains msg if {
	some t in input.tools
	bad(t)
	msg := sprintf("%s", [t])
}

bad(t) if startswith(t, "x")

bad(t) if count(t) > 3

lower_bound("READ") := 5

never if input.nothing
"""
INPUT = {"role": "a", "action": "read", "tools": ["x1", "search", "abc"]}
DATA = {"grants": [{"level": level} for level in range(10)]}


class Clock:
    """A clock that stands still unless a policy moves it by calling `wait.ms`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0
        monkeypatch.setattr(profiles, "time", SimpleNamespace(perf_counter_ns=lambda: self.now))

    def wait(self, milliseconds: int) -> bool:
        self.now += milliseconds * 1_000_000
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def profile(query: str = "data.w", value: Any = INPUT, **options: Any) -> Any:
    return pe.compile({"w.rego": MODULE}, DATA, **options).prepare(query).profile(value)[1]


def test_rules_and_lines_are_counted() -> None:
    found = profile()
    assert {(rule.name, rule.location.row, rule.evaluations) for rule in found.rules} == {
        ("data.w.allow", 3, 1),
        ("data.w.deny", 11, 1),
        ("data.w.bad", 17, 3),
        ("data.w.lower_bound", 21, 1),
        ("data.w.never", 23, 1),
    }
    counts = {line.location.row: line.evaluations for line in found.lines if line.location.file == "w.rego"}
    # Line 8 has two expressions: the first is evaluated for members 0 to 3, and that many times counts.
    assert counts == {6: 1, 7: 1, 8: 4, 12: 1, 13: 3, 14: 2, 17: 3, 19: 2, 23: 1}
    assert [(line.location.row, line.evaluations) for line in found.lines if not line.location.file] == [(1, 1)]


def test_the_most_expensive_comes_first() -> None:
    found = profile()
    for spent in (found.rules, found.lines):
        times = [one.time_ns for one in spent]
        assert times == sorted(times, reverse=True)
        assert all(times)


def test_lines_count_their_own_time_and_rules_count_all(clock: Clock) -> None:
    module = """package w

outer if {
	inner
	input.x == 1
}

inner if {
	wait.ms(50)
}
"""
    policies = pe.compile({"w.rego": module}, functions={"wait.ms": (1, clock.wait)})
    results, found = policies.prepare("data.w.outer").profile({"x": 1})
    assert results == [([True], {})]
    lines = {line.location.row: line.time_ns for line in found.lines if line.location.file}
    rules = {rule.name: rule.time_ns for rule in found.rules}
    assert lines == {4: 0, 5: 0, 9: 50_000_000}
    assert rules == {"data.w.outer": 50_000_000, "data.w.inner": 50_000_000}


def test_only_the_second_evaluation_counts_and_prints(clock: Clock) -> None:
    printed: list[str] = []
    module = 'package w\n\np if {\n\tprint("here", input.x)\n\twait.less(1)\n}\n'
    waits = [50, 7]
    functions = {"wait.less": (1, lambda _: clock.wait(waits.pop(0)))}
    policies = pe.compile({"w.rego": module}, functions=functions, print=printed.append)
    found = policies.prepare("data.w.p").profile({"x": 1})[1]
    assert printed == ["here 1"]
    assert max(line.time_ns for line in found.lines) == 7_000_000


def test_errors_are_those_of_an_evaluation() -> None:
    policies = pe.compile({"w.rego": "package w\n\np := 1\n\np := 2 if input.x\n"})
    with pytest.raises(pe.PolicyError, match="eval_conflict_error"):
        policies.prepare("data.w.p").profile({"x": 1})


def test_the_fast_build_knows_nothing_of_profiles() -> None:
    policies = pe.compile({"w.rego": MODULE}, DATA)
    before = policies.python_source()
    policies.prepare("data.w").profile(INPUT)
    assert policies.python_source() == before
    assert not any(call in before for call in ("reach(", "enter(", "leave("))


def test_a_profiled_evaluation_answers_alike(
    read_case: Callable[[dict[str, Any]], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def bindings(self: PreparedQuery, value: Any = pe.UNDEFINED) -> list[dict[str, Any]]:
        asked.append(value)
        # A lone expression has a result even if that is false: see `results`.
        return [found for values, found in self.profile(value)[0] if not any(item is False for item in values)]

    asked: list[Any] = []
    monkeypatch.setattr(PreparedQuery, "bindings", bindings)
    for area, fields in CASES:
        try:
            read_case(without_remarks(fields)).check()
        except AssertionError as error:
            raise AssertionError(f"{area}: {fields['note']}: {error}") from error
    assert len(asked) > len(CASES) / 2
