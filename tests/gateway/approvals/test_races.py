"""Calls and people at the same instant, on a gateway of two workers: an approval is used once, whoever is first."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from gateway.audit import grants
from tests.gateway.approvals.bundles import bundle
from tests.gateway.approvals.mishaps import world_of
from tests.gateway.approvals.rig import Reply, Rig
from tests.gateway.approvals.walk import World
from tests.gateway.dataplane.conftest import read_reply

pytestmark = pytest.mark.slow
TIMES = 8
REFUSED = (403, grants.REASON)


async def asked(world: World, user: str, model: str = "gpt-once") -> str:
    world.new()
    reply = await world.call("bot", model, user)
    assert (reply.status, reply.code) == REFUSED
    [(request, *_)] = world.new()
    return request


def ran(world: World, user: str, model: str = "gpt-once") -> int:
    return world.ran()[f"{model} {user}"]


def counted(replies: list[Reply]) -> Counter[tuple[int, str]]:
    return Counter((each.status, each.code) for each in replies)


async def a_hundred_retries(world: World) -> None:
    request = await asked(world, "hundred")
    assert await world.act("approve", request, "dora") == ""
    found = counted(await asyncio.gather(*(world.call("bot", "gpt-once", "hundred") for _ in range(100))))
    assert found == {(200, ""): 1, REFUSED: 99}
    assert (ran(world, "hundred"), world.used(request)) == (1, 1)


async def uses_and_a_revocation(world: World) -> None:
    for number in range(TIMES):
        user = f"revoked-{number}"
        request = await asked(world, user)
        assert await world.act("approve", request, "dora") == ""
        calls = [asyncio.ensure_future(world.call("bot", "gpt-once", user)) for _ in range(50)]
        await asyncio.sleep(number * 0.02)
        code = await world.act("revoke", request, "olga")
        found = counted(await asyncio.gather(*calls))
        assert found.keys() <= {(200, ""), REFUSED}
        assert ran(world, user) == world.used(request) == found[200, ""] <= 1
        assert code == "" or found[200, ""] == 1, "neither ran nor revoked"
        assert (await world.call("bot", "gpt-once", user)).status == 403


async def an_approval_and_a_denial(world: World) -> None:
    for number in range(TIMES):
        user = f"decided-{number}"
        request = await asked(world, user)
        calls = [asyncio.ensure_future(world.call("bot", "gpt-once", user)) for _ in range(20)]
        codes = await asyncio.gather(world.act("approve", request, "dora"), world.act("deny", request, "olga"))
        assert sorted(codes) == ["", "approval_settled"]
        early = counted(await asyncio.gather(*calls))[200, ""]
        late = counted(await asyncio.gather(*(world.call("bot", "gpt-once", user) for _ in range(20))))[200, ""]
        assert ran(world, user) == world.used(request) == early + late == (codes[0] == "")


async def uses_and_the_end_of_their_time(world: World) -> None:
    request = await asked(world, "expiring", "gpt-uses")
    assert await world.act("approve", request, "dora", uses=3, seconds=2) == ""
    calls = []
    await asyncio.sleep(1.7)
    for _ in range(60):
        calls.append(asyncio.ensure_future(world.call("bot", "gpt-uses", "expiring")))
        await asyncio.sleep(0.01)
    found = counted(await asyncio.gather(*calls))
    assert ran(world, "expiring", "gpt-uses") == world.used(request) == found[200, ""] <= 3
    assert (await world.call("bot", "gpt-uses", "expiring")).status == 403


async def one_byte_changed(world: World, rig: Rig) -> None:
    """Each byte of the content, one after the other: none of these runs, and the very call does once."""
    request = await asked(world, "exact")
    assert await world.act("approve", request, "dora") == ""
    raw = rig.raw("bot", "gpt-once", "exact")
    begin = raw.index(b"hello there")
    changed = [raw[: begin + at] + b"_" + raw[begin + at + 1 :] for at in range(11)]

    async def send(data: bytes) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.live.port)
        writer.write(data)
        status = (await read_reply(reader)).status
        writer.close()
        return status

    found = await asyncio.gather(*(send(each) for each in [*changed, raw, *changed]))
    assert (found[11], Counter(found)) == (200, Counter({403: 22, 200: 1}))
    assert ran(world, "exact") == world.used(request) == 1


def test_calls_and_people_at_the_same_instant(tmp_path: Path) -> None:
    async def run() -> None:
        rig = Rig(tmp_path, "approval_hold = 0")
        try:
            await rig.begin(bundle(0))
            world = world_of(rig)
            await a_hundred_retries(world)
            await uses_and_a_revocation(world)
            await an_approval_and_a_denial(world)
            await uses_and_the_end_of_their_time(world)
            await one_byte_changed(world, rig)
            await asyncio.to_thread(rig.live.stop)
            await rig.verify()
        finally:
            await rig.end()

    asyncio.run(run())
