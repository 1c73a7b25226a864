"""Every optimisation changes the cost of an answer and nothing else: with each off, or forced, all cases hold.

A case that is written for the language says nothing about the size at which an optimisation begins; here it begins at
once, or never.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import pytest

import policy_engine as pe
from policy_engine.builtins import TABLE
from policy_engine.codegen import body, fixed, frame, functions, index, joins, refs, terms, unit
from tests.policy_engine.language.cases import CASES, without_remarks

Patch = pytest.MonkeyPatch

SWITCHES: dict[str, Callable[[Patch], None]] = {
    "no rule index": lambda patch: patch.setattr(index, "FEWEST", 10**9),
    "rule index for two": lambda patch: patch.setattr(index, "FEWEST", 2),
    "no joins": lambda patch: patch.setattr(refs, "_join", lambda *_: None),
    "joins for one": lambda patch: patch.setattr(joins, "FEWEST", 0),
    "nothing kept": lambda patch: patch.setattr(fixed.Fixed, "__contains__", lambda *_: False),
    "nothing in place": lambda patch: (
        patch.setattr(terms, "in_place", lambda *_: None) or patch.setattr(body, "operator", lambda *_: False)
    ),
    "no tables of comprehensions": lambda patch: patch.setattr(joins, "ASKED", 10**9),
    "tables of comprehensions at once": lambda patch: patch.setattr(joins, "ASKED", 1),
    "calls in loops repeated": lambda patch: patch.setattr(terms, "_first_known", lambda *_: None),
    "nothing is written later": lambda patch: (
        patch.setattr(index, "FEWEST", 2) or patch.setattr(unit, "can_wait", lambda *_: False)
    ),
    "every function compiled": lambda patch: patch.setattr(functions, "pattern", lambda *_: None),
    "deep functions split": lambda patch: patch.setattr(frame, "MAX_DEPTH", 2),
}


SHARES = 6
"""Parts of the cases for the everyday run: each switch gets one part, and each part is for two switches."""


@pytest.mark.slow
@pytest.mark.parametrize("switch", SWITCHES)
def test_all_cases_hold(switch: str, read_case: Callable[[dict[str, Any]], Any], monkeypatch: Patch) -> None:
    hold(switch, CASES, read_case, monkeypatch)


@pytest.mark.parametrize(("number", "switch"), list(enumerate(SWITCHES)))
def test_some_cases_hold(
    number: int, switch: str, read_case: Callable[[dict[str, Any]], Any], monkeypatch: Patch
) -> None:
    hold(switch, CASES[number % SHARES :: SHARES], read_case, monkeypatch)


def hold(
    switch: str,
    cases: list[tuple[str, dict[str, Any]]],
    read_case: Callable[[dict[str, Any]], Any],
    monkeypatch: Patch,
) -> None:
    SWITCHES[switch](monkeypatch)
    for area, fields in cases:
        try:
            read_case(without_remarks(fields)).check()
        except AssertionError as error:
            raise AssertionError(f"{area}: {fields['note']}: {error}") from error


def test_the_switches_switch(monkeypatch: Patch) -> None:
    assert TABLE["startswith"].inline
    module = {
        "t.rego": "package t\np if { some g in data.gs; g.a == input.a; startswith(g.b, input.b); "
        "some x in g.xs; x[_] }"
        "\np if input.x"
    }
    sources = {pe.compile(module).python_source()}
    for name in ("no joins", "nothing in place", "deep functions split"):
        with monkeypatch.context() as patch:
            SWITCHES[name](patch)
            sources.add(pe.compile(module).python_source())
    assert len(sources) == 4


JOINS = """package t

