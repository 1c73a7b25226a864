"""The calls that the watch ends, and the number of times that it asks the registry."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from gateway.dataplane.registry_view import RegistryView
from gateway.dataplane.watch import FAILURES, Watch, Watched
from gateway.identity.api_keys import ApiKeys
from gateway.identity.principals import CredentialRow, Principals
from gateway.registry.agents.changes import revoke_agent, suspend_agent
from gateway.registry.keys.changes import revoke_key
from gateway.registry.reader import RegistryReader
from tests.gateway.conftest import ACTOR, ORG, Home


class Counting(RegistryReader):
    """A registry reader that counts how often a key's row is read."""

    reads = 0

    async def credential(self, credential_id: str) -> CredentialRow | None:
        self.reads += 1
        return await super().credential(credential_id)


class Bench:
    """Calls of agents in a real registry, and the watch over them."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.reader = Counting(home.data.registry_db)
        self.principals = Principals([ApiKeys(self.reader, home.peppers)])
        self.watch = Watch(RegistryView(self.reader, home.vault), self.principals)
        self.ended: list[Watched] = []

    def call(self, key: str) -> Watched:
        """A call that is under way."""

        async def admit() -> Watched:
            epochs = await self.reader.epochs()
            return self.watch.enter(await self.principals.get(self.home.credential(key), epochs.authority))

        watched = asyncio.run(admit())
        watched.end = lambda: self.ended.append(watched)
        return watched

    def look(self) -> int:
        """One look; returns how many rows it has read."""
        before = self.reader.reads
        asyncio.run(self.watch.look())
        return self.reader.reads - before


@pytest.fixture
def bench(home: Home) -> Iterator[Bench]:
    made = Bench(home)
    yield made
    made.reader.close()


def test_a_principal_is_looked_at_once_for_all_its_calls_and_only_after_a_change(home: Home, bench: Bench) -> None:
    home.agent()
    home.agent("other")
    keys = home.key(), home.key(), home.key("other")
    first, second, other = [[bench.call(key) for _ in range(5)] for key in keys]
    assert bench.look() == 0
    home.agent("another")
    assert bench.look() == 3
    assert bench.look() == 0
    # A call that is admitted later brings what it knows.
    later = bench.call(keys[0])
    assert bench.look() == 0
    revoke_key(home.registry, actor=ACTOR, organization=ORG, key=keys[0][:19])
    assert bench.look() == 3
    assert bench.ended == [*first, later]
    assert {call.denied.code for call in bench.ended if call.denied} == {"bad_credentials"}
    assert {call.outcome for call in bench.ended} == {"revoked"}
    suspend_agent(home.registry, actor=ACTOR, organization=ORG, agent="bot")
    # Those that were ended are not looked at again, though they may take a moment to end.
    assert bench.look() == 2
    assert bench.ended == [*first, later, *second]
    assert {call.denied.code for call in second if call.denied} == {"agent_suspended"}
    for call in other:
        bench.watch.leave(call)
    revoke_agent(home.registry, actor=ACTOR, organization=ORG, agent="other")
    assert bench.look() == 0


def test_what_a_request_has_read_is_not_read_again(home: Home, bench: Bench) -> None:
    home.agent()
    key = home.key()
    bench.call(key)
    home.agent("another")
    bench.call(key)
    assert bench.look() == 0


def test_a_call_is_admitted_by_a_state_that_is_old_already(home: Home, bench: Bench) -> None:
    """The look that saw the revocation was before the call began."""
    home.agent()
    key = home.key()
    call = bench.call(key)
    bench.watch.leave(call)
    revoke_key(home.registry, actor=ACTOR, organization=ORG, key=key[:19])
    bench.look()
    late = bench.watch.enter(call.principal)
    bench.look()
    assert late.denied is not None
    assert late.denied.code == "bad_credentials"


def test_an_expiry_ends_no_call(home: Home, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    home.agent()
    call = bench.call(home.key(lifetime_ns=10**12))
    monkeypatch.setattr("gateway.identity.principals.time.time_ns", lambda: 2**62)
    home.agent("another")
    assert bench.look() == 1
    assert call.denied is None
    # But a suspension does, whatever has expired.
    suspend_agent(home.registry, actor=ACTOR, organization=ORG, agent="bot")
    bench.look()
    assert call.denied is not None


def test_all_calls_end_when_the_registry_cannot_be_read(home: Home, bench: Bench) -> None:
    home.agent()
    calls = [bench.call(home.key()) for _ in range(2)]
    moved = home.data.path / "moved.db"
    home.data.registry_db.rename(moved)
    for _ in range(FAILURES - 1):
        bench.look()
    moved.rename(home.data.registry_db)
    bench.look()  # it counts from the beginning again
    home.data.registry_db.rename(moved)
    for _ in range(FAILURES - 1):
        bench.look()
    assert bench.ended == []
    bench.look()
    assert bench.ended == calls
    assert {call.outcome for call in calls} == {"registry_unavailable"}
