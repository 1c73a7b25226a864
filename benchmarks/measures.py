"""The cost of counting for `/metrics` in a worker: nanoseconds for each request, and memory.

    python -m benchmarks.measures

One request is what the data plane does for it: `called`, `finished`, the marks of time, and its share of a commit.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from gateway.dataplane.measures import Measures
from tests.gateway.dataplane.test_measures import observed_of

ROUNDS, REQUESTS = 15, 20_000


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def main() -> None:
    seen = [observed_of(number, model=f"gpt-{number % 5}") for number in range(50)]
    for each in seen:
        each.judging_ns, each.judged_ns, each.sent_ns, each.answered_ns, each.closed_ns = (
            *(1_000_000, 1_200_000, 2_000_000, 502_000_000, 503_000_000),
        )
        each.cost_nanousd = 1_234_000
    with tempfile.TemporaryDirectory() as directory:
        before = _rss()
        measures = Measures(Path(directory) / "boot_1", 200)
        rounds = []
        for _ in range(ROUNDS):
            began = time.process_time_ns()
            for number in range(REQUESTS):
                each = seen[number % 50]
                for _ in range(8):
                    each.request.waited_ns = time.monotonic_ns()
                each.request.waited_ns = 0
                measures.called(each, each.match.destination, "ok")
                measures.finished(each)
                measures.committed(2_000_000, 2)
            rounds.append((time.process_time_ns() - began) / REQUESTS)
        print(f"{min(rounds):.0f} ns of processor time for each request (median {statistics.median(rounds):.0f})")
        print(f"{(_rss() - before) / 1e6:.2f} MB of memory")


if __name__ == "__main__":
    main()
