"""Type checking takes work proportional to the policy, whatever its types.

Work is counted in calls of the checker's functions, which do not depend on the machine's load.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

import pytest

import policy_engine as pe


def rules(count: int) -> str:
    return "\n".join(f'allow if {{ input.role == "r{i}"; input.action == "a{i}" }}' for i in range(count))


def one_large_table(count: int) -> str:
    """Every rule looks something up in the same object."""
    entries = ", ".join(f'"k{i}": {{"level": {i}}}' for i in range(count))
    lookups = "\n".join(f"p{i} if table[input.key].level > {i}\nq{i} if count(table) == {i}" for i in range(count))
    return f"table := {{{entries}}}\n{lookups}"


def one_wide_union(count: int) -> str:
    """A set in which every member has a type of its own."""
    members = "\n".join(f'members contains {{"id": {i}, "k{i}": x}} if x := input.a{i}' for i in range(count))
    return f"{members}\n" + "\n".join(f"p{i} if [m | some m in members; m.id == {i}]" for i in range(count))


def one_package_read_as_a_whole(count: int) -> str:
    documents = "\n".join(f"d.x{i} := {i}" for i in range(count))
    return f"{documents}\n" + "\n".join(f"p{i} := v if some v in d" for i in range(count))


def a_long_chain(count: int) -> str:
    return "p0 := [input.x]\n" + "\n".join(f"p{i + 1} := [v | some v in p{i}]" for i in range(count))


def annotated_rules(count: int) -> str:
    """Each has a schema of its own, and one of the package that describes a document among the package's rules."""
    blocks = "\n".join(
        f"# METADATA\n# schemas:\n#   - input.x{i}: {{type: string}}\np{i} if input.x{i} == data.t.base.a"
        for i in range(count)
    )
    return f"# METADATA\n# scope: package\n# schemas:\n#   - data.t.base: {{type: object}}\npackage t\n{blocks}"


def nested_comprehensions(count: int) -> str:
    """Each closes over what the ones around it bind."""
    text = "input.x == v0"
    for i in range(count):
        text = f"v{i} := input.a; x{i} := [v{i} | {text}]"
    return f"p if {{ {text} }}"


def calls(source: str) -> int:
    """The number of calls of the checker's functions for a module."""
    count = 0

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal count
        count += event == "call" and "typecheck" in frame.f_code.co_filename

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        pe.compile({"t.rego": source if "package" in source else f"package t\n{source}\n"})
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize(
    "module", [rules, one_large_table, one_wide_union, one_package_read_as_a_whole, a_long_chain, annotated_rules]
)
def test_four_times_the_policy_is_four_times_the_work(module: Callable[[int], str]) -> None:
    small, large = calls(module(40)), calls(module(160))
    assert small > 40
    assert large < 5 * small


def test_deep_nesting_does_not_explode() -> None:
    assert calls(nested_comprehensions(24)) < 50_000
