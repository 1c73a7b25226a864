"""Type errors name the operands and results of builtins, as OPA does."""

from __future__ import annotations

import re

import pytest

import policy_engine as pe
from policy_engine.builtins import TABLE
from policy_engine.builtins.operand_names import operand_names
from tests.oracle import Oracle

DETAILS = re.compile(r"(?:arity mismatch|invalid argument\(s\))\n\thave: .*\n\twant: .*")


def sources(name: str) -> list[str]:
    """Calls with too many operands, and with one that does not fit for each place that takes only some."""
    count = len(TABLE[name].decl.args)
    calls = [", ".join("1" for _ in range(count + 2))]
    for wrong in ("null", "1"):
        calls += [", ".join(wrong if i == place else "input.x" for i in range(count)) for place in range(count)]
        calls.append(", ".join([*("input.x" for _ in range(count)), wrong]))
    return [f"package t\n\np if {name}({operands})" for operands in calls]


def details(text: str) -> list[str]:
    return DETAILS.findall(text)


@pytest.mark.parametrize("name", sorted(operand_names()))
def test_names(name: str, oracle: Oracle) -> None:
    found = 0
    for source in sources(name):
        errors: list[str] = []
        try:
            pe.compile({"t.rego": source})
        except pe.PolicyError as error:
            errors = details(str(error))
        assert errors == details(oracle.query("true", modules={"t.rego": source}).message)
        found += len(errors)
    assert found


def test_all_but_operators_and_old_ones_have_names() -> None:
    without = {name for name in TABLE.keys() - operand_names().keys() if not TABLE[name].deprecated}
    ordinary = {name for name in without if not name.startswith(("internal.", "rego.metadata."))}
    assert ordinary == {"assign", "eq", "print"}
