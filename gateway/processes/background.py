"""The tasks that must run for as long as their process does: one that ends on its own ends the process.

A process that went on without such a task would look healthy and be wrong: a worker that follows no policies any more,
a control process that signs nothing. So the end is logged and the process stops; the supervisor restarts it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine

logger = logging.getLogger("gateway.processes.background")


class Background:
    """The background tasks of one process. `stop` is what every part of the process waits for in order to end."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self.failed = False

    def start(self, what: str, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run `work` until it is cancelled or the process stops. `what` names it in the log."""
        task = asyncio.create_task(work, name=what)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is None and self._stop.is_set():
            return
        logger.error("%s ended, so this process stops", task.get_name(), exc_info=error)
        self.failed = True
        self._stop.set()
