"""All requests of an agent, an organization, an upstream, a bundle or everybody are refused: somebody is told."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import closing
from pathlib import Path

import pytest

from gateway.dataplane import outages
from gateway.dataplane.outages import Herald, Outages
from gateway.runtime import streaks
from gateway.runtime.store import RuntimeStore
from gateway.runtime.streaks import Scope, Streak
from gateway.storage.file_lock import FileLock
from tests.gateway.dataplane.conftest import COMPLETION, Gateway, answer, chat

LIVE = {"boot_test", "boot_other"}
SECOND = 1_000_000_000


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute is no time: what is told of, and by what it ends, does not depend on it."""
    monkeypatch.setattr(outages, "SECONDS", 0)
    monkeypatch.setattr(outages, "WRITTEN_SECONDS", 0)


async def told(gateway: Gateway) -> dict[str, tuple[str, ...]]:
    """Agents of whom everything is refused, and why."""
    assert gateway.plane._outages is not None
    await gateway.plane._outages.flush()
    found = outages.read(gateway.data.runtime_db, LIVE, time.time_ns())
    return {each.scope.kind: each.codes for each in found}


async def test_refusals_of_everything_are_told_of_until_something_succeeds(gateway: Gateway) -> None:
    assert await told(gateway) == {}
    for _ in range(outages.LEAST):
        assert await told(gateway) == {}
        await gateway.chat("gpt-secret")
    kinds = ("gateway", "organization", "upstream", "bundle", "agent")
    assert await told(gateway) == dict.fromkeys(kinds, ("policy_denied",))
    [first, *_] = outages.read(gateway.data.runtime_db, LIVE, time.time_ns())
    assert (first.is_wanted, first.is_fault) == (True, False), "the clients may want what they must not have"
    assert await gateway.plane._outages.works()  # type: ignore[union-attr]
    assert (await gateway.chat()).status == 200
    assert await told(gateway) == {}


async def test_a_success_before_refusals_ends_nothing(gateway: Gateway) -> None:
    assert (await gateway.chat()).status == 200
    for _ in range(outages.LEAST):
        await gateway.chat("gpt-secret")
    assert (await told(gateway))["agent"] == ("policy_denied",)


async def test_an_upstream_that_fails_is_told_of_apart_from_its_agents_other_calls(gateway: Gateway) -> None:
    gateway.add_upstream("second", "openai", "/v1", secret="x")
    gateway.upstream.handler = answer({"error": {}}, 401)
    for _ in range(outages.LEAST):
        assert (await gateway.chat()).status == 502
    gateway.upstream.handler = answer(COMPLETION)
    reply = await gateway.send(gateway.request(chat(), path="/second/v1/chat/completions"))
    assert reply.status == 200, reply.body
    assert await told(gateway) == {"upstream": ("upstream_unavailable",)}


async def test_a_gateway_that_cannot_record_is_not_ready(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    plane, herald = gateway.plane._outages, Herald(gateway.data.runtime_db)
    assert plane is not None
    gateway.writer._log._lock_seconds = 0.01
    with closing(FileLock(gateway.data.audit_lock)) as lock:
        assert lock.acquire(60)
        for _ in range(outages.LEAST):
            assert (await gateway.chat()).code == "audit_unavailable"
    assert not await plane.works()
    assert (await told(gateway))["gateway"] == ("audit_unavailable",)
    for _ in range(3):
        herald.look(LIVE, time.time_ns())
    assert (await gateway.chat()).status == 200
    assert await plane.works()
    await plane.flush()
    herald.look(LIVE, time.time_ns())
    said = [each for each in caplog.records if "every request " in each.getMessage()]
    begun = [each.getMessage() for each in said if each.levelno == logging.ERROR]
    assert sum("every request has been refused" in each for each in begun) == 1
    assert sum("every request of agent `bot` has been refused" in each for each in begun) == 1
    assert len(said) == 2 * len(begun), "each is told of once, and that it is over"


async def test_unknown_clients_take_no_gateway_away(gateway: Gateway) -> None:
    for _ in range(20):
        await gateway.chat("gpt-4o", "Authorization: Bearer aig_sk_unknown")
    assert await told(gateway) == {}
    assert await gateway.plane._outages.works()  # type: ignore[union-attr]


async def test_a_success_at_another_worker_ends_it(gateway: Gateway) -> None:
    for _ in range(outages.LEAST):
        await gateway.chat("gpt-secret")
    assert "agent" in await told(gateway)
    other = Outages(RuntimeStore(gateway.data.runtime_db), "boot_other")
    [agent] = [each for each in gateway.plane._outages._streaks if each.kind == "agent"]  # type: ignore[union-attr]
    other._streaks[agent] = Streak()
    other._streaks[agent].note("", time.time_ns())
    other._streaks[Scope("agent", "agt_idle", "idle")] = Streak(success_ns=1)
    await other.flush()
    assert "agent" not in await told(gateway)
    [known] = [each for scope, each in streaks.read(gateway.data.runtime_db).items() if scope == agent]
    assert set(known) == {"boot_other"}, "the other one begins anew"
    await gateway.chat("gpt-secret")
    assert "agent" not in await told(gateway), "one refusal is none"
    for _ in range(outages.LEAST):
        await gateway.chat("gpt-secret")
    assert "agent" in await told(gateway)
    streaks.forget_old(gateway.plane._outages._store, {"boot_other"})
    assert "boot_test" not in str(streaks.read(gateway.data.runtime_db))


NOW = 10_000 * SECOND


def streak(first: float, last: float, refusals: int = outages.LEAST, code: str = "audit_unavailable") -> Streak:
    """Refusals whose first and last are so many seconds ago."""
    return Streak(NOW - int(first * SECOND), NOW - int(last * SECOND), 0, refusals, {code})


@pytest.mark.parametrize(
    ("streaks", "is_one"),
    [
        ([streak(61, 1)], True),
        ([streak(59, 1)], False),  # not a minute
        ([streak(61, 1, outages.LEAST - 1)], False),  # too few
        ([streak(900, 299)], True),
        ([streak(900, 301)], False),  # too long ago to know
        ([streak(61, 30, 1), streak(40, 0, 2)], True),  # two workers together
    ],
)
def test_an_outage_is_a_minute_of_some_refusals(
    streaks: list[Streak], is_one: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # here the minute is one
    assert (outages._outage(Scope("gateway"), streaks, NOW) is not None) is is_one


def test_a_worker_is_ready_again_after_a_while_so_that_requests_come(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ready(one: Streak) -> bool:
        worker = Outages(Path("/nonexistent"), "boot_test")
        worker._streaks[Scope("gateway")] = one
        return await worker.works()

    monkeypatch.setattr(time, "time_ns", lambda: NOW)
    assert not asyncio.run(ready(streak(100, 59)))
    assert asyncio.run(ready(streak(100, 61)))
    assert asyncio.run(ready(streak(100, 59, code="policy_denied"))), "that may be as somebody wants it"


def test_a_fault_of_the_gateway_counts_also_where_nobody_is_known() -> None:
    """If the registry cannot be read, nobody can be authenticated."""
    assert list(outages._scopes(None, None, None, "registry_unavailable")) == [Scope("gateway")]
    assert list(outages._scopes(None, None, None, "bad_credentials")) == []
