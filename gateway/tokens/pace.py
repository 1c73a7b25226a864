"""Limits the tokens that an agent gets in a minute from one worker.

Each is an entry of the log, and no limit of requests counts them: without a bound one agent could fill the log of all.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

MOST: Final = 1200
"""Tokens of one agent in a minute: many programs may be the same agent, and begin at the same time."""
_SECONDS: Final = 60.0
_AGENTS: Final = 10_000


class TokenPace:
    """Owned by the event loop's thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()  # a count, and the time it began

    def wait(self, agent: str) -> int:
        """Count a token; 0 if the agent may have it, otherwise how many seconds it waits for the next one."""
        now = self._clock()
        count, since = self._counts.pop(agent, (0, now))
        if now - since >= _SECONDS:
            count, since = 0, now
        self._counts[agent] = min(count + 1, MOST), since
        if len(self._counts) > _AGENTS:
            self._counts.popitem(last=False)
        return 0 if count < MOST else max(1, round(since + _SECONDS - now))
