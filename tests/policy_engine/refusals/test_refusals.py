"""The errors of the compiler other than type errors, as data: `cases/*.yaml`, each a module and its errors.

`module` stands behind `package t`, in row 2; `logic` behind `import future.keywords` too, in row 3; `strict` where
`module` does, but unused names are errors; `whole` is a first module with its package. More modules may follow a line
of dashes.
`errors` are all errors, as `row code: text` (its first line), of parse errors without the text; a case without any is
accepted.

If OPA is installed, it must accept the same modules, and refuse the others with codes that are among these. A case in
which it does not has OPA's own verdict: `opa: accepted`, or its code.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import policy_engine as pe
from policy_engine.builtins import TABLE
from policy_engine.compiler import compile_program
from policy_engine.errors import MAX_ERRORS, PARSE_ERROR
from policy_engine.syntax.parser import parse_modules
from tests.cases import read_yaml
from tests.oracle import Oracle, OracleUnavailable

CASES = [
    pytest.param(fields, id=f"{path.stem}: {fields['note']}")
    for path in sorted(Path(__file__).parent.joinpath("cases").glob("*.yaml"))
    for fields in read_yaml(path)["cases"]
]
AROUND = {"module": "package t\n", "logic": "package t\nimport future.keywords\n", "strict": "package t\n", "whole": ""}
FIELDS = {"note", "errors", "opa", *AROUND}
CODE = re.compile(r"rego_\w+_error")


def modules(fields: dict[str, Any]) -> dict[str, str]:
    assert set(fields) <= FIELDS, f"unknown fields: {set(fields) - FIELDS}"
    (place,) = AROUND.keys() & fields.keys()
    first, *more = fields[place].split("\n---\n")
    return {"t.rego": AROUND[place] + first, **{f"u{number}.rego": source for number, source in enumerate(more)}}


def errors(modules: dict[str, str], *, strict: bool = False) -> tuple[pe.PolicyError, ...]:
    try:
        pe.compile(modules, strict=strict)
    except pe.PolicyError as error:
        return error.errors
    return ()


@pytest.mark.parametrize("fields", CASES)
def test_case(fields: dict[str, Any]) -> None:
    places = [
        (error.location.row if error.location else 0, error)
        for error in errors(modules(fields), strict="strict" in fields)
    ]
    found = [
        f"{row} {error.code}" if error.code == PARSE_ERROR else f"{row} {error.code}: {error.message.splitlines()[0]}"
        for row, error in places
    ]
    assert sorted(found) == sorted(fields.get("errors", []))


@pytest.fixture(scope="module")
def oracles() -> Iterator[dict[bool, Oracle]]:
    """strict → OPA in that mode."""
    try:
        with Oracle() as plain, Oracle(strict_compiler=True) as strict:
            yield {False: plain, True: strict}
    except OracleUnavailable as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("fields", CASES)
def test_opa_agrees(fields: dict[str, Any], oracles: dict[bool, Oracle]) -> None:
    answer = oracles["strict" in fields].query("true", modules=modules(fields), data={}, input={})
    found = set(CODE.findall(answer.message))
    assert bool(answer.code) == bool(found), answer.message
    ours = {code for error in fields.get("errors", []) for code in CODE.findall(error)}
    if "opa" in fields:
        assert found == set(CODE.findall(fields["opa"])), answer.message
        assert not found <= ours or bool(found) != bool(ours), "OPA agrees: `opa` says nothing"
    else:
        assert found <= ours, answer.message
        assert bool(found) == bool(ours), answer.message


def test_notes_are_unique() -> None:
    names = [case.id for case in CASES]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize(
    ("rules", "places"),
    [
        ("p if {\n  not x\n}", ["3:7"]),
        ("p := [x | y := 1]", ["2:7"]),
        ('p := $"{input[x]}{[y]}"', ["2:15", "2:20"]),
        ("p if { x := y + 1; z := x; z }", ["2:13"]),
        ("p if { [x, y] := [1, 2]; [a, y] := [3, 4]; a; x }", ["2:30"]),
        ("f([a, input]) := a", ["2:7"]),
        ("p if input.x with foo as 1", ["2:19"]),
        ("p if 1 + foo(2) == 3", ["2:10"]),
    ],
)
def test_an_error_stands_where_the_mistake_is(rules: str, places: list[str]) -> None:
    found = [error.location for error in errors({"t.rego": f"package t\n{rules}"})]
    assert [f"{loc.row}:{loc.col}" for loc in found if loc] == places


@pytest.mark.parametrize(
    ("rules", "hint"),
    [
        ("p if inptu.x == 1", "did you mean `input`?"),
        ("p if { roles := input.roles; some x in rolse; x in roles }", "did you mean `roles`?"),
        ("p if not alow\nallow := true", "did you mean `allow`?"),
        ('p if starts_with(input.x, "a")', "did you mean `startswith`?"),
        ("p if is_admim(input.x)\nis_admin(x) := x", "did you mean `is_admin`?"),
        ("p if data.t.is_admim(input.x)\nis_admin(x) := x", "did you mean `data.t.is_admin`?"),
        ("p if and == 1", "`import future.keywords.and` makes it a keyword"),
        ("p if not input.xs[_] == 1", "iterate in a statement of its own: `not`, `and` and `or` bind nothing"),
        ("count := count(input.xs)", "the rule `count` hides the built-in function"),
        ("p if input with inptu as 1", "did you mean `input`?"),
        ("p if input.x == GET", 'a text is written in double quotes, "GET"'),
        ("p if nothing_like(1)", "check the name, or import its package"),
    ],
)
def test_hints(rules: str, hint: str) -> None:
    (found,) = errors({"t.rego": f"package t\n{rules}"})
    assert found.hint == hint


def test_all_independent_errors_are_listed_without_consequences() -> None:
    source = """package t

