"""The time that a call may take, and its end before that: `asyncio.timeout` for a deadline that moves."""

from __future__ import annotations

import asyncio
from types import TracebackType

_NEVER = float("inf")


class Deadlines:
    """The timer of all deadlines of one event loop: most end before it looks, and a timer for each would cost more."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._running: set[Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._looks = _NEVER  # when the timer looks

    def at(self, ends: float) -> Deadline:
        """A deadline at this time of the loop's clock."""
        return Deadline(self, self._loop, ends)

    def begin(self, deadline: Deadline) -> None:
        self._running.add(deadline)
        self.look_at(deadline.ends)

    def end(self, deadline: Deadline) -> None:
        self._running.discard(deadline)

    def look_at(self, time: float) -> None:
        """Have the timer look at this time, or before."""
        if time < self._looks:
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._looks = self._loop.call_at(time, self._look), time

    def _look(self) -> None:
        self._timer, self._looks = None, _NEVER
        now = self._loop.time()
        for each in [each for each in self._running if each.ends <= now]:  # a copy: `expire` changes the set
            each.expire()
        self.look_at(min((each.ends for each in self._running), default=_NEVER))


class Deadline:
    """Ends what the current task does within this block: it raises `TimeoutError` there.

    A call has several deadlines, one after the other, and hardly ever reaches one. So moving it costs nothing.
    """

    __slots__ = ("_cancelling", "_deadlines", "_ending", "_expired", "_loop", "_over", "_task", "ends")

    def __init__(self, deadlines: Deadlines, loop: asyncio.AbstractEventLoop, ends: float) -> None:
        self._deadlines = deadlines
        self._loop = loop
        # A time of the loop's clock.
        self.ends = ends
        self._ending: asyncio.Handle | None = None
        self._expired = self._over = False

    def __enter__(self) -> Deadline:
        task = asyncio.current_task(self._loop)
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._deadlines.begin(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over = True
        self._deadlines.end(self)
        if self._ending is not None:
            self._ending.cancel()
        # As in `asyncio.timeout`: if somebody else has cancelled the task too, it stays cancelled.
        if self._expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def move(self, ends: float) -> None:
        """Set another time, not before the one that was set first."""
        self.ends = ends

    def bring_forward(self, ends: float) -> None:
        """Set a time that may be before the one that was set first."""
        if not self._over and ends < self.ends:
            self.ends = ends
            self._deadlines.look_at(ends)

    def end_now(self) -> None:
        """End the block in the next turn of the loop, if it is not left by then."""
        if not self._over:
            self._over = True
            self._deadlines.end(self)
            self._ending = self._loop.call_soon(self.expire)

    def expire(self) -> None:
        """End the block."""
        self._over = self._expired = True
        self._deadlines.end(self)
        self._task.cancel()
