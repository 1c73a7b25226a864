"""The child process of test_hostile.py: one case a line on stdin, its outcome a line on stdout.

Argument: the time limit of a decision in seconds. A decision that ends by itself has none: the limit is on the wall
clock, and on a busy machine it would end that decision too. The times that are told are the processor's, so that other
work on the machine does not count. They come with what a fixed loop takes, see tests/effort.py.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

import policy_engine as pe
from tests.effort import unit


def deep(levels: int) -> Any:
    """An array in an array, many times: for the expressions of the corpus."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def main() -> None:
    limited = pe.Limits(seconds=float(sys.argv[1]))
    for line in sys.stdin:
        case = json.loads(line)
        limits = limited if case["code"] in ("any", "eval_cancel_error") else pe.Limits()
        print(json.dumps(_outcome(case, limits)), flush=True)


def _outcome(case: dict[str, Any], limits: pe.Limits) -> dict[str, Any]:
    value = eval(case["input"])
    rule = eval(case["rule_of"]) if "rule_of" in case else case["rule"]
    _forget_peak()
    fixed_loop = unit()
    started = compiled = time.process_time()
    entry = None
    try:
        entry = pe.compile({"h.rego": "package h\n" + rule}, limits=limits).entrypoint("data.h.p")
        compiled = time.process_time()
        entry(value)
        code = "none"
    except pe.PolicyError as error:
        code = error.code
    ended = time.process_time()
    return {
        "note": case["note"],
        "code": code,
        "compiling": (compiled if entry else ended) - started,
        "deciding": ended - compiled if entry else 0,
        "unit": max(fixed_loop, unit()),
        "peak_mb": _peak_mb(),
    }


def _forget_peak() -> None:
    """Let the peak of memory begin anew, where the system can do that."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass


def _peak_mb() -> int:
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) // 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
