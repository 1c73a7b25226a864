"""A refusal costs its client nothing, and the event loop some work: one who causes them without end waits for each.

Otherwise a few connections on which one denied request follows the other would take most of a worker's time, and
everybody's calls would wait for it. So each agent, its organization, and each address that nobody has authenticated
from, has a pace of refusals that have no entry of their own. (The others have one: `refusals.py`.) Beyond it a refusal
is the same, but it is told later: one after the other, at that pace. Specification: resilience.md.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

from gateway.errors import PrincipalHint
from gateway.http.departure import Departure
from gateway.pace import Pace, Rate
from gateway.shares import Holder, Kind, address_of

RATES: Final[Mapping[Kind, Rate]] = {
    "agent": Rate(at_once=200, each_second=50),
    "organization": Rate(at_once=800, each_second=200),
    "address": Rate(at_once=200, each_second=100),
}
LONGEST: Final = 5.0
"""Seconds that a refusal waits at most: clients give up later than that."""


class Patience:
    """The paces of one worker, which belong to its event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._pace = Pace(RATES, clock)

    async def wait(self, client: Departure, owner: PrincipalHint | None, peer: str | None) -> None:
        """Wait before this client is refused, with what its request holds, of which everybody has a share."""
        if seconds := self.pause(owner, peer):
            client.waits = True
            await asyncio.sleep(seconds)
            client.waits = False

    def pause(self, owner: PrincipalHint | None, peer: str | None) -> float:
        """Count a refusal of this owner, or of this address; how many seconds it has to wait."""
        if owner is None:
            holders: tuple[Holder, ...] = (address_of(peer or ""),)
        else:
            holders = Holder("agent", owner.agent_id), Holder("organization", owner.organization)
        wait = self._pace.wait(*holders)
        if wait >= LONGEST:
            return LONGEST  # not counted: nobody's debt is longer than that
        self._pace.spend(*holders)
        return wait
