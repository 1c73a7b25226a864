"""Answers that take long to make, kept for pages: the last one is shown while a newer one is made in the background.

An answer that was made quickly is made anew each time. Of the others one is made at a time, for a small part of the
time, so that visitors of pages cannot keep the process busy. A kept one says when it was made.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final

logger = logging.getLogger("gateway.control.kept_answers")

QUICK_SECONDS: Final = 0.1
"""Of processor time: what takes no longer is made for each visitor."""
WAIT_SECONDS: Final = 5.0
"""The time that the first visitor waits; whoever comes while it is made is told so."""
_LEAST_SECONDS: Final = 5.0
_PAUSE: Final = 20
"""An answer is as old as this many times what it took, before it is made again."""
_MOST: Final = 64


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer, and when it was made (nanoseconds since 1970)."""

    answer: Any
    made_ns: int
    took: float

    @property
    def is_old(self) -> bool:
        return (time.time_ns() - self.made_ns) / 1e9 > max(_LEAST_SECONDS, _PAUSE * self.took)


class KeptAnswers:
    """Those of one process. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # of what follows
        self._kept: OrderedDict[Hashable, KeptAnswer] = OrderedDict()
        self._making: threading.Thread | None = None

    def get(self, key: Hashable, make: Callable[[], Any]) -> KeptAnswer | None:
        """The answer to a question; None if it is not made yet. Raises what `make` raises for the first visitor."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
        if kept is not None and kept.took <= QUICK_SECONDS:
            return self._made(key, make)
        if kept is None or kept.is_old:
            failed: list[Exception] = []
            thread = self._begin(key, make, failed)
            if kept is None and thread is not None:
                thread.join(WAIT_SECONDS)
                if failed:
                    raise failed[0]
                with self._lock:
                    kept = self._kept.get(key)
        return kept

    def close(self) -> None:
        """Wait for what is being made."""
        with self._lock:
            thread = self._making
        if thread is not None:
            thread.join()

    def _begin(self, key: Hashable, make: Callable[[], Any], failed: list[Exception]) -> threading.Thread | None:
        """A thread that makes the answer; None if another one is being made."""
        with self._lock:
            if self._making is not None and self._making.is_alive():
                return None
            self._making = threading.Thread(target=self._try, args=(key, make, failed), name="kept answer")
            self._making.start()
            return self._making

    def _try(self, key: Hashable, make: Callable[[], Any], failed: list[Exception]) -> None:
        try:
            self._made(key, make)
        except Exception as error:  # noqa: BLE001  # the first visitor gets it
            failed.append(error)
            logger.warning("an answer for a page could not be made: %s", error)

    def _made(self, key: Hashable, make: Callable[[], Any]) -> KeptAnswer:
        began, made_ns = time.thread_time(), time.time_ns()
        found = KeptAnswer(make(), made_ns, time.thread_time() - began)
        with self._lock:
            self._kept[key] = found
            self._kept.move_to_end(key)
            while len(self._kept) > _MOST:
                self._kept.popitem(last=False)
        return found
