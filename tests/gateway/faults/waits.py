"""A data worker and a bare pass-through on one core, and all others on another one: who waits how long beside bodies.

The pass-through is that of `benchmarks/data_plane.py`: it reads a body, sends it on, relays the answer, and does
nothing else. A call's wait at it beside the same bodies is the cost of the machine and the framework. Large bodies go
to another provider than the calls that wait.

All come before other work on the machine where that is permitted, by the niceness of this session: between sessions
Linux does not look at that of processes. A real-time class (`chrt -r`) would show another thing: it lets a thread that
works on a body keep the core for 100 ms at a time from the worker's other threads, which no ordinary scheduler does.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks import data_plane
from gateway.data_directory import DataDirectory
from gateway.http import sockets
from gateway.processes.children import ALLOCATOR, flags
from gateway.registry.database import Registry
from gateway.registry.upstreams.changes import add_upstream
from gateway.secrets.vault import Vault
from gateway.settings import Settings
from tests.gateway.faults.bodies import CHAT, Hostile
from tests.gateway.faults.bystander import Bystander, Waits
from tests.gateway.faults.rig import DEADLINE, POLICY, receive

AT_ONCE = 3
_FIRST = -19  # niceness: before everything else
_START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """The asked server: its port, its process, and the credential that it takes."""

    name: str
    port: int
    process: int
    key: str


@contextmanager
def servers(directory: Path) -> Iterator[tuple[Server, Server]]:
    """The bare pass-through and the gateway's worker."""
    cores = sorted(os.sched_getaffinity(0))
    large, calm, through, gateway = _free_ports(4)
    here, data = str(Path(data_plane.__file__).resolve()), DataDirectory(directory / "data")
    key = data_plane.prepare(data.path, large, POLICY.replace("bot.", "bench.", 1))
    _add_upstream(data, "calm", calm)
    settings = json.dumps(flags(Settings(data=data, port=gateway, policy_deadline_ms=1000)))
    passes = f"from benchmarks.data_plane import pass_through; pass_through({through}, {large}, {calm})"
    with ExitStack() as stack:
        opened = stack.enter_context(sockets.bind("127.0.0.1", gateway, shared=True))

        def start(core: int, port: int, *arguments: str, first_line: bytes = b"") -> int:
            child = data_plane.process(
                core,
                *arguments,
                first_line=first_line,
                ready=data_plane.wait_for(port, _START_SECONDS),
                pass_fds=(opened.fileno(),),
                environment=ALLOCATOR,
            )
            return stack.enter_context(child)

        for port in (large, calm):
            start(cores[-1], port, here, "--ports", str(port), "0", "0", "--serve", "provider")
        bare = start(cores[0], through, "-c", passes)
        arguments = ("-m", "gateway.processes.app", "data", "boot_waits", str(opened.fileno()))
        worker = start(cores[0], gateway, *arguments, first_line=settings.encode() + b"\n")
        stack.enter_context(_on(cores[-1]))
        stack.enter_context(_first())
        yield Server("bare", through, bare, key), Server("gateway", gateway, worker, key)


def beside(server: Server, hostile: Hostile, directory: Path, *, busy: bool = False) -> tuple[Waits, Waits]:
    """The waits of small calls alone, and beside several of these bodies at once.

    `busy`: meanwhile others ask the server all the time for something that costs next to nothing.
    """
    bystander = Bystander(server.port, server.key, directory, server.process)
    try:
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
        with _busy(server.port) if busy else nullcontext(), ThreadPoolExecutor(AT_ONCE) as pool:
            statuses = set(pool.map(lambda each: _send(server.port, each), [data] * AT_ONCE))
        waits = bystander.since(began)
    finally:
        bystander.close()
    assert statuses <= (hostile.statuses if server.name == "gateway" else {200}), statuses
    assert waits.statuses == {200}, waits
    return alone, waits


@contextmanager
def _busy(port: int) -> Iterator[None]:
    """Two clients ask for `/healthz`, each a thousand times a second at most."""
    over = threading.Event()

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        while not over.wait(0.001):
            connection.request("GET", "/healthz")
            connection.getresponse().read()
        connection.close()

    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask) for _ in range(2)]
        try:
            yield
        finally:
            over.set()
    for each in asking:
        each.result()


@contextmanager
def _first() -> Iterator[None]:
    """This session comes before others, if this user may say so."""
    group = Path("/proc/self/autogroup")
    with suppress(OSError):
        group.write_text(f"{_FIRST}")
    try:
        yield
    finally:
        with suppress(OSError):
            group.write_text("0")


def _add_upstream(data: DataDirectory, name: str, port: int) -> None:
    registry = Registry.open(data)
    add_upstream(
        registry,
        Vault.load(data.keys),
        actor="local:0",
        organization="default",
        name=name,
        provider="openai",
        base_url=f"http://127.0.0.1:{port}/v1",
        secret="sk-bench",
        default=False,
    )
    registry.close()


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
