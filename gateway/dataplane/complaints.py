"""Tells the operator what to do about an upstream, as log lines: one of a kind for each upstream in a minute.

Every failed call is in the audit log. A line here is for the person who runs the gateway, because only that person can
help: the agent's developer is told nothing about the gateway's credential.
"""

from __future__ import annotations

import logging
import time

logger = logging.getLogger("gateway.dataplane.complaints")

SECONDS = 60.0


class Complaints:
    """The lines of one worker; used from its event loop's thread only."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], float] = {}

    def unavailable(self, upstream: str, name: str, detail: str, remedy: str = "") -> None:
        """Say that no call to this upstream (its id and its name) can succeed before somebody acts."""
        if self._due(upstream, "unavailable"):
            remedy = remedy or f"`gateway upstreams add {name} --key-env VARIABLE --replace` gives it another key"
            logger.error("no call to the upstream `%s` can succeed: %s; %s", name, detail, remedy)

    def refused(self, upstream: str, name: str, detail: str, remedy: str) -> None:
        """Say that this upstream refuses calls, perhaps not all of them, until somebody acts."""
        if self._due(upstream, "refused"):
            logger.error("the upstream `%s` refuses calls: %s; %s", name, detail, remedy)

    def _due(self, upstream: str, kind: str) -> bool:
        now = time.monotonic()
        if now - self._last.get((upstream, kind), -SECONDS) < SECONDS:
            return False
        self._last[upstream, kind] = now
        return True
