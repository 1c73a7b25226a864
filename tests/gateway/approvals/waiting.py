"""What calls that wait for people cost other calls: `python -m tests.gateway.approvals.waiting`.

Three gateways of one worker run beside each other: nothing waits at the first, 10,000 requests of clients that have
gone wait at the second, and 3,000 clients wait on their connections at the third. Ordinary calls go to each
in turn, round after round, so that whatever else the machine does meets all of them alike. The figures of the
second and the third stand beside those of the first. The processor's time is the steadiest, so it decides about the
exit code, with the memory of each held call.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from gateway.approvals.asking import MAX_OF_AGENT
from gateway.data_directory import DataDirectory
from gateway.identity.credentials import Peppers
from gateway.registry.agents import registration
from gateway.registry.database import Registry
from gateway.registry.keys import changes as key_changes
from gateway.registry.policies import bindings
from tests.gateway.dataplane.conftest import ACTOR, ORG, read_reply
from tests.gateway.dataplane.processes import Live, request, write_policy
from tests.gateway.soak.samples import take

POLICY: Final = """\
package bot.authz

default allow := false

allow if startswith(input.resource.model, "gpt-")

require_approval contains {"reason": "it is big", "expires_seconds": 86400} if input.resource.model == "gpt-big"
"""
SETTINGS: Final = "max_connections = 100000\nmax_requests = 100000\ndrain_timeout = 0\n"
_TICK: Final = os.sysconf("SC_CLK_TCK")


class Gateway:
    """A gateway of one worker, and how its ordinary calls went."""

    def __init__(self, directory: Path, hold: int, waiting: int) -> None:
        directory.mkdir()
        self.live = Live(directory)
        with (self.live.data / "gateway.toml").open("a") as file:
            file.write(f"{SETTINGS}approval_hold = {hold}\n")
        write_policy(self.live.data / "policies", POLICY)
        self.keys = self._register(-(-waiting // MAX_OF_AGENT))
        self.live.start("--workers", "1")
        [self.worker] = self.live.children()
        self.latencies: list[float] = []
        self.rates: list[float] = []
        self.processor: list[float] = []  # seconds of the worker for a call, by rounds
        self.held: list[tuple[asyncio.Future[bytes], asyncio.StreamWriter]] = []

    def _register(self, count: int) -> list[str]:
        """The keys of so many agents, as only some calls of each may wait."""
        data = DataDirectory(self.live.data)
        registry, peppers, keys = Registry.open(data), Peppers.load(data.keys), []
        who: dict[str, Any] = {"actor": ACTOR, "organization": ORG}
        for number in range(count):
            agent = registration.register_agent(registry, name=f"asks-{number}", **who)
            bindings.bind(registry, kind="agent", subject=agent.id, bundle="starter", **who)
            keys.append(key_changes.create_key(registry, peppers, agent=agent.id, **who).text)
        registry.close()
        return keys

    def big(self, number: int) -> bytes:
        return request(self.keys[number // MAX_OF_AGENT], "gpt-big", user=f"u{number}")

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.live.port)

    async def ask(self, count: int) -> None:
        """So many different calls ask for an approval, and go."""
        numbers = iter(range(count))

        async def some() -> None:
            reader, writer = await self.open()
            for number in numbers:
                writer.write(self.big(number))
                reply = await read_reply(reader)
                assert (reply.status, reply.code) == (403, "approval_required"), reply
            writer.close()

        await asyncio.gather(*(some() for _ in range(16)))
        assert self.waiting() == count

    async def hold(self, count: int) -> None:
        """So many different calls wait on their connections."""
        for number in range(count):
            reader, writer = await self.open()
            writer.write(self.big(number))
            self.held.append((asyncio.ensure_future(reader.read(1)), writer))
            if number % 16 == 15:
                await self._until(number - 31)
        await self._until(count)

    async def _until(self, count: int) -> None:
        while self.waiting() < count:  # noqa: ASYNC110  # that is in another process
            await asyncio.sleep(0.02)

    def must_wait(self) -> None:
        """Each client that was to be held still is."""
        assert not any(came.done() for came, _ in self.held), "a client was answered"

    def leave(self) -> None:
        for came, writer in self.held:
            came.cancel()
            writer.close()

    def waiting(self) -> int:
        registry = Registry.open(DataDirectory(self.live.data))
        try:
            with registry.read() as session:
                query = "SELECT count(*) FROM approval_request WHERE state = 'waiting'"
                return int(session.connection().exec_driver_sql(query).scalar_one())
        finally:
            registry.close()

    async def round(self, seconds: float, clients: int) -> None:
        """Ordinary calls for so long, from so many clients, each of which sends its next one after the answer."""
        raw = request(self.live.key, "gpt-4o")
        latencies: list[float] = []
        connections = [await self.open() for _ in range(clients)]
        before, begin = _processor(self.worker), time.perf_counter()

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while (sent := time.perf_counter()) < begin + seconds:
                writer.write(raw)
                reply = await read_reply(reader)
                assert reply.status == 200, reply
                latencies.append(time.perf_counter() - sent)
            writer.close()

        await asyncio.gather(*(client(*each) for each in connections))
        self.rates.append(len(latencies) / (time.perf_counter() - begin))
        self.processor.append((_processor(self.worker) - before) / len(latencies))
        self.latencies += latencies

    def figures(self) -> dict[str, float]:
        cuts = statistics.quantiles(self.latencies, n=100)
        return {
            "p50 in ms": cuts[49] * 1000,
            "p99 in ms": cuts[98] * 1000,
            "calls a second": statistics.median(self.rates),
            "worker's processor time a call in ms": statistics.median(self.processor) * 1000,
        }

    def close(self) -> None:
        self.live.close()


def _processor(process: int) -> float:
    """Seconds of processor time that a process has taken."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


