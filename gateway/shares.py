"""Fair shares of whatever is finite: requests in progress, connections, threads, streams, bytes, entries of the log.

A thing that runs out is handed out by one `Shares`. Each holder (an agent, an organization, an operator, an address)
may hold as long as it then has no more than a fixed multiple of what was free: its *ratio*. One greedy holder with
ratio 1 so ends at half of all places, one with ratio 3 at three quarters, and several at less each, but some places
stay free for those who hold few. Nothing has to be configured, and nothing is set aside while nobody else asks. (The
rule is the dynamic threshold of shared packet buffers: Choudhury and Hahne, IEEE/ACM Transactions on Networking, 1998.)

Those who wait for room take turns: a holder with a hundred waiting callers is served no more often than one with a few,
so that one place can be shared as well. (Start-time fair queueing: Goyal, Vin and Cheng, SIGCOMM 1996.)

The caller says who asks by naming every holder that answers for it, for instance an agent and its organization; all
of them must have room. An address is only named while nobody has authenticated: many agents may stand behind one.

Not locked: one `Shares` belongs to one event loop or one thread. Processes have shares of their own.
"""

from __future__ import annotations

import asyncio
import bisect
import ipaddress
import itertools
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

Kind = Literal["agent", "organization", "operator", "address", "upstream"]

RATIOS: Final[dict[Kind, int]] = {"agent": 1, "operator": 1, "address": 1, "upstream": 1, "organization": 3}
"""How many times what is free one holder of a kind may hold. An organization has more than one agent or operator."""


class Holder(NamedTuple):
    """Somebody who may hold a share."""

    kind: Kind
    id: str


def network_of(address: str) -> str:
    """Whose share an address belongs to. Whoever has one address of IPv6 has the 2^64 beside it as well."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, 64), strict=False))


def address_of(address: str) -> Holder:
    """Who asks, as long as nobody has authenticated."""
    return Holder("address", network_of(address))


def has_room(kind: Kind, held: int, free: int, amount: int = 1, ratios: Mapping[Kind, int] = RATIOS) -> bool:
    """The rule: whether a holder of so many may have `amount` more of the `free` ones."""
    return held + amount <= ratios[kind] * free


class NoShareError(Exception):
    """There is no room. `holder` has its whole share, or is None if everything is taken. `advice` is for a client."""

    def __init__(self, thing: str, holder: Holder | None) -> None:
        self.thing = thing
        self.holder = holder
        if holder is None:
            self.advice = f"there are no more {thing}: try again in a moment"
        else:
            self.advice = f"this {holder.kind} has its whole share of {thing}: use fewer at once, or try again later"
        whose = "everything is taken" if holder is None else f"this {holder.kind} has its whole share"
        super().__init__(f"no more {thing}: {whose}")


@dataclass(order=True, slots=True)
class _Waiting:
    """A caller that waits. The one with the lowest place is next, and of equals the one that came first."""

    place: float
    number: int
    holders: tuple[Holder, ...] = field(compare=False)
    amount: int = field(compare=False)
    turn: asyncio.Future[None] = field(compare=False)


class Shares:
    """`capacity` places of one thing. `thing` names it in the plural, for messages: "requests in progress"."""

    def __init__(self, thing: str, capacity: int, ratios: dict[Kind, int] | None = None) -> None:
        self.thing = thing
        self.capacity = capacity
        self.taken = 0
        self._ratios = RATIOS if ratios is None else {**RATIOS, **ratios}
        self._held: dict[Holder, int] = {}
        # In the order in which they are served; the place of the one that was served last, and those that follow the
        # last waiting caller of each holder. A holder moves back by what it asks for, divided by its ratio.
        self._waiting: list[_Waiting] = []
        self._served = 0.0
        self._next: dict[Holder, float] = {}
        self._numbers = itertools.count()

    @property
    def free(self) -> int:
        return self.capacity - self.taken

    def held(self, holder: Holder) -> int:
        return self._held.get(holder, 0)

    def take(self, *holders: Holder, amount: int = 1) -> None:
        """Take `amount` places for `holders` until `give_back`. `NoShareError` if one of them has no room."""
        if (why := self._refusal(holders, amount)) is not None:
            raise why
        self._grant(holders, amount)

    def give_back(self, *holders: Holder, amount: int = 1) -> None:
        """Return places that were taken for exactly these holders. Waiting callers are served."""
        self.taken -= amount
        for each in holders:
            left = self._held[each] - amount
            if left:
                self._held[each] = left
            else:
                del self._held[each]
        self._serve()

    @contextmanager
    def hold(self, *holders: Holder, amount: int = 1) -> Iterator[None]:
        """`take` and `give_back` around a block."""
        self.take(*holders, amount=amount)
        try:
            yield
        finally:
            self.give_back(*holders, amount=amount)

    @asynccontextmanager
    async def wait(self, *holders: Holder, amount: int = 1) -> AsyncIterator[None]:
        """Like `hold`, but wait for room, as `take_in_turn` does."""
        await self.take_in_turn(*holders, amount=amount)
        try:
            yield
        finally:
            self.give_back(*holders, amount=amount)

    async def take_in_turn(self, *holders: Holder, amount: int = 1) -> None:
        """Like `take`, but wait for room. Holders take turns; of one's own callers the first is served first.

        The caller bounds how many may wait, by other `Shares`, and how long, by a timeout.
        """
        if self._refusal(holders, amount) is None:
            self._grant(holders, amount)
            return
        turn = asyncio.get_running_loop().create_future()
        waiting = _Waiting(self._place(holders, amount), next(self._numbers), holders, amount, turn)
        bisect.insort(self._waiting, waiting)
        try:
            await turn
        except BaseException:
            # Cancelled: either still in the queue, or granted in the same turn of the event loop.
            if waiting in self._waiting:
                self._leave(waiting)
            else:
                self.give_back(*holders, amount=amount)
            raise

    def _place(self, holders: tuple[Holder, ...], amount: int) -> float:
        """Where a caller stands: behind its holders' other ones, but not behind all of somebody else's."""
        place = max((self._next.get(each, 0.0) for each in holders), default=0.0)
        place = max(place, self._served)
        for each in holders:
            self._next[each] = place + amount / self._ratios[each.kind]
        return place

    def _leave(self, waiting: _Waiting) -> None:
        self._waiting.remove(waiting)
        if not self._waiting:
            self._next.clear()
            self._served = 0.0

    def _refusal(self, holders: tuple[Holder, ...], amount: int) -> NoShareError | None:
        free = self.capacity - self.taken
        if amount > free:
            return NoShareError(self.thing, None)
        for each in holders:
            if not has_room(each.kind, self._held.get(each, 0), free, amount, self._ratios):
                return NoShareError(self.thing, each)
        return None

    def _grant(self, holders: tuple[Holder, ...], amount: int) -> None:
        self.taken += amount
        for each in holders:
            self._held[each] = self._held.get(each, 0) + amount

    def _serve(self) -> None:
        for each in tuple(self._waiting):
            if self.taken >= self.capacity:
                return
            if not each.turn.done() and self._refusal(each.holders, each.amount) is None:
                self._served = max(self._served, each.place)
                self._leave(each)
                self._grant(each.holders, each.amount)
                each.turn.set_result(None)
