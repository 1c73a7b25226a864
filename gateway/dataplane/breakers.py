"""A circuit breaker for each upstream: once calls fail one after the other, no more are sent for a while.

    closed     ──── `breaker_failures` failures in a row within `breaker_window` ───▶  open
    open       ──── the pause has passed: the next call is the probe ──────────────▶  half-open
    half-open  ──── the probe gets an answer ───────────────────────────────────────▶  closed
    half-open  ──── the probe fails: the pause doubles, up to `breaker_max_pause` ───▶  open

A failure is a call that got no answer in time or none at all, or an answer with a status from 500. Other answers are
successes: a provider that refuses a call (429, 404, 401) is up. Each worker has breakers of its own.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway.errors import Denied
from gateway.settings import Settings
from gateway.upstream.routing import Destination

logger = logging.getLogger("gateway.upstreams")


class CircuitOpenError(Denied):
    """The upstream has failed too often, so no call is sent to it now."""

    def __init__(self, failures: int, seconds: float) -> None:
        why = f"{failures} calls to this upstream in a row have failed, and none is sent to it now"
        super().__init__(
            "upstream_error", why, reasons=[why], headers=[(b"retry-after", b"%d" % max(1, math.ceil(seconds)))]
        )


@dataclass(slots=True)
class _Breaker:
    failures: int = 0
    first: float = 0.0  # when the first of these failures happened
    pause: float = 0.0  # how long it is or was open; 0 while it is closed
    until: float = 0.0  # when the next probe may go
    probing: bool = False


class Breakers:
    """The breakers of one worker; used from its event loop's thread only.

    `tell` is called with an upstream's id when its breaker opens (with the failures in a row and the pause in seconds)
    and when it closes again (with two zeros).
    """

    def __init__(
        self,
        settings: Settings,
        tell: Callable[[str, int, float], None] = lambda _upstream, _failures, _pause: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._tell = tell
        self._clock = clock
        # Only of upstreams whose last call failed.
        self._failing: dict[str, _Breaker] = {}

    def wait(self, upstream: str) -> float:
        """How many seconds no call should go to this upstream (its id); 0 if one may go now. Changes nothing."""
        breaker = self._failing.get(upstream)
        if breaker is None or not breaker.pause:
            return 0.0
        if breaker.probing:
            return 1.0
        return max(0.0, breaker.until - self._clock())

    def enter(self, upstream: Destination) -> None:
        """Begin a call to this upstream; raises `CircuitOpenError` if none may begin now.

        The caller then reports how the call went: `answered` when a head has come, and `note` at the end.
        """
        breaker = self._failing.get(upstream.id)
        if breaker is None or not breaker.pause:
            return
        if wait := self.wait(upstream.id):
            raise CircuitOpenError(breaker.failures, wait)
        breaker.probing = True

    def answered(self, upstream: Destination, status: int) -> None:
        """The head of an answer came."""
        if status >= 500:
            self.failed(upstream)
        elif self._failing:
            self.succeeded(upstream)

    def note(self, upstream: Destination, outcome: str, status: int | None) -> None:
        """A call has ended. Without a head of an answer, its outcome says whether that is the upstream's failure."""
        if status is not None or outcome == "circuit_open":
            return
        if outcome in ("upstream_error", "upstream_timeout"):
            self.failed(upstream)
        elif (breaker := self._failing.get(upstream.id)) is not None:
            breaker.probing = False  # the client has gone, for example: another call may be the probe

    def succeeded(self, upstream: Destination) -> None:
        """An answer came."""
        breaker = self._failing.get(upstream.id)
        # While it is open only the probe counts: other answers are to calls that began before.
        if breaker is None or (breaker.pause and not breaker.probing):
            return
        del self._failing[upstream.id]
        if breaker.pause:
            logger.info("the upstream `%s` answers again: calls are sent to it", upstream.name)
            self._tell(upstream.id, 0, 0.0)

    def failed(self, upstream: Destination) -> None:
        """No answer came, or one that says that the upstream has failed."""
        most = self._settings.breaker_failures
        if not most:
            return
        now = self._clock()
        breaker = self._failing.setdefault(upstream.id, _Breaker(first=now))
        if breaker.pause and not breaker.probing:
            return  # the call began before the breaker opened
        if not breaker.pause and now - breaker.first > self._settings.breaker_window:
            breaker.failures, breaker.first = 0, now
        breaker.failures += 1
        if not breaker.pause and breaker.failures < most:
            return
        longest = self._settings.breaker_max_pause
        breaker.pause = min(2 * breaker.pause or self._settings.breaker_pause, longest)
        breaker.until, breaker.probing = now + breaker.pause, False
        text = "the upstream `%s` failed %d times in a row: no call is sent to it for %g s"
        logger.warning(text, upstream.name, breaker.failures, breaker.pause)
        self._tell(upstream.id, breaker.failures, breaker.pause)
