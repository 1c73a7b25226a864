"""Where the compiler's errors are: `places.yaml` to the column, `conflicts.yaml` with all the places they name.

OPA gives a column only to modules without a name.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import policy_engine as pe
from policy_engine.errors import MAX_ERRORS
from tests.effort import effort
from tests.oracle import Oracle

OPA_ERROR = re.compile(r"^(\S*\d): (rego_\w+_error: .*(?:\n  .*)*)", re.MULTILINE)


def read(name: str) -> list[Any]:
    cases = yaml.safe_load(Path(__file__).with_name(name).read_text("utf-8"))["cases"]
    return [pytest.param(case, id=str(case.get("module", number))) for number, case in enumerate(cases)]


def errors(modules: dict[str, str]) -> list[pe.PolicyError]:
    try:
        pe.compile(modules)
    except pe.PolicyError as error:
        return list(error.errors)
    return []


def opa_errors(oracle: Oracle, modules: dict[str, str]) -> list[str]:
    message = oracle.query("true", modules=modules).message
    return sorted(" ".join(found) for found in OPA_ERROR.findall(re.sub(r"\d+ errors? occurred:\s", "\n", message)))


@pytest.mark.parametrize("case", read("places.yaml"))
def test_places(case: dict[str, Any], oracle: Oracle) -> None:
    modules = {"": f"package t\n{case['module']}"}
    found = [(error.location, error) for error in errors(modules)]
    assert [f"{loc.row}:{loc.col} {error.code}: {error.message}" for loc, error in found if loc] == case["errors"]
    assert [error.partition(" (hint:")[0] for error in opa_errors(oracle, modules)] == sorted(case["errors"])


@pytest.mark.parametrize("case", read("conflicts.yaml"))
def test_conflicts(case: dict[str, Any], oracle: Oracle) -> None:
    found = errors(case["modules"])
    assert [f"{error.location} {error.code}: {error.message}" for error in found] == case["errors"]
    assert opa_errors(oracle, case["modules"]) == sorted(case["errors"])


def test_which_of_very_many_unsafe_variables_to_leave_out_is_not_asked() -> None:
    chain = "\n".join(f"x{number} = x{number + 1}" for number in range(2000))
    modules = {"a.rego": f"package t\nf(x) := x\np if {{\n{chain}\nx2000 = f({{y}})\n}}"}
    assert len(errors(modules)) == MAX_ERRORS + 1
    assert effort(lambda: errors(modules)) < 2000  # about 100; more than 10,000 if it is asked
