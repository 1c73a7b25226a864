"""The rows of cases/*.yaml: one call each, whose outcome is known, here and in the real OPA.

note: what is shown     call: the builtin     args: its operands as a JSON array, number text kept
want: the outcome, as `conftest.outcome` writes it, or only the code of an error
opa, why: what OPA answers instead, and why (differences.yaml); `hangs` is not asked
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from policy_engine.values import loads
from tests.cases import read_yaml
from tests.oracle import Oracle
from tests.policy_engine.builtins.conftest import opa_outcome, outcome, without_words

CASES = [
    pytest.param(row, id=f"{file.stem}: {row['note']}")
    for file in sorted(Path(__file__).with_name("cases").glob("*.yaml"))
    for row in read_yaml(file)
]


@pytest.mark.parametrize("row", CASES)
def test_here(row: dict[str, Any]) -> None:
    found = outcome(row["call"], *loads(row["args"]))
    assert row["want"] in (found, without_words(found))


@pytest.mark.parametrize("row", CASES)
def test_in_opa(row: dict[str, Any], oracle: Oracle) -> None:
    expected = row.get("opa", row["want"])
    assert ("opa" in row) == ("why" in row)
    assert "opa" not in row or expected != row["want"], "no difference any more"
    if expected == "hangs":
        pytest.skip("OPA does not come back from this")
    assert opa_outcome(oracle.call(row["call"], *loads(row["args"]))) == without_words(expected)
