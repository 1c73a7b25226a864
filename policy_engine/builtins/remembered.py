"""A cache of things that take long to make: compiled patterns, keys, schemas, templates.

The price of a decision must not depend on what earlier ones have made, or its outcome would change when it is
repeated. So a thing costs the same whether it is made or found here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

from policy_engine.builtins.table import Context

Key = TypeVar("Key", bound=Hashable)
Made = TypeVar("Made")

FREE: Final = 16
"""Steps of a thing that is paid for each time: cheaper than finding out whether it was paid for."""


class Remembered(Generic[Key, Made]):
    """The things that were made last, by what they were made of. Any number of threads may ask."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[Key, tuple[Made, int]] = {}
        self._lock = threading.Lock()

    def get(self, ctx: Context, key: Key, make: Callable[[Key], tuple[Made, int]]) -> Made:
        """The thing that `make` gives for the key, with its steps. An exception is neither kept nor charged."""
        found = self._known.get(key)
        if found is None:
            found = make(key)
            with self._lock:
                while len(self._known) >= self._most:
                    del self._known[next(iter(self._known))]
                self._known[key] = found
        made, steps = found
        if steps <= FREE:
            ctx.charge(steps)
        else:
            ctx.charge_once((id(self), key), steps)
        return made
