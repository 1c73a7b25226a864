"""The charge of a decision does not depend on the work of earlier decisions.

Documents, tables and code are kept between decisions. A decision that finds them is charged what the one that made them
was charged, or it would pass a budget that it did not pass the first time.
"""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import policy_engine as pe
from policy_engine import engine
from policy_engine.codegen import joins, kept
from policy_engine.codegen.context import START, are_wide, left_of
from tests.policy_engine.conformance import CASES
from tests.policy_engine.differential.mixture import program
from tests.policy_engine.differential.program import Program
from tests.policy_engine.language.cases import CASES as LANGUAGE
from tests.policy_engine.language.cases import without_remarks

# Thousands of cases.
pytestmark = pytest.mark.slow

Ask = Callable[[], Any]


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The contexts that decisions without an entry have used."""
    seen: list[Any] = []
    evaluated = engine._evaluated

    def watched(function: Any, query: Any) -> Any:
        seen.append(query)
        return evaluated(function, query)

    monkeypatch.setattr(engine, "_evaluated", watched)
    return seen


def steps(query: Any) -> int:
    """The steps that were charged to a context and all that were derived from it."""
    budget: int = query[START][2].work
    return budget - left_of(query)


@pytest.fixture(params=[0, kept.LIGHT], ids=["nothing free", "as usual"])
def light(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most documents of these tests would be free."""
    monkeypatch.setattr(kept, "LIGHT", request.param)


def cost(contexts: list[Any], ask: Ask) -> tuple[Any, int]:
    """The answer, or the code of the error, and the steps that were charged."""
    contexts.clear()
    try:
        answer = pe.dumps(ask())
    except pe.PolicyError as error:
        answer = error.code
    return answer, steps(contexts[0]) if contexts else 0


ALL = [without_remarks(fields) for _, fields in LANGUAGE] + [fields for cases in CASES.values() for _, fields in cases]
SHARES = 8


@pytest.mark.parametrize("share", range(SHARES))
def test_every_case_is_charged_the_same_each_time(
    share: int, read_case: Callable[[dict[str, Any]], Any], contexts: list[Any]
) -> None:
    """The cases of the language, and OPA's own where they are installed."""
    differ = {}
    for fields in ALL[share::SHARES]:
        case = read_case(fields)
        try:
            policies = pe.compile(case._files(), case.data or {})
            query = policies.prepare(case.query, strict_builtin_errors=case.strict)
        except pe.PolicyError:
            continue
        value = case._input()
        costs = [cost(contexts, lambda query=query, value=value: query.bindings(value))[1] for _ in range(3)]  # type: ignore[misc]
        if costs != costs[:1] * 3:
            differ[case.note] = costs
    assert not differ


def programs(seeds: Iterable[int]) -> Iterator[tuple[int, Program, pe.Policies]]:
    """Random programs that compile, and their policies."""
    for seed in seeds:
        found = program(7, seed)
        with suppress(pe.PolicyError):
            yield seed, found, pe.compile(found.modules, copy.deepcopy(found.data))


def decided(asked: Any, value: Any, limits: pe.Limits, contexts: list[Any]) -> tuple[Any, int]:
    """The result of `decide` under limits, or the code of its error, and the steps that were charged."""
    contexts.clear()
    try:
        if asked._decided is not None and are_wide(limits):
            query = [value, *asked._begun]
            query[START] = (asked._options, asked._strict, limits, None, 1, 7, None)
            contexts.append(query)
            answer = asked._decided(value, query)
        else:
            answer = asked.decide(value, now_ns=1, seed=7, limits=limits).value
    except pe.PolicyError as error:
        return error.code, steps(contexts[0])
    return "undefined" if answer is pe.UNDEFINED else pe.dumps(answer), steps(contexts[0])


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize("share", range(SHARES))
def test_random_programs_are_charged_the_same_each_time(share: int, contexts: list[Any]) -> None:
    """The charge is the same after any other documents, in any order, with an entry around them or without."""
    for seed, found, policies in programs(range(share, 80, SHARES)):
        for limits in (pe.Limits(), pe.Limits(output_bytes=100_000)):
            cold = {}
            for path in found.paths:
                alone = pe.compile(found.modules, copy.deepcopy(found.data))
                asked = alone.entrypoint(path).decide.__self__  # type: ignore[attr-defined]
                cold[path] = decided(asked, found.input, limits, contexts)
            for path in [*found.paths, *reversed(found.paths)]:
                asked = policies.entrypoint(path).decide.__self__  # type: ignore[attr-defined]
                assert decided(asked, found.input, limits, contexts) == cold[path], (seed, path)


