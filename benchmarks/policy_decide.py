"""The cost of `Entrypoint.decide` beside a plain call, as the gateway calls it, and of a trace.

    python -m benchmarks.policy_decide [TEXT]

A call gives the value alone. `decide` is given clock, seed and limits with a deadline, as the gateway has it, under
strict builtin errors; a traced one also gives lines and rules. All are measured on the workloads of `benchmarks.policy`
(those with TEXT in their names) by the thread's processor time, the best of several rounds in turn. Prints µs and the
ratio of each to the one before.
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
        for _ in range(3):  # the tables of long data are made by then
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


def three_ways(module: str, data: Any, path: str, value: Any) -> list[float]:
    """µs of a call, of `decide` and of `decide` with a trace."""
    policies = pe.compile({"w.rego": f"package w\n{module}"}, data)
    entry = policies.entrypoint(f"data.{path}", strict_builtin_errors=True)
    now = time.time_ns()

    def decide(trace: bool) -> Any:
        limits = pe.Limits(60.0, 10_000_000, 1024 * 1024)
        return entry.decide(value, now_ns=now, seed=7, limits=limits, trace=trace)

    return measure(lambda: entry(value), lambda: decide(False), lambda: decide(True))


def main() -> None:
    ratios: list[tuple[float, float]] = []
    print(f"{'':32}{'call':>12}{'decide':>12}{'ratio':>8}{'traced':>12}{'ratio':>8}")
    for work in WORKLOADS:
        if work.measure is not Measure.ASK or work.size > LARGEST:
            continue
        if not all(text in work.name for text in sys.argv[1:]):
            continue
        call, decide, traced = three_ways(work.module(), work.data(), work.path, work.input())
        ratios.append((decide / call, traced / decide))
        figures = f"{call:>12.2f}{decide:>12.2f}{ratios[-1][0]:>8.2f}{traced:>12.2f}{ratios[-1][1]:>8.2f}"
        print(f"{work.name:32}{figures}")
    for name, found in zip(("decide/call", "traced/decide"), zip(*ratios, strict=True), strict=True):
        mean = math.exp(sum(map(math.log, found)) / len(found))
        print(f"{name}: geometric mean {mean:.2f}, at most {max(found):.2f}")


if __name__ == "__main__":
    main()
