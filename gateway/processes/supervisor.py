"""`gateway up`: one process that starts the others, keeps them running and ends them in order.

It serves nothing itself. First the control process, which migrates, recovers and activates; then N data workers, each
with a socket of its own for the same address, so that the kernel spreads connections over them. A child that dies is
started again after a growing pause. Children live in sessions of their own and get their signals from here alone; the
pipe to their standard input is their life line: when it closes, however this process ended, they drain and end.
Specification: docs/architecture.md, section 12.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import gateway
from gateway.errors import GatewayError
from gateway.http import listener
from gateway.identifiers import new_id
from gateway.settings import DEFAULT_DATA, DataDirectory, Settings
from gateway.storage.liveness import OnlyOne

logger = logging.getLogger("gateway.processes.supervisor")

START_SECONDS = 60.0
# The pause before a child is started again doubles up to the longest, and is short again after a quiet life.
FIRST_PAUSE, LONGEST_PAUSE, QUIET_SECONDS = 0.1, 5.0, 30.0
# A child that has not ended this long after its drain time is killed; its open records are closed by recovery.
GRACE_SECONDS = 5.0


@dataclass(slots=True)
class Child:
    """One process of the gateway: what to start, and what is running of it."""

    kind: str
    number: int
    descriptor: int | None = None
    boot: str = ""
    process: asyncio.subprocess.Process | None = None

    @property
    def name(self) -> str:
        return self.kind if self.kind == "control" else f"{self.kind} {self.number}"


class Supervisor:
    """All processes of one gateway. `run` returns when they have ended."""

    def __init__(self, settings: Settings, announce: Callable[[str], None]) -> None:
        self._settings = settings
        self._announce = announce
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        settings = self._settings
        only_one = OnlyOne(settings.data)
        # The sockets here are never listened on: one keeps the address for the workers' own, the other is the control
        # process's, so that it can be started again on the same port.
        holder = claim(settings.host, settings.port, "--port")
        control_listener = claim(settings.control_host, settings.control_port, "--control-port", shared=False)
        self._settings = settings = _with_ports(settings, holder, control_listener)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        control = Child("control", 0, control_listener.fileno())
        workers = [Child("data", number) for number in range(1, settings.workers + 1)]
        keepers: list[asyncio.Task[None]] = []
        try:
            # Nothing is served before the control process is ready: it may have to migrate and to recover.
            state = await self._start(control)
            await asyncio.gather(*(self._start(worker) for worker in workers))
            keepers = [asyncio.create_task(self._keep(child)) for child in (control, *workers)]
            for line in greeting(settings, state):
                self._announce(line)
            await self._stop.wait()
        finally:
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
            # The control process goes last: it closes what a killed worker left open, and signs the final heads.
            await asyncio.gather(*(self._end(worker) for worker in workers))
            await self._end(control)
            holder.close()
            control_listener.close()
            only_one.close()

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def _start(self, child: Child) -> dict[str, Any]:
        """Start a child and wait until it says that it is ready; raises `GatewayError` with what it says otherwise."""
        child.boot = new_id("boot")
        command = [sys.executable, "-P", "-m", "gateway.processes.app", child.kind, child.boot]
        child.process = await asyncio.create_subprocess_exec(
            *command if child.descriptor is None else [*command, str(child.descriptor)],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment(),
            pass_fds=() if child.descriptor is None else (child.descriptor,),
            start_new_session=True,
        )
        assert child.process.stdin is not None
        assert child.process.stdout is not None
        child.process.stdin.write(json.dumps(flags(self._settings)).encode() + b"\n")
        try:
            async with asyncio.timeout(START_SECONDS):
                line = await child.process.stdout.readline()
        except TimeoutError:
            raise GatewayError("start_failed", f"the {child.name} process did not get ready in time") from None
        try:
            said: dict[str, Any] = json.loads(line)
        except json.JSONDecodeError:
            raise GatewayError(
                "start_failed", f"the {child.name} process ended before it was ready", hint="see the lines above"
            ) from None
        if "error" in said:
            raise GatewayError(said["error"], said["message"], hint=said["hint"])
        return said

    async def _keep(self, child: Child) -> None:
        """Start this child again whenever it ends, until cancelled."""
        pause = FIRST_PAUSE
        while True:
            assert child.process is not None
            born = time.monotonic()
            code = await child.process.wait()
            logger.error("the %s process ended (%s), starting it again", child.name, _ending(code))
            pause = FIRST_PAUSE if time.monotonic() - born > QUIET_SECONDS else min(pause * 2, LONGEST_PAUSE)
            await asyncio.sleep(pause)
            try:
                await self._start(child)
            except GatewayError as error:
                logger.error("%s", error.message)
                await self._end(child)

    async def _end(self, child: Child) -> None:
        """Ask, wait for as long as running requests may take, then insist."""
        process = child.process
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        ended = asyncio.create_task(process.wait())
        hurry = asyncio.create_task(self._hurry.wait())
        patience = self._settings.drain_timeout + GRACE_SECONDS
        await asyncio.wait({ended, hurry}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not ended.done():
            logger.error("the %s process did not end in time and is killed", child.name)
            with suppress(ProcessLookupError):
                process.kill()
            await ended


def claim(host: str, port: int, flag: str, *, shared: bool = True) -> socket.socket:
    """A bound socket for an address that nobody else uses, or one line that says who must move."""
    try:
        # Without sharing first: otherwise a second gateway of this user would quietly take half of the connections.
        first = listener.bind(host, port, shared=False)
        if not shared:
            return first
        port = first.getsockname()[1]
        first.close()
        return listener.bind(host, port, shared=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise GatewayError(
            "port_unavailable",
            f"cannot listen on {host}:{port}: {reason}",
            subject=f"{host}:{port}",
            hint=f"choose another port with {flag}",
        ) from error


def _with_ports(settings: Settings, data: socket.socket, control: socket.socket) -> Settings:
    """The settings with the ports that were really bound, where 0 was asked for."""
    values = {item.name: getattr(settings, item.name) for item in fields(Settings)}
    values |= {"port": data.getsockname()[1], "control_port": control.getsockname()[1]}
    return Settings(**values)


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


def greeting(settings: Settings, state: dict[str, Any]) -> list[str]:
    """What the operator reads: where agents connect, and what is still missing."""
    address = f"http://{settings.host}:{settings.port}"
    control = f"http://{settings.control_host}:{settings.control_port}"
    lines = [f"gateway is up: base URL {address}/v1 (control plane {control})"]
    suffix = "" if settings.data.path == DEFAULT_DATA else f" --data {settings.data.path}"
    if not state.get("agents"):
        lines.append(f"no agent is registered yet: type `gateway agents register NAME{suffix}`")
    if not state.get("bundles"):
        lines.append(
            f"no policy is active, so every request is denied `no_policy`: commit a bundle to {settings.repository}"
        )
    if not state.get("upstreams"):
        lines.append(f"no upstream yet: type `gateway upstreams add openai --key-env OPENAI_API_KEY{suffix}`")
    return lines


def environment() -> dict[str, str]:
    """The children import this very package, wherever they are started. Settings come through the pipe alone."""
    source = str(Path(gateway.__file__).resolve().parent.parent)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    path = inherited.get("PYTHONPATH")
    return {**inherited, "PYTHONPATH": f"{source}{os.pathsep}{path}" if path else source}


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
