"""Effort: processor time in units of a fixed loop, for tests that code stays within a bound.

Wall-clock time includes what other programs do meanwhile, and seconds of processor time depend on the machine and on
how its caches are shared. The loop is timed just before and just after what is measured, so that all are slowed alike.
A bound in these units should still leave room for a factor of five.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_STEPS = 100_000


def unit() -> float:
    """Seconds of processor time that the fixed loop takes at the moment, a few milliseconds."""
    started = time.thread_time()
    total = 0
    for step in range(_STEPS):
        total += step & 7
    return time.thread_time() - started


class Meter:
    """Counts the processor time of this thread from now on."""

    def __init__(self) -> None:
        self._unit = unit()
        self._started = time.thread_time()

    def effort(self) -> float:
        """The processor time that this thread has used, in units of the fixed loop's."""
        took = time.thread_time() - self._started
        return took / max(self._unit, unit())


def effort(work: Callable[[], object]) -> float:
    """The processor time of `work` in this thread, in units of the fixed loop's."""
    meter = Meter()
    work()
    return meter.effort()
