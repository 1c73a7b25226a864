"""The cost of knowing who is asking, for a data worker, with few agents and with many.

    python benchmarks/principals.py [AGENTS]

Claims that rest on this: the epoch is read in 3 to 4 µs and a cached principal found in under 10, however many agents
there are; one that is not cached costs tens of µs also among 20,000 (architecture.md, section 9). Times are the
medians of interleaved rounds, in one run.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from sqlalchemy import insert

from gateway.data_directory import DataDirectory
from gateway.identifiers import new_id
from gateway.identity.api_keys import ApiKeys
from gateway.identity.authentication import presented
from gateway.identity.credentials import Peppers, digest, generate
from gateway.identity.principals import Principals
from gateway.registry.database import Registry
from gateway.registry.models import Agent, ApiKey, Binding
from gateway.registry.organizations.changes import create_organization
from gateway.registry.queries import find_organization
from gateway.registry.reader import RegistryReader

ROUNDS, CALLS = 15, 2000
ORG = "default"

T = TypeVar("T")


class Side:
    """A gateway with this many agents, each with a key and a binding, and what is measured on it."""

    def __init__(self, directory: Path, agents: int) -> None:
        self.agents = agents
        data = DataDirectory(directory)
        data.create()
        peppers = Peppers.create(data.keys)
        registry = Registry.create(data, "benchmark")
        create_organization(registry, actor="local:0", name=ORG)
        self.keys = fill(registry, peppers, agents)
        registry.close()
        self.reader = RegistryReader(data.registry_db)
        self.principals = Principals([ApiKeys(self.reader, peppers)])
        self.cold = Principals([ApiKeys(self.reader, peppers)], capacity=0)
        self.turn = 0

    def epoch(self) -> None:
        self._at_once(self.reader.epochs())

    def cached(self) -> None:
        self._authenticate(self.keys[0], self.principals)

    def uncached(self) -> None:
        self.turn = (self.turn + 7919) % len(self.keys)  # another agent each time, all over the table
        self._authenticate(self.keys[self.turn], self.cold)

    def _authenticate(self, key: bytes, principals: Principals) -> None:
        credential = presented([(b"authorization", b"Bearer " + key)])
        epochs = self._at_once(self.reader.epochs())
        self._at_once(principals.get(credential, epochs.authority))

    @staticmethod
    def _at_once(asked: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine that does not wait, as an event loop would."""
        try:
            asked.send(None)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # what the coroutine returns
        raise AssertionError("SQLite answers at once")


def fill(registry: Registry, peppers: Peppers, count: int, bundle: str = "support") -> list[bytes]:
    """Insert agents in bulk, each with a key and a binding to `bundle`; returns their keys."""
    keys = [generate("agent") for _ in range(count)]
    with registry.write() as session:
        organization = find_organization(session, ORG).id
        ids = [new_id("agt") for _ in range(count)]
        session.execute(
            insert(Agent),
            [
                {
                    "id": each, "organization_id": organization, "name": f"agent-{number}", "version": 1, "owner": "",
                    "team": "", "environment": "dev", "capabilities": [], "labels": {}, "status": "active",
                    "created_ns": 0, "updated_ns": 0,
                }
                for number, each in enumerate(ids)
            ],
        )  # fmt: skip
        session.execute(
            insert(ApiKey),
            [
                {
                    "id": new_id("key"), "organization_id": organization, "agent_id": each,
                    "credential_id": key.credential.id, "digest": digest(key.credential, peppers.current),
                    "pepper": peppers.newest, "created_ns": 0,
                }
                for each, key in zip(ids, keys, strict=True)
            ],
        )  # fmt: skip
        session.execute(
            insert(Binding),
            [
                {
                    "id": new_id("bnd"), "organization_id": organization, "subject_kind": "agent", "subject": each,
                    "bundle": bundle, "effect": "grant", "created_ns": 0,
                }
                for each in ids
            ],
        )  # fmt: skip
    return [key.text.encode() for key in keys]


def _microseconds(call: Callable[[], None]) -> float:
    begun = time.perf_counter_ns()
    for _ in range(CALLS):
        call()
    return (time.perf_counter_ns() - begun) / CALLS / 1000


def main() -> None:
    many = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory() as directory:
        sides = [Side(Path(directory, "few"), 10), Side(Path(directory, "many"), many)]
        taken: dict[tuple[str, int], list[float]] = {}
        for _ in range(ROUNDS):
            for side in sides:
                for name in ("epoch", "cached", "uncached"):
                    taken.setdefault((name, side.agents), []).append(_microseconds(getattr(side, name)))
    labels = {
        "epoch": "read the epoch",
        "cached": "authenticate, cached",
        "uncached": "authenticate, read from the registry",
    }
    print(f"{'µs per call':38}" + "".join(f"{side.agents:>10} agents" for side in sides))
    for name, label in labels.items():
        print(f"{label:38}" + "".join(f"{median(taken[name, side.agents]):>17.1f}" for side in sides))


if __name__ == "__main__":
    main()
