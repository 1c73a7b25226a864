"""A pace for what each holder may cause without end, such as entries of the log: a token bucket for each of them.

`shares.py` hands out what is taken and given back. Nothing gives back an entry of the log, so there it is time that
makes room. Each holder (an agent, its organization) may cause some at once and then so many a second, and all that
answer for one act must have room. The cost of an act is known only when it is done, so a bucket may go below empty: its
holder then waits until there is room again, and on average keeps its pace.

Not locked: one `Pace` belongs to one event loop or one thread. Processes have paces of their own.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from gateway.shares import Holder, Kind

_HOLDERS: Final = 20_000  # the most that are remembered; the one that was seen longest ago begins anew


class Rate(NamedTuple):
    """The amount that a holder may cause at once after a rest, and in each second from then on."""

    at_once: float
    each_second: float


class Pace:
    """The buckets of every holder. A kind without a rate is not limited."""

    def __init__(self, rates: Mapping[Kind, Rate], clock: Callable[[], float] = time.monotonic) -> None:
        self._rates = rates
        self._clock = clock
        self._left: OrderedDict[Holder, tuple[float, float]] = OrderedDict()  # the rest, and the time of that rest

    def has_room(self, *holders: Holder) -> bool:
        """True if all of them may go on."""
        if self._left.keys().isdisjoint(holders):
            return True  # they have caused nothing yet
        now = self._clock()
        return all(self._now(each, now) >= 1 for each in holders)

    def wait(self, *holders: Holder) -> float:
        """In how many seconds all of them may go on."""
        now = self._clock()
        waits = [(1 - self._now(each, now)) / self._rates[each.kind].each_second for each in holders]
        return max(0.0, *waits)

    def spend(self, *holders: Holder, amount: float = 1) -> None:
        """Count what these holders have caused, whether or not they had room for it."""
        now = self._clock()
        for each in holders:
            if each.kind in self._rates:
                self._left[each] = self._now(each, now) - amount, now
                self._left.move_to_end(each)
        while len(self._left) > _HOLDERS:
            self._left.popitem(last=False)

    def _now(self, holder: Holder, now: float) -> float:
        rate = self._rates.get(holder.kind)
        if rate is None:
            return 1.0
        left, since = self._left.get(holder, (rate.at_once, now))
        return min(rate.at_once, left + (now - since) * rate.each_second)