by_one contains g.id if { some g in data.grants; g.user == input.user }
by_two contains g.id if { some g in data.grants; g.user == input.user; input.action = g.action }
by_key contains i if data.grants[i].user == input.user
by_both contains [i, g.id] if { some i, g in data.grants; g.user == input.user; i > 1 }
by_name contains k if { some k, g in data.named; g.user == input.user }
by_assigned contains g.id if { some g in data.grants; u := g.user; a := g.action; u == input.user; a == input.action }
by_pattern contains i if { some {"id": i, "user": u, "action": "read"} in data.grants; u == input.user }
by_array contains b if { some [a, b] in data.pairs; a == input.user }
by_member if { some x in data.users; x == input.user }
deep contains g.id if { some g in data.grants; g.owner.team == input.team.name }
nested contains [x.id, y.id] if { some x in input.xs; some y in input.ys; y.user == x.user }
grouped := {u: ids | some u in input.users; ids := [x.id | some x in input.xs; x.user == u]}
called := {u: count(of(u)) | some u in input.users}
of(user) := {y.id | some y in input.ys; y.user == user}
counted := [n | some u in input.users; n := count([1 | data.grants[_].user == u])]
every_user if every u in input.users { some g in data.grants; g.user == u }
replaced := x if x := by_one with data.grants as input.xs
listed contains u if { some u in input.users; u in data.users }
listed_late if { users := data.users; input.user in users }
not_listed contains u if { some u in input.users; not u in data.users }
set_of contains x if { some [x, u] in data.tuples; u == input.user }
"""


def seeds(few: int, many: int) -> list[Any]:
    return [*range(few), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(few, many))]


@pytest.mark.parametrize("seed", seeds(10, 100))
def test_joins_find_what_loops_find(seed: int, monkeypatch: Patch) -> None:
    rng = random.Random(seed)
    scalars: list[Any] = ["a", "b", "c", 1, 1.0, True, False, None, "", 2**70]
    values = [*scalars, ["a"], {"a": 1}, [], {}]

    def row() -> Any:
        fields = {"user": rng.choice(values), "action": rng.choice(["read", "write", 1]), "id": rng.randint(0, 9)}
        fields["owner"] = rng.choice([{"team": rng.choice(values)}, "x", None])
        for name in list(fields):
            if rng.random() < 0.1:
                del fields[name]
        return rng.choice([fields] * 9 + [rng.choice(values)])

    rows = [row() for _ in range(rng.choice([0, 3, 20, 60]))]
    data = {
        "grants": rows,
        "named": {f"k{number}": item for number, item in enumerate(rows)},
        "pairs": [[rng.choice(values), number] for number in range(20)],
        "users": [rng.choice(values) for _ in range(20)],
        "tuples": pe.Set([[number, rng.choice(scalars)] for number in range(20)]),
    }
    questions = []
    for _ in range(6):
        question = {
            "user": rng.choice(values),
            "action": rng.choice(["read", 1.0]),
            "team": {"name": rng.choice(values)},
            "users": [rng.choice(scalars) for _ in range(4)],
            "xs": [row() for _ in range(20)],
            "ys": [row() for _ in range(20)],
        }
        if rng.random() < 0.2:
            del question["user"]
        questions.append(question)
    answers = []
    for fewest, searched in ((10**9, 0), (16, 10**9), (0, 10**9), (0, 0)):
        monkeypatch.setattr(joins, "FEWEST", fewest)
        monkeypatch.setattr(joins, "SHORT", searched)
        entry = pe.compile({"t.rego": JOINS}, data).entrypoint("data.t")
        answers.append([pe.dumps(entry(question)) for question in questions])
    assert answers[0] == answers[1] == answers[2] == answers[3]


def test_joins_are_used_and_follow_the_data() -> None:
    module = {"t.rego": "package t\np contains g.id if { some g in data.grants; g.user == input.user }"}
    grants = [{"user": f"u{number}", "id": number} for number in range(1000)]
    policies = pe.compile(module, {"grants": grants}, limits=pe.Limits(work=2500))
    entry = policies.entrypoint("data.t.p")
    assert entry({"user": "u7"}) == [7]
    other = policies.with_data({"grants": [{"user": "u7", "id": number} for number in range(20)]}).entrypoint(
        "data.t.p"
    )
    assert other({"user": "u7"}) == list(range(20))
    assert entry({"user": "u7"}) == [7]
    assert pe.compile(module, {"grants": []}).entrypoint("data.t.p")({"user": "u7"}) == []


TABLES = """package t

by_text := [y | some x in input.xs; k := lower(x.s); y := {w.v: w.n | some w in input.xs; lower(w.s) == k}]
by_two contains [k, y] if {
    some x in input.xs
    k := [x.s, x.t]
    y := [w.v | some w in input.xs; k == [w.s, w.t]; w.v != 3]
}
of(k, t) := {w.v | some w in input.xs; lower(w.s) == k; {"t": w.t} == t}
called := [of(lower(x.s), {"t": x.t}) | some x in input.xs]
counted := [count([1 | some w in input.xs; [w.s] == k]) | some x in input.xs; k := [x.s]]
inner := [y | some x in input.xs; k := [x.s]; y := {z | some w in input.xs; k == [w.s]; z := [v | some v in w.vs]}]
twice := [y | some x in input.xs; k := [x.s]; y := [z | some w in input.xs; k == [w.s]; j := [w.t];
    z := count([1 | some v in input.xs; j == [v.t]])]]
