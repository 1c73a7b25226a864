"""A hostile policy or input ends in a `PolicyError` within its budget, never in a hung or dead process.

The corpus is `hostile.yaml`. It runs in one child process, so that what would kill the process is seen, and so that the
memory it took can be read afterwards: under 512 MB for all of it together. Time is the processor's: the deadline is on
the wall clock, but other work on the machine must not fail this test.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

CORPUS = Path(__file__).with_name("hostile.yaml")
CASES = {case["note"]: case for case in yaml.safe_load(CORPUS.read_text("utf-8"))["cases"]}
SECONDS = 0.5
MEMORY_MB = 512

CHILD = """
import json, resource, sys, time
import policy_engine as pe
seconds = float(sys.argv[1])
def deep(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value
for line in sys.stdin:
    case = json.loads(line)
    value = eval(case["input"])
    limits = pe.Limits(seconds=seconds)
    entry = pe.compile({"h.rego": "package h\\n" + case["rule"]}, limits=limits).entrypoint("data.h.p")
    started = time.process_time()
    try:
        entry(value)
        code = "none"
    except pe.PolicyError as error:
        code = error.code
    took = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"note": case["note"], "code": code, "seconds": took, "peak_mb": peak}), flush=True)
    del value, entry
"""


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict[str, Any]]:
    lines = "".join(json.dumps(case) + "\n" for case in CASES.values())
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(SECONDS)],
        input=lines,
        capture_output=True,
        text=True,
        timeout=240,
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
    assert got["seconds"] < 2 * SECONDS, got


def test_the_memory_of_all_of_it(outcomes: dict[str, dict[str, Any]]) -> None:
    worst = max(outcomes.values(), key=lambda item: item["peak_mb"])
    assert worst["peak_mb"] < MEMORY_MB, worst
