"""The control process and the data workers of one gateway: started in order, replaced in order, ended in order."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

from gateway.errors import GatewayError
from gateway.http import tls
from gateway.processes import reload
from gateway.processes.children import Child
from gateway.settings import Settings

logger = logging.getLogger("gateway.processes.family")


def _certificates(settings: Settings) -> bytes:
    """One value for the files that TLS needs. Raises `GatewayError` if they cannot be used."""
    tls.context(settings)
    return tls.digest(settings)


class Family:
    """All children of one supervisor. `settings` are those in force; `hurry` ends every wait for a child's end."""

    def __init__(self, settings: Settings, control_listener: socket.socket, hurry: asyncio.Event) -> None:
        self.settings = settings
        self._hurry = hurry
        self._control_listener = control_listener
        self._control = Child("control", 0, settings, control_listener)
        self._workers = [Child("data", number, settings) for number in range(1, settings.workers + 1)]
        self._keepers: dict[Child, asyncio.Task[None]] = {}
        # A worker that is not in its place yet, and those that have left it.
        self._starting: Child | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._certificates = _certificates(settings)

    def silent(self) -> list[str]:
        """The boot ids of workers whose event loops give no sign of life."""
        return [worker.boot for worker in self._workers if worker.is_silent]

    async def start(self) -> dict[str, Any]:
        """Start all; returns the control process's report."""
        # Nothing is served before the control process is ready: it may have to migrate and to recover.
        state = await self._control.start()
        await asyncio.gather(*(worker.start() for worker in self._workers))
        for child in (self._control, *self._workers):
            self._keep(child)
        return state

    async def change(self, settings: Settings) -> None:
        """Put other settings into force: each worker is replaced by one that has them, without failing a request.

        Raises `GatewayError` if the first new worker cannot start; then nothing has changed.
        """
        certificates = _certificates(settings)
        names = reload.differences(self.settings, settings)
        if certificates != self._certificates:
            names.append(reload.CERTIFICATES)
        if not names:
            logger.info("the settings have not changed")
            return
        for at in range(min(len(self._workers), settings.workers)):
            await self._replace(at, settings)
            self.settings, self._certificates = settings, certificates
        for number in range(len(self._workers) + 1, settings.workers + 1):
            await self._start(Child("data", number, settings))
        while len(self._workers) > settings.workers:
            self._retire(self._workers.pop())
        if reload.concern_control(names):
            await self._release(self._control)
            await self._control.end(self._hurry)
            self._control = Child("control", 0, settings, self._control_listener)
            self._keep(self._control)  # which starts it
        logger.info("new settings are in force: %s", ", ".join(names))

    async def end(self) -> None:
        """End all, also what is being started or replaced."""
        served = bool(self._keepers)
        await asyncio.gather(*(self._release(child) for child in tuple(self._keepers)))
        leaving = [*self._workers] if self._starting is None else [*self._workers, self._starting]
        await asyncio.gather(*(worker.end(self._hurry) for worker in leaving), *self._retiring)
        # The control process goes last: it closes what a killed worker left open, and signs the final heads.
        await (self._control.finish(self._hurry) if served else self._control.end(self._hurry))

    async def _replace(self, at: int, settings: Settings) -> None:
        old = self._workers[at]
        new = self._starting = old.successor(settings)
        try:
            await new.start()
        except GatewayError:
            self._starting = None
            await new.end(self._hurry)
            raise
        self._workers[at], self._starting = new, None
        self._keep(new)
        self._retire(old)

    async def _start(self, worker: Child) -> None:
        self._starting = worker
        try:
            await worker.start()
        except GatewayError as error:
            logger.error("the %s process cannot be started, trying again: %s", worker.name, error.message)
        self._workers.append(worker)
        self._starting = None
        self._keep(worker)

    def _retire(self, worker: Child) -> None:
        """Let a worker end, while another does its work or its address has one listener less."""
        keeper = self._keepers.pop(worker)
        keeper.cancel()

        async def leave() -> None:
            await asyncio.gather(keeper, return_exceptions=True)
            await worker.retire(self._hurry)

        task = asyncio.create_task(leave())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def _keep(self, child: Child) -> None:
        self._keepers[child] = asyncio.create_task(child.keep(self._hurry))

    async def _release(self, child: Child) -> None:
        """Restart this child no more."""
        keeper = self._keepers.pop(child)
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
