"""The errors of the type checker, as data: `cases/*.yaml`, each a module (or a query against it) and its errors.

An error has its `row` and either the whole `text` or what it `starts` with. If OPA is installed, it must accept the
same modules, and refuse the others with the same `code`; otherwise the case has OPA's own verdict as `opa`: `accepted`,
or a code.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import policy_engine as pe
from tests.cases import read_yaml
from tests.oracle import Oracle

CASES = [
    pytest.param(case, id=f"{path.stem}: {case['note']}")
    for path in sorted(Path(__file__).parent.joinpath("cases").glob("*.yaml"))
    for case in read_yaml(path)["cases"]
]
CODE = re.compile(r"rego_\w+_error")
READS_ANNOTATIONS = {"z.rego": "package z\n\nq := rego.metadata.rule()"}
"""Makes OPA process annotations, which it does when a rule asks for metadata."""


def modules(case: dict[str, Any]) -> dict[str, str]:
    return case.get("modules") or {"t.rego": f"package t\n{case['module']}"}


@pytest.mark.parametrize("case", CASES)
def test_case(case: dict[str, Any]) -> None:
    errors: list[pe.PolicyError] = []
    try:
        policies = pe.compile(modules(case))
        policies.prepare(case.get("query", "true"))
    except pe.PolicyError as error:
        errors = list(error.errors)
    assert {error.code for error in errors} <= {case.get("code", "rego_type_error")}
    want = case.get("errors", [])
    assert [error.location.row for error in errors if error.location] == [item["row"] for item in want], errors
    for error, item in zip(errors, want, strict=True):
        if "text" in item:
            assert error.message == item["text"]
        else:
            assert error.message.startswith(item["starts"]), error.message


@pytest.mark.parametrize("case", CASES)
def test_opa_agrees(case: dict[str, Any], oracle: Oracle) -> None:
    given = modules(case)
    if any("METADATA" in source for source in given.values()):
        given = given | READS_ANNOTATIONS
    answer = oracle.query(case.get("query", "true"), modules=given, data={}, input={})
    found = set(CODE.findall(answer.message))
    assert bool(answer.code) == bool(found), answer.message
    ours = {case.get("code", "rego_type_error")} if "errors" in case else set()
    assert found == (ours if "opa" not in case else set(CODE.findall(case["opa"]))), answer.message
    assert "opa" not in case or found != ours, "OPA agrees: `opa` says nothing"


def test_notes_are_unique() -> None:
    names = [case.id for case in CASES]
    assert sorted(names) == sorted(set(names))
