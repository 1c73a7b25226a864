"""Rotation of many agents' keys while all of them send requests: no request may fail.

`python -m tests.gateway.dataplane.rotation --agents 100` prints the figures. Each agent sends one request after the
other. In the middle of it all keys are rotated by one command, each agent changes over to its new key when it reads it,
and the old keys are revoked when the last agent has.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import orjson

from gateway.data_directory import DataDirectory
from gateway.identity.credentials import Peppers
from gateway.registry.agents.registration import register_agent
from gateway.registry.database import Registry
from gateway.registry.keys.changes import create_key, revoke_key
from gateway.registry.policies.bindings import bind
from tests.gateway.conftest import ACTOR, ORG
from tests.gateway.dataplane.processes import Live

BUNDLE = "starter"  # which `gateway init` binds to its first agent

_BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
_PAUSE = 0.02


@dataclass
class Load:
    """The agents with the keys that they use now, and the status codes that they were answered with."""

    keys: dict[str, str]
    statuses: Counter[int] = field(default_factory=Counter)
    # Requests of each agent with the key that it uses now.
    answered: Counter[str] = field(default_factory=Counter)


def register(live: Live, agents: int) -> dict[str, str]:
    """Register agents of a team; returns their keys by their names."""
    found = {}
    data = DataDirectory(live.data)
    registry, peppers = Registry.open(data), Peppers.load(data.keys)
    for number in range(agents):
        name = f"agent-{number}"
        register_agent(registry, actor=ACTOR, organization=ORG, name=name, team="many")
        found[name] = create_key(registry, peppers, actor=ACTOR, organization=ORG, agent=name).text
    bind(registry, actor=ACTOR, organization=ORG, kind="team", subject="many", bundle=BUNDLE)
    registry.close()
    return found


async def rotate_under_load(live: Live, keys: dict[str, str], before: int = 5, after: int = 5) -> Load:
    """The load of all agents with these keys, of so many requests each before and after the rotation."""
    load = Load(dict(keys))
    stop = asyncio.Event()
    async with httpx.AsyncClient(base_url=live.base_url, timeout=300) as client:
        sending = [asyncio.create_task(_send(client, load, name, stop)) for name in keys]
        await _every(load, sending, before)
        out = live.directory / f"rotated-{time.monotonic_ns()}.csv"
        await asyncio.to_thread(live.run, "keys", "rotate", "--team", "many", "--overlap", "10m", "--out", str(out))
        await _every(load, sending, before + after)  # with the old keys, which are retiring
        rows = list(csv.DictReader(out.read_text("utf-8").splitlines()))
        for row in rows:
            load.keys[row["agent"]] = row["key"]
        load.answered.clear()
        await _every(load, sending, 2)  # the first may have been under way with the old key
        await asyncio.to_thread(_revoke, live, [row["replaces"] for row in rows])
        load.answered.clear()
        await _every(load, sending, after)
        stop.set()
        await asyncio.gather(*sending)
        for name, old in keys.items():
            refused = await client.post("/chat/completions", json=_BODY, headers={"Authorization": f"Bearer {old}"})
            assert refused.status_code == 401, name
    return load


def _revoke(live: Live, keys: list[str]) -> None:
    registry = Registry.open(DataDirectory(live.data))
    for key in keys:
        revoke_key(registry, actor=ACTOR, organization=ORG, key=key)
    registry.close()


async def _send(client: httpx.AsyncClient, load: Load, name: str, stop: asyncio.Event) -> None:
    while not stop.is_set():
        key = load.keys[name]
        answer = await client.post("/chat/completions", json=_BODY, headers={"Authorization": f"Bearer {key}"})
        load.statuses[answer.status_code] += 1
        if load.keys[name] == key:
            load.answered[name] += 1
        await asyncio.sleep(_PAUSE)


async def _every(load: Load, sending: list[asyncio.Task[None]], times: int) -> None:
    """Wait until every agent was answered so often. Raises what an agent's task has ended with."""
    while any(load.answered[name] < times for name in load.keys):
        for task in sending:
            if task.done():
                task.result()
        await asyncio.sleep(0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=100)
    agents = parser.parse_args().agents
    with tempfile.TemporaryDirectory() as directory:
        live = Live(Path(directory))
        try:
            live.start("--workers", "2")
            keys = register(live, agents)
            began = time.monotonic()
            load = asyncio.run(rotate_under_load(live, keys))
            seconds = time.monotonic() - began
        finally:
            live.close()
    failed = sum(count for status, count in load.statuses.items() if status != 200)
    figures = {"agents": agents, "requests": load.statuses.total(), "failed": failed, "seconds": round(seconds, 1)}
    print(orjson.dumps(figures).decode())


if __name__ == "__main__":
    main()