async def measure(options: argparse.Namespace, directory: Path) -> int:
    gateways: list[Gateway] = []
    try:
        for name, hold, count in (("nothing", 0, 0), ("rows", 0, options.rows), ("held", 3600, options.held)):
            gateways.append(await asyncio.to_thread(Gateway, directory / name, hold, count))
        nothing, rows, held = gateways
        for each in gateways:
            await each.round(options.seconds, options.clients)
            each.latencies, each.rates, each.processor = [], [], []  # the first round warms up
        begin = time.perf_counter()
        await rows.ask(options.rows)
        print(f"{options.rows} requests were made in {time.perf_counter() - begin:.0f} s", flush=True)
        before = take(held.worker, 0).private
        await held.hold(options.held)
        await asyncio.sleep(2)
        memory = (take(held.worker, 0).private - before) / options.held
        for number in range(options.rounds):
            for each in gateways if number % 2 else reversed(gateways):
                await each.round(options.seconds, options.clients)
        assert rows.waiting() == options.rows
        assert held.waiting() == options.held
        held.must_wait()
        return _report(nothing, rows, held, memory, options)
    finally:
        for each in gateways:
            each.leave()
            with suppress(OSError):
                await asyncio.to_thread(each.close)


def _report(nothing: Gateway, rows: Gateway, held: Gateway, memory: float, options: argparse.Namespace) -> int:
    usual = nothing.figures()
    names = ("nothing waits", f"{options.rows} rows", f"{options.held} held")
    print(f"{'':40}" + "".join(f"{each:>22}" for each in names))
    for figure, value in usual.items():
        others = [each.figures()[figure] for each in (rows, held)]
        print(f"{figure:40}{value:>22.2f}" + "".join(f"{each:>13.2f} ({each / value:.2f}x)" for each in others))
    print(f"memory of the worker for each call that it holds: {memory / 1000:.1f} kB")
    found = [
        statistics.median(one / other for one, other in zip(each.processor, nothing.processor, strict=True))
        for each in (rows, held)
    ]
    print(f"processor time, round by round: rows {found[0]:.2f}x, held {found[1]:.2f}x")
    return int(found[0] > options.most or memory > options.most_memory)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gateway.approvals.waiting", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--held", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=4, help="of each round")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--most", type=float, default=1.1, help="processor time a call beside rows, as a ratio")
    parser.add_argument("--most-memory", type=float, default=20_000, help="bytes for each call that is held")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="waiting-") as directory:
        return asyncio.run(measure(options, Path(directory)))


if __name__ == "__main__":
    sys.exit(main())
