"""The circuit breaker: when it opens, when it lets a probe through, and when it closes."""

from __future__ import annotations

import pytest

from gateway.dataplane.breakers import Breakers, CircuitOpenError
from gateway.settings import Settings
from gateway.upstream.providers.presets import PROVIDERS
from gateway.upstream.routing import Destination

_SPOKEN = PROVIDERS["openai"]
UP = Destination(
    id="ups_1", organization="default", name="openai", provider=_SPOKEN, base_url="", default=True, secret=None
)

ONE, OTHER = "agt_one", "agt_other"


class Bench:
    """Breakers with a clock that stands still until it is moved, and what they have told."""

    def __init__(self, **changed: float) -> None:
        self.now = 100.0
        self.told: list[tuple[int, float]] = []
        settings = Settings(**{"breaker_failures": 3, "breaker_window": 10.0, "breaker_pause": 4.0, **changed})  # type: ignore[arg-type]  # keywords pass through
        self.breakers = Breakers(settings, lambda _, failures, pause: self.told.append((failures, pause)), self._clock)

    def _clock(self) -> float:
        return self.now

    def fail(self, times: int = 1, agent: str = ONE, *, unconnected: bool = False) -> None:
        for _ in range(times):
            self.breakers.enter(UP, agent)
            self.breakers.note(UP, agent, "upstream_error", None, unconnected=unconnected)

    def answer(self, status: int = 200, agent: str = ONE) -> None:
        self.breakers.enter(UP, agent)
        self.breakers.answered(UP, agent, status)
        self.breakers.note(UP, agent, "ok", status)

    def open(self, agent: str = ONE) -> bool:
        return self.breakers.wait(UP.id, agent) > 0


def test_failures_in_a_row_open_it_and_the_refusal_says_when_to_come_back() -> None:
    bench = Bench()
    bench.fail(2)
    assert not bench.open()
    bench.fail()
    assert bench.told == [(3, 4.0)]
    with pytest.raises(CircuitOpenError) as refused:
        bench.breakers.enter(UP, ONE)
    assert refused.value.code == "upstream_error"
    assert dict(refused.value.headers) == {b"retry-after": b"4"}
    assert not bench.breakers.wait("ups_2", ONE), "another upstream is not concerned"


@pytest.mark.parametrize("status", [500, 503, 529])
def test_an_answer_from_500_is_a_failure(status: int) -> None:
    bench = Bench()
    for _ in range(3):
        bench.answer(status)
    assert bench.open()


@pytest.mark.parametrize("status", [200, 400, 401, 404, 429])
def test_any_other_answer_begins_the_row_anew(status: int) -> None:
    bench = Bench()
    for _ in range(4):
        bench.fail(2)
        bench.answer(status)
    assert not bench.open()


def test_failures_that_are_far_apart_are_no_row() -> None:
    bench = Bench()
    for _ in range(6):
        bench.fail()
        bench.now += 6.0
    assert not bench.open()


def test_one_probe_goes_after_the_pause_and_an_answer_closes_it() -> None:
    bench = Bench()
    bench.fail(3)
    bench.now += 4.0
    assert not bench.open()
    bench.breakers.enter(UP, ONE)  # the probe
    with pytest.raises(CircuitOpenError):
        bench.breakers.enter(UP, ONE)
    bench.breakers.answered(UP, ONE, 200)
    assert not bench.open()
    assert bench.told == [(3, 4.0), (0, 0.0)]
    bench.fail(2)
    assert not bench.open(), "it counts from the beginning again"


def test_the_pause_doubles_up_to_the_longest() -> None:
    bench = Bench(breaker_max_pause=10.0)
    bench.fail(3)
    for pause in (4.0, 8.0, 10.0, 10.0):
        assert bench.breakers.wait(UP.id, ONE) == pause
        bench.now += pause
        bench.fail()
    assert bench.told[-1] == (7, 10.0)


def test_a_probe_whose_client_goes_leaves_its_place_to_another() -> None:
    bench = Bench()
    bench.fail(3)
    bench.now += 4.0
    bench.breakers.enter(UP, ONE)
    bench.breakers.note(UP, ONE, "client_disconnected", None)
    bench.answer()
    assert not bench.open()
    assert bench.told[-1] == (0, 0.0)


def test_calls_that_began_before_it_opened_change_nothing() -> None:
    bench = Bench()
    bench.fail(3)
    bench.breakers.answered(UP, ONE, 200)
    bench.breakers.answered(UP, ONE, 500)
    bench.breakers.note(UP, ONE, "upstream_timeout", None)
    assert bench.breakers.wait(UP.id, ONE) == 4.0
    assert bench.told == [(3, 4.0)]


def test_no_failures_means_never() -> None:
    bench = Bench(breaker_failures=0)
    bench.fail(100)
    assert not bench.open()


def test_one_agent_cannot_open_it_for_others() -> None:
    """An agent whose own calls make the provider fail kept all agents of its organization from it."""
    bench = Bench()
    bench.fail(3)
    assert (bench.open(), bench.open(OTHER)) == (True, False)
    bench.answer(agent=OTHER)
    assert not bench.open(), "the upstream is up"
    assert bench.told == [(3, 4.0), (0, 0.0)]
    for _ in range(9):
        bench.now += 1.0
        bench.fail(5)
        bench.answer(agent=OTHER)
    assert not bench.open(), "while calls of others go well it does not open and close again"
    assert len(bench.told) == 2
    bench.now += 20.0
    bench.fail(3)
    assert bench.open(), "nobody else calls any more"


def test_failures_of_two_agents_open_it_for_everybody() -> None:
    bench = Bench()
    bench.fail(2)
    bench.fail(1, OTHER)
    assert all(bench.open(agent) for agent in (ONE, OTHER, "agt_third"))
    bench.now += 4.0
    bench.fail(1, "agt_third")  # the probe
    assert bench.breakers.wait(UP.id, OTHER) == 8.0
    bench.now += 8.0
    bench.answer(agent=OTHER)
    assert not bench.open()


def test_it_holds_back_everybody_once_it_fails_for_another_one_as_well() -> None:
    bench = Bench()
    bench.fail(3)
    bench.now += 1.0
    bench.fail(1, OTHER)
    assert [bench.breakers.wait(UP.id, agent) for agent in (ONE, OTHER, "agt_third")] == [3.0, 3.0, 3.0]


def test_failures_of_another_agent_long_ago_do_not_count() -> None:
    bench = Bench()
    bench.fail(1, OTHER)
    bench.fail(1)
    bench.now += 11.0
    bench.fail(3)
    assert (bench.open(), bench.open(OTHER)) == (True, False)


def test_connections_that_cannot_be_made_are_no_matter_of_the_agent() -> None:
    bench = Bench()
    bench.fail(2, unconnected=True)
    bench.fail()
    assert not bench.open(OTHER), "one of them was a call that failed"
    bench = Bench()
    bench.fail(3, unconnected=True)
    assert bench.open(OTHER)
