"""Revoked means revoked for the next request, in every process, however it was revoked.

Specification: architecture.md, section 9.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from gateway.audit import storage
from gateway.registry.keys.changes import revoke_key
from gateway.registry.policies.bindings import bind, unbind
from tests.gateway.conftest import ACTOR, ORG, Home, Run, environment

# A data worker, reduced to the step in question: a line with a key comes in, what became of it goes out.
WORKER = """
import asyncio, sys
from pathlib import Path
from gateway.errors import Denied
from gateway.identity.api_keys import ApiKeys
from gateway.identity.authentication import presented
from gateway.identity.credentials import Peppers
from gateway.identity.principals import Principals
from gateway.registry.reader import RegistryReader

data = Path(sys.argv[1])
reader = RegistryReader(data / "registry.db")
principals = Principals([ApiKeys(reader, Peppers.load(data / "keys"))])

async def authenticate(credential):
    return await principals.get(credential, (await reader.epochs()).authority)

for line in sys.stdin:
    try:
        found = asyncio.run(authenticate(presented([(b"x-api-key", line.strip().encode())])))
        print(found.name, *(binding.bundle for binding in found.bindings), flush=True)
    except Denied as denied:
        print(denied.code, denied.detail, flush=True)
"""


class Worker:
    def __init__(self, home: Home) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(home.data.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    def ask(self, key: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(key + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def stop(self) -> None:
        self.process.communicate(timeout=240)


@pytest.fixture
def workers(home: Home) -> Iterator[list[Worker]]:
    made = [Worker(home) for _ in range(2)]
    yield made
    for worker in made:
        worker.stop()


def test_a_revocation_by_another_process_is_seen_at_once(home: Home, workers: list[Worker], run: Run) -> None:
    storage.create(home.data)
    home.agent("dead")
    home.agent("alive")
    dead, alive = home.key("dead"), home.key("alive")
    for worker in workers:
        for _ in range(3):  # from the cache, from the second time on
            assert (worker.ask(dead), worker.ask(alive)) == ("dead", "alive")
    assert run("agents", "revoke", "dead", "--data", str(home.data.path)).code == 0
    for worker in workers:
        assert (worker.ask(dead), worker.ask(alive)) == ("bad_credentials revoked", "alive")


def test_every_change_is_seen_by_the_next_request(home: Home, workers: list[Worker]) -> None:
    """Fifty changes back and forth; after each one, both workers must know."""
    home.agent()
    key = home.key()
    home.activate("support")
    for _ in range(25):
        bind(home.registry, actor=ACTOR, organization=ORG, kind="agent", subject="bot", bundle="support")
        assert [worker.ask(key) for worker in workers] == ["bot support"] * 2
        unbind(home.registry, actor=ACTOR, organization=ORG, kind="agent", subject="bot", bundle="support")
        assert [worker.ask(key) for worker in workers] == ["bot"] * 2
    revoke_key(home.registry, actor=ACTOR, organization=ORG, key=key[:19])
    assert [worker.ask(key) for worker in workers] == ["bad_credentials revoked"] * 2
    # A new key of the same agent is known at once, too.
    assert workers[1].ask(home.key()) == "bot"
