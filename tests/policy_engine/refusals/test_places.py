"""Where the parser's errors are, to the column.

OPA gives a column only to modules without a name.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import policy_engine as pe
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
