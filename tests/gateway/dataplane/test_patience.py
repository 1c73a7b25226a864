"""Whoever is refused without end waits for each refusal, and nobody else does."""

from __future__ import annotations

import asyncio

import pytest

from gateway.dataplane import patience, refusals
from gateway.dataplane.patience import LONGEST, RATES, Patience
from gateway.errors import PrincipalHint
from gateway.pace import Rate
from gateway.shares import address_of
from tests.gateway.dataplane.conftest import Start, until
from tests.rigs.pace import Clock

GREEDY, SIBLING, OTHER = (
    PrincipalHint(organization, agent, "key_1")
    for organization, agent in (("acme", "agt_1"), ("acme", "agt_2"), ("globex", "agt_3"))
)


@pytest.mark.parametrize(("kind", "owner"), [("agent", GREEDY), ("address", None)])
def test_refusals_beyond_the_pace_come_one_after_the_other(kind: str, owner: PrincipalHint | None) -> None:
    clock = Clock()
    found, rate = Patience(clock), RATES[kind]  # type: ignore[index]
    assert [found.pause(owner, "10.0.0.1") for _ in range(int(rate.at_once))] == [0.0] * int(rate.at_once)
    waits = [found.pause(owner, "10.0.0.1") for _ in range(3)]
    assert waits == pytest.approx([each / rate.each_second for each in (1, 2, 3)])
    for _ in range(10_000):
        assert found.pause(owner, "10.0.0.1") <= LONGEST
    assert found.pause(SIBLING, "10.0.0.1") == 0, "its organization has room"
    assert found.pause(OTHER, "10.0.0.1") == 0
    assert found.pause(None, "10.0.0.2") == 0
    clock.now = LONGEST + 1 / rate.each_second
    assert found.pause(owner, "10.0.0.1") == 0, "nobody's debt is longer than the longest pause"


def test_an_organization_has_its_pace() -> None:
    found, rate = Patience(Clock()), RATES["organization"]
    agents = [GREEDY._replace(agent_id=f"agt_{number}") for number in range(int(rate.at_once))]
    assert not any(found.pause(each, None) for each in agents)
    assert found.pause(SIBLING, None) == pytest.approx(1 / rate.each_second)
    assert found.pause(OTHER, None) == 0


async def test_a_refusal_that_waits_keeps_nobody_waiting(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "AGENT", Rate(2, 1e-9))
    monkeypatch.setattr(patience, "RATES", {**RATES, "agent": Rate(2, 1e-3), "address": Rate(2, 1e-3)})
    monkeypatch.setattr(patience, "LONGEST", 3600.0)
    stranger = "Authorization: Bearer aig_sk_nobody"
    gateway = await start(drain_timeout=0, max_connections=5)
    for _ in range(4):
        assert (await gateway.chat("gpt-secret")).status == 403, "two have entries of their own, two are counted"
    assert (await gateway.chat("gpt-4o", "Host: omit")).status == 400
    assert (await gateway.chat("gpt-4o", stranger)).status == 401
    waiting = [asyncio.create_task(each) for each in (gateway.chat("gpt-secret"), gateway.chat("gpt-4o", stranger))]
    for _ in range(10):
        assert (await gateway.chat()).status == 200, "also of the same agent"
    assert not any(each.done() for each in waiting)
    assert gateway.plane.load()[0] == 1, "it has a place, and so its share of them"
    waiting.append(asyncio.create_task(gateway.chat("gpt-4o", stranger)))
    pace = gateway.plane._teller._patience._pace
    await until(lambda: pace.wait(address_of("127.0.0.1")) > 2 / 1e-3)
    assert (await gateway.chat()).status == 200
    with pytest.raises(asyncio.IncompleteReadError):
        await waiting[1]  # a newcomer of its address had the place of its connection
    for each in waiting:
        each.cancel()
