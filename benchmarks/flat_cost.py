"""Compares the cost of a request with many agents, with a long log and with two workers.

    python -m benchmarks.flat_cost [--agents 100000] [--entries 1000000] [--rounds 9] [--seconds 0.7]

Gateways that differ in one thing serve the same calls one after the other, in rounds, each round in another order: 10
agents and many, an empty log and a long one, one worker and two on the same log. The figure is processor time of all
workers for one request, and the ratio is the median of the rounds' ratios. A second gateway with 10 agents is the
control: what its ratio differs from 1 is the noise. Agents are asked in three ways: the same ten again and again; a
thousand of them in turn, whose principals a worker remembers; and all of them at random, each for the first time, whose
principals and balances it must read. Agents are inserted in bulk, entries through the log's own transactions.

Two workers are compared at the same number of connections in all, 16 and 64, and at 16 for each; on one core, and with
a core for each, of which the second one has the clients and the provider, too. Those that share 16 have eight each, so
each has less to do in a turn of its loop and in a commit. A bare pass-through (`data_plane.py`) with one process and
two shows how much of their cost comes from that, and from two processes on one core.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import uvloop

from benchmarks import data_plane
from benchmarks.principals import fill
from gateway.audit import storage
from gateway.audit.draft import draft
from gateway.audit.intents import Completed, Decided
from gateway.audit.transaction import Transaction
from gateway.data_directory import DataDirectory
from gateway.http import sockets
from gateway.identifiers import new_id
from gateway.identity.credentials import Peppers
from gateway.processes.children import flags
from gateway.registry.database import Registry
from gateway.settings import Settings

CLIENTS, MANY = 16, 64
GROUP = 5_000
TWO = "two workers"
BARE = "bare pass-through"


class Served:
    """Processes that answer chat completions, each on a port of its own."""

    def __init__(self) -> None:
        self.workers: list[int] = []
        self.ports: list[int] = []

    def place(self, cores: Sequence[int]) -> None:
        """Put each process on one of these cores, with all of its threads."""
        for number, worker in enumerate(self.workers):
            for thread in os.listdir(f"/proc/{worker}/task"):
                os.sched_setaffinity(int(thread), {cores[number % len(cores)]})

    def cost_of(self, requests: Iterator[bytes], seconds: float, clients: int = CLIENTS) -> float:
        """Milliseconds of processor time for one request. Every client sends the next of these."""
        return self.measured(requests, seconds, clients)[0]

    def measured(self, requests: Iterator[bytes], seconds: float, clients: int = CLIENTS) -> tuple[float, float]:
        """The same, and how many requests were answered in a second."""
        before, began = sum(map(data_plane.cpu_seconds, self.workers)), time.monotonic()
        done = uvloop.run(self._load(requests, seconds, clients))
        cost = (sum(map(data_plane.cpu_seconds, self.workers)) - before) / done * 1000
        return cost, done / (time.monotonic() - began)

    async def _load(self, requests: Iterator[bytes], seconds: float, clients: int = CLIENTS) -> int:
        latencies: list[float] = []
        failures: list[bytes] = []
        loop = asyncio.get_running_loop()

        class Caller(data_plane.Client):
            """Sends another request each time."""

            def _next(self) -> None:
                self._request = next(requests)
                super()._next()

        made = [
            await loop.create_connection(
                lambda: Caller(b"", latencies, failures), "127.0.0.1", self.ports[number % len(self.ports)]
            )
            for number in range(clients)
        ]
        await asyncio.sleep(seconds)
        for _, caller in made:
            caller.running = False
        await asyncio.wait([caller.ended for _, caller in made], timeout=10)
        for transport, _ in made:
            transport.close()
        if failures:
            raise SystemExit(f"{len(failures)} requests failed, the first with {failures[0][:300]!r}")
        return len(latencies)


class Bare(Served):
    """A pass-through that does nothing else."""

    def start(self, stack: ExitStack, core: int, provider: int, ports: list[int]) -> None:
        for port in ports:
            here = str(data_plane.ROOT / "benchmarks" / "data_plane.py"), "--ports", str(provider), str(port), "0"
            child = data_plane.process(core, *here, "--serve", "through", ready=data_plane.wait_for(port))
            self.workers.append(stack.enter_context(child))
            self.ports.append(port)


class Side(Served):
    """A gateway, the keys of its agents, and its workers."""

    def __init__(self, name: str, directory: Path, provider: int, port: int) -> None:
        super().__init__()
        self.name, self.port = name, port
        self.data = DataDirectory(directory)
        self.keys = [data_plane.prepare(directory, provider)]

    def add_agents(self, count: int) -> None:
        registry = Registry.open(self.data)
        keys = fill(registry, Peppers.load(self.data.keys), count, bundle="bench")
        registry.close()
        self.keys += [key.decode() for key in keys]

    def add_entries(self, count: int) -> None:
        """Decisions and their closings, `GROUP` entries in a transaction."""
        db = storage.connect(self.data.audit_db)
        db.execute("PRAGMA synchronous = OFF")
        for done in range(0, count, GROUP):
            db.execute("BEGIN IMMEDIATE")
            transaction = Transaction(db, "bench", time.time_ns)
            for _ in range(min(GROUP, count - done) // 2):
                decided = _decided()
                transaction.record(draft(decided, "boot_fill"))
                closing = Completed(
                    organization="default", decision_id=decided.event_id, agent=decided.agent, outcome="ok"
                )
                transaction.record(draft(closing, "boot_fill"))
            transaction.finish()
            db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()

    def start(
        self,
        stack: ExitStack,
        core: int,
        workers: int = 1,
        program: tuple[str, ...] = ("-m", "gateway.processes.app"),
    ) -> None:
        for number in range(workers):
            port = self.port + number
            settings = flags(Settings(data=self.data, port=port))
            opened = stack.enter_context(sockets.bind("127.0.0.1", port, shared=True))
            child = data_plane.process(
                core,
                *(*program, "data", f"boot_bench{number}", str(opened.fileno())),
                first_line=json.dumps(settings).encode() + b"\n",
                ready=data_plane.wait_for(port),
                pass_fds=(opened.fileno(),),
            )
            self.workers.append(stack.enter_context(child))
            self.ports.append(port)


def requests_of(keys: list[str]) -> Iterator[bytes]:
    """The requests of these keys in turn. A round goes on where the last one ended."""
    return itertools.cycle([data_plane.chat_request(key, data_plane.BODY) for key in keys])


def _decided() -> Decided:
    """A decision as the data plane records it, but for texts that do not matter here."""
    return Decided(
        organization="default",
        event_id=new_id("dec"),
        agent=new_id("agt"),
        key=new_id("key"),
        allow=True,
        reason="allowed",
        open=True,
        fields={"model": "gpt-4o-mini", "bundles_json": "x" * 200},
        private=b'{"agent":{}}' * 40,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=100_000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.7)
    parser.add_argument("--port", type=int, default=18340, help="the first of ten free ports")
    parser.add_argument("--realtime", type=int, default=0, help="measure with this real-time priority")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    provider: int = options.port
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        few, control, agents, log, two = (
            Side(name, Path(temporary, name), provider, provider + 1 + number)
            for number, name in enumerate(("few", "control", "agents", "log", "two"))
        )
        few.add_agents(9)
        control.add_agents(9)
        two.add_agents(9)
        agents.add_agents(options.agents)
        log.add_entries(options.entries)
        print(f"prepared {options.agents:,} agents and {options.entries:,} entries", flush=True)
        os.sched_setaffinity(0, {cores[-1]})
        if options.realtime:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(options.realtime))
        here = str(data_plane.ROOT / "benchmarks" / "data_plane.py"), "--ports", str(provider), "0", "0"
        child = data_plane.process(cores[-1], *here, "--serve", "provider", ready=data_plane.wait_for(provider))
        stack.enter_context(child)
        for side, workers in ((few, 1), (control, 1), (agents, 1), (log, 1), (two, 2)):
            side.start(stack, cores[0], workers)
        bare, bares = Bare(), Bare()
        bare.start(stack, cores[0], provider, [provider + 7])
        bares.start(stack, cores[0], provider, [provider + 8, provider + 9])
        everyone = random.Random(1).sample(agents.keys, len(agents.keys))
        one = "10 agents, an empty log, one worker"
        some = f"{options.agents:,} agents"
        of_two, of_few = requests_of(two.keys), requests_of(few.keys)
        at_many = f"one worker, {MANY} connections"
        # The pairs that are compared.
        apart = f"{TWO}, a core each"
        cases: dict[str, tuple[Served, Iterator[bytes], int, str]] = {
            one: (few, of_few, CLIENTS, one),
            "the same once more": (control, requests_of(control.keys), CLIENTS, one),
            f"{some}, ten of them call": (agents, requests_of(agents.keys[:10]), CLIENTS, one),
            f"{some}, a thousand of them call": (agents, requests_of(everyone[:1000]), CLIENTS, one),
            f"{some}, all of them call": (agents, requests_of(everyone[1000:] or everyone), CLIENTS, one),
            f"{options.entries:,} entries in the log": (log, requests_of(log.keys), CLIENTS, one),
            TWO: (two, of_two, CLIENTS, one),
            f"{TWO}, {CLIENTS} connections each": (two, of_two, 2 * CLIENTS, one),
            at_many: (few, of_few, MANY, at_many),
            f"{TWO}, {MANY} connections": (two, of_two, MANY, at_many),
            apart: (two, of_two, CLIENTS, one),
            f"{apart}, {MANY} connections": (two, of_two, MANY, at_many),
            BARE: (bare, of_few, CLIENTS, BARE),
            f"{BARE}, two processes": (bares, of_few, CLIENTS, BARE),
            f"{BARE}, two processes, {CLIENTS} connections each": (bares, of_few, 2 * CLIENTS, BARE),
        }
        costs: dict[str, list[float]] = {title: [] for title in cases}
        for round_number in range(options.rounds + 1):
            for title in random.sample(list(cases), len(cases)):
                served, requests, clients, _ = cases[title]
                served.place(cores if title.startswith(apart) else cores[:1])
                # The first round warms up.
                cost = served.cost_of(requests, options.seconds if round_number else 0.5, clients)
                if round_number:
                    costs[title].append(cost)
    for title, found in costs.items():
        ratio = statistics.median(each / base for each, base in zip(found, costs[cases[title][3]], strict=True))
        print(f"{title:56}{statistics.median(found):8.3f} ms{ratio:8.2f}   (least {min(found):.3f} ms)")


if __name__ == "__main__":
    main()
