"""The time that a call may take, and its end before that: `asyncio.timeout` for a deadline that moves."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Deadline:
    """Ends what the current task does within this block: it raises `TimeoutError` there.

    A call has several deadlines, one after the other, and hardly ever reaches one. So moving it costs nothing, and one
    timer looks when the first of them has come. Setting a timer for each, as `asyncio.timeout` does, costs more than
    everything else here.
    """

    __slots__ = ("_cancelling", "_ends", "_expired", "_loop", "_over", "_task", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, ends: float) -> None:
        """`ends` is a time of the loop's clock."""
        self._loop = loop
        self._ends = ends
        self._expired = self._over = False

    def __enter__(self) -> Deadline:
        task = asyncio.current_task(self._loop)
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._timer: asyncio.Handle = self._loop.call_at(self._ends, self._look)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over = True
        self._timer.cancel()
        # As in `asyncio.timeout`: if somebody else has cancelled the task too, it stays cancelled.
        if self._expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def move(self, ends: float) -> None:
        """Set another time, not before the one that was set first."""
        self._ends = ends

    def end_now(self) -> None:
        """End the block in the next turn of the loop, if it is not left by then."""
        if not self._over:
            self._over = True
            self._timer.cancel()
            self._timer = self._loop.call_soon(self._expire)

    def _look(self) -> None:
        if self._loop.time() < self._ends:
            self._timer = self._loop.call_at(self._ends, self._look)
        else:
            self._expire()

    def _expire(self) -> None:
        self._over = self._expired = True
        self._task.cancel()
