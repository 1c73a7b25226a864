"""The cost of keeping content for a data worker: the same request of agents whose content is kept and of one whose is
not.

    python -m benchmarks.content_cost [--rounds 5] [--seconds 1.5]

One worker serves the same call of three agents in interleaved rounds: one keeps nothing, one keeps content, one keeps
it with patterns that are redacted. The figure is the worker's processor time for one request, and the ratio is the
median of the rounds' ratios to the first agent. The second table is the same with a request of 64 KiB.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path

import orjson

from benchmarks import data_plane
from benchmarks.flat_cost import Side
from gateway.identity.credentials import Peppers
from gateway.registry.agents.changes import AgentUpdate, update_agent
from gateway.registry.agents.registration import register_agent
from gateway.registry.database import Registry
from gateway.registry.keys.changes import create_key
from gateway.registry.policies.bindings import bind
from gateway.secrets.vault import Vault

PATTERNS = ("[0-9]{13,19}", r"[a-z0-9.]+@[a-z0-9.]+")
CASES = {
    "nothing is kept": None,
    "content is kept": AgentUpdate(keep_content=True, retention_days=30),
    "kept, 2 patterns redacted": AgentUpdate(keep_content=True, retention_days=30, redact=PATTERNS),
}
SIZES = {"a short request": 0, "a request of 64 KiB": 64 * 1024}


def body(size: int) -> bytes:
    """The call of the other benchmarks, with so many more bytes of text."""
    if not size:
        return data_plane.BODY
    document = orjson.loads(data_plane.BODY)
    document["messages"].append({"role": "user", "content": "lorem ipsum " * (size // 12)})
    return orjson.dumps(document)


def add_agents(side: Side) -> None:
    """An agent with a key for each further case, its content kept as the case says."""
    peppers, vault = Peppers.load(side.data.keys), Vault.load(side.data.keys)
    facts = {"actor": "local:0", "organization": "default"}
    with closing(Registry.open(side.data)) as registry:
        for title, update in CASES.items():
            if update is None:
                continue  # that is the agent which every benchmark has
            agent = register_agent(registry, name=title.replace(" ", "-").replace(",", ""), **facts).id
            bind(registry, kind="agent", subject=agent, bundle="bench", **facts)
            update_agent(registry, agent=agent, update=update, vault=vault, **facts)
            side.keys.append(create_key(registry, peppers, agent=agent, **facts).text)


def measure(side: Side, size: int, options: argparse.Namespace) -> dict[str, list[float]]:
    """Milliseconds for one request of each case, round by round."""
    costs: dict[str, list[float]] = {title: [] for title in CASES}
    for round_number in range(options.rounds + 1):
        for found, key in zip(costs.values(), side.keys, strict=True):
            request = itertools.repeat(data_plane.chat_request(key, body(size)))
            cost = side.cost_of(request, options.seconds if round_number else 0.5)  # the first round warms up
            if round_number:
                found.append(cost)
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--port", type=int, default=18370, help="the first of two free ports")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        side = Side("content", Path(temporary, "data"), options.port, options.port + 1)
        add_agents(side)
        os.sched_setaffinity(0, {cores[-1]})
        here = str(data_plane.ROOT / "benchmarks" / "data_plane.py"), "--ports", str(options.port), "0", "0"
        ready = data_plane.wait_for(options.port)
        stack.enter_context(data_plane.process(cores[-1], *here, "--serve", "provider", ready=ready))
        side.start(stack, cores[0])
        for heading, size in SIZES.items():
            print(f"{heading}:")
            costs = measure(side, size, options)
            first = next(iter(costs.values()))
            for title, found in costs.items():
                ratio = statistics.median(each / base for each, base in zip(found, first, strict=True))
                print(f"  {title:32}{statistics.median(found):8.3f} ms{ratio:8.2f}", flush=True)


if __name__ == "__main__":
    main()
