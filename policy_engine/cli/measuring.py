"""Measuring the durations of repeated calls for `policy bench`, and formatting a duration."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

WARM_UP: Final = 0.1
"""The share of a run that precedes it unmeasured, at most 1,000 calls."""


@dataclass
class Sample:
    """The durations of one run's calls, in ns.

    Stored as a count for each duration: most calls take one of a few hundred durations, and an hour's run must not
    need gigabytes.
    """

    counts: Counter[int] = field(default_factory=Counter)

    @property
    def calls(self) -> int:
        return self.counts.total()

    @property
    def total(self) -> int:
        return sum(duration * count for duration, count in self.counts.items())

    @property
    def mean(self) -> float:
        return self.total / self.calls

    @property
    def per_second(self) -> float:
        return 1e9 / self.mean if self.mean else float("inf")

    def percentiles(self, wanted: tuple[float, ...]) -> Iterator[tuple[float, int]]:
        """For each share, the shortest duration that this share of calls did not exceed; `wanted` ascends."""
        ordered = sorted(self.counts.items())
        calls, seen, position = self.calls, 0, 0
        for share in wanted:
            while seen + ordered[position][1] < share / 100 * calls:
                seen += ordered[position][1]
                position += 1
            yield share, ordered[position][0]

    @property
    def shortest(self) -> int:
        return min(self.counts)

    @property
    def longest(self) -> int:
        return max(self.counts)


def sample(call: Callable[[], object], seconds: float, calls: int | None) -> Sample:
    """Call for `seconds`, or `calls` times if that is given.

    The cost of reading the clock is measured first and subtracted: a decision can be as short as that.
    """
    clock = time.perf_counter_ns
    overhead = _overhead(clock)
    found = Sample()
    counts = found.counts
    _warm_up(call, seconds, calls)
    end = clock() + int(seconds * 1e9)
    left = calls if calls is not None else -1
    while left:
        started = clock()
        call()
        ended = clock()
        counts[max(0, ended - started - overhead)] += 1
        left -= 1
        if calls is None and ended >= end:
            break
    return found


def _overhead(clock: Callable[[], int]) -> int:
    return min(-clock() + clock() for _ in range(1_000))


def _warm_up(call: Callable[[], object], seconds: float, calls: int | None) -> None:
    """Call without measuring, so that the interpreter specialises the code and caches fill."""
    end = time.perf_counter() + seconds * WARM_UP
    for _ in range(min(1_000, 1_000 if calls is None else int(calls * WARM_UP))):
        if time.perf_counter() >= end:
            return
        call()


def duration(nanoseconds: float) -> str:
    """Three digits and a unit: `740 ns`, `12.3 µs`, `1.20 s`."""
    for unit, size in (("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)):
        value = nanoseconds / size
        if value < 999.5 or unit == "s":
            break
    digits = 0 if unit == "ns" or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f} {unit}"