sure if every x in input.xs { k := [x.s]; count([w | some w in input.xs; [w.s] == k]) > 0 }
replaced := y if y := counted with input.xs as input.ys
"""


@pytest.mark.parametrize("seed", seeds(5, 50))
def test_tables_of_comprehensions_find_what_bodies_find(seed: int, monkeypatch: Patch) -> None:
    rng = random.Random(seed)

    def row() -> Any:
        fields = {
            "s": rng.choice(["a", "A", "b", ""]),
            "t": rng.choice([["a"], None, 1, "1"]),
            "vs": [rng.randint(0, 2)],
        }
        return {**fields, "v": rng.choice([1, 2, 3, "x"]), "n": rng.randint(0, 9)}

    question = {"xs": [row() for _ in range(rng.choice([0, 3, 20]))], "ys": [row() for _ in range(10)]}
    names = re.findall(r"(?m)^(\w+)", TABLES.partition("\n")[2])
    assert len(names) > 7
    answers = []
    for asked in (10**9, 8, 1):
        monkeypatch.setattr(joins, "ASKED", asked)
        policies = pe.compile({"t.rego": TABLES})
        answers.append(
            [_outcome(policies, name, question, strict=strict) for strict in (False, True) for name in names]
        )
    assert answers[0] == answers[1] == answers[2]


def _outcome(policies: pe.Policies, name: str, question: Any, *, strict: bool) -> str:
    try:
        return pe.dumps(policies.entrypoint(f"data.t.{name}", strict_builtin_errors=strict)(question))
    except pe.PolicyError as error:
        return error.code


UNNOTICED = """package t

asked := ["a", "b", "A", "B"]
all := [y | some a in asked; k := upper(a); y := [w.n | some w in input.xs; upper(w.s) == k]]
objects := [y | some a in asked; k := upper(a); y := {w.v: w.n | some w in input.xs; upper(w.s) == k}]
numbers := [y | some a in asked; k := upper(a); y := [to_number(w.n) | some w in input.xs; upper(w.s) == k]]
drawn := [y | some a in asked; k := upper(a); y := [rand.intn(w.s, 3) | some w in input.xs; upper(w.s) == k]]
hosted := [y | some a in asked; k := upper(a); y := [slow(w.n) | some w in input.xs; upper(w.s) == k]]
ruled := [y | some a in asked; k := upper(a); y := [f(w.n) | some w in input.xs; upper(w.s) == k]]
document := [y | some a in asked; k := upper(a); y := [1 | some w in input.xs; upper(w.s) == k; w.v == 9; data.t.none]]
f(x) := 1 if x != 7
f(x) := 2 if x == 8
none := to_number("no number")
"""
PRINTED = """package t

asked := ["a", "b", "A", "B"]
direct := [y | some a in asked; k := upper(a); y := [1 | some w in input.xs; print(w.n); upper(w.s) == k]]
called := [y | some a in asked; k := upper(a); y := [1 | some w in input.xs; f(w.s) == k]]
replaced := y if y := mocked with lower as f
mocked := [y | some a in asked; k := upper(a); y := [1 | some w in input.xs; lower(w.s) == k]]
f(x) := upper(x) if print(x)
"""


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("bad", [{}, {"s": "a"}])
@pytest.mark.parametrize("module", [UNNOTICED, PRINTED])
def test_nobody_notices_a_table_of_a_comprehension(
    module: str, strict: bool, bad: dict[str, Any], monkeypatch: Patch
) -> None:
    """Members that nobody asks for raise no errors, and nothing is called for them."""
    calls: list[Any] = []

    def slow(value: Any) -> Any:
        calls.append(value)
        return value

    rows = [{"s": "a", "v": 1, "n": 1}, {"s": "b", "v": 2, "n": 3}]
    rows += [{"s": "c", "v": 9, "n": 7} | bad, {"s": "c", "v": 9, "n": 8} | bad, {"s": "c", "v": 9, "n": "x"} | bad]
    names = re.findall(r"(?m)^(\w+) :=", module)
    assert len(names) > 4
    answers = []
    for asked in (10**9, 1):
        monkeypatch.setattr(joins, "ASKED", asked)
        policies = pe.compile({"t.rego": module}, functions={"slow": (1, slow)})
        for name in names:
            entry = policies.entrypoint(f"data.t.{name}", strict_builtin_errors=strict)
            calls.clear()
            try:
                decision: Any = entry.decide({"xs": rows}, seed=7)
            except pe.PolicyError as error:
                decision = error.code
            answers.append((name, decision, [*calls]))
    half = len(answers) // 2
    assert answers[:half] == answers[half:]
    conflicts = [name for name, decision, _ in answers[:half] if decision == "eval_conflict_error"]
    assert conflicts == (["objects", "ruled"] if bad and module is UNNOTICED else [])


def test_tables_of_comprehensions_are_used() -> None:
    module = """package t
        p := count([k |
            some x in input.xs
            k := [x.a, x.b]
            ys := [y | some w in input.xs; k == [w.a, w.b]; y := w.n]
            ys == [x.n]
        ])
    """
    rows = [{"a": number, "b": str(number), "n": number} for number in range(1000)]
    entry = pe.compile({"t.rego": module}, limits=pe.Limits(work=50_000)).entrypoint("data.t.p")
    assert entry({"xs": rows}) == 1000


FIXED = """package t

