"""Places of the control API: where requests wait and work, so that nobody's requests keep out those of others.

A request has, one after another,

    1  a place among those whose sender is not known, by its address, until its token was looked at
    2  a place among those under way, by its operator and organization, until it is answered
    3  room for its body, if that may be large
    4  a turn in threads, for which it waits

`gateway/shares.py` hands all of them out. Operations that restrict (revoke, suspend, stop) have a hall of their own: no
other request takes its places or threads, so what ends an agent waits for nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, ParamSpec, TypeVar

from gateway.control.callers import Caller
from gateway.control.problems import Problem
from gateway.shared_threads import SharedThreads
from gateway.shares import Holder, Kind, NoShareError, Shares

P = ParamSpec("P")
T = TypeVar("T")

THREADS: Final = 8
"""For each of what reads and what restricts."""
WAITING: Final = 64
"""Requests under way in a hall."""
STRANGERS: Final = 1024
"""Requests in a hall whose sender is not known yet. They are many and short: all operators may be behind one proxy."""
LARGE_BYTES: Final = 64 * 1024 * 1024
"""Large bodies that are in memory at a time."""
TURN_SECONDS: Final = 60.0
"""A request that has waited so long for its turn is refused."""
_GATE_THREADS: Final = 4

ALIKE: Final[dict[Kind, int]] = {"organization": 1}
"""Ratios for what is so scarce that an organization may have no more of it than one of its operators."""


def holders_of(caller: Caller) -> tuple[Holder, ...]:
    """Everybody who answers for a request. The gateway's own operators have no organization."""
    operator = Holder("operator", caller.operator.id)
    return (operator,) if caller.organization is None else (operator, Holder("organization", caller.organization))


@contextmanager
def held(shares: Shares, *holders: Holder, amount: int = 1) -> Iterator[None]:
    """A share for as long as the block lasts. Raises `Problem` if there is none."""
    take(shares, *holders, amount=amount)
    try:
        yield
    finally:
        shares.give_back(*holders, amount=amount)


def take(shares: Shares, *holders: Holder, amount: int = 1, seconds: int = 1, code: str = "too_many_requests") -> None:
    """A share until it is given back. Raises `Problem` if there is none; `code` is for holders that have theirs."""
    try:
        shares.take(*holders, amount=amount)
    except NoShareError as error:
        headers = [("retry-after", str(seconds))]
        if error.holder is None:
            raise Problem(503, "overloaded", f"there are too many {error.thing}", headers=headers) from None
        raise Problem(429, code, str(error), hint="let one end first, and try again", headers=headers) from None


class Threads(SharedThreads):
    """Threads for one purpose. `waits` says whether a request waits for its turn or is refused."""

    def __init__(
        self, purpose: str, thing: str, count: int, ratios: dict[Kind, int] | None = None, *, waits: bool = True
    ) -> None:
        super().__init__(f"control-api-{purpose}", thing, count, ratios)
        self._waits = waits

    async def run(
        self, holders: tuple[Holder, ...], work: Callable[P, T], /, *arguments: P.args, **more: P.kwargs
    ) -> T:
        """Return what `work` returns. Raises `Problem` if there is no turn."""
        if not self._waits:
            take(self.turns, *holders)
        else:
            try:
                async with asyncio.timeout(TURN_SECONDS):
                    await self.turns.take_in_turn(*holders)
            except TimeoutError:
                detail = f"no turn among the {self.turns.thing} came in time"
                raise Problem(503, "overloaded", detail, headers=[("retry-after", "5")]) from None
        return await self.run_now(holders, work, *arguments, **more)


class Hall:
    """The places for requests of one kind, and the threads that look at their tokens."""

    def __init__(self, purpose: str) -> None:
        self.strangers = Shares("requests whose token is being looked at", STRANGERS)
        self.under_way = Shares("requests under way", WAITING)
        self.gate = Threads(f"{purpose}-gate", "tokens that are looked at", _GATE_THREADS)
