"""Generated code copes with bodies and groups of any size, failures, many threads, and odd values in odd places."""

from __future__ import annotations

import gc
import linecache
import random
import re
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator
from types import CodeType
from typing import Any

import pytest

import policy_engine as pe
from policy_engine.codegen.constants import GLOBALS
from policy_engine.codegen.deferred import can_wait
from policy_engine.codegen.names import RuleFunction
from policy_engine.codegen.namespace import NAMESPACE
from policy_engine.codegen.unit import Unit
from tests.policy_engine.differential.generator import Generator
from tests.policy_engine.differential.grammar import Grammar
from tests.policy_engine.differential.meaningful import Meaningful

MANY_RULES = "package t\n" + "\n".join(
    f"""
value := {number % 2} if input.n == {number}
flag if input.n == {number}
members contains {number} if input.n <= {number}
pairs[k].n := {number} if {{ k := input.n; k == {number} }}
f({number}) := "f{number}"
g(x) := x if x == {number}
"""
    for number in range(150)
)


@pytest.mark.parametrize("trace", [False, True])
def test_groups_too_large_for_one_function(trace: bool) -> None:
    policies = pe.compile({"t.rego": MANY_RULES + "\ncalls := [f(input.n), g(input.n)]\n"})
    entry = policies.entrypoint("data.t")
    for number in (0, 63, 64, 149):
        assert entry.decide({"n": number}, trace=trace).value == {
            "value": number % 2,
            "flag": True,
            "members": list(range(number, 150)),
            "pairs": {str(number): {"n": number}},
            "calls": [f"f{number}", number],
        }
    assert entry.decide({"n": 150}, trace=trace).value == {"members": [], "pairs": {}}


@pytest.mark.parametrize("count", [13, 14, 15, 40, 80])
def test_loops_in_loops(count: int) -> None:
    """CPython allows 20 nested blocks; deeper loops are written into local functions."""
    loops = "\n".join(f"some x{number} in input" for number in range(count))
    module = f"package t\np := [x0, x{count - 1}] if {{\n{loops}\n}}\nq contains x{count - 1} if {{\n{loops}\n}}"
    module += f"\nr if {{\n{loops}\nx{count - 1} == 2\n}}\nn := count([1 | {loops.replace(chr(10), '; ')}])"
    entry = pe.compile({"t.rego": module}).entrypoint("data.t")
    assert entry([2]) == {"p": [2, 2], "q": [2], "r": True, "n": 1}
    assert entry([]) == {"q": [], "n": 0}


def test_a_body_that_cannot_be_compiled_breaks_nothing_else() -> None:
    loops = "\n".join(f"some x{number} in input" for number in range(200))
    policies = pe.compile(
        {"t.rego": f"package t\ndeep if {{\n{loops}\n}}\nuses if {{ plain; deep }}\nplain if f(1)\nf(1)"}
    )
    for path in ("data.t.deep", "data.t.uses", "data.t", "data.t.uses"):
        with pytest.raises(pe.PolicyError, match="nested too deeply") as caught:
            policies.entrypoint(path)
        assert caught.value.code == "rego_compile_error"
        assert caught.value.location is not None
        assert caught.value.location.file == "t.rego"
    assert policies.entrypoint("data.t.plain")() is True
    assert policies.prepare("data.t.plain").bindings() == [{}]


def test_code_that_nobody_can_call_is_forgotten() -> None:
    def sources() -> int:
        gc.collect()
        return sum(name.startswith("<policy ") for name in linecache.cache)

    before = sources()
    policies = pe.compile({"t.rego": "package t\nf(x) := x + 1"})
    kept = policies.prepare("x := data.t.f(1)")
    with_one = sources()
    for number in range(20):
        assert policies.prepare(f"x := data.t.f({number})").bindings() == [{"x": number + 1}]
    assert sources() == with_one
    del policies
    assert kept.bindings() == [{"x": 2}]
    del kept
    assert sources() == before


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns as often as CPython lets them."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_threads_compile_while_others_evaluate(restless: None) -> None:
    rules = "\n".join(
        f"p{i} := [q{i}, f{i}(input.n), s[{i}], v] if v := p{i - 1}[1] with input.n as input.n + 1\n"
        f"q{i} := n if n := input.n + {i}\nf{i}(x) := x * {i} if x >= 0\n"
        f"s[k] := n if {{ k := {i}; n := input.n }}\n"
        for i in range(1, 25)
    )
    policies = pe.compile({"t.rego": f"package t\np0 := [0, 0]\n{rules}"})
    failures: list[str] = []

    def expected(i: int, n: int) -> list[int]:
        return [n + i, n * i, n, (n + 1) * (i - 1)]

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(40):
            i, n = rng.randint(1, 24), rng.randint(0, 5)
            try:
                kind = rng.randrange(4)
                if kind == 0:
                    found = policies.entrypoint(f"data.t.p{i}")({"n": n})
                elif kind == 1:
                    found = policies.entrypoint(f"data.t.p{i}").decide({"n": n}, trace=True).value
                elif kind == 2:
                    found = policies.prepare(f"x := data.t.p{i}").bindings({"n": n})[0]["x"]
                else:
                    query = policies.prepare(f"x := data.t.p{i} with data.t.f{i} as {n * i}")
                    found = query.bindings({"n": n})[0]["x"]
            except Exception as error:
                failures.append(f"p{i}({n}) as {kind}: {error!r}")
            else:
                if found != expected(i, n):
                    failures.append(f"p{i}({n}) as {kind}: {found}")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[:5]


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), pe.loads("1e400"), pe.loads("-1e400"), 1e300, -1])
def test_a_number_that_is_no_index(number: Any) -> None:
    policies = pe.compile({"t.rego": "package t\np if input.xs[input.n]"})
    assert policies.entrypoint("data.t.p")({"xs": [1], "n": number}) is pe.UNDEFINED


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("not input.xs[input.n]", {"xs": [1], "n": float("nan")}),
        ("input.a == 1 with input.a as 1", OrderedDict(x=1)),
        ("input.a.b == 1 with input.a.b as 1", {"a": OrderedDict(x=1)}),
        ("data.d.a == 1 with data.d.a as 1", {}),
        ("not data.d.a", {}),
        ("some x in data.d", {}),
        ("count(data.d) == 0", {}),
    ],
)
def test_foreign_values_below_the_surface(body: str, value: Any) -> None:
    policies = pe.compile({"t.rego": f"package t\np if {{ {body} }}"}, {"d": OrderedDict(x=1)})
    with pytest.raises(pe.PolicyError) as caught:
        policies.entrypoint("data.t.p")(value)
    assert caught.value.code == "invalid_input"


