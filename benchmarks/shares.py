"""Measure how much longer others wait while one agent, operator, organization or address takes all it can get.

    python -m benchmarks.shares [--calls 60] [--rounds 3] [--only TEXT]

The attacks are the rows of `tests/gateway/dataplane/test_shares.py` and `tests/gateway/control/test_shares.py`, and
floods: refused requests, one after the other on 8 connections, from a process of its own. Others make one small call
at a time, before the attack, during it, and after it, some rounds of that. A row has the medians of the calls in quiet
and of those during the attack, and the median of the rounds' ratios. It should be 2 at most.

The moment in which an attack begins is left out: floods and the rows of the control plane have run for one or two
seconds when others are measured. While hundreds of connections arrive, others may wait longer.

All processes share the machine's processors, and other work on it is in the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import socket
import ssl
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests.gateway.control import test_shares as control
from tests.gateway.dataplane import test_shares as data
from tests.gateway.dataplane.authority import Authority
from tests.gateway.dataplane.processes import Live, request

CONNECTIONS = 8
HANDSHAKES = 4000
SETTLING_SECONDS = 2.0
"""The time of a flood before others are measured; on a fast machine it has used up what it may cause at once."""

Call = Callable[[], None]
Attack = Callable[[], AbstractContextManager[None]]


class Row(NamedTuple):
    name: str
    attack: Attack
    call: Call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    print(f"{'':52} {'quiet':>9} {'attacked':>9}  ratio")
    for rows in (data_plane, with_tls, control_plane):
        with tempfile.TemporaryDirectory() as directory, rows(Path(directory)) as found:
            for row in found:
                if asked.only in row.name:
                    measure(row, asked.calls, asked.rounds)


def measure(row: Row, calls: int, rounds: int) -> None:
    quiet, attacked = [], []
    for _ in range(rounds):
        before = times(row.call, calls)
        with row.attack():
            attacked.append(statistics.median(times(row.call, calls)))
        time.sleep(SETTLING_SECONDS / 2)
        quiet.append(statistics.median([*before, *times(row.call, calls)]))
    ratio = statistics.median(b / a for a, b in zip(quiet, attacked, strict=True))
    found = "".join(f" {statistics.median(each) * 1e3:6.1f} ms" for each in (quiet, attacked))
    print(f"{row.name:52}{found}  {ratio:5.2f}", flush=True)


def times(call: Call, calls: int) -> list[float]:
    found = []
    for _ in range(calls):
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return found


# The data plane


@contextmanager
def data_plane(directory: Path) -> Iterator[list[Row]]:
    live = Live(directory)
    with closing(live):
        with (live.data / "gateway.toml").open("a") as file:
            file.write(data.SETTINGS)
        live.start("--workers", "1")
        scene = data.made(live)

        def call() -> None:
            assert answer(connect(live.port), request(scene.other_organization)) == 200

        def held(row: data.Row) -> Attack:
            @contextmanager
            def attack() -> Iterator[None]:
                with asyncio.Runner() as runner:
                    runner.run(_begun(row, scene))
                    try:
                        yield
                    finally:
                        runner.run(_closed(scene))

            return attack

        floods = {
            "allowed requests: one agent": [request(scene.greedy[0])],
            "denied requests: one agent": [request(scene.greedy[0], "o3")],
            "denied requests: one organization": [request(each, "o3") for each in scene.greedy],
            "unknown keys: one address": [request("aig_sk_nobody")],
            "requests for nothing: one address": [b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"],
            "bad requests: one address": [b"nonsense\r\n\r\n"],
        }
        found = [Row(f"{row.thing}: one {row.by}", held(row), call) for row in data.ROWS]
        yield found + [Row(name, flood(live.port, requests), call) for name, requests in floods.items()]


async def _begun(row: data.Row, scene: data.Scene) -> None:
    await row.attack(scene)


async def _closed(scene: data.Scene) -> None:
    scene.close()
    await asyncio.sleep(0)


def flood(port: int, requests: list[bytes]) -> Attack:
    @contextmanager
    def attack() -> Iterator[None]:
        process = multiprocessing.get_context("spawn").Process(target=hammer, args=(port, requests), daemon=True)
        process.start()
        time.sleep(SETTLING_SECONDS)
        try:
            yield
            assert process.is_alive(), "the flood has ended by itself"
        finally:
            process.kill()
            process.join()

    return attack


def hammer(port: int, requests: list[bytes]) -> None:
    """Send these without a pause, on some connections."""

    def one(number: int) -> None:
        mine = requests[number::CONNECTIONS] or requests
        while True:
            with suppress(OSError), closing(connect(port, "127.0.0.3")) as opened:
                while answer(opened, mine[0], close=False):
                    mine.append(mine.pop(0))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(CONNECTIONS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def connect(port: int, address: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(address, 0))


def answer(opened: socket.socket, sent: bytes, *, close: bool = True) -> int:
    """The status of the answer, which has a length; 0 if the connection ends."""
    try:
        opened.sendall(sent)
        found = b""
        while b"\r\n\r\n" not in found:
            if not (piece := opened.recv(65536)):
                return 0
            found += piece
        head, _, body = found.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        left = int(lengths[0].partition(b":")[2]) - len(body)
        while left > 0:
            if not (piece := opened.recv(65536)):
                return 0
            left -= len(piece)
        return int(head.split(b" ")[1])
    finally:
        if close:
            opened.close()


# Handshakes


@contextmanager
def with_tls(directory: Path) -> Iterator[list[Row]]:
    authority = Authority.make("servers")
    certificate, key = authority.server().write(directory, "server")
    trusting = ssl.create_default_context(cadata=authority.pair.pem.decode())
    live = Live(directory)
    with closing(live):
        with (live.data / "gateway.toml").open("a") as file:
            file.write(f'tls_cert = "{certificate}"\ntls_key = "{key}"\n')
        live.start("--workers", "1")

        def call() -> None:
            opened = trusting.wrap_socket(connect(live.port), server_hostname="localhost")
            assert answer(opened, request(live.key)) == 200

        @contextmanager
        def unfinished() -> Iterator[None]:
            with ExitStack() as stack:
                for _ in range(HANDSHAKES):
                    stack.enter_context(connect(live.port, "127.0.0.3"))
                yield

        yield [Row(f"{HANDSHAKES} handshakes without an end: one address", unfinished, call)]


# The control plane


@contextmanager
def control_plane(directory: Path) -> Iterator[list[Row]]:
    with control.started(directory) as server:

        def call() -> None:
            server.ask("ben", "GET", "/agents?organization=beta")

        def held(who: set[str] | None, head: str, body: bytes) -> Attack:
            @contextmanager
            def attack() -> Iterator[None]:
                with ExitStack() as open_:
                    for name in sorted(who) if who else [None]:
                        for _ in range(control.MANY):
                            source = "127.0.0.1" if who else control.STRANGER
                            open_.enter_context(server.begin(name, head, body=body, source=source))
                    time.sleep(SETTLING_SECONDS / 2)
                    yield

            return attack

        rows = []
        for greed, head in control.GREED.items():
            body = b"{}" if greed == "checks" else b""
            for by, who in (("operator", control.FEW), ("organization", control.ALL)):
                rows.append(Row(f"control, {greed}: one {by}", held(who, head, body), call))
        for greed, head in control.STRANGERS.items():
            rows.append(Row(f"control, {greed}: one address", held(None, head, b""), call))
        yield rows


if __name__ == "__main__":
    main()