admins contains u if { some u, roles in data.roles; "admin" in roles }
count_of[r] := n if { some r in data.names; n := count([1 | some roles in data.roles; r in roles]) }
total := sum([n | some n in count_of])
large if total > 1
named := {r | some r in data.names; r != input.not_this}
noisy if { some r in data.names; print(r) }
stamped := time.now_ns() if data.names
calls := f(data.names)
f(xs) := count(xs)
answer := {"a": admins, "n": count_of.admin, "t": total, "c": calls, "all": count_of}
mocked := x if x := calls with f as 7
mocked_builtin := x if x := total with sum as 99
replaced := x if x := admins with data.roles as {"zoe": ["admin"]}
by_input := x if x := admins with input as {}
failing := [to_number(x) | some x in data.texts]
"""


def test_fixed_documents_follow_only_the_data() -> None:
    data: dict[str, Any] = {"roles": {"ann": ["admin"], "bob": ["user"]}, "names": ["admin", "user"], "texts": ["1"]}
    policies = pe.compile({"t.rego": FIXED}, data)
    source = policies.python_source()
    assert source.count("d = q[9]") == 5  # without those that call a function which some `with` replaces
    everything = policies.entrypoint("data.t")
    first = everything({"not_this": "user"})
    second = everything({"not_this": "user"})
    assert second.pop("stamped") > first.pop("stamped")
    assert second == first
    assert first["admins"] == ["ann"]
    assert first["answer"] == {"a": ["ann"], "n": 1, "t": 2, "c": 2, "all": {"admin": 1, "user": 1}}
    assert (first["mocked"], first["mocked_builtin"], first["replaced"]) == (7, 99, ["zoe"])
    assert everything({"not_this": "admin"})["named"] == ["user"]
    again = policies.with_data({"roles": {"eve": ["admin"]}, "names": [], "texts": []}).entrypoint("data.t")
    assert again({})["admins"] == ["eve"]
    assert everything({})["admins"] == ["ann"]
    prints = [policies.entrypoint("data.t.noisy").decide({}).prints for _ in range(2)]
    assert prints[0] == prints[1] == ("admin",)


def test_fixed_documents_are_not_shared_between_error_modes() -> None:
    policies = pe.compile({"t.rego": FIXED}, {"texts": ["x"], "names": [], "roles": {}})
    assert policies.entrypoint("data.t.failing")({}) == []
    with pytest.raises(pe.PolicyError):
        policies.entrypoint("data.t.failing", strict_builtin_errors=True)({})


def test_a_list_that_replaces_data_is_not_remembered() -> None:
    module = {"t.rego": "package t\np if { names := data.names with data.names as input.names; input.user in names }"}
    entry = pe.compile(module, {"names": []}).entrypoint("data.t.p")
    names = [f"u{number}" for number in range(20)]
    assert entry({"user": "u7", "names": names}) is True
    names[7] = "other"
    assert entry({"user": "u7", "names": names}) is pe.UNDEFINED


def test_what_replaces_data_is_not_remembered() -> None:
    """The replacement comes from the input, which the caller may change between two decisions."""
    module = {
        "t.rego": "package t\np contains g.id if { some g in data.grants; g.user == input.user }\n"
        "q := x if x := p with data.grants as input.grants"
    }
    entry = pe.compile(module, {"grants": []}).entrypoint("data.t.q")
    grants = [{"user": "u", "id": number} for number in range(20)]
    question = {"user": "u", "grants": grants}
    assert entry(question) == list(range(20))
    grants[3]["user"] = "other"
    assert 3 not in entry(question)


@pytest.mark.parametrize("fewest", [0, 10**9])
def test_a_trace_says_what_a_plain_loop_would(fewest: int, monkeypatch: Patch) -> None:
    module = """package t