@pytest.mark.usefixtures("light")
def test_a_budget_around_the_cost_gives_the_same_each_time(contexts: list[Any]) -> None:
    """With less than a document costs no decision gets it, with as much every one does."""
    some = 0
    for seed, found, _ in programs(range(60)):
        for path in found.paths[:3]:
            cold = pe.compile(found.modules, copy.deepcopy(found.data)).entrypoint(path)
            narrow = pe.Limits(output_bytes=100_000)  # so that there is no entry, which charges less
            answer, price = decided(cold.decide.__self__, found.input, narrow, contexts)  # type: ignore[attr-defined]
            for work in range(max(price - 2, 0), price + 2):
                limits = pe.Limits(work=work, output_bytes=100_000)
                entry = pe.compile(found.modules, copy.deepcopy(found.data)).entrypoint(path)
                asked = entry.decide.__self__  # type: ignore[attr-defined]
                outcomes = [decided(asked, found.input, limits, contexts)[0] for _ in range(2)]
                decided(asked, found.input, narrow, contexts)
                outcomes.append(decided(asked, found.input, limits, contexts)[0])
                assert outcomes == [answer if work >= price else "eval_cancel_error"] * 3, (seed, path, work)
            some += price > 0
    assert some > 50


KEPT = """package t

rows contains r if some r in data.rows
named[n] contains r.id if { some r in rows; n := r.name }
texts contains upper(r.name) if { some r in rows; regex.match("^[a-z]+[0-9]+$", r.name) }
both := {"rows": count(rows), "names": count(named), "texts": count(texts)}
top := [both, count(rows)]
chosen := named[input.name]
some_chosen contains named[n] if some n in input.names
listed if input.name in data.names
joined contains r.id if { some r in data.rows; r.name == input.name }
long contains i if { some i, r in data.long; r.name == input.name }
looped contains x.id if { some x in rows; x.name != input.name }
constant contains x if { some x in {[1, "a"], [2], [{"a": 1}], {"b"}, {"c", "d"}, null, 7, "x"}; x != input.name }
given contains x if some x in input.set
matched if regex.match("^[a-z]+[0-9]+$", input.name)
all := [texts, matched, rows] if input.name
again := [x, y] if { x := top with input as {}; y := both with input as {"name": "n2"} }
replaced := x if x := both with data.rows as [{"id": 1, "name": "q"}]
conflicting := r.id if some r in data.rows
swallowed contains k if {
    some name in input.names
    k := [name, 1]
    x := [r.id | some r in data.rows; k == [r.name, r.one]; conflicting]
    count(x) == 0
}
"""


@pytest.mark.usefixtures("light")
def test_kept_documents_cost_the_same_in_any_order(contexts: list[Any], tmp_path: Path) -> None:
    """Documents that need others, parts of documents, tables, sets that are sorted, patterns, failures."""
    data = {
        "rows": [{"id": number, "name": f"n{number % 50}"} for number in range(300)],
        "names": [f"n{number}" for number in range(30)],
        "long": [{"name": f"n{number % 1000}"} for number in range(joins.SHORT + 1)],
    }
    numbers = pe.Set([[number % 7, [number], {"a": number}] for number in range(100)])
    inputs = [
        {"name": "n7", "names": [f"n{number % 9}" for number in range(20)], "set": numbers},
        {"name": "n8", "names": ["n1"], "set": pe.Set([{"a": number} for number in range(100)])},
        {"name": 5, "names": [], "set": pe.Set()},
    ]
    paths = ["data.t", *(f"data.t.{name}" for name in dict.fromkeys(re.findall(r"^[a-z_]+", KEPT, re.M)[1:]))]
    asked = [(path, value) for path in paths for value in inputs]
    wide, narrow = pe.Limits(), pe.Limits(output_bytes=100_000)

    def ask(policies: pe.Policies, path: str, value: Any) -> list[Any]:
        entry: Any = policies.entrypoint(path).decide
        return [decided(entry.__self__, value, limits, contexts) for limits in (wide, narrow)]

    def policies(cache: Path | None = None) -> pe.Policies:
        return pe.compile({"t.rego": KEPT}, copy.deepcopy(data), cache=cache)

    cold = {}
    for number, (path, value) in enumerate(asked):
        cold[number] = ask(policies(), path, copy.deepcopy(value))
        assert ask(policies(tmp_path), path, copy.deepcopy(value)) == cold[number], path  # the first writes the cache
    assert len({price for outcome in cold.values() for _, price in outcome}) > 15
    rng = random.Random(7)
    for cache in (None, tmp_path, None, tmp_path):
        warm = policies(cache)
        for number in rng.sample(list(cold), len(cold)) * 2:
            assert ask(warm, *asked[number]) == cold[number], asked[number][0]


