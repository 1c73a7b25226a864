"""The deadline of a call: `asyncio.timeout`, but one that can be moved for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from gateway.dataplane.deadline import Deadline, Deadlines

RUNNERS: list[Callable[[Coroutine[Any, Any, None]], None]] = [asyncio.run, uvloop.run]


@pytest.fixture(params=RUNNERS, ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    found: Callable[[Coroutine[Any, Any, None]], None] = request.param
    return found


async def wait(ends: float, act: Callable[[Deadline], object] = lambda limit: None) -> None:
    """Wait for half a minute, within a deadline."""
    with Deadlines(asyncio.get_running_loop()).at(ends) as limit:
        act(limit)
        await asyncio.sleep(30)


def test_it_ends_what_takes_longer_and_nothing_else(run: Any) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        with Deadlines(loop).at(loop.time() + 30):
            await asyncio.sleep(0)
        began = loop.time()
        with pytest.raises(TimeoutError):
            await wait(began + 0.02)
        assert 0.019 <= loop.time() - began < 30
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)  # nothing is left to be cancelled

    run(test())


def test_a_deadline_that_is_over_already(run: Any) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            await wait(loop.time() - 1)

    run(test())


def test_it_can_be_moved(run: Any) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(TimeoutError):
            await wait(began + 0.02, lambda limit: limit.move(began + 0.1))
        assert loop.time() - began >= 0.099

    run(test())


@pytest.mark.parametrize("inside", [False, True])
def test_it_can_end_at_once(run: Any, inside: bool) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()

        def end(limit: Deadline) -> None:
            if inside:
                limit.end_now()
            else:
                loop.call_soon(limit.end_now)
            loop.call_soon(limit.end_now)
            limit.move(loop.time() + 1200)

        with pytest.raises(TimeoutError):
            await wait(loop.time() + 600, end)

    run(test())


def test_a_block_that_is_left_is_not_ended(run: Any) -> None:
    """Otherwise the record that follows the call would be cut off."""

    async def test() -> None:
        loop = asyncio.get_running_loop()
        limits: list[Deadline] = []

        def end(limit: Deadline) -> None:
            limits.append(limit)
            limit.end_now()
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await wait(loop.time() + 600, end)
        limits[0].end_now()
        await asyncio.sleep(0.01)

    run(test())


def test_a_cancelled_task_stays_cancelled(run: Any) -> None:
    tells: list[Callable[[], None]] = []

    async def test() -> None:
        loop = asyncio.get_running_loop()
        for also_ended in (False, True):
            task = asyncio.create_task(wait(loop.time() + 600, lambda limit: tells.append(limit.end_now)))
            await asyncio.sleep(0)
            if also_ended:
                tells[-1]()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(test())


def test_each_of_many_ends_at_its_own_time(run: Any) -> None:
    """They share a timer: one that comes first, one that is moved and one that is left must not disturb the others."""

    async def test() -> None:
        loop = asyncio.get_running_loop()
        deadlines, began = Deadlines(loop), loop.time()

        async def wait(after: float, *, moved: float = 0.0, left: float = 30.0) -> float | None:
            try:
                with deadlines.at(began + after) as limit:
                    if moved:
                        limit.move(began + moved)
                    await asyncio.sleep(left)
            except TimeoutError:
                return loop.time() - began
            return None

        found = await asyncio.gather(
            wait(0.2), wait(0.1), wait(0.05, moved=0.15), wait(0.05, left=0.01), wait(600, left=0.3), wait(0.1)
        )
        for took, expected in zip(found, (0.2, 0.1, 0.15, None, None, 0.1), strict=True):
            if expected is None:
                assert took is None
            else:
                assert took is not None
                assert expected - 0.002 <= took < expected + 0.04

    run(test())
