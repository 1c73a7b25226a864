"""A hostile policy or input ends in a `PolicyError` within its budget, never in a hung or dead process.

The corpus is `hostile.yaml`. It runs in one child process, so that what would kill the process is seen, and so that
what one case leaves behind counts for the next. The peak of memory is read for each case where the system can tell, so
that a failure names the case. Time is the processor's: the deadline is on the wall clock, but other work on the machine
must not fail this test.
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
COMPILING = 10.0
"""Seconds for compiling a case: that has no budget, and an end all the same."""
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
def forget_peak():
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass
def peak_mb():
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) // 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
for line in sys.stdin:
    case = json.loads(line)
    forget_peak()
    value = eval(case["input"])
    rule = eval(case["rule_of"]) if "rule_of" in case else case["rule"]
    limits = pe.Limits(seconds=seconds)
    began = started = time.process_time()
    entry = None
    try:
        entry = pe.compile({"h.rego": "package h\\n" + rule}, limits=limits).entrypoint("data.h.p")
        began = time.process_time()
        entry(value)
        code = "none"
    except pe.PolicyError as error:
        code = error.code
    ended = time.process_time()
    times = {"compiling": (began if entry else ended) - started, "seconds": ended - began if entry else 0}
    print(json.dumps({"note": case["note"], "code": code, "peak_mb": peak_mb(), **times}), flush=True)
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
        timeout=300,
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
    assert got["compiling"] < COMPILING, got


def test_the_memory_of_all_of_it(outcomes: dict[str, dict[str, Any]]) -> None:
    hungry = sorted(outcomes.values(), key=lambda item: -item["peak_mb"])[:5]
    assert hungry[0]["peak_mb"] < MEMORY_MB, hungry
