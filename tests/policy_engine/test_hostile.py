"""A hostile policy or input ends in a `PolicyError` within its budget, never in a hung or dead process.

The corpus is `hostile.yaml`. It runs in one child process, so that a crash is seen, and so that what one case leaves
behind counts for the next. The peak of memory is read for each case where the system can tell, so that a failure names
the case.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cases import read_yaml

pytestmark = pytest.mark.slow

CORPUS = Path(__file__).with_name("hostile.yaml")
CASES = {case["note"]: case for case in read_yaml(CORPUS)["cases"]}
CHILD = "tests.policy_engine.hostile_child"
ROOT = Path(__file__).resolve().parents[2]

SECONDS = 0.5
"""The time limit of a decision, and the processor's time of one that ends by itself."""
OVERRUN = 400
"""The most additional effort of a decision before it looks at the clock, in units of tests/effort.py."""
COMPILING = 2000
"""The most effort of compiling a case, in the same units. It has no budget, but must end."""
MEMORY_MB = 512


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict[str, Any]]:
    child = subprocess.run(
        [sys.executable, "-m", CHILD, str(SECONDS)],
        input="".join(json.dumps(case) + "\n" for case in CASES.values()),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    found = {item["note"]: item for item in map(json.loads, child.stdout.splitlines())}
    assert child.returncode == 0, f"the process died after {list(found)[-1:]}\n{child.stderr[-2000:]}"
    return found


@pytest.mark.parametrize("note", CASES)
def test_it_ends_in_time_with_an_error(note: str, outcomes: dict[str, dict[str, Any]]) -> None:
    want, got = CASES[note]["code"], outcomes[note]
    assert got["code"] != "eval_internal_error"
    if want not in ("any", "none"):
        assert got["code"] == want
    assert got["deciding"] < SECONDS + OVERRUN * got["unit"], got
    assert got["compiling"] < COMPILING * got["unit"], got


def test_the_memory_of_all_of_it(outcomes: dict[str, dict[str, Any]]) -> None:
    hungry = sorted(outcomes.values(), key=lambda item: -item["peak_mb"])[:5]
    assert hungry[0]["peak_mb"] < MEMORY_MB, hungry