p contains g.id if {
	some g in data.grants
	g.user == input.user
	g.action == input.action
}
q contains i if {
	data.grants[i].user == input.user
	i > 0
}
"""
    grants = [{"user": "a", "action": "x", "id": 1}, {"user": "b", "action": "y", "id": 2}]
    policies = pe.compile({"t.rego": module}, {"grants": grants})
    entry = policies.entrypoint("data.t")
    monkeypatch.setattr(joins, "FEWEST", fewest)
    lines = {
        (user, action): entry.decide({"user": user, "action": action}, trace=True).coverage
        for user in "abc"
        for action in "xy"
    }
    assert lines == {
        ("a", "x"): {"t.rego": (2, 3, 4, 5, 8)},
        ("a", "y"): {"t.rego": (3, 4, 8)},
        ("b", "x"): {"t.rego": (3, 4, 8, 9)},
        ("b", "y"): {"t.rego": (2, 3, 4, 5, 8, 9)},
        ("c", "x"): {"t.rego": (3,)},
        ("c", "y"): {"t.rego": (3,)},
    }


def test_a_table_interrupted_by_a_deadline_is_finished_later(monkeypatch: Patch) -> None:
    """A decision that ends while a table is made leaves its part of the work to the next one."""
    module = {"t.rego": "package t\np contains i if { some i, g in data.grants; g.user == input.user }"}
    # A shorter list would get its table before the first decision.
    grants = [{"user": f"u{number}"} for number in range(joins.SHORT + 1)]
    entry = pe.compile(module, {"grants": grants}).entrypoint("data.t.p")
    made: list[int] = []
    fill = joins._fill
    monkeypatch.setattr(joins, "CHUNK", 1500)

    def counted(q: Any, found: Any, rows: Any, join: Any) -> None:
        made.append(len(rows))
        fill(q, found, rows, join)

    monkeypatch.setattr(joins, "_fill", counted)
    for _ in range(4):  # the first one searches
        with pytest.raises(pe.PolicyError, match="deadline"):
            entry.decide({"user": "u7"}, limits=pe.Limits(seconds=0))
    assert made == [1500, 1500, joins.SHORT + 1 - 3000]
    assert entry.decide({"user": "u7"}).value == [7]
    assert sum(made) == len(grants)


def test_no_decision_is_charged_for_a_search_or_a_table() -> None:
    module = {"t.rego": "package t\np contains i if { some i, g in data.grants; g.user == input.user }"}
    grants = [{"user": f"u{number}"} for number in range(joins.SHORT + 1)]
    entry = pe.compile(module, {"grants": grants}).entrypoint("data.t.p")
    for _ in range(3):
        assert entry.decide({"user": "u7"}, limits=pe.Limits(work=50)).value == [7]


def test_replaced_data_is_charged_each_time() -> None:
    module = {
        "t.rego": "package t\np if { q with data.grants as input.grants }\n"
        "q if { some g in data.grants; g == input.user }"
    }
    grants = [f"u{number}" for number in range(joins.SHORT + 1)]
    entry = pe.compile(module, {"grants": []}).entrypoint("data.t.p")
    for _ in range(3):
        with pytest.raises(pe.PolicyError, match="budget"):
            entry.decide({"user": "v", "grants": grants}, limits=pe.Limits(work=4096))


def test_a_loop_calls_once_if_operands_do_not_change() -> None:
    calls: list[int] = []

    def slow(value: int) -> int:
        calls.append(value)
        return value

    module = """package t
once contains x if { some x in input.xs; f(input.n) == x }
outer contains [x, y] if { some x in input.xs; some y in input.xs; f(x) == y }
all if every x in input.xs { x <= f(input.n) }
late contains x if { some x in input.xs; x > 2; f(input.n) == x }
with_ contains x if { some x in input.xs; f(input.n) == x with input.n as x }
f(n) := slow(n)
"""
    for name, value, count in (
        ("once", [2], 1), ("outer", [[1, 1], [2, 2], [3, 3]], 3), ("all", pe.UNDEFINED, 1), ("late", [], 1),
        ("with_", [1, 2, 3], 3),
    ):  # fmt: skip
        policies = pe.compile({"t.rego": module}, functions={"slow": (1, slow)})
        calls.clear()
        assert policies.entrypoint(f"data.t.{name}")({"xs": [1, 2, 3], "n": 2}) == value
        assert len(calls) == count, name
    calls.clear()
    assert policies.entrypoint("data.t.late")({"xs": [1, 2], "n": 2}) == []
    assert calls == []


def test_what_prints_is_called_each_time() -> None:
    module = {
        "t.rego": 'package t\np contains x if { some x in input.xs; f(input.n) == x }\nf(n) := n if print("f", n)'
    }
    entry = pe.compile(module).entrypoint("data.t.p")
    assert entry.decide({"xs": [1, 2, 3], "n": 2}).prints == ("f 2",) * 3
