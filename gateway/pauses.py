"""Pauses in long work on a thread, in which the other threads get the interpreter.

The interpreter's switch interval does not share it among three threads. While long work and a busy event loop take it
in turns, the thread that writes the log may wait for all of that work: each time that it wants the interpreter, it sees
that the other two have switched, and does not insist. While this thread sleeps, both of the others get on.
"""

from __future__ import annotations

import time

_WORK = 0.001  # seconds between two pauses
_PAUSE = 0.0001


class Pauses:
    """The pauses of one piece of work. Call it between any two of its steps: it sleeps if it is time."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since = time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self._since >= _WORK:
            time.sleep(_PAUSE)
            self._since = time.monotonic()
