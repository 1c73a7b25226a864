"""What the type checker refuses, as data: `cases/*.yaml`, each a module (or a query against it) and its errors.

An error has its `row` and either the whole `text` or what it `starts` with. Where OPA is installed it must report
errors of the same `code` in the same rows, with the same first lines; what differs says so: `opa_text` is its first
line, `opa_shows` is something that stands only in its text, `opa_row: none` says that it gives no place at all.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import policy_engine as pe
from tests.oracle import Oracle

CASES = [
    pytest.param(case, id=f"{path.stem}: {case['note']}")
    for path in sorted(Path(__file__).parent.joinpath("cases").glob("*.yaml"))
    for case in yaml.safe_load(path.read_text("utf-8"))["cases"]
]
OPA_ERROR = re.compile(r"(?:(?:\w\.rego:)?(\d+)(?::\d+)?: )?(rego_\w+_error): ([^\n]*)")
READS_ANNOTATIONS = {"z.rego": "package z\n\nq := rego.metadata.rule()"}
"""With this among the modules OPA looks at their annotations; otherwise its caller would have to tell it."""


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
    found = OPA_ERROR.findall(answer.message)
    want = case.get("errors", [])
    assert bool(answer.code) == bool(want), answer.message
    assert {code for _, code, _ in found} <= {case.get("code", "rego_type_error")}
    rows = [int(row) if row else None for row, _, _ in found]
    assert rows == [None if case.get("opa_row") == "none" else item["row"] for item in want], answer.message
    for (_, _, line), item in zip(found, want, strict=True):
        if case.get("opa_shows", "\0") not in line:
            assert line == case.get("opa_text", item.get("text", item.get("starts")).split("\n")[0])
            if "opa_text" not in case:  # the lines below it, too
                assert item.get("text", "") in re.sub(r"__local\d+__", "_", answer.message)


def test_notes_are_unique() -> None:
    names = [case.id for case in CASES]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("count", [9, 10, 11])
def test_the_compiler_stops_at_the_tenth_error(count: int, oracle: Oracle) -> None:
    source = "package t\n" + "".join(f"p{number} if upper({number}) == input.x\n" for number in range(count))
    with pytest.raises(pe.PolicyError) as caught:
        pe.compile({"t.rego": source})
    messages = [error.message.split("\n")[0] for error in caught.value.errors]
    assert [
        line for _, _, line in OPA_ERROR.findall(oracle.query("true", modules={"t.rego": source}).message)
    ] == messages
    assert (messages[-1] == "error limit reached") == (count >= 10)