def test_documents_that_share_others_are_paid_for_once(contexts: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these needs the two before it. Prices that include those of others each time would double."""
    monkeypatch.setattr(kept, "LIGHT", 0)
    rules = [f"p{n} := p{n - 1} + p{n - 2}" for n in range(2, 60)]
    module = "package t\np0 := count([1 | some x in data.xs])\np1 := p0\n" + "\n".join(rules)
    policies = pe.compile({"t.rego": module}, {"xs": list(range(100))})
    entry: Any = policies.entrypoint("data.t.p59").decide
    price = decided(entry.__self__, {}, pe.Limits(), contexts)[1]
    assert 100 <= price < 200
    assert decided(entry.__self__, {}, pe.Limits(), contexts)[1] == price
    for limits in (pe.Limits(work=price), pe.Limits(work=price - 1)):
        for ask in (policies, pe.compile({"t.rego": module}, {"xs": list(range(100))})):
            other: Any = ask.entrypoint("data.t.p59").decide
            outcome = decided(other.__self__, {}, limits, contexts)[0]
            assert (outcome == "eval_cancel_error") == (limits.work == price - 1)


def test_many_parts_are_paid_for_in_linear_time(contexts: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision that asks for thousands of parts does not go through those before for each."""
    module = "package t\nf[x] := y if { some x in data.xs; y := x * 2 }\np := sum([f[x] | some x in input.xs])"
    policies = pe.compile({"t.rego": module}, {"xs": list(range(50))})
    entry: Any = policies.entrypoint("data.t.p").decide
    looks: list[int] = []
    unpaid = kept._unpaid

    def counted(one: kept.Kept, paid: set[object]) -> int:
        looks.append(1)
        return unpaid(one, paid)

    monkeypatch.setattr(kept, "_unpaid", counted)
    value = {"xs": list(range(3000))}
    outcomes = [decided(entry.__self__, value, pe.Limits(), contexts) for _ in range(2)]
    assert outcomes == [("2450", outcomes[0][1])] * 2
    assert len(looks) == 6000


def test_making_does_not_escape_the_budget(contexts: list[Any]) -> None:
    """However many documents a bundle has: what a decision makes at someone's cost is bounded by its budget."""
    rules = "\n".join(f"p{n} := count([1 | some x in data.xs; some y in data.xs; x != y + {n}])" for n in range(20))
    module = f"package t\n{rules}\nall := [{', '.join(f'p{n}' for n in range(20))}]"
    policies = pe.compile({"t.rego": module}, {"xs": list(range(200))})
    entry: Any = policies.entrypoint("data.t.all").decide
    for _ in range(30):  # documents that were kept by those before do not help
        assert decided(entry.__self__, {}, pe.Limits(work=500_000), contexts)[0] == "eval_cancel_error"
    one: Any = policies.entrypoint("data.t.p19").decide
    assert decided(one.__self__, {}, pe.Limits(work=500_000), contexts)[0] != "eval_cancel_error"


def test_a_rule_that_fails_is_charged_each_time(contexts: list[Any]) -> None:
    module = "package t\np := x if some x in data.xs\nq if { input.n; p }"
    policies = pe.compile({"t.rego": module}, {"xs": list(range(3000))})
    entry: Any = policies.entrypoint("data.t.q").decide
    found = [decided(entry.__self__, {"n": 1}, pe.Limits(), contexts) for _ in range(3)]
    assert found == [("eval_conflict_error", found[0][1])] * 3
    assert found[0][1] > 0
