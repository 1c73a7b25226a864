"""OPA's own conformance suite, case by case: `$CONFORMANCE_DIR/opa-v1/*.json`.

Every case must pass unless known_gaps.yaml explains why it cannot yet. Gaps are strict: once a case passes, the test
fails until its entry is removed. With a gap or without, every case ends in a result or a `PolicyError`.

For parse errors and errors in builtins, only the code is compared. The text is for the author of the policy, and is not
that of OPA.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import policy_engine as pe
from policy_engine.builtins import TABLE
from tests.policy_engine.conformance import CASES, GAPS, MISSING, gap


@pytest.mark.usefixtures("conformance_dir")
@pytest.mark.parametrize("note", CASES or ["every case"])
def test_case(note: str, read_case: Callable[[dict[str, Any]], Any], record_property: Callable[..., None]) -> None:
    failures = []
    for _, fields in CASES[note]:
        try:
            read_case(fields).check()
        except (AssertionError, pe.PolicyError) as failure:
            failures.append(str(failure))
    area = CASES[note][0][0]
    record_property("conformance", (area, len(CASES[note]) - len(failures), len(CASES[note])))
    reason = gap(note)
    if failures and reason:
        pytest.xfail(reason)
    assert not failures, "\n".join(failures)
    assert not reason, f"this passes now: take it out of known_gaps.yaml ({reason})"


def test_the_suite_is_there(conformance_dir: Path) -> None:
    """An empty folder would pass all other tests."""
    assert len(CASES) > 1000, f"{conformance_dir} holds only {len(CASES)} cases"


def test_every_gap_names_a_case(conformance_dir: Path) -> None:
    assert [note for note in GAPS["cases"] if note not in CASES] == [], f"not in {conformance_dir}"


def test_every_builtin_of_opa_is_there_or_is_a_gap(conformance_dir: Path) -> None:
    """An implemented builtin is removed from the file even if no case calls it."""
    described = pe.loads((conformance_dir / "opa-1.20.2-capabilities.json").read_bytes())
    absent = {builtin["name"] for builtin in described["builtins"]} - TABLE.keys()
    assert sorted(MISSING) == sorted(absent)
