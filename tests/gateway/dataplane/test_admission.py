"""The place of a request, from when it is known who asks: before the body, which may take as long as it likes."""

from __future__ import annotations

import asyncio
from contextlib import closing

from gateway.registry.agents.registration import register_agent
from gateway.registry.keys.changes import create_key
from gateway.registry.limits import usage_limits
from gateway.registry.policies.bindings import bind

from .conftest import ACTOR, ORG, Gateway, Reply, chat, read_reply, until

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def slow_body(gateway: Gateway, key: str = "") -> Connection:
    """A request of which all but the end has come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    lines = [f"Authorization: Bearer {key}"] if key else []
    writer.write(gateway.request(chat(), *lines)[:-5])
    return reader, writer


async def answered(connections: list[Connection]) -> list[Reply]:
    """The answers that have come although no body has."""
    waiting = [asyncio.create_task(read_reply(reader)) for reader, _ in connections]
    done, pending = await asyncio.wait(waiting, timeout=0.5)
    for each in pending:
        each.cancel()
    return [each.result() for each in done]


def another_agent(gateway: Gateway) -> str:
    agent = register_agent(gateway.registry, actor=ACTOR, organization=ORG, name="other")
    bind(gateway.registry, actor=ACTOR, organization=ORG, kind="agent", subject=agent.id, bundle="bot")
    made = create_key(gateway.registry, gateway.peppers, actor=ACTOR, organization=ORG, agent=agent.id)
    return made.text


def limit(gateway: Gateway, value: int) -> None:
    usage_limits.set_limit(
        gateway.registry,
        actor=ACTOR,
        organization=ORG,
        kind="agent",
        subject="bot",
        name="concurrent_requests",
        value=value,
    )


async def test_no_more_bodies_arrive_than_calls_may_run(gateway: Gateway) -> None:
    """An agent that may make one call at a time had 2,248 requests in progress whose bodies did not come."""
    limit(gateway, 2)
    key = another_agent(gateway)
    slow = [await slow_body(gateway) for _ in range(12)]
    refused = await answered(slow)
    assert len(refused) == 10
    assert {(each.status, each.code, each.headers["retry-after"]) for each in refused} == {(429, "limit_exceeded", "1")}
    text = str(refused[0].json["error"]["message"])
    assert "the bodies of 2 requests are still arriving, and agent:bot has 0 requests left of 2 requests" in text
    assert gateway.plane.load()[0] == 2
    assert (await gateway.send(gateway.request(chat(), f"Authorization: Bearer {key}"))).status == 200
    # The other agent need not wait for those.
    refusals = await gateway.entries("refused")
    assert sum(each["count"] for each in refusals) == 10
    assert {each["reason"] for each in refusals} == {"limit_exceeded"}
    for _, writer in slow:
        writer.close()
    await until(lambda: gateway.plane.load()[0] == 0)
    assert (await gateway.chat()).status == 200


async def test_a_call_that_the_limit_allows_is_never_refused(gateway: Gateway) -> None:
    """As many at a time as the limit says, one after the other: no place of a call that has ended is in the way."""
    limit(gateway, 3)

    async def calls() -> set[int]:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        found = set()
        for _ in range(20):
            sent = gateway.request(chat())
            writer.write(sent[:-3])
            await asyncio.sleep(0)
            writer.write(sent[-3:])
            found.add((await read_reply(reader)).status)
        writer.close()
        return found

    assert await asyncio.gather(calls(), calls(), calls()) == [{200}] * 3
    assert await gateway.entries("refused") == []


async def test_a_limit_of_nothing_is_still_the_decision_of_the_log(gateway: Gateway) -> None:
    limit(gateway, 0)
    assert (await gateway.chat()).code == "limit_exceeded"
    (decided,) = await gateway.entries("decided")
    assert decided["allow"] is False


async def test_calls_of_others_have_their_turns_beside_an_agent_that_never_pauses(gateway: Gateway) -> None:
    """On 8 connections it had more than 8 calls for each one of another agent, whose steps waited for all of them."""
    answered_calls = 0

    async def greedy() -> None:
        nonlocal answered_calls
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        with closing(writer):
            while not over:
                writer.write(gateway.request(chat()))
                assert (await read_reply(reader)).status == 200
                answered_calls += 1

    over = False
    other = gateway.request(chat(), f"Authorization: Bearer {another_agent(gateway)}")
    flood = [asyncio.create_task(greedy()) for _ in range(8)]
    await until(lambda: answered_calls >= 16)
    assert (await gateway.send(other)).status == 200
    before = answered_calls
    for _ in range(20):
        assert (await gateway.send(other)).status == 200
    assert 20 <= answered_calls - before <= 20 * 5, "less than half of them, and it goes on"
    over = True
    await asyncio.gather(*flood)
    assert (gateway.plane._admission.at_work, gateway.plane._admission.turns.taken) == (0, 0)
