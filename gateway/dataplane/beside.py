"""Long work beside the event loop: on another thread, and so that the loop hardly waits for the interpreter.

A thread that runs Python keeps the interpreter for `sys.getswitchinterval()`, 5 ms, each time that the event loop wants
it back. A request needs it some twenty times, so others would wait 100 ms beside one large body. While such work runs
the interval is a tenth.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import TypeVar

from gateway.dataplane.admission import Holders
from gateway.shares import Shares

_BESIDE = 0.0005  # seconds

_Result = TypeVar("_Result")


class _Interval:
    """The interpreter's switch interval, which all long work of this process shares; for the event loop's thread."""

    def __init__(self) -> None:
        self._running = 0
        self._ordinary = 0.0

    def __enter__(self) -> None:
        if not self._running:
            self._ordinary = sys.getswitchinterval()
            sys.setswitchinterval(min(self._ordinary, _BESIDE))
        self._running += 1

    def __exit__(self, *error: object) -> None:
        self._running -= 1
        if not self._running:
            sys.setswitchinterval(self._ordinary)


_interval = _Interval()


async def beside(turns: Shares, holders: Holders, work: Callable[..., _Result], *arguments: object) -> _Result:
    """Do long work of these holders on another thread when it is their turn, so that the event loop goes on."""
    async with turns.wait(*holders):
        with _interval:
            return await asyncio.get_running_loop().run_in_executor(None, work, *arguments)
