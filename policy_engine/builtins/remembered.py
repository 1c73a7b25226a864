"""What takes long to make and is asked for again: compiled patterns and templates.

The time that making one takes depends on its text in ways that no length tells, so it is taken from the budget as it
passed: else a loop over texts that differ would be over long after its deadline.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from policy_engine.builtins.table import Context
from policy_engine.values import Charge

Key = TypeVar("Key")
Made = TypeVar("Made")

NS_PER_STEP: Final = 1000


class Remembered(Generic[Key, Made]):
    """The things that were made last, by what they were made of. Any number of threads may ask."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[Key, Made] = {}
        self._lock = threading.Lock()

    def get(self, ctx: Context, key: Key, make: Callable[[Key], Made]) -> Made:
        """What `make` gives for the key. What it raises is not kept."""
        found = self._known.get(key)
        if found is None:
            with taking_time(ctx.charge):
                found = make(key)
            with self._lock:
                while len(self._known) >= self._most:
                    del self._known[next(iter(self._known))]
                self._known[key] = found
        return found


class taking_time:
    """Takes from the budget what a block took."""

    __slots__ = ("_charge", "_start")

    def __init__(self, charge: Charge) -> None:
        self._charge = charge

    def __enter__(self) -> None:
        self._start = time.perf_counter_ns()

    def __exit__(self, *error: object) -> None:
        self._charge((time.perf_counter_ns() - self._start) // NS_PER_STEP)
