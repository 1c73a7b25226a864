"""The cost of counting for a whole call: a worker that does not count, one that does, and one with limits.

    python -m benchmarks.counting_calls [--rounds 30] [--seconds 0.4] [--clients 16]

Three data workers serve the same calls, with an output limit of their own, one after the other in many short rounds,
each in another order, because the speed of a machine changes more within a second than counting costs. The first is a
worker in which this file takes out what counts: `input.usage`, the reservation with its balances, and the cost. The
second counts every call for its agent and its organization, as all workers do. The third compares each call with two
limits besides, of tokens a day and of money a month. Shown are processor time of the worker for a call, requests per
second, and the ratios of both, as medians of the rounds'.
`counting.py` measures the writer of the log alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import runpy
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks import data_plane
from benchmarks.flat_cost import CLIENTS, Side
from gateway.audit.balance import WINDOWS
from gateway.dataplane.budget import Budget
from gateway.dataplane.costs import Costs
from gateway.registry.database import Registry
from gateway.registry.limits import usage_limits

BODY = json.dumps({**json.loads(data_plane.BODY), "max_tokens": 64}).encode()
LIMITS = ("tokens_per_day", "spend_microusd_per_month")
NOTHING = {metric: dict.fromkeys(WINDOWS, 0) for metric in ("requests", "tokens", "spend_microusd")}
WORKER = "worker"


def work() -> None:
    """Be a data worker that does not count."""
    Budget.usage = lambda *_: NOTHING  # type: ignore[method-assign]
    Budget.with_output_limit = lambda _, found, *__: (found, None)  # type: ignore[method-assign]
    Budget.reserve = lambda _, found, *__: (found, None)  # type: ignore[method-assign]
    Costs.of = lambda *_: None  # type: ignore[method-assign]
    del sys.argv[1]
    runpy.run_module("gateway.processes.app", run_name="__main__", alter_sys=True)


def set_limits(side: Side) -> None:
    registry = Registry.open(side.data)
    for name in LIMITS:
        usage_limits.set_limit(
            registry, actor="local:0", organization="default", kind="organization", subject="default", name=name,
            value=10**12,
        )  # fmt: skip
    registry.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=0.4)
    parser.add_argument("--clients", type=int, default=CLIENTS, help="connections")
    parser.add_argument("--port", type=int, default=18380, help="the first of four free ports")
    parser.add_argument("--realtime", type=int, default=0, help="measure with this real-time priority")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    titles = ("does not count", "counts", f"counts, {len(LIMITS)} limits")
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        sides = [
            Side(title, Path(temporary, title), options.port, options.port + 1 + at) for at, title in enumerate(titles)
        ]
        for side in sides:
            side.add_agents(9)
        set_limits(sides[-1])
        os.sched_setaffinity(0, {cores[-1]})
        if options.realtime:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(options.realtime))
        here = str(data_plane.ROOT / "benchmarks" / "data_plane.py"), "--ports", str(options.port), "0", "0"
        ready = data_plane.wait_for(options.port)
        stack.enter_context(data_plane.process(cores[-1], *here, "--serve", "provider", ready=ready))
        sides[0].start(stack, cores[0], program=("-m", "benchmarks.counting_calls", WORKER))
        for side in sides[1:]:
            side.start(stack, cores[0])
        costs: list[list[float]] = [[] for _ in sides]
        rates: list[list[float]] = [[] for _ in sides]
        asked = [itertools.cycle([data_plane.chat_request(key, BODY) for key in side.keys]) for side in sides]
        for round_number in range(options.rounds + 1):
            for at in random.sample(range(len(sides)), len(sides)):
                # The first round warms up.
                cost, rate = sides[at].measured(asked[at], options.seconds if round_number else 0.5, options.clients)
                if round_number:
                    costs[at].append(cost * 1000)
                    rates[at].append(rate)
    for title, found, done in zip(titles, costs, rates, strict=True):
        least = f"(least {min(found):.0f} µs, {min(found) / min(costs[0]):.3f})"
        print(
            f"{title:20}{statistics.median(found):8.0f} µs{_ratio(found, costs[0]):8.3f}   {least:24}"
            f"{statistics.median(done):8,.0f} per second{_ratio(done, rates[0]):8.3f}"
        )


def _ratio(found: list[float], base: list[float]) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(each / other for each, other in zip(found, base, strict=True))


if __name__ == "__main__":
    if sys.argv[1:2] == [WORKER]:
        work()
    else:
        main()
