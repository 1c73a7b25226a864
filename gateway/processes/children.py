"""The supervisor's children: how one is started, restarted when it ends, and stopped.

Children run in sessions of their own, so that they get signals from the supervisor alone. The pipe to a child's
standard input carries its settings as the first line and is its life line: when the pipe closes, however the supervisor
ended, the child drains and ends. `gateway/processes/app.py` is the other side.
Specification: architecture.md, section 12.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.http import sockets
from gateway.identifiers import new_id
from gateway.policy.rollout.child import python_path
from gateway.processes import heartbeat
from gateway.settings import PREFIX, Settings

logger = logging.getLogger("gateway.processes.children")

START_SECONDS = 60.0
# The pause before a restart doubles up to the longest one, and is short again after the child ran for a while.
FIRST_PAUSE, LONGEST_PAUSE, QUIET_SECONDS = 0.1, 5.0, 30.0
# A child that has not ended this long after its drain time is killed, and recovery closes its open decisions. Until
# then it may still be writing closing records (`CLOSING_SECONDS` in gateway/http/listener.py).
GRACE_SECONDS = 15.0


# Without these, glibc keeps the memory of large bodies. It returns a large block to the system when it is freed, but
# from then on takes blocks of that size from heaps, and every thread has a heap of its own. A heap cannot shrink while
# a small block is in use behind the free ones. A threshold that is set stays as it is. Other C libraries ignore these.
ALLOCATOR = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "524288", "MALLOC_TRIM_THRESHOLD_": "1048576"}


class Child:
    """One process of the gateway: what to start, and the process that is running now, if there is one.

    The process inherits a bound socket. The control process gets `given`, which the caller keeps. Each data worker
    has one of its own, because an inherited socket that all share leads nearly all connections to one of them. The
    supervisor holds it too, so that the worker's replacement can go on with the connections that wait there. When a
    worker dies its socket is closed, and the kernel spreads connections over the others.
    """

    def __init__(self, kind: str, number: int, settings: Settings, given: socket.socket | None = None) -> None:
        self.name = kind if kind == "control" else f"{kind} {number}"
        self.settings = settings
        self._kind = kind
        self._number = number
        self._given = given
        self._own: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._reported = False  # whether this process has said that it is ready
        # The boot id of the process, and whether its event loop gives no sign of life.
        self.boot = ""
        self.is_silent = False

    async def start(self) -> dict[str, Any]:
        """Start the process and return its report once it is ready. Raises `GatewayError` if it never is."""
        self._process, self._reported = None, False
        try:
            descriptor = self._listener().fileno()
            self.boot, self.is_silent = new_id("boot"), False
            arguments = [self._kind, self.boot, str(descriptor)]
            self._process = await asyncio.create_subprocess_exec(
                *[sys.executable, "-P", "-m", "gateway.processes.app", *arguments],
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=environment(),
                pass_fds=(descriptor,),
                start_new_session=True,
            )
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            raise GatewayError("start_failed", f"cannot start the {self.name} process: {reason}") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(flags(self.settings)).encode() + b"\n")
        try:
            async with asyncio.timeout(START_SECONDS):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise GatewayError("start_failed", f"the {self.name} process did not get ready in time") from None
        try:
            report: dict[str, Any] = json.loads(line)
        except json.JSONDecodeError:
            raise GatewayError(
                "start_failed", f"the {self.name} process ended before it was ready", hint="see the lines above"
            ) from None
        if "error" in report:
            raise GatewayError(report["error"], report["message"], hint=report["hint"])
        self._reported = True
        return report

    async def keep(self, hurry: asyncio.Event) -> None:
        """Restart the process whenever it ends, until cancelled. No failure to start it ends this."""
        pause, complaint = FIRST_PAUSE, ""
        while True:
            started = time.monotonic()
            if self._process is not None:
                code = await self._ended(self._process)
                self._close_listener()
                logger.error("the %s process ended (%s) and is restarted", self.name, _ending(code))
            if time.monotonic() - started > QUIET_SECONDS:
                pause = FIRST_PAUSE
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
            try:
                await self.start()
            except Exception as error:  # noqa: BLE001  # whatever it is: without a retry this child would be gone for good
                text = error.message if isinstance(error, GatewayError) else f"{type(error).__name__}: {error}"
                if text != complaint:
                    logger.error("the %s process cannot be restarted, trying again: %s", self.name, text)
                complaint = text
                await self.end(hurry)
            else:
                if complaint:
                    logger.warning("the %s process is running again", self.name)
                complaint = ""

    async def _ended(self, process: asyncio.subprocess.Process) -> int:
        """Wait for the process's end and return its code. A worker whose event loop stands still is killed."""
        seconds = self.settings.stall_timeout
        if self._kind == "data":
            assert process.stdout is not None
            if await heartbeat.stands_still(process.stdout, seconds or math.inf, self._note_silence):
                text = "the event loop of the %s process has stood still for %g s: it is killed and replaced"
                logger.error(text, self.name, seconds)
                self.is_silent = False  # it is none any more
                await asyncio.to_thread(heartbeat.count, self.settings.data)
                with suppress(ProcessLookupError):
                    process.kill()
        return await process.wait()

    def _note_silence(self, is_silent: bool) -> None:
        self.is_silent = is_silent

    async def finish(self, hurry: asyncio.Event) -> None:
        """`end` for a process with duties at its end: if it has died or is being restarted, it is started for them."""
        ready = self._process is not None and self._process.returncode is None and self._reported
        if not ready and not hurry.is_set():
            await self.end(hurry)
            starting, hurried = asyncio.create_task(self.start()), asyncio.create_task(hurry.wait())
            await asyncio.wait({starting, hurried}, return_when=asyncio.FIRST_COMPLETED)
            for task in (starting, hurried):
                task.cancel()
            failed = (await asyncio.gather(starting, hurried, return_exceptions=True))[0]
            if isinstance(failed, GatewayError):
                logger.error("the %s process cannot do what it does before the end: %s", self.name, failed.message)
        await self.end(hurry)

    async def end(self, hurry: asyncio.Event) -> None:
        """Ask the process to end and wait for as long as running requests may take; then, or on `hurry`, kill it."""
        self._close_listener()
        await self._end(hurry, signal.SIGTERM)

    def successor(self, settings: Settings) -> Child:
        """A worker that takes this one's place, with its listening socket. Start it, then `retire` this one."""
        other = Child(self._kind, self._number, settings, self._given)
        other._own = None if self._own is None else self._own.dup()
        return other

    async def retire(self, hurry: asyncio.Event) -> None:
        """`end` for a worker whose place another has taken."""
        self._close_listener()
        await self._end(hurry, signal.SIGHUP)

    def _listener(self) -> socket.socket:
        if self._given is not None:
            return self._given
        if self._own is None:
            self._own = sockets.bind(self.settings.host, self.settings.port, shared=True)
        return self._own

    def _close_listener(self) -> None:
        if self._own is not None:
            self._own.close()
            self._own = None

    async def _end(self, hurry: asyncio.Event, number: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(number)
        ended = asyncio.create_task(process.wait())
        hurried = asyncio.create_task(hurry.wait())
        patience = self.settings.drain_timeout + GRACE_SECONDS
        await asyncio.wait({ended, hurried}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not ended.done():
            logger.error("the %s process did not end in time and is killed", self.name)
            with suppress(ProcessLookupError):
                process.kill()
            await ended
        self._process = (
            None  # not before: a restart that is cancelled here leaves the rest to the supervisor's own call
        )


def flags(settings: Settings) -> dict[str, Any]:
    """Settings as the flags from which `load_settings` makes them again in a child."""
    found: dict[str, Any] = {}
    for item in fields(Settings):
        value = getattr(settings, item.name)
        if isinstance(value, DataDirectory):
            value = str(value.path.absolute())
        elif isinstance(value, Path):
            value = str(value.absolute())
        if value is not None:
            found[item.name] = value
    return found


def environment() -> dict[str, str]:
    """A child's environment: it imports this very package wherever it starts, and its settings come by pipe alone.

    Settings of an operator for the memory allocator stay.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return {**ALLOCATOR, **inherited, "PYTHONPATH": python_path()}


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
