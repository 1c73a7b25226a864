"""A data worker and a bare pass-through on one core, and all others on another one: who waits how long beside bodies.

The pass-through is that of `benchmarks/data_plane.py`: it reads a body, sends it on, relays the answer, and does
nothing else. What a call waits at it beside the same bodies, the machine and the framework cost.

The processes come before other work on the machine where that is permitted, by their niceness. A real-time class
(`chrt -r`) would show another thing: it lets a thread that works on a body keep the core for 100 ms at a time from the
worker's other threads, which no ordinary scheduler does.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks import data_plane
from gateway.http import listener
from gateway.processes.children import ALLOCATOR, flags
from gateway.settings import DataDirectory, Settings
from tests.gateway.faults.bodies import CHAT, Hostile
from tests.gateway.faults.bystander import Bystander, Waits
from tests.gateway.faults.rig import DEADLINE, POLICY, receive

AT_ONCE = 3
_FIRST = -19  # niceness: before everything else
_START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """What is asked: its port, its process, and the credential that it takes."""

    name: str
    port: int
    process: int
    key: str


@contextmanager
def servers(directory: Path) -> Iterator[tuple[Server, Server]]:
    """The bare pass-through and the gateway's worker."""
    cores = sorted(os.sched_getaffinity(0))
    provider, through, gateway = _free_ports(3)
    here = [str(Path(data_plane.__file__).resolve()), "--ports", str(provider), str(through), "0", "--serve"]
    key = data_plane.prepare(directory / "data", provider, POLICY.replace("bot.", "bench.", 1))
    data = DataDirectory(directory / "data")
    settings = flags(Settings(data=data, port=gateway, policy_deadline_ms=1000))
    with ExitStack() as stack:
        opened = stack.enter_context(listener.bind("127.0.0.1", gateway, shared=True))
        worker = ("-m", "gateway.processes.app", "data", "boot_waits", str(opened.fileno()))
        process = stack.enter_context(
            data_plane.process(
                cores[0],
                *worker,
                first_line=json.dumps(settings).encode() + b"\n",
                ready=data_plane.wait_for(gateway, _START_SECONDS),
                pass_fds=(opened.fileno(),),
                environment=ALLOCATOR,
            )
        )
        pids = [process]
        for core, role, port in ((cores[-1], "provider", provider), (cores[0], "through", through)):
            ready = data_plane.wait_for(port, _START_SECONDS)
            pids.append(stack.enter_context(data_plane.process(core, *here, role, ready=ready, environment=ALLOCATOR)))
        for each in pids:
            come_first(each)
        stack.enter_context(_on(cores[-1]))
        yield Server("bare", through, pids[-1], key), Server("gateway", gateway, process, key)


def beside(server: Server, hostile: Hostile, directory: Path) -> tuple[Waits, Waits]:
    """How long small calls wait alone, and beside several of these bodies at once."""
    bystander = Bystander(server.port, server.key, directory, server.process, CHAT)
    try:
        come_first(bystander.process)
        ends = time.monotonic() + DEADLINE
        while (alone := bystander.since(0)).count < 30:
            assert time.monotonic() < ends, f"{server.name} does not answer"
            time.sleep(0.02)
        raw = hostile.make()
        # The pass-through has one path, and does not look at what it passes on.
        path = CHAT if server.name == "bare" else hostile.path
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\nConnection: close\r\n"
        head += f"Content-Type: {hostile.kind}\r\nContent-Length: {len(raw)}\r\n\r\n"
        data = head.encode() + raw
        del raw
        began = time.monotonic()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            statuses = set(pool.map(lambda each: _send(server.port, each), [data] * AT_ONCE))
        waits = bystander.since(began)
    finally:
        bystander.close()
    assert statuses <= (hostile.statuses if server.name == "gateway" else {200}), statuses
    assert waits.statuses == {200}, waits
    return alone, waits


def come_first(process: int) -> None:
    """Let all threads of this process come before other work, if this user may say so."""
    for thread in os.listdir(f"/proc/{process}/task"):
        with suppress(PermissionError, ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, int(thread), _FIRST)


def _send(port: int, data: bytes) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as connection:
        connection.sendall(data)
        return receive(connection).status


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in opened]


@contextmanager
def _on(core: int) -> Iterator[None]:
    """This thread, and what it starts, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
