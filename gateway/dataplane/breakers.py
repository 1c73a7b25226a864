"""A circuit breaker for each upstream: once calls fail one after the other, no more are sent for a while.

    closed     ──── `breaker_failures` failures in a row within `breaker_window` ───▶  open
    open       ──── the pause has passed: the next call is the probe ──────────────▶  half-open
    half-open  ──── the probe gets an answer ───────────────────────────────────────▶  closed
    half-open  ──── the probe fails: the pause doubles, up to `breaker_max_pause` ───▶  open

A failure is a call that got no answer in time or none at all, or an answer with a status from 500. Other answers are
successes: a provider that refuses a call (429, 404, 401) is up. Each worker has breakers of its own.

An agent can make a call that fails wherever it goes, but no agent can keep connections from being made. So a breaker
whose failures are all of one agent holds back that agent alone, and does not open while calls of others go well. It
holds back everybody once the calls of a second agent have failed, or `breaker_failures` calls found no connection.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.errors import Denied
from gateway.settings import Settings
from gateway.upstream.routing import Destination

logger = logging.getLogger("gateway.dataplane.breakers")


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
    pause: float = 0.0  # seconds that it is or was open; 0 while it is closed
    until: float = 0.0  # when the next probe may go
    probing: bool = False
    # The agents whose calls have failed, the number that found no connection, and if others are held back as well.
    agents: set[str] = field(default_factory=set)
    unconnected: int = 0
    everybody: bool = False
    # The agent whose call went well last, and when, if others had failed before.
    well: tuple[str, float] = "", float("-inf")

    def holds(self, agent: str) -> bool:
        """True if it is open for this agent."""
        return bool(self.pause) and (self.everybody or agent in self.agents)


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

    def wait(self, upstream: str, agent: str) -> float:
        """The seconds for which no call of this agent should go to this upstream (ids); 0 if one may go now.

        Changes nothing.
        """
        breaker = self._failing.get(upstream)
        if breaker is None or not breaker.holds(agent):
            return 0.0
        if breaker.probing:
            return 1.0
        return max(0.0, breaker.until - self._clock())

    def enter(self, upstream: Destination, agent: str) -> None:
        """Begin a call of this agent to this upstream; raises `CircuitOpenError` if none may begin now.

        The caller then reports how the call went: `answered` when a head has come, and `note` at the end.
        """
        breaker = self._failing.get(upstream.id)
        if breaker is None or not breaker.holds(agent):
            return
        if wait := self.wait(upstream.id, agent):
            raise CircuitOpenError(breaker.failures, wait)
        breaker.probing = True

    def answered(self, upstream: Destination, agent: str, status: int) -> None:
        """The head of an answer came."""
        if status >= 500:
            self.failed(upstream, agent)
        elif self._failing:
            self.succeeded(upstream, agent)

    def note(
        self, upstream: Destination, agent: str, outcome: str, status: int | None, *, unconnected: bool = False
    ) -> None:
        """A call has ended. Without a head of an answer, its outcome says whether that is the upstream's failure.

        `unconnected` says that no connection could be made, so that it is no matter of the call.
        """
        if status is not None or outcome == "circuit_open":
            return
        if outcome in ("upstream_error", "upstream_timeout"):
            self.failed(upstream, agent, unconnected=unconnected)
        elif (breaker := self._failing.get(upstream.id)) is not None and breaker.holds(agent):
            breaker.probing = False  # the client has gone, for example: another call may be the probe

    def succeeded(self, upstream: Destination, agent: str) -> None:
        """An answer came."""
        breaker = self._failing.get(upstream.id)
        # While it is open only the probe counts, or whom it does not hold: others answer calls that began before.
        if breaker is None or (breaker.holds(agent) and not breaker.probing):
            return
        if breaker.agents <= {agent} and not breaker.well[0]:
            del self._failing[upstream.id]
        else:
            self._failing[upstream.id] = _Breaker(well=(agent, self._clock()))
        if breaker.pause:
            logger.info("the upstream `%s` answers again: calls are sent to it", upstream.name)
            self._tell(upstream.id, 0, 0.0)

    def failed(self, upstream: Destination, agent: str, *, unconnected: bool = False) -> None:
        """No answer came, or one that says that the upstream has failed."""
        most = self._settings.breaker_failures
        if not most:
            return
        now = self._clock()
        breaker = self._failing.setdefault(upstream.id, _Breaker())
        if breaker.holds(agent) and not breaker.probing:
            return  # the call began before the breaker opened
        if not breaker.failures or (not breaker.pause and now - breaker.first > self._settings.breaker_window):
            breaker.failures, breaker.unconnected, breaker.everybody = 0, 0, False
            breaker.first = now
            breaker.agents.clear()
        breaker.failures += 1
        breaker.unconnected += unconnected
        if len(breaker.agents) < 2:
            breaker.agents.add(agent)
        breaker.everybody |= len(breaker.agents) > 1 or breaker.unconnected >= most
        if breaker.pause and not breaker.probing:
            return  # it was open for another agent alone, and is from now on for everybody until then
        if not breaker.pause and (breaker.failures < most or self._goes_well_for_others(breaker, now)):
            return
        longest = self._settings.breaker_max_pause
        breaker.pause = min(2 * breaker.pause or self._settings.breaker_pause, longest)
        breaker.until, breaker.probing = now + breaker.pause, False
        whose = "no call is sent to it" if breaker.everybody else f"no call of agent {agent} is sent to it"
        text = "the upstream `%s` failed %d times in a row: %s for %g s"
        logger.warning(text, upstream.name, breaker.failures, whose, breaker.pause)
        self._tell(upstream.id, breaker.failures, breaker.pause)

    def _goes_well_for_others(self, breaker: _Breaker, now: float) -> bool:
        """True if all failures are of one agent, and a call of another one has gone well a moment ago."""
        agent, when = breaker.well
        recent = now - when <= self._settings.breaker_window
        return not breaker.everybody and recent and agent not in breaker.agents
