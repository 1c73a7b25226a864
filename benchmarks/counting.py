"""The cost of counting: requests per second of the audit log's writer with balances and without them, in one run.

    python benchmarks/counting.py [--rounds 5] [--requests 2000]

A request is what the data plane records: a `decided` and a `completed`, each durable before the next step. With
counting it reserves in three scopes (agent, team, organization), is compared with two limits, and is settled. N clients
wait for the log at a time; every client has an agent of its own. Rounds of both kinds are interleaved and medians are
shown, so that other work on the machine hits both alike. `cpu` is the processor time of the process for one request.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from gateway.audit import storage
from gateway.audit.intents import Completed, Decided
from gateway.audit.writer import AuditWriter
from gateway.data_directory import DataDirectory
from gateway.identifiers import new_id
from gateway.usage.limits import Applied
from gateway.usage.reservation import CallReservation

CLIENTS = (1, 16, 64)
FIELDS = {
    "agent_name": "support-bot",
    "agent_version": 3,
    "team": "support",
    "environment": "prod",
    "action": "chat.completions",
    "upstream": "openai",
    "provider": "openai",
    "model": "gpt-4o-mini",
    "method": "POST",
    "path": "/v1/chat/completions",
    "stream": False,
    "activation": "act_1",
    "engine": "1",
    "bundles_json": '[{"name":"support","digest":"%s","effect":"grant"}]' % ("d" * 64),
    "now_ns": "1",
    "seed": None,
    "nondeterministic_json": "{}",
    "recomputable": True,
    "request_bytes": 200,
    "detail": "",
}
PRIVATE = b'{"agent":{"id":"agt_1"},"action":"chat.completions","resource":{},"request":{},"usage":{},"time":{}}' * 6


def reservation(client: int) -> CallReservation:
    scopes = (f"agent:agt_{client}", "team:support", "organization:default")
    limits = (
        Applied("tokens_per_day", scopes[1], "tokens_day", 10**12, "team:support", id="lim_1"),
        Applied("spend_microusd_per_month", scopes[2], "spend_nanousd_month", 10**15, "org:default", id="lim_2"),
    )
    return CallReservation(organization="default", scopes=scopes, limits=limits, tokens=500, spend_nanousd=150_000)


async def client(writer: AuditWriter, number: int, requests: int, *, counting: bool) -> None:
    for _ in range(requests):
        decided = Decided(
            organization="default",
            event_id=new_id("dec_"),
            agent=f"agt_{number}",
            key="key_1",
            allow=True,
            reason="allowed",
            open=True,
            fields=FIELDS,
            private=PRIVATE,
            reservation=reservation(number) if counting else None,
        )
        assert (await writer.write(decided)).entry["allow"]
        await writer.write(
            Completed(
                organization="default",
                decision_id=decided.event_id,
                agent=decided.agent,
                outcome="ok",
                status=200,
                input_tokens=9,
                output_tokens=1,
                settled=(1, 10, 3000),
                fields={"response_bytes": 400, "duration_us": 1000, "cost_nanousd": 3000},
            )
        )


async def measure(writer: AuditWriter, clients: int, requests: int, *, counting: bool) -> tuple[float, float]:
    """Requests per second, and microseconds of processor time for one."""
    each = max(1, requests // clients)
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(client(writer, number, each, counting=counting) for number in range(clients)))
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return each * clients / seconds, cpu / (each * clients) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=2000)
    options = parser.parse_args()
    print(f"{'clients':>7} {'req/s':>9} {'counting':>9} {'ratio':>6} {'cpu µs':>7} {'counting':>9} {'more µs':>8}")
    for clients in CLIENTS:
        found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
        for _ in range(options.rounds):
            for counting in (False, True):
                with tempfile.TemporaryDirectory() as directory:
                    data = DataDirectory(Path(directory) / "data")
                    data.create()
                    storage.create(data)
                    writer = AuditWriter(data, boot="boot_1", deployment="bench")
                    try:
                        found[counting].append(
                            asyncio.run(measure(writer, clients, options.requests, counting=counting))
                        )
                    finally:
                        writer.close()
        (rate, cpu), (counted, more) = (
            (statistics.median(rates), statistics.median(cpus))
            for rates, cpus in (zip(*found[kind], strict=True) for kind in (False, True))
        )
        rates = f"{clients:>7} {rate:>9.0f} {counted:>9.0f} {counted / rate:>6.2f}"
        print(f"{rates} {cpu:>7.0f} {more:>9.0f} {more - cpu:>8.0f}", flush=True)


if __name__ == "__main__":
    main()