@pytest.mark.parametrize("data", [OrderedDict(x=1), [1], 1, None])
def test_base_data_where_only_an_object_has_room(data: Any) -> None:
    with pytest.raises(pe.PolicyError) as caught:
        pe.compile({"t.rego": "package t.u\np := 1"}, {"t": data})
    assert caught.value.code == "rego_compile_error"


def assert_same(made: CodeType, compiled: CodeType) -> None:
    """The codes agree in everything but columns, where names differ in length."""
    for name in ("code", "names", "varnames", "freevars", "name", "qualname", "filename", "firstlineno", "flags"):
        assert getattr(made, f"co_{name}") == getattr(compiled, f"co_{name}"), name
    assert [row for _, _, row in made.co_lines()] == [row for _, _, row in compiled.co_lines()]
    assert len(made.co_consts) == len(compiled.co_consts)
    for a, b in zip(made.co_consts, compiled.co_consts, strict=True):
        if isinstance(a, CodeType):
            assert_same(a, b)
        else:
            assert (a.__class__, a) == (b.__class__, b)


def test_code_made_of_like_code_is_what_python_compiles() -> None:
    """Functions that differ in constants, functions, slots, nested functions; and two that only look alike."""
    rules = [
        'a{i} if {{ input.x == "t{i}"; data.k{i} > {i}; not b{i} }}',
        'b{i} := sprintf("{i} %v", [y]) if {{ some y in input.ys; y.n > {i} }}',
        "c{i} contains f{i}(z) if some z in data.k{i}\nf{i}(x) := x + {i} if x != {i}",
        "d{i} if every e in input.es {{ some h in e.hs; h.a.b{i} == data.m[h.c] }}",
        "l{i} := [x | x := input.v[_]; x != b{i} with input.w as {i}]",
        "n{i} if input.many == [input.a, input.b, input.c, input.d, input.e, input.f, input.g, input.h, input.i, {i}]",
    ]
    text = "\n".join(rule.format(i=i) for i in range(20) for rule in rules)
    policies = pe.compile({"t.rego": f"package t\n{text}\n"})
    policies.entrypoint("data.t")
    unit = policies._compiled.unit(policies._compiled.program)
    counted = 0
    for name, source in unit.functions.sources.items():
        for code in compile(source, name, "exec").co_consts:
            if isinstance(code, CodeType):
                assert_same(unit.namespace[code.co_name].__code__, code)
                counted += 1
    assert counted > 20 * len(rules)
    known = [pattern for pattern in unit.functions._patterns.values() if pattern is not None]
    assert known
    assert len(known) < counted / 3


def test_no_name_of_the_runtime_looks_like_a_generated_one() -> None:
    assert not [name for name in NAMESPACE if re.search(rf"[{GLOBALS}]\d", name)]


@pytest.mark.parametrize("generator", [Generator, Meaningful, Grammar])
def test_deferred_functions_need_nothing_when_they_are_written(generator: Any) -> None:
    """It adds no slot, for which contexts in use have no room, asks for no other function, and raises no error."""
    counted = 0
    for seed in range(40):
        try:
            policies = pe.compile(generator(random.Random(seed)).program().modules)
        except pe.PolicyError:
            continue
        unit = Unit(policies._compiled.program)
        for group in unit.program.groups:
            for number, rule in enumerate(group.rules):
                if can_wait(unit.names, rule):
                    counted += 1
                    unit._written_late(RuleFunction(group, number))
    assert counted > 3
