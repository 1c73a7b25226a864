"""Fair shares of whatever is finite: requests in progress, connections, threads, streams, bytes, entries of the log.

A thing that runs out is handed out by one `Shares`. Each holder (an agent, an organization, an operator, an address)
may hold as long as it then has no more than a fixed multiple of what was free: its *ratio*. One greedy holder with
ratio 1 so ends at half of all places, one with ratio 3 at three quarters, and several at less each, but some places
stay free for those who hold few. Nothing has to be configured, and nothing is set aside while nobody else asks. (The
rule is the dynamic threshold of shared packet buffers: Choudhury and Hahne, IEEE/ACM Transactions on Networking, 1998.)

Those who wait for room take turns: organizations first, then the agents of each. So a holder with a hundred waiting
callers is served no more often than one with a few, and one place can be shared as well.

The caller says who asks by naming every holder that answers for it, for instance an agent and its organization; all
of them must have room. An address is only named while nobody has authenticated: many agents may stand behind one.

Not locked: one `Shares` belongs to one event loop or one thread. Processes have shares of their own.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Kind = Literal["agent", "organization", "operator", "address", "upstream"]

RATIOS: Final[dict[Kind, int]] = {"agent": 1, "operator": 1, "address": 1, "upstream": 1, "organization": 3}
"""The multiple of what is free that a holder may have. An organization has more than one agent or operator."""


class Holder(NamedTuple):
    """Somebody who may hold a share."""

    kind: Kind
    id: str


def network_of(address: str) -> str:
    """The network whose share an address belongs to: one address of IPv6 comes with the 2^64 beside it."""
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
    """The one who asks, as long as nobody has authenticated."""
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


@dataclass(eq=False, slots=True)
class _Waiting:
    """A caller that waits, with the lines of its holders."""

    holders: tuple[Holder, ...]
    amount: int
    turn: asyncio.Future[None]
    lines: tuple[_Line, ...]
    number: int

    @property
    def standing(self) -> tuple[float, ...]:
        """The widest holder first, and then who came first: the lowest of all is next."""
        return (*(each.served for each in reversed(self.lines)), self.number)


@dataclass(eq=False, slots=True)
class _Line:
    """A holder's waiting callers: how many there are, and what it was given since it waits, divided by its ratio."""

    served: float
    callers: int = 0


class Shares:
    """`capacity` places of one thing. `thing` names it in the plural, for messages: "requests in progress"."""

    def __init__(self, thing: str, capacity: int, ratios: dict[Kind, int] | None = None) -> None:
        self.thing = thing
        self.capacity = capacity
        self.taken = 0
        self._ratios = RATIOS if ratios is None else {**RATIOS, **ratios}
        self._held: dict[Holder, int] = {}
        # Those alike, in the order in which they came: all of them have room, or none. There may be thousands.
        self._waiting: dict[tuple[tuple[Holder, ...], int], deque[_Waiting]] = {}
        self._numbers = itertools.count()
        # By a holder and those behind it in the holders of a caller.
        self._lines: dict[tuple[Holder, ...], _Line] = {}

    @property
    def free(self) -> int:
        return self.capacity - self.taken

    def held(self, holder: Holder) -> int:
        return self._held.get(holder, 0)

    def take(self, *holders: Holder, amount: int = 1) -> None:
        """Take `amount` places for `holders` until `give_back`. `NoShareError` if one of them has no room."""
        if not self._has_room(holders, amount):
            raise self._refusal(holders, amount)
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
        if self._waiting:
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
        if self._has_room(holders, amount):
            self._grant(holders, amount)
            return
        turn = asyncio.get_running_loop().create_future()
        lines = tuple(self._line(holders[at:]) for at in range(len(holders)))
        waiting = _Waiting(holders, amount, turn, lines, next(self._numbers))
        self._waiting.setdefault((holders, amount), deque()).append(waiting)
        try:
            await turn
        except BaseException:
            # Cancelled: either still in the queue, or granted in the same turn of the event loop.
            if turn.cancelled():
                self._leave(waiting)
            else:
                self.give_back(*holders, amount=amount)
            raise

    def _line(self, key: tuple[Holder, ...]) -> _Line:
        """The line of one more caller of the first of these: a newcomer begins as the least served one beside it."""
        line = self._lines.get(key)
        if line is None:
            beside = [each.served for other, each in self._lines.items() if other[1:] == key[1:]]
            line = self._lines[key] = _Line(min(beside, default=0.0))
        line.callers += 1
        return line

    def _leave(self, waiting: _Waiting) -> None:
        alike = self._waiting[waiting.holders, waiting.amount]
        alike.remove(waiting)
        if not alike:
            del self._waiting[waiting.holders, waiting.amount]
        for at, line in enumerate(waiting.lines):
            line.callers -= 1
            if not line.callers:
                del self._lines[waiting.holders[at:]]

    def _refusal(self, holders: tuple[Holder, ...], amount: int) -> NoShareError:
        free = self.capacity - self.taken
        held, ratios = self._held, self._ratios
        full = (each for each in holders if not has_room(each.kind, held.get(each, 0), free, amount, ratios))
        return NoShareError(self.thing, None if amount > free else next(full))

    def _has_room(self, holders: tuple[Holder, ...], amount: int) -> bool:
        free, held, ratios = self.capacity - self.taken, self._held, self._ratios
        if self.taken + amount <= free:
            return True  # nobody holds more than all together, and no ratio is below 1
        return amount <= free and all(has_room(each.kind, held.get(each, 0), free, amount, ratios) for each in holders)

    def _grant(self, holders: tuple[Holder, ...], amount: int) -> None:
        self.taken += amount
        for each in holders:
            self._held[each] = self._held.get(each, 0) + amount

    def _serve(self) -> None:
        while self._waiting and self.taken < self.capacity:
            firsts = [
                next((each for each in alike if not each.turn.done()), None)  # some may have been cancelled just now
                for (holders, amount), alike in self._waiting.items()
                if self._has_room(holders, amount)
            ]
            able = [each for each in firsts if each is not None]
            if not able:
                return
            first = min(able, key=lambda each: each.standing)
            for holder, line in zip(first.holders, first.lines, strict=True):
                line.served += first.amount / self._ratios[holder.kind]
            self._leave(first)
            self._grant(first.holders, first.amount)
            first.turn.set_result(None)


class Turns(Shares):
    """Places that never run out: as many as `room` are always free, so that only the rule holds anybody back."""

    def __init__(self, thing: str, room: int) -> None:
        super().__init__(thing, room)

    def claim(self, *holders: Holder) -> None:
        """Take a place whether or not there is room: others of these holders wait the longer."""
        self._grant(holders, 1)

    def give_back(self, *holders: Holder, amount: int = 1) -> None:
        self.capacity -= amount
        super().give_back(*holders, amount=amount)

    def _grant(self, holders: tuple[Holder, ...], amount: int) -> None:
        self.capacity += amount
        super()._grant(holders, amount)
