"""Rule indexing changes the cost of an answer and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

import policy_engine as pe
from policy_engine.codegen import index

MODULE = """package t

default allow := false

allow if { input.role == "r1"; input.x > 1 }
allow if { input.role == "r2" }
allow if { "r3" == input.role; input.x > 3 }
allow if { role := input.role; role == "r4" }
allow if { input.role in {"r5", "r6"}; input.x > 5 }
allow if { not input.role; input.x == 0 }
allow if input.x == 7

level := 1 if input.role == "r1"
level := 2 if input.role == "r2"
level := x if { input.role == "r3"; x := input.x }
level := 4 if { input.role == "r4" } else := 5 if input.x == 9
level := 6 if { input.role == "r6"; input.x == 1 }
level := 7 if { input.role == "r7" }
level := 8 if { input.role == "clash" }
level := 9 if { input.role == "clash" }

deny contains "one" if input.role == "r1"
deny contains "two" if input.role in ["r1", "r2"]
deny contains x if { input.role == "r3"; x := input.x }
deny contains "four" if input.role == "r4"
deny contains "five" if input.role == "r5"
deny contains "six" if { input.role == "r6"; false }
deny contains "any" if input.x == 2

rank("r1", x) := x
rank("r2", x) := x + 1
rank("r3", _) := 3
rank("r4", x) := 4 if x > 1
rank("r5", x) := y if y := x
rank("r6", x) := 6 if { x == 0 } else := 7
rank(role, 99) := role

ranked := rank(input.role, input.x)
"""

ROLES: list[Any] = [f"r{i}" for i in range(9)] + [
    "clash",
    "",
    None,
    True,
    1,
    1.5,
    [],
    ["r1"],
    {},
    {"r1": 1},
    pe.UNDEFINED,
]


@pytest.fixture(scope="module")
def both() -> tuple[pe.Policies, pe.Policies]:
    usual = pe.compile({"t.rego": MODULE})
    usual.entrypoint("data.t")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "FEWEST", 1_000_000)
        plain = pe.compile({"t.rego": MODULE})
        plain.entrypoint("data.t")
    return usual, plain


def answer(policies: pe.Policies, path: str, value: Any) -> Any:
    try:
        return policies.entrypoint(path)(value)
    except pe.PolicyError as error:
        return error.code


@pytest.mark.parametrize("role", ROLES, ids=repr)
def test_the_answer_is_the_same_without_it(both: tuple[pe.Policies, pe.Policies], role: Any) -> None:
    for x in (0, 1, 2, 4, 6, 7, 9, 99, pe.UNDEFINED):
        value = {name: item for name, item in (("role", role), ("x", x)) if item is not pe.UNDEFINED}
        for path in ("data.t.allow", "data.t.level", "data.t.deny", "data.t.ranked"):
            want, got = answer(both[1], path, value), answer(both[0], path, value)
            assert (got is pe.UNDEFINED) == (want is pe.UNDEFINED), (path, value)
            assert got == want, (path, value)


def test_both_ways_are_taken(both: tuple[pe.Policies, pe.Policies]) -> None:
    assert "t0.get(" in both[0].python_source("data.t")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "FEWEST", 1_000_000)
        assert ".get(" in both[1].python_source("data.t")
        assert "t0.get(" not in both[1].python_source("data.t")


def test_a_traced_decision_skips_the_same_rules() -> None:
    """If other rules ran, `trace=True` would raise errors that the decision to be explained has not raised."""
    rules = "\n".join(f'p := {i} if input.role == "r{i}"' for i in range(2, 9))
    source = f'package t\np := 1 if {{ lower(input.x) == "a"; input.role == "r1" }}\n{rules}'
    p = pe.compile({"t.rego": source}).entrypoint("data.t.p", strict_builtin_errors=True)
    value = {"role": "r2", "x": 1}
    assert p(value) == p.decide(value, trace=True).value == 2
    with pytest.raises(pe.PolicyError, match="lower: operand 1 must be string"):
        p.decide({"role": "r1", "x": 1}, trace=True)


def test_foreign_values_are_refused_before_the_table(both: tuple[pe.Policies, pe.Policies]) -> None:
    class Role(str):
        __slots__ = ()

    with pytest.raises(pe.PolicyError) as caught:
        both[0].entrypoint("data.t.allow")({"role": Role("r2")})
    assert caught.value.code == "invalid_input"


def test_a_decision_costs_the_same_with_many_rules() -> None:
    """The number of lines of generated code that run must not grow with the policy."""
    import sys

    def lines(count: int) -> int:
        rules = "\n".join(f'allow if {{ input.role == "r{i}"; input.x == {i} }}' for i in range(count))
        allow = pe.compile({"t.rego": f"package t\n{rules}"}).entrypoint("data.t.allow")
        value = {"role": f"r{count - 1}", "x": count - 1}
        assert allow(value) is True
        ran = 0

        def trace(frame: Any, event: str, _: Any) -> Any:
            nonlocal ran
            ran += event == "line"
            return trace

        sys.settrace(trace)
        try:
            allow(value)
        finally:
            sys.settrace(None)
        return ran

    assert lines(500) == lines(10)


BEGINNINGS = """package t

p contains 1 if startswith(input.path, "/v1/")
p contains 2 if startswith(input.path, "/v1/chat")
p contains 3 if { x := input.path; startswith(x, "/v1/chat/"); input.n > 1 }
p contains 4 if glob.match("/v2/*/x", ["/"], input.path)
p contains 5 if glob.match("/v[12]/*", ["/"], input.path)
p contains 6 if strings.any_prefix_match(input.path, ["/v1", "/v3"])
p contains 7 if startswith(input.path, "")
p contains 8 if not startswith(input.path, "/v1/")
p contains 9 if { startswith(input.path, "/v2/"); startswith(input.path, "/v2/a") }
p contains 10 if startswith(input.path, input.prefix)
p contains 11 if startswith(input.path, "/v2/") with input.path as "/v2/"

f(x) := 1 if startswith(x, "/v1/")
f(x) := 2 if startswith(x, "/v2/a")
f(x) := 3 if startswith(x, "/v3/")
f(x) := 4 if { startswith(x, "/v4/"); x != "/v4/z" }
f("/v5") := 5
f(x) := 6 if glob.match("/v6/*", null, x)

called := f(input.path)
"""


@pytest.mark.parametrize("strict", [False, True])
def test_beginnings(strict: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["/v1/", "/v1/chat", "/v1/chat/x", "/v1", "/v2/a/x", "/v2/a", "/v2/x/y", "/v3", "/v3/", "/v4/", "/v4/z"]
    paths: list[Any] = [*texts, "/v5", "/v6/a", "/v6/a/b", "", "é", None, 1, ["/v1/"], {"/v1/": 1}, pe.UNDEFINED]
    answers = []
    for fewest in (1_000_000, 2):
        monkeypatch.setattr(index, "FEWEST", fewest)
        policies = pe.compile({"t.rego": BEGINNINGS})
        assert ("by_beginning(" in policies.python_source()) == (fewest == 2)
        found = []
        for rule in ("p", "called"):
            entry = policies.entrypoint(f"data.t.{rule}", strict_builtin_errors=strict)
            for path in paths:
                value = {"path": path, "n": 2, "prefix": "/v"}
                if path is pe.UNDEFINED:
                    del value["path"]
                try:
                    found.append(entry(value))
                except pe.PolicyError as error:
                    found.append((error.code, error.message))
        answers.append(found)
    assert answers[0] == answers[1]
    assert len({str(answer) for answer in answers[0]}) > 8
