"""A condition that no call can make true is found before a commit is put into force (`impossible.yaml`)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gateway.policy.rollout.candidates import bundles_in
from gateway.policy.rollout.check import problems_of
from gateway.upstream.providers.presets import PROVIDERS
from tests.cases import read_yaml

HERE = Path(__file__).parent
ROOT = Path(__file__).parents[4]
CASES = read_yaml(HERE / "impossible.yaml")
DATA = {
    "blocked": ["gpt-5"],
    "misspelt": ["messages", "embedings"],
    "empty": [],
    "models": {"gpt-5": {"cap": 3}},
    "settings": {"strict": True},
    "cap": None,
    "hours": {"from": 0, "until": 24},
}


def found(rules: str, **settings: bool) -> list[Any]:
    gateway = {"entrypoint": "data.b.authz", **settings}
    files = {
        ".manifest": json.dumps({"roots": ["b"], "metadata": {"gateway": gateway}}).encode(),
        "authz.rego": f"package b.authz\n\n{rules}".encode(),
        "b/data.json": json.dumps(DATA).encode(),
    }
    return list(problems_of({"b": files}))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["note"])
def test_what_the_check_says(case: dict[str, Any]) -> None:
    problems = found(case["rules"])
    wanted = case.get("wrong", [])
    assert [(each.row, each.outcome) for each in problems] == [(row, "impossible") for row, _ in wanted]
    for problem, (_, text) in zip(problems, wanted, strict=True):
        assert text in str(problem)


def test_a_bundle_can_mean_it() -> None:
    assert found('deny contains "x" if input.resource.modell == "x"', impossible=True) == []


@pytest.mark.parametrize("directory", ["policies", "gateway/demo/bundles", "gateway/processes/starter_bundle"])
def test_no_bundle_of_this_repository_has_one(directory: str) -> None:
    assert list(problems_of(bundles_in(ROOT / directory))) == []


def test_the_names_that_the_schema_lists_are_those_of_the_routes() -> None:
    properties = json.loads((ROOT / "schemas/input.schema.json").read_text("utf-8"))
    action, resource = properties["properties"]["action"], properties["$defs"]["resource"]["properties"]
    actions = {name for family in PROVIDERS.values() for route in family.routes for name in route.actions}
    assert action["x-known"] == sorted(actions)
    assert not any(re.search(action["x-other"], each) for each in actions)
    assert re.search(action["x-other"], "crm.getCustomer")
    assert resource["provider"]["x-known"] == sorted([*PROVIDERS, "http"])
