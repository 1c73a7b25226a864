"""What a traced decision costs beside an ordinary one, which also gives its value and records but no lines and rules.

    python -m benchmarks.policy_traced

Both are `Entrypoint.decide` on the workloads of `benchmarks.policy`, by the thread's processor time, best of several
rounds in turn. Prints µs and the ratio of each, and exits 1 if a traced decision costs more than three ordinary ones.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import Any

import policy_engine as pe
from benchmarks.policy.workload import Measure
from benchmarks.policy.workloads import WORKLOADS

LIMIT = 3.0
LARGEST = 10_000
ROUNDS = 5
SECONDS = 0.02


def repeated(function: Callable[[], Any], times: int) -> float:
    start = time.thread_time()
    for _ in range(times):
        function()
    return time.thread_time() - start


def measure(*functions: Callable[[], Any]) -> list[float]:
    """µs of each function's call."""
    times = []
    for function in functions:
        function()
        number = 1
        while repeated(function, number) < SECONDS:
            number *= 2
        times.append(number)
    best = [math.inf] * len(functions)
    for _ in range(ROUNDS):
        for index, function in enumerate(functions):
            best[index] = min(best[index], repeated(function, times[index]) / times[index])
    return [seconds * 1e6 for seconds in best]


def main() -> int:
    ratios = []
    print(f"{'':32}{'ordinary':>12}{'traced':>12}{'ratio':>8}")
    for work in WORKLOADS:
        if work.measure is not Measure.ASK or work.size > LARGEST:
            continue
        policies = pe.compile({"w.rego": f"package w\n{work.module()}"}, work.data())
        entry, value = policies.entrypoint(f"data.{work.path}"), work.input()

        def ordinary(entry: pe.Entrypoint = entry, value: Any = value) -> Any:
            return entry.decide(value)

        def traced(entry: pe.Entrypoint = entry, value: Any = value) -> Any:
            return entry.decide(value, trace=True)

        plain, with_trace = measure(ordinary, traced)
        ratios.append(with_trace / plain)
        mark = "  !" if ratios[-1] > LIMIT else ""
        print(f"{work.name:32}{plain:>12.2f}{with_trace:>12.2f}{ratios[-1]:>8.2f}{mark}")
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    print(f"geometric mean {mean:.2f}, at most {max(ratios):.2f}")
    return int(max(ratios) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
