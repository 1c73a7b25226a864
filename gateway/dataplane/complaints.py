"""What the operator must do about an upstream, as log lines: one for each upstream and minute, however many calls fail.

Every failed call is in the audit log. A line here is for the person who runs the gateway, because only that person can
help: the agent's developer is told nothing about the gateway's credential.
"""

from __future__ import annotations

import logging
import time

logger = logging.getLogger("gateway.upstreams")

SECONDS = 60.0


class Complaints:
    """The lines of one worker; used from its event loop's thread only."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def unavailable(self, upstream: str, name: str, detail: str, remedy: str = "") -> None:
        """Say that no call to this upstream (its id and its name) can succeed before somebody acts."""
        if self._due(upstream):
            remedy = remedy or f"`gateway upstreams add {name} --key-env VARIABLE --replace` gives it another key"
            logger.error("no call to the upstream `%s` can succeed: %s; %s", name, detail, remedy)

    def refused(self, upstream: str, name: str, detail: str, remedy: str) -> None:
        """Say that this upstream refuses calls, perhaps not all of them, until somebody acts."""
        if self._due(upstream):
            logger.error("the upstream `%s` refuses calls: %s; %s", name, detail, remedy)

    def _due(self, upstream: str) -> bool:
        now = time.monotonic()
        if now - self._last.get(upstream, -SECONDS) < SECONDS:
            return False
        self._last[upstream] = now
        return True