import data.a.x
import data.b.x

p := y if y := unknown(input.a)

q if { z > 1; p == 2; r(1) == 2 }

r(v) := v + "a"

s contains 1

s := 2

u if { s == 3; count(s) > upper(1); w := "a"; w := "b" }

v if { some i; u }
"""
    found = [(error.location.row, error.code) for error in errors({"t.rego": source}) if error.location]
    assert found == [
        (4, "rego_compile_error"),
        (6, "rego_type_error"),
        (8, "rego_unsafe_var_error"),
        (10, "rego_type_error"),
        (14, "rego_type_error"),
        (16, "rego_compile_error"),
        (18, "rego_compile_error"),
    ]


def reversed_chain(count: int) -> str:
    """Each statement needs what the next one binds."""
    return "\n".join(f"x{number} = x{number + 1} + 1" for number in range(count)) + f"\nx{count} = 1"


def patterns(count: int) -> str:
    """One statement with many variables, which others bind in turn, the last first."""
    chain = "\n".join(f"x{number} = x{number + 1}" for number in range(count))
    names = ", ".join(f"x{number}" for number in range(count))
    return f"input.y == [{names}]\n[{names}] = input.z\n{chain}\nx{count} = 1"


def assigned_patterns(count: int) -> str:
    names = ", ".join(f"x{number}" for number in range(count))
    values = ", ".join(f"y{number}" for number in range(count))
    return f"[{names}] := [{values}]\n[{values}] = input.z\ninput.y == [{names}]"


def unbound_chain(count: int) -> str:
    return "\n".join(f"x{number} = x{number + 1}" for number in range(count)) + f"\nx{count} = y"


def lines(body: str) -> int:
    """The lines of the compiler that run for a rule with a body. Calls would not count the turns of a loop."""
    count = 0

    def inside(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        count += 1
        return inside

    def entered(frame: FrameType, event: str, _: object) -> Any:
        return inside if "compiler" in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(entered)
    try:
        errors({"t.rego": f"package t\np if {{\n{body}\n}}"})
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("body", [reversed_chain, patterns, assigned_patterns, unbound_chain])
def test_ordering_statements_takes_linear_work(body: Callable[[int], str]) -> None:
    small, large = lines(body(50)), lines(body(400))
    assert small > 50
    assert large < 9 * small


def test_a_clause_with_an_error_is_broken_although_the_loop_ends_there() -> None:
    program = compile_program(parse_modules({"t.rego": "package t\np := 1\nq := 2"}), TABLE)
    errors: list[pe.PolicyError] = []
    for rule, clause in program.valid_clauses(errors):
        assert clause in rule.clauses
        errors.append(pe.PolicyError(PARSE_ERROR, "wrong"))
        break
    assert len(program.broken) == 1
    assert len(list(program.valid_clauses(errors))) == 1


def test_a_search_for_unbound_variables_ends() -> None:
    """Each pair of statements is one error of its own."""
    pairs = "\n".join(f"x{number} = f(y{number})\ny{number} = f(x{number})" for number in range(500))
    found = errors({"t.rego": f"package t\nf(x) := x\np if {{\n{pairs}\n}}"})
    assert len(found) == MAX_ERRORS + 1
