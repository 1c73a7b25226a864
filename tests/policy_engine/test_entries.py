"""An entrypoint is a function of its own, with the rules written into it (codegen/entry.py).

`decide` calls one like it, which takes a context, unless its budget is small. Both must give what the rule's ordinary
function gives: in all cases of the language, and where they could differ, as for small and large results, budgets,
values that are no JSON, and other data.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable
from enum import StrEnum
from types import FrameType
from typing import Any

import pytest

import policy_engine as pe
from policy_engine.codegen import entry
from policy_engine.codegen.context import SMALL
from policy_engine.codegen.export import FEW, SHORT, WORD, shallow
from tests.policy_engine.differential.compare import rules
from tests.policy_engine.language.cases import CASES, without_remarks

ORDINARY = pe.Limits(output_bytes=SMALL - 1)
"""A budget that is too small for an entry."""


def said(ask: Callable[[], Any]) -> str:
    try:
        value = ask()
    except pe.PolicyError as error:
        return f"{error.code} {error.message} {error.location}"
    return "undefined" if value is pe.UNDEFINED else pe.dumps(value)


def test_all_cases_of_the_language(read_case: Callable[[dict[str, Any]], Any]) -> None:
    own, other = 0, []
    for area, fields in CASES:
        case = read_case(without_remarks(fields))
        try:
            policies = pe.compile(case._files(), data=case.data or {})
        except pe.PolicyError:
            continue
        value = case._input()
        for path in [*rules(policies), *(_path(package) for package in policies.packages().values())]:
            for strict in (False, True):
                try:
                    asked = policies.entrypoint(path, strict_builtin_errors=strict)
                except pe.PolicyError:
                    continue
                own += asked.__code__.co_name == "entry"  # type: ignore[attr-defined]
                if policies.facts(path).nondeterministic:
                    continue
                answers = (
                    said(lambda: asked(value)),  # noqa: B023
                    said(lambda: asked.decide(value).value),  # noqa: B023
                    said(lambda: asked.decide(value, limits=ORDINARY).value),  # noqa: B023
                )
                if len(set(answers)) > 1:
                    other.append(f"{area}: {fields['note']}: {path}: {answers}")
    assert not other, "\n".join(other)
    assert own > 500


def _path(names: tuple[str, ...]) -> str:
    return "data" + "".join(f"[{pe.dumps(name)}]" for name in names)


def one(module: str, data: Any = None, **more: Any) -> Any:
    entrypoint = pe.compile({"t.rego": f"package t\n{module}"}, data, **more).entrypoint("data.t.p")
    assert entrypoint.__name__ == "entrypoint"
    return entrypoint


def is_own(entrypoint: Any) -> bool:
    """True if the rules are written into the entrypoint."""
    return bool(entrypoint.__code__.co_name == "entry")


@pytest.mark.parametrize(
    ("value", "want"),
    [
        ({"x": "a"}, {"x": "a"}),
        ({"x": "é"}, {"x": "é"}),
        ({"x": "\ud800"}, {"x": "\ufffd"}),
        ({"x": "a" * (SHORT + 1)}, {"x": "a" * (SHORT + 1)}),
        ({"x": WORD}, {"x": WORD}),
        ({"x": 1.0}, {"x": 1.0}),
        ({"x": 1e308}, {"x": 1e308}),
        ({"x": [-0.5]}, {"x": [-0.5]}),
        ({"x": True}, {"x": True}),
        ({"x": None}, {"x": None}),
        ({"x": {"y": [1]}}, {"x": {"y": [1]}}),
        ({"x": pe.Set([2, 1])}, {"x": [1, 2]}),
        ({}, pe.UNDEFINED),
        (pe.UNDEFINED, pe.UNDEFINED),
        ([], pe.UNDEFINED),
    ],
)
def test_small_results(value: Any, want: Any) -> None:
    for module in ('p := {"x": input.x}', "p := {k: v | some k, v in input}", 'p["x"] := input.x'):
        asked = one(module)
        got = asked(value)
        if module.endswith("input}") and want is pe.UNDEFINED:
            assert got == {}
        elif module.startswith("p["):
            assert got == ({} if want is pe.UNDEFINED else want)
        else:
            assert got == want
            assert got is want or repr(got) == repr(want)
        assert is_own(asked)
    assert one("p contains input.x")(value) == ([] if want is pe.UNDEFINED else [*want.values()])


def test_the_input_may_be_named() -> None:
    asked = pe.compile({"t.rego": "package t\np := input.x\nq[k] := v if some k, v in input"})
    for path in ("data.t.p", "data.t", "data.t.q", "data"):
        entrypoint = asked.entrypoint(path)
        assert entrypoint(input={"x": 1}) == entrypoint({"x": 1}) == entrypoint.decide(input={"x": 1}).value
        assert list(inspect.signature(entrypoint).parameters) == ["input"]


def test_results_are_fresh() -> None:
    """A caller may change a result without changing later decisions, the input or the data."""
    data = {"list": ["a"], "object": {"a": "b"}}
    for module in (
        'p := {"a": "b"}',
        'p := ["a"]',
        "p := data.list",
        "p := data.object",
        "p := input.o",
        "p := [input.o, 1]",
        'p := {"o": input.o}',
        "p := x if { x := [input.a] }",
        "p contains input.a",
    ):
        asked, value = one(module, data), {"o": {"a": "b"}, "a": "b"}
        first = asked(value)
        copy = pe.dumps(first)
        if isinstance(first, dict):
            first["new"] = 1
        else:
            first.append(1)
            first[0] = 2
        assert pe.dumps(asked(value)) == copy, module
        assert value == {"o": {"a": "b"}, "a": "b"}
    assert data == {"list": ["a"], "object": {"a": "b"}}


def test_a_package_entry_counts_sets_under_any_budget() -> None:
    """A set is not small: it is counted, also where the budget is the least that an entry is used with."""
    module = 'package t\n\nallow := true\n\nreasons contains {"reason": input.x}'
    asked = pe.compile({"t.rego": module}).entrypoint("data.t")
    for output in (SMALL, 2 * SMALL - 1, 2 * SMALL):
        decision = asked.decide({"x": "a" * (SMALL // 2)}, limits=pe.Limits(output_bytes=output))
        assert len(decision.value["reasons"][0]["reason"]) == SMALL // 2


def test_small_results_respect_the_output_budget() -> None:
    names = [chr(65 + number) * SHORT for number in range(FEW)]
    for value in ({name: name for name in names}, names, names[0], [WORD - 1] * FEW, [names] * FEW):
        assert shallow(value) == value
        assert len(pe.dumps(value)) <= SMALL
    tight = one('p := {"x": input.x}', limits=pe.Limits(output_bytes=SMALL - 1))
    assert not is_own(tight)
    with pytest.raises(pe.PolicyError, match="larger than the output budget"):
        one('p := {"x": input.x}', limits=pe.Limits(output_bytes=20))({"x": "a" * 40})


def test_small_budgets_are_kept() -> None:
    for limits in (pe.Limits(work=10), pe.Limits(work=0), pe.Limits(seconds=5)):
        assert not is_own(one("p if input.x == 1", limits=limits))
    asked = one("p if { some x in input; some y in input; x + y < 0 }")
    with pytest.raises(pe.PolicyError, match="work budget"):
        asked.decide([0, 1, 2], limits=pe.Limits(work=5))
    asked = one("p if { some x in input; some y in input; x + y < 0 }", limits=pe.Limits(work=5))
    assert asked.decide([0, 1, 2], limits=pe.Limits()).value is pe.UNDEFINED
    with pytest.raises(pe.PolicyError, match="work budget"):
        one("p if { some x in input; some y in input; x + y < 0 }", limits=pe.Limits(work=5000))(list(range(100)))
    few = list(range(FEW))
    with pytest.raises(pe.PolicyError, match="work budget"):
        one("p if { some a in input; some b in input; some c in input; some d in input; a + b + c + d < 0 }",
            limits=pe.Limits(work=5000))(few)  # fmt: skip


def test_what_is_no_json_is_refused() -> None:
    class Name(StrEnum):
        A = "a"

    class Always:
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    allowed = one("p if input.x in data.names", {"names": ["a", "b"]})
    assert is_own(allowed)
    assert allowed({"x": "a"}) is True
    assert allowed({"x": "c"}) is pe.UNDEFINED
    for value in (Name.A, Always(), float("nan"), b"a"):
        with pytest.raises(pe.PolicyError):
            allowed({"x": value})
        with pytest.raises(pe.PolicyError):
            one("p if input.x == input.x")({"x": value})
        with pytest.raises(pe.PolicyError):
            one("p if input.x in data.names", {"names": ["b", value]})({"x": "a"})
        with pytest.raises(pe.PolicyError):
            one("p := data.names.x", {"names": value})({})
        with pytest.raises(pe.PolicyError):
            one('p := {"x": input.x}')({"x": value})


def test_a_defect_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = one("p if input.x == 1")

    class Broken(dict[str, Any]):
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("boom")

        __hash__ = None  # type: ignore[assignment]

    asked.__globals__["differs"] = lambda *_: 1 / 0
    with pytest.raises(pe.PolicyError, match="defect of the engine") as raised:
        asked({"x": "no number"})
    assert raised.value.code == "eval_internal_error"


def test_data_belongs_to_an_entrypoint() -> None:
    module = {
        "t.rego": "package t\np if { some g in data.gs; g.a == input.a }\nq if input.a in data.names\nr := data.n"
    }
    policies = pe.compile(module, {"gs": [{"a": f"{n}"} for n in range(20)], "names": ["1"], "n": 1})
    other = policies.with_data({"gs": [{"a": f"x{n}"} for n in range(20)], "names": ["x1"], "n": 2})
    for asked, (yes, no) in ((policies, ("1", "x1")), (other, ("x1", "1"))):
        for name in "pq":
            entrypoint = asked.entrypoint(f"data.t.{name}")
            assert is_own(entrypoint)
            assert entrypoint({"a": yes}) is True
            assert entrypoint({"a": no}) is pe.UNDEFINED
    assert [asked.entrypoint("data.t.r")() for asked in (policies, other)] == [1, 2]


PACKAGE = """package t
flag if input.x
shared := [input.x, input.x]
uses contains y if { some y in shared }
uses contains z if { z := count(shared) }
many := numbers.range(1, 40)
none if input.missing
text := input.text
nested := {"a": {"b": {"c": input.x}}}
some_data := data.list
f(x) := x
"""


def test_a_package() -> None:
    inner = "package t.inner\nimport data.t\np := t.shared[0]\nq contains 1"
    policies = pe.compile({"t.rego": PACKAGE, "i.rego": inner}, {"list": ["a", ["b"]]})
    asked = policies.entrypoint("data.t")
    assert is_own(asked)
    want = {
        "flag": True, "shared": ["v", "v"], "uses": [2, "v"], "many": list(range(1, 41)), "text": "é" * 999,
        "nested": {"a": {"b": {"c": "v"}}}, "some_data": ["a", ["b"]], "inner": {"p": "v", "q": [1]},
    }  # fmt: skip
    for _ in range(2):
        got = asked({"x": "v", "text": "é" * 999})
        assert got == want
        assert got == asked.decide({"x": "v", "text": "é" * 999}).value
        got["shared"].append(1)
        got["some_data"][1].append(1)
        got["inner"]["q"].clear()
    assert not is_own(policies.entrypoint("data"))


def test_a_package_with_base_data_in_it() -> None:
    policies = pe.compile({"t.rego": PACKAGE}, {"t": {"base": [1]}, "list": []})
    asked = policies.entrypoint("data.t")
    assert not is_own(asked)
    assert asked({})["base"] == [1]
    without = policies.with_data({"list": []}).entrypoint("data.t")
    assert is_own(without)
    assert "base" not in without({})


def test_the_budget_is_for_all_of_a_package() -> None:
    module = {"t.rego": "package t\na := input.x\nb := input.x\nc := input.x"}
    asked = pe.compile(module, limits=pe.Limits(output_bytes=3 * SMALL)).entrypoint("data.t")
    assert is_own(asked)
    assert len(asked({"x": "a" * (SMALL // 2)})["c"]) == SMALL // 2
    with pytest.raises(pe.PolicyError, match="larger than the output budget"):
        asked({"x": "a" * (SMALL * 2 // 3 + 99)})
    with pytest.raises(pe.PolicyError, match="larger than the output budget"):
        asked.decide({"x": "a" * (SMALL * 2)})


def test_a_long_function_is_not_written_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    module = "\n".join(f"p := {number % 2} if input.x == {number}.5" for number in range(50))
    assert not is_own(one(module))
    monkeypatch.setattr(entry, "MOST_LINES", 10**6)
    assert is_own(one(module))
    assert one(module)({"x": 7.5}) == 1


MODULES = {
    "a rule": "p if { input.x == 1; not input.y }",
    "a set": 'p contains x if { some x in input.xs; x != "a" }',
    "a package": 'p.allow if input.x == 1\np.deny contains "no" if input.y\np.limits := {"n": data.n}',
    "clock and chance": 'p := [time.now_ns(), rand.intn("a", 1000000), input.x]',
    "prints": "p := x if { x := input.x; print(x) }",
}
ASK = {"x": 1, "xs": ["a", "b"]}


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("limits", [None, pe.Limits(60.0, 10_000_000, 1024 * 1024)])
def test_a_decision_calls_the_entry(name: str, limits: pe.Limits | None) -> None:
    """`decide` calls the same generated functions as a call, whatever its arguments are."""
    asked = one(MODULES[name], {"n": 1})
    assert is_own(asked)
    first, *more = generated(lambda: asked(ASK))
    assert first == "entry"
    assert generated(lambda: asked.decide(ASK, now_ns=7, seed=8, limits=limits)) == ["decided", *more]
    assert "decided" not in generated(lambda: asked.decide(ASK, limits=ORDINARY))
    timed = one(MODULES[name], {"n": 1}, limits=pe.Limits(60.0))
    assert generated(lambda: timed(ASK)) == ["decided", *more]


def generated(work: Callable[[], object]) -> list[str]:
    """The generated functions that are called, in order."""
    found: list[str] = []

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith("<policy"):
            found.append(frame.f_code.co_name)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(before)
    return found


def test_a_decision_has_a_clock_and_records_of_its_own() -> None:
    asked = one(MODULES["clock and chance"])
    first = asked.decide(ASK, now_ns=7, seed=8)
    assert first.value[0] == 7
    assert asked.decide(ASK, now_ns=7, seed=8) == first
    assert asked.decide(ASK, now_ns=9, seed=10).value[:2] != first.value[:2]
    assert asked.decide(ASK, replay=first.nondeterministic).value == first.value
    assert asked(ASK)[0] > 10**18
    printed = one(MODULES["prints"])
    assert [printed.decide({"x": number}).prints for number in (1, 2)] == [("1",), ("2",)]
    strict = pe.compile({"t.rego": 'package t\np := to_number("a")'}).entrypoint("data.t.p", strict_builtin_errors=True)
    with pytest.raises(pe.PolicyError, match="to_number"):
        strict.decide(ASK)


def test_a_deadline_ends_a_decision_before_its_answer() -> None:
    for limits in (pe.Limits(0.0), pe.Limits(0.0, output_bytes=SMALL - 1)):
        with pytest.raises(pe.PolicyError, match="deadline"):
            one(MODULES["a rule"]).decide(ASK, limits=limits)
        with pytest.raises(pe.PolicyError, match="deadline"):
            one(MODULES["a rule"], limits=limits)(ASK)
    with pytest.raises(pe.PolicyError, match="deadline"):
        one(MODULES["a rule"]).decide(ASK, limits=pe.Limits(0.0), trace=True)
    with pytest.raises(pe.PolicyError, match="deadline"):
        pe.compile({}, limits=pe.Limits(0.0)).prepare("x = 1").bindings()


def test_many_threads() -> None:
    right: list[int] = []
    asked = one('p := {"x": input.x} if input.x in data.xs', {"xs": [f"{n}" for n in range(100)]})

    def ask(number: int) -> None:
        for _ in range(300):
            answer = asked({"x": f"{number}"})
            assert answer == {"x": f"{number}"}
        right.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(right) == list(range(8))


def test_long_lists_are_looked_up_as_quickly_as_short_ones() -> None:
    """From the third decision on there is a table, and each entrypoint knows where."""
    rules = "p if { some g in data.gs; g.a == input.a }\nq if input.a in data.names"
    data = {"gs": [{"a": f"{n}", "n": n} for n in range(5000)] * 2, "names": [f"{n}" for n in range(5000)]}
    data["gs"] += [{"a": "many"} for _ in range(100)]
    policies = pe.compile({"t.rego": f"package t\n{rules}"}, data, limits=pe.Limits(work=16_000))
    for name in "pq":
        asked = policies.entrypoint(f"data.t.{name}")
        assert asked({"a": "7"}) is True  # a search
        assert asked({"a": "7"}) is True  # a table
        assert any(cell.cell_contents.__class__ is list and cell.cell_contents[0] for cell in asked.__closure__)  # type: ignore[attr-defined]
        for _ in range(3):
            assert asked({"a": "4999"}) is True
            assert asked({"a": "5000"}) is pe.UNDEFINED
            assert asked({"a": 7}) is pe.UNDEFINED
            assert asked({}) is pe.UNDEFINED
            assert asked({"a": "many"}) is (True if name == "p" else pe.UNDEFINED)
