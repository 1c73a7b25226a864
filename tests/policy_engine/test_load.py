"""The cost of loading, and loaded policies: work and memory that grow like the policy, other data, many threads.

Work is counted in calls of the engine's functions and lines of source, which a busy machine does not change.
"""

from __future__ import annotations

import gc
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import policy_engine as pe
from policy_engine.codegen import unit as units


def choices(count: int) -> str:
    return "\n".join(f'allow if {{ input.role == "r{i}"; input.n > {i}; not input.off }}' for i in range(count))


def denials(count: int) -> str:
    return "\n".join(
        f'deny contains msg if {{ input.tool == "t{i}"; some x in input.xs; x.n > {i}; msg := sprintf("{i} %v", [x]) }}'
        for i in range(count)
    )


def names(count: int) -> str:
    return "\n".join(
        f"p{i} if {{ input.a == data.other.k{i}; f{i}(input.b) > 1 }}\nf{i}(x) := x * {i}" for i in range(count)
    )


def conditions(count: int) -> str:
    """Rules between which no index can choose."""
    return "\n".join(f"allow if {{ input.n > {i}; input.n < {i + 1} }}" for i in range(count))


def objects(count: int) -> str:
    return "\n".join(f'limits[x].k{i} := {i} if {{ some x in input.names; x != "n{i}" }}' for i in range(count))


def calls(work: Callable[[], object]) -> int:
    """The number of calls of the engine's functions."""
    count = 0

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal count
        count += event == "call" and "policy_engine" in frame.f_code.co_filename

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("module", [choices, denials, names, conditions, objects])
def test_four_times_the_policy_is_four_times_the_work(module: Callable[[int], str]) -> None:
    def load(count: int) -> int:
        return calls(lambda: pe.compile({"t.rego": f"package t\n{module(count)}\n"}).entrypoint("data.t")({}))

    load(2)  # fills the parse table and its memory of states
    small, large = load(70), load(280)
    assert small > 10_000
    assert large < 4.4 * small


def test_rules_are_compiled_when_they_are_chosen() -> None:
    policies = pe.compile({"t.rego": f"package t\n{choices(300)}\n"})
    allow = policies.entrypoint("data.t.allow")
    functions = policies._compiled.unit(policies._compiled.program).functions
    assert len(functions.waiting) == 300
    assert allow({"role": "r7", "n": 8}) is True
    assert allow({"role": "r7", "n": 7}) is pe.UNDEFINED
    assert len(functions.waiting) == 299
    assert policies.python_source("data.t.allow").count("def g") == 301


@pytest.mark.parametrize("module", [names, conditions])
def test_no_source_is_long(module: Callable[[int], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """CPython's memory use for one long source is out of proportion."""
    monkeypatch.setattr(units, "CHUNK", 100)
    policies = pe.compile({"t.rego": f"package t\n{module(200)}\n"})
    kept = policies.entrypoint("data.t")
    sources = policies._compiled.unit(policies._compiled.program).functions.sources
    assert kept({"n": 3.5}) is not None
    assert len(sources) > 10
    longest = max(sources.values(), key=len).splitlines()
    assert len(longest) < 100 + 300, "the last function of a source is not cut"


def grants(count: int, shift: int = 0) -> dict[str, Any]:
    return {"grants": [{"user": f"u{i + shift}", "action": f"a{i % 97}", "tags": ["x", f"t{i}"]} for i in range(count)]}


JOIN = "package j\nallow if { some g in data.grants; g.user == input.user; g.action == input.action }\n"


def test_policies_with_data_cost_less_than_four_times_the_data() -> None:
    pe.compile({"j.rego": JOIN}, grants(20)).entrypoint("data.j.allow")({"user": "u1", "action": "a1"})
    tracemalloc.start()
    try:
        data = grants(10_000)
        alone = tracemalloc.get_traced_memory()[0]
        policies = pe.compile({"j.rego": JOIN, "t.rego": f"package t\n{choices(200)}\n"}, data)
        entries = [policies.entrypoint("data.j.allow"), policies.entrypoint("data.t.allow")]
        answers = [entry({"user": "u9999", "action": "a8", "role": "r1", "n": 2}) for entry in entries]
        together = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert answers == [True, True]
    assert together < 4 * alone


def test_other_data_costs_nothing_and_changes_the_answer() -> None:
    policies = pe.compile({"j.rego": JOIN, "t.rego": f"package t\n{choices(50)}\n"}, grants(100))
    ask = {"user": "u5", "action": "a5"}
    assert policies.entrypoint("data.j.allow")(ask) is True
    found: list[Any] = []

    def replace(data: dict[str, Any]) -> Callable[[], None]:
        return lambda: found.append(policies.with_data(data).entrypoint("data.j.allow"))

    few, many = calls(replace(grants(10, 5))), calls(replace(grants(20_000, 6)))
    assert many == few < 500
    assert [entry(ask) for entry in found] == [pe.UNDEFINED, pe.UNDEFINED]
    assert [entry({"user": "u6", "action": "a1"}) for entry in found] == [True, pe.UNDEFINED]
    assert [entry({"user": "u6", "action": "a0"}) for entry in found] == [pe.UNDEFINED, True]
    assert policies.entrypoint("data.j.allow")(ask) is True


def test_the_garbage_collector_stays_as_the_process_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("enable", "disable", "freeze", "unfreeze", "set_threshold"):
        monkeypatch.setattr(gc, name, lambda *_, name=name: pytest.fail(f"gc.{name} was called"))
    ask = {"user": "u5", "action": "a5", "role": "r1", "n": 2}
    for _ in range(2):
        policies = pe.compile({"j.rego": JOIN, "t.rego": f"package t\n{choices(50)}\n"}, grants(100), cache=tmp_path)
        entry = policies.entrypoint("data.j")
        assert entry(ask) == entry.decide(ask, trace=True).value == {"allow": True}
        assert policies.prepare("data.t.allow = x").profile(ask)[0]


def test_one_set_in_many_threads_at_once() -> None:
    """Tables of joins, rules that are compiled late and sorted sets do not depend on which thread comes first."""
    module = f"""package t
{choices(60)}
{denials(60)}
grant if {{ some g in data.grants; g.user == input.user; g.action == input.action }}
ordered := [x | some x in {{"c", "a", "b"}}]
mocked := [x | x := f(1) with f as g]
f(x) := x
g(x) := x + input.n
"""
    inputs = [
        {"role": f"r{i}", "n": i + i % 2, "tool": f"t{i}", "xs": [{"n": i + 1}], "user": f"u{i}", "action": f"a{i % 9}"}
        for i in range(60)
    ]
    query = "data.t.deny[x]; y := count(data.t.ordered)"
    alone = pe.compile({"t.rego": module}, grants(500))
    want = [(alone.entrypoint("data.t")(each), alone.prepare(query).bindings(each)) for each in inputs]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        shared = pe.compile({"t.rego": module}, grants(500))
        entry = shared.entrypoint("data.t")
        start = threading.Barrier(6)
        wrong: list[Any] = []

        def work(first: int) -> None:
            start.wait()
            own = shared.entrypoint("data.t") if first % 2 else entry
            asked = shared.prepare(query)
            for number in range(60):
                place = (first * 7 + number) % 60
                each = inputs[place]
                got = own(each), asked.bindings(each)
                if got != want[place] or own.decide(each, trace=number % 20 == 0).value != want[place][0]:
                    wrong.append((each, got))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []
