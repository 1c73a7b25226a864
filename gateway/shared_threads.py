"""Threads that are handed out by shares: nobody's blocking work takes all of them from others.

A turn lasts until the thread is free again, also when its caller has given up before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import ParamSpec, TypeVar

from gateway.shares import Holder, Kind, Shares

P = ParamSpec("P")
T = TypeVar("T")


class SharedThreads:
    """`count` threads for one purpose, of which `thing` is said when there are none. For one event loop."""

    def __init__(self, purpose: str, thing: str, count: int, ratios: dict[Kind, int] | None = None) -> None:
        self.turns = Shares(thing, count, ratios)
        self._pool = ThreadPoolExecutor(count, purpose)

    async def run(
        self, holders: tuple[Holder, ...], work: Callable[P, T], /, *arguments: P.args, **more: P.kwargs
    ) -> T:
        """Wait for a turn of these holders, and return what `work` returns."""
        await self.turns.take_in_turn(*holders)
        return await self.run_now(holders, work, *arguments, **more)

    async def run_now(
        self, holders: tuple[Holder, ...], work: Callable[P, T], /, *arguments: P.args, **more: P.kwargs
    ) -> T:
        """The same with a turn that the caller has taken already; it is given back here."""
        loop = asyncio.get_running_loop()

        def done(_: Future[T]) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(lambda: self.turns.give_back(*holders))

        try:
            job = self._pool.submit(work, *arguments, **more)
        except BaseException:
            self.turns.give_back(*holders)
            raise
        job.add_done_callback(done)
        return await asyncio.wrap_future(job)

    def submit(self, work: Callable[[], object]) -> None:
        """Have this done at some time; nobody waits for it."""
        self._pool.submit(work)

    def close(self) -> None:
        """Wait for what is under way. Blocks."""
        self._pool.shutdown()
