"""Looking for recursion takes time in proportion to what is written, however many rules a reference can touch."""

from __future__ import annotations

from policy_engine.builtins import TABLE
from policy_engine.compiler import compile_program
from policy_engine.compiler.program import Program
from policy_engine.syntax.parser import parse_module


def compiled(source: str) -> Program:
    return compile_program({"t.rego": parse_module(f"package t\n{source}")}, TABLE)


def edges(program: Program) -> int:
    """The number of edges that the search walks over."""
    bundles = {bundle for found in program.dependencies.values() for bundle in found}
    return sum(map(len, program.dependencies.values())) + sum(len(bundle.rules) for bundle in bundles)


def test_many_rules_that_read_one_large_set() -> None:
    n = 200
    members = "".join(f"s contains {i} if input.x == {i}\n" for i in range(n))
    readers = "".join(f"q{i} if {i} in s\n" for i in range(n))
    assert edges(compiled(members + readers)) <= 3 * n


def test_many_rules_that_read_members_of_one_large_object() -> None:
    n = 200
    members = "".join(f'o.a.k{i} := {i}\no.a[x] := {i} if x := "v{i}"\n' for i in range(n))
    readers = "".join(f"q{i} := o.a.k{i}\n" for i in range(n))
    assert edges(compiled(members + readers)) <= 6 * n


def test_many_rules_that_read_one_large_package() -> None:
    n = 200
    members = "".join(f"r{i} := {i}\n" for i in range(n))
    readers = "".join(f"q{i} := data.t\n" for i in range(n))
    source = {"t.rego": parse_module(f"package t\n{members}"), "u.rego": parse_module(f"package u\n{readers}")}
    assert edges(compile_program(source, TABLE)) <= 3 * n


def test_a_long_chain_of_rules() -> None:
    program = compiled("".join(f"p{i} := p{i + 1}\n" for i in range(3000)) + "p3000 := 1\n")
    assert [rule.path[-1] for rule, _ in program.ordered[:2]] == ["p3000", "p2999"]
