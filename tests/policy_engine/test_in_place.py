"""A call in place gives the result of the builtin's function, for operands of every class."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

import policy_engine as pe
from policy_engine.builtins import TABLE
from policy_engine.values import Number

IN_PLACE = [name for name, builtin in TABLE.items() if builtin.inline]
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2**70, 1.0, 1.5, Number("1.50"), "", "a", "aB", "É", "\ud800", "x" * 300, "a1",
    [], ["a"], ["a", "aB"], [1, 1.0], [True], [["a"]], {}, {"a": 1}, {"a": None, "b": "aB"}, {1: "a"},
    pe.Set(), pe.Set(["a", 1, True]),
]  # fmt: skip


def answers(call: str, cases: list[tuple[Any, ...]]) -> list[str]:
    entry = pe.compile({"t.rego": f"package t\np := [x | x := {call}]"}).entrypoint(
        "data.t.p", strict_builtin_errors=True
    )
    found = []
    for case in cases:
        try:
            found.append(pe.dumps(entry({"x": list(case)})))
        except pe.PolicyError as error:
            found.append(f"{error.code} {error.message}")
    return found


@pytest.mark.parametrize("name", [*IN_PLACE, "internal.member_2"])
def test_as_the_function_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decl = TABLE[name].decl
    operands = [f"input.x[{number}]" for number in range(len(decl.args))]
    call = " in ".join(operands) if name == "internal.member_2" else f"{name}({', '.join(operands)})"
    cases = list(itertools.product(VALUES, repeat=len(operands)))[:2000]
    in_place = answers(call, cases)
    monkeypatch.setattr("policy_engine.codegen.terms.in_place", lambda *_: None)
    monkeypatch.setattr("policy_engine.codegen.body.operator", lambda *_: False)
    assert len(set(in_place)) > 1
    for case, found, expected in zip(cases, in_place, answers(call, cases), strict=True):
        assert found == expected, case
