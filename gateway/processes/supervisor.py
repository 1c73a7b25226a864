"""`gateway up`: one process that starts the others, keeps them running and stops them in order.

It serves nothing itself. First the control process, which migrates, recovers and activates; then N data workers, each
with a socket of its own for the same address, so that the kernel spreads connections over them. A child that dies is
restarted after a growing pause (`gateway/processes/children.py`). On SIGHUP the settings are read again, and the
children replaced by others that have the new ones (`reload.py`).
Specification: architecture.md, section 12.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any, Final

from gateway.data_directory import DEFAULT_DATA
from gateway.errors import GatewayError, Hint
from gateway.http import sockets
from gateway.processes import heartbeat, reload
from gateway.processes.family import Family
from gateway.processes.version import version
from gateway.settings import Settings, url
from gateway.storage.liveness import OnlyCopy, OnlyOne
from gateway.telemetry import collection

logger = logging.getLogger("gateway.processes.supervisor")

_EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104  # compared with, not bound


class Supervisor:
    """All processes of one gateway. `run` returns when they have ended. `read` reads the settings again."""

    def __init__(self, settings: Settings, announce: Callable[[str], None], read: Callable[[], Settings]) -> None:
        self._settings = settings
        self._announce = announce
        self._read = read
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._reload = asyncio.Event()
        self._since_ns = 0  # when it had come up

    async def run(self) -> None:
        settings = self._settings
        _check_addresses(settings)
        only_one = OnlyOne(settings.data)
        with closing(OnlyCopy(settings.data)):
            await self._run(settings, only_one)

    async def _run(self, settings: Settings, only_one: OnlyOne) -> None:
        collection.forget(settings.data.metrics)
        # Nothing is accepted on these sockets here: one keeps the address for the workers' own sockets, the other is
        # inherited by the control process, so that it can be restarted on the same port.
        holder = claim(settings.host, settings.port, "--port")
        control_listener = claim(settings.control_host, settings.control_port, "--control-port", shared=False)
        settings = _with_ports(settings, holder, control_listener)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        family = Family(settings, control_listener, self._hurry)
        watching: asyncio.Future[Any] | None = None
        try:
            state = await family.start()
            self._tell(family, only_one)
            for line in greeting(settings, state):
                self._announce(line)
            watching = asyncio.gather(
                self._reload_when_told(family, only_one), self._tell_when_silent(family, only_one)
            )
            await self._stop.wait()
        finally:
            if watching is not None:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
            await family.end()
            holder.close()
            control_listener.close()
            only_one.close()

    async def _reload_when_told(self, family: Family, only_one: OnlyOne) -> None:
        given = self._settings
        while True:
            await self._reload.wait()
            self._reload.clear()
            try:
                given, settings = reload.settle(given, self._read(), family.settings)
                await family.change(settings)
            except GatewayError as error:
                text = f"{error.message}: {error.hint}" if error.hint else error.message
                logger.error("the settings stay as they were: %s", text)
            self._tell(family, only_one)

    async def _tell_when_silent(self, family: Family, only_one: OnlyOne) -> None:
        """Leave word of workers that have begun or ceased to stand still."""
        told: list[str] = []
        while True:
            await asyncio.sleep(heartbeat.BEAT_SECONDS)
            if (silent := family.silent()) != told:
                told = silent
                self._tell(family, only_one)

    def _tell(self, family: Family, only_one: OnlyOne) -> None:
        self._since_ns = self._since_ns or time.time_ns()
        only_one.tell(json.dumps(about(family.settings, self._since_ns, family.silent())).encode())

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()


def claim(host: str, port: int, flag: str, *, shared: bool = True) -> socket.socket:
    """A bound socket for an address that nobody else uses; otherwise `GatewayError` names the flag to change."""
    host_flag = flag.replace("port", "host")
    try:
        # Without sharing first: otherwise a second gateway of this user would quietly take half of the connections.
        first = sockets.bind(host, port, shared=False)
        if not shared:
            return first
        port = first.getsockname()[1]
        first.close()
        return sockets.bind(host, port, shared=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        wrong_host = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        address = url(host, port).removeprefix("http://")
        raise GatewayError(
            "port_unavailable",
            f"cannot listen on {address}: {reason}",
            subject=address,
            hint=f"choose another {'address' if wrong_host else 'port'} with {host_flag if wrong_host else flag}",
        ) from error


def _check_addresses(settings: Settings) -> None:
    """Raise unless the planes have addresses of their own: both sockets could be bound, and only one would listen."""
    hosts = {settings.host, settings.control_host}
    if settings.port and settings.port == settings.control_port and (len(hosts) == 1 or hosts & _EVERYWHERE):
        message = f"the data plane and the control plane cannot both have the port {settings.port}"
        raise GatewayError("port_unavailable", message, hint=Hint("choose another port with --control-port"))


def _with_ports(settings: Settings, data: socket.socket, control: socket.socket) -> Settings:
    """The settings with the ports that were bound, where 0 was asked for."""
    return replace(settings, port=data.getsockname()[1], control_port=control.getsockname()[1])


def about(settings: Settings, since_ns: int, silent: list[str]) -> dict[str, Any]:
    """Facts for `gateway status` about a gateway that is up since then, and of its workers that stand still."""
    return {
        "pid": os.getpid(),
        "since_ns": since_ns,
        "version": version(),
        "data_plane": settings.data_plane,
        "control_plane": url(settings.control_host, settings.control_port),
        "workers": settings.workers,
        "silent": silent,
    }


def greeting(settings: Settings, state: dict[str, Any]) -> list[str]:
    """The text that the operator reads: where agents connect, and what is still missing."""
    address = settings.data_plane
    control = url(settings.control_host, settings.control_port)
    lines = [f"gateway is up: base URL {address}/v1 (control plane {control})"]
    suffix = "" if settings.data.path == DEFAULT_DATA else f" --data {settings.data.path}"
    if not state.get("agents"):
        lines.append(f"no agent is registered yet: type `gateway agents register NAME{suffix}`")
    if not state.get("bundles"):
        where = settings.policies_repository or settings.repository
        lines.append(f"no policy is active, so every request is denied `no_policy`: commit a bundle to {where}")
    if not state.get("upstreams"):
        lines.append(f"no upstream yet: type `gateway upstreams add openai --key-env OPENAI_API_KEY{suffix}`")
    lines += state.get("clock", []) + state.get("policies", [])
    lines += [f"{reminder}: see `gateway status{suffix}`" for reminder in state.get("adoptions", [])]
    for name, fault in state.get("sealed", {}).items():
        lines.append(f"upstream `{name}` cannot be used: {fault}")
    return lines
