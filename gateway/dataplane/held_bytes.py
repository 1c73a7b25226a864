"""Budgets of the bytes that one worker holds: in memory of request bodies, and of answers that are not read to their
end; on disk of large request bodies. So neither clients nor upstreams can exhaust what it has.
"""

from __future__ import annotations

import asyncio

from gateway.errors import Denied


class HeldBytes:
    """The budget of one worker; used from its event loop's thread only."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0

    @property
    def held(self) -> int:
        """How much is taken."""
        return self._held

    def take(self, size: int) -> None:
        """Take from the budget; `Denied` with `overloaded` if there is not so much left."""
        if self._held + size > self._most:
            raise Denied("overloaded", f"{self._held} bytes of requests and answers are held")
        self._held += size

    def give(self, size: int) -> None:
        self._held -= size


class Holding:
    """What one request has taken from the budget."""

    __slots__ = ("_budget", "_size")

    def __init__(self, budget: HeldBytes) -> None:
        self._budget = budget
        self._size = 0

    def add(self, size: int) -> None:
        self._budget.take(size)
        self._size += size

    def hold(self, size: int) -> None:
        """Hold exactly `size` bytes from now on; `Denied` with `overloaded` if there is not so much left."""
        self._budget.take(size - self._size)
        self._size = size

    def keep(self, size: int) -> bool:
        """Hold exactly `size` bytes from now on; false if there is not so much left, and then nothing changes."""
        try:
            self.hold(size)
        except Denied:
            return False
        return True

    def release(self) -> None:
        """Give everything back; may be called again."""
        self._budget.give(self._size)
        self._size = 0


class Turn:
    """One request's turn at what is done for one request at a time."""

    __slots__ = ("_mine", "_turns")

    def __init__(self, turns: asyncio.Semaphore) -> None:
        self._turns = turns
        self._mine = False

    async def take(self) -> None:
        """Wait for the turn, unless this request has it."""
        if not self._mine:
            await self._turns.acquire()
            self._mine = True

    def release(self) -> None:
        """End the turn; may be called again."""
        if self._mine:
            self._mine = False
            self._turns.release()
