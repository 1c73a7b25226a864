"""Rules that no decision can contain are found by their names and types, before any request (`decision_types.yaml`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.policy.rollout.check import problems_of
from gateway.policy.rollout.decision_types import DECISION, Closed, Either, Many, Wanted
from policy_engine.types import ScalarType
from tests.cases import read_yaml

HERE = Path(__file__).parent
ROOT = Path(__file__).parents[4]
SCHEMA = json.loads((ROOT / "schemas/decision.schema.json").read_text("utf-8"))
CASES = read_yaml(HERE / "decision_types.yaml")
MANIFEST = b'{"roots": ["b"], "metadata": {"gateway": {"entrypoint": "data.b.authz", "impossible": true}}}'
"""The cases read members that no input has: what they say of types is the same."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["note"])
def test_what_the_check_says(case: dict[str, Any]) -> None:
    module = f"package b.authz\n\n{case['rules']}"
    files = {".manifest": MANIFEST, "authz.rego": module.encode()}
    found = list(problems_of({"b": files}))
    wanted = case.get("wrong", [])
    assert [(each.file, each.row, each.outcome) for each in found] == [
        ("authz.rego", row, code) for row, code, _ in wanted
    ]
    for problem, (_, _, text) in zip(found, wanted, strict=True):
        assert text in str(problem)


def test_the_whole_document_in_one_rule() -> None:
    """An entrypoint can be a rule as well as a package."""
    module = b'package b\n\nauthz := {"allow": true, "_note": 1, "obligation": {}} if input.x\n'
    [problem] = problems_of({"b": {".manifest": MANIFEST, "authz.rego": module}})
    assert (problem.row, problem.outcome) == (3, "bad_decision")
    assert "`obligation` is not a member" in problem.detail


def test_the_types_are_those_of_the_schema() -> None:
    assert DECISION.members.keys() == SCHEMA["properties"].keys()
    for name, wanted in DECISION.members.items():
        _compare(wanted, SCHEMA["properties"][name], name)


def _compare(wanted: Wanted, schema: dict[str, Any], where: str) -> None:
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    match wanted:
        case ScalarType(name):
            kinds = {schema["type"]} if "type" in schema else {type(each).__name__ for each in _constants(schema)}
            assert kinds <= {name, {"number": "integer", "string": "str"}.get(name, name)}, where
        case Many(of):
            assert schema["type"] == "array", where
            _compare(of, schema["items"], f"{where}[_]")
        case Either(kinds):
            for kind, inner in zip(kinds, schema["oneOf"], strict=True):
                _compare(kind, inner, where)
        case Closed(members, _, required):
            assert schema["additionalProperties"] is False, where
            assert list(required) == schema.get("required", []), where
            if where == "limits":
                return  # a pattern, which `reading.yaml` compares
            assert members.keys() == schema["properties"].keys(), where
            for name, inner in members.items():
                _compare(inner, schema["properties"][name], f"{where}.{name}")


def _constants(schema: dict[str, Any]) -> list[Any]:
    return schema["enum"] if "enum" in schema else [schema["const"]]
