"""Annotations: `annotations.yaml`, in this engine and in OPA, and how `annotations()` lists them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import policy_engine as pe
from tests.cases import read_yaml
from tests.oracle import Oracle

CASES = read_yaml(Path(__file__).with_name("annotations.yaml"))["cases"]
READS_ANNOTATIONS = {"z.rego": "package z\n\nq := rego.metadata.rule()"}
"""With this among the modules the in-process OPA looks at annotations, as all of OPA's commands do."""


def named(cases: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(case, id=case["note"]) for case in cases]


def source(case: dict[str, Any]) -> str:
    if "module" in case:
        return str(case["module"])
    lines = "".join(f"# {line}\n" for line in case["block"].splitlines())
    return f"package t\n\n# METADATA\n{lines}p := rego.metadata.rule()\n"


@pytest.mark.parametrize("case", named([case for case in CASES if "shows" in case]))
def test_what_it_shows(case: dict[str, Any], oracle: Oracle) -> None:
    shown = {"scope": "rule", **case["shows"]} if case["shows"] or "block" in case else {}
    policies = pe.compile({"t.rego": source(case)})
    assert policies.entrypoint("data.t.p")() == shown
    assert [row["x"] for row in oracle.query("x := data.t.p", modules={"t.rego": source(case)}).bindings] == [shown]


@pytest.mark.parametrize("case", named([case for case in CASES if "errors" in case]))
def test_what_is_wrong(case: dict[str, Any], oracle: Oracle) -> None:
    code = case.get("code", "rego_parse_error")
    with pytest.raises(pe.PolicyError) as caught:
        pe.compile({"t.rego": source(case)})
    found = caught.value.errors
    assert {error.code for error in found} == {code}
    assert [f"{error.location and error.location.row} {error.message}" for error in found] == case["errors"]
    assert f": {code}: " in oracle.query("true", modules={"t.rego": source(case), **READS_ANNOTATIONS}).message


def test_every_error_is_reported() -> None:
    modules = {
        "a.rego": "package a\n\n# METADATA\n# scope: foo\np := 1\n\n# METADATA\n# scope: bar\nq := 1\n",
        "b.rego": "package b\n\n# METADATA\n# scope: package\np := 1\n",
    }
    with pytest.raises(pe.PolicyError) as caught:
        pe.compile(modules)
    assert [str(error.location) for error in caught.value.errors] == ["a.rego:4", "a.rego:8", "b.rego:4"]


def test_the_list_is_the_callers() -> None:
    source = (
        "# METADATA\n# custom: {a: [1]}\npackage t\n\n# METADATA\n# scope: document\np.q[x].r := x if some x in [1]\n"
    )
    policies = pe.compile({"t.rego": source})
    found: list[Any] = policies.annotations()
    assert found == [
        {
            "path": ["t"],
            "location": {"file": "t.rego", "row": 3, "col": 1},
            "annotations": {"scope": "package", "custom": {"a": [1]}},
        },
        # The path of a document ends at the first variable.
        {
            "path": ["t", "p", "q"],
            "location": {"file": "t.rego", "row": 7, "col": 1},
            "annotations": {"scope": "document"},
        },
    ]
    found[0]["annotations"]["custom"]["a"].append(2)
    assert policies.annotations()[0]["annotations"] == {"scope": "package", "custom": {"a": [1]}}


def test_the_chain_has_every_block_of_a_rule() -> None:
    source = """# METADATA
# title: package
package t

# METADATA
# title: far

# METADATA
# title: near
p := [item.annotations.title | some item in rego.metadata.chain()]
"""
    assert pe.compile({"t.rego": source}).entrypoint("data.t.p")() == ["near", "far", "package"]


def test_more_errors_than_are_listed() -> None:
    block = "# METADATA\n# labels: 1\n# custom: 2\n# authors: 3\n# schemas: 4\n# compile: 5\n# title: []\n"
    with pytest.raises(pe.PolicyError) as caught:
        pe.compile({"t.rego": f"package t\n\n{block}p := 1\n\n{block}q := 1\n"})
    assert caught.value.code == "rego_parse_error"
    assert [error.location.row for error in caught.value.errors if error.location] == [4, 5, 6, 7, 8, 9, 13, 14, 15, 16]
    assert caught.value.errors[-1].message == "error limit reached"


def test_merged_mappings_count_as_often_as_they_are_merged() -> None:
    rows = ["a0: &a0 {x: 1}", *(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 7))]
    block = "".join(f"#   {row}\n" for row in rows)
    with pytest.raises(pe.PolicyError, match="too many aliases"):
        pe.compile({"t.rego": f"package t\n\n# METADATA\n# custom:\n{block}p := 1\n"})


def test_merged_mappings_nest_to_a_limit() -> None:
    block = "".join(f"#   a{i}: &a{i} {{<<: *a{i - 1}}}\n" for i in range(1, 1500))
    with pytest.raises(pe.PolicyError, match="nesting too deep"):
        pe.compile({"t.rego": f"package t\n\n# METADATA\n# custom:\n#   a0: &a0 {{x: 1}}\n{block}p := 1\n"})
