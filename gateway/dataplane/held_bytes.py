"""The finite things of a worker that one request holds beside its place: bytes in memory and on disk, and its turn at
what is done for one request at a time.

In memory are request bodies, and answers that are not read to their end; on disk are large request bodies. Neither
clients nor upstreams can exhaust them, and no agent or organization can take all (`gateway/shares.py`).
"""

from __future__ import annotations

from gateway.dataplane.admission import Holders, refusal
from gateway.errors import Denied
from gateway.shares import NoShareError, Shares


class Holding:
    """The bytes that one request has taken. Its `holders` must be known before the first is taken."""

    __slots__ = ("_bytes", "_size", "holders")

    def __init__(self, of_bytes: Shares, holders: Holders = ()) -> None:
        self._bytes = of_bytes
        self._size = 0
        self.holders = holders

    def add(self, size: int) -> None:
        """Hold more; `Denied` with `overloaded` if there is not so much left for this agent or organization."""
        if not size:
            return
        try:
            self._bytes.take(*self.holders, amount=size)
        except NoShareError as error:
            raise refusal(error) from None
        self._size += size

    def hold(self, size: int) -> None:
        """Hold exactly `size` bytes from now on; `Denied` as from `add`."""
        if size >= self._size:
            self.add(size - self._size)
        else:
            self._give_back(self._size - size)

    def keep(self, size: int) -> bool:
        """Hold exactly `size` bytes from now on; false if there is not so much left, and then nothing changes."""
        try:
            self.hold(size)
        except Denied:
            return False
        return True

    def release(self) -> None:
        """Give everything back; may be called again."""
        if self._size:
            self._give_back(self._size)

    def _give_back(self, size: int) -> None:
        self._bytes.give_back(*self.holders, amount=size)
        self._size -= size


class Turn:
    """One request's turn at having a large body in memory, for which there is room for one. Agents and organizations
    take turns.
    """

    __slots__ = ("_mine", "_room", "_turns", "holders")

    def __init__(self, turns: Shares, room: int) -> None:
        self._turns = turns
        self._room = room
        self._mine = False
        self.holders: Holders = ()

    async def take(self, size: int) -> None:
        """Wait for the turn, unless this request has it; `Denied` with `overloaded` if there is never so much room."""
        if size > self._room:
            why = f"to read it takes {size} bytes, and there is room for {self._room}: `max_held_bytes` is twice that"
            raise Denied("overloaded", "a large body has no room in memory", reasons=[why])
        if not self._mine:
            await self._turns.take_in_turn(*self.holders)
            self._mine = True

    def release(self) -> None:
        """End the turn; may be called again."""
        if self._mine:
            self._mine = False
            self._turns.give_back(*self.holders)
