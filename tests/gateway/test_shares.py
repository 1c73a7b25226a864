"""Shares of what is finite: nobody takes everything, and nothing is lost on the way back."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.shares import Holder, NoShareError, Shares, Turns

GREEDY, OTHER = Holder("agent", "agt_greedy"), Holder("agent", "agt_other")
TENANT = Holder("organization", "org_greedy")


def take_all(shares: Shares, *holders: Holder) -> int:
    """Take until nothing more is given."""
    count = 0
    while count <= shares.capacity:
        try:
            shares.take(*holders)
        except NoShareError:
            return count
        count += 1
    raise AssertionError("more places were given than there are")


def test_one_greedy_agent_gets_half_and_the_next_one_is_served() -> None:
    shares = Shares("requests", 100)
    assert take_all(shares, GREEDY) == 50
    shares.take(OTHER)
    assert shares.held(OTHER) == 1


def test_an_organization_with_many_greedy_agents_leaves_room_for_another() -> None:
    shares = Shares("requests", 1000)
    for number in range(200):
        take_all(shares, Holder("agent", f"agt_{number}"), TENANT)
    assert shares.held(TENANT) == 750
    assert take_all(shares, OTHER, Holder("organization", "org_other")) > 100


def test_a_refusal_names_the_holder_that_has_its_share() -> None:
    shares = Shares("requests in progress", 4)
    take_all(shares, GREEDY)
    with pytest.raises(NoShareError, match="no more requests in progress: this agent has its whole share"):
        shares.take(GREEDY)
    take_all(shares, OTHER)
    take_all(shares, Holder("agent", "agt_third"))
    assert shares.free == 0
    with pytest.raises(NoShareError, match="everything is taken"):
        shares.take(Holder("agent", "agt_fourth"))


@pytest.mark.parametrize("capacity", [1, 2, 3])
def test_even_few_places_are_all_used_and_never_all_by_one(capacity: int) -> None:
    shares = Shares("heavy operations", capacity)
    assert take_all(shares, GREEDY) == (capacity + 1) // 2
    for number in range(capacity):
        take_all(shares, Holder("agent", f"agt_{number}"))
    assert shares.free == 0


def test_who_waits_is_served_when_there_is_room_also_past_a_greedy_one() -> None:
    asyncio.run(_past_a_greedy_one())


async def _past_a_greedy_one() -> None:
    shares = Shares("heavy operations", 2)
    order: list[str] = []

    async def work(holder: Holder, name: str, seconds: float) -> None:
        async with shares.wait(holder):
            order.append(name)
            await asyncio.sleep(seconds)

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(work(GREEDY, f"greedy {number}", 0.01))
        await asyncio.sleep(0)
        group.create_task(work(OTHER, "other", 0))
    assert order[:2] == ["greedy 0", "other"], "the other one waited for the greedy one"
    assert len(order) == 4
    assert shares.taken == 0


def test_a_cancelled_wait_gives_back_what_it_was_given() -> None:
    asyncio.run(_cancelled())


async def _cancelled() -> None:
    shares = Shares("heavy operations", 1)
    shares.take(GREEDY)

    async def wait() -> None:
        async with shares.wait(OTHER):
            raise AssertionError("it was cancelled before it ran")

    waiting, gone = asyncio.create_task(wait()), asyncio.create_task(wait())
    await asyncio.sleep(0)
    gone.cancel()  # while it is in the queue
    await asyncio.sleep(0)
    shares.give_back(GREEDY)  # this grants the place to `waiting`
    waiting.cancel()
    await asyncio.gather(waiting, gone, return_exceptions=True)
    assert shares.taken == 0
    assert shares.held(OTHER) == 0


@given(st.integers(1, 60), st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9), st.booleans()), max_size=120))
def test_counts_stay_exact_whatever_is_taken_and_given_back(capacity: int, steps: list[tuple[int, int, bool]]) -> None:
    shares = Shares("bytes", capacity)
    held: list[tuple[Holder, int]] = []
    for who, amount, back in steps:
        if back and held:
            holder, given_amount = held.pop()
            shares.give_back(holder, TENANT, amount=given_amount)
            continue
        holder = Holder("agent", str(who))
        free = shares.free
        try:
            shares.take(holder, TENANT, amount=amount)
        except NoShareError:
            continue
        held.append((holder, amount))
        assert shares.held(holder) <= free
    assert shares.taken == sum(amount for _, amount in held) <= capacity
    for holder, amount in held:
        shares.give_back(holder, TENANT, amount=amount)
    assert shares.taken == shares.held(TENANT) == 0


def test_those_who_wait_for_one_place_take_turns() -> None:
    asyncio.run(_turns())


async def _turns() -> None:
    shares = Shares("large bodies", 1)
    order: list[str] = []

    async def work(*holders: Holder) -> None:
        async with shares.wait(*holders):
            order.append(holders[0].id)
            await asyncio.sleep(0)

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(work(GREEDY, TENANT))
        await asyncio.sleep(0)
        for _ in range(2):
            group.create_task(work(OTHER, Holder("organization", "org_other")))
        for _ in range(5):
            await asyncio.sleep(0)
        group.create_task(work(Holder("agent", "agt_late")))
        group.create_task(work(Holder("agent", "agt_colleague"), TENANT))
    assert (order.index("agt_other"), order.index("agt_late") < 9) == (2, True)
    assert order.index("agt_colleague") < 12, "its organization has a greedy agent, too"
    assert len(order) == 54
    assert order[-1] == "agt_greedy"
    assert shares.taken == 0
    assert shares._lines == {}, "nothing is remembered of those who have waited"


async def test_turns_never_run_out_and_hold_back_those_who_have_theirs() -> None:
    turns = Turns("requests at work", 1)
    turns.take(GREEDY, TENANT)
    waiting = [asyncio.create_task(turns.take_in_turn(GREEDY, TENANT)) for _ in range(1000)]
    for number in range(100):
        turns.take(Holder("agent", f"agt_{number}"))  # nobody else waits for it
    await asyncio.sleep(0)
    turns.claim(GREEDY, TENANT)
    for left in (1000, 999, 998):  # what was claimed is given back first
        turns.give_back(GREEDY, TENANT)
        await asyncio.sleep(0)
        assert sum(not each.done() for each in waiting) == left
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    turns.give_back(GREEDY, TENANT)
    assert (turns.taken, turns.held(GREEDY), turns.free) == (100, 0, 1)
