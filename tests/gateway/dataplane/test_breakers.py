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


class Bench:
    """Breakers with a clock that stands still until it is moved, and what they have told."""

    def __init__(self, **changed: float) -> None:
        self.now = 100.0
        self.told: list[tuple[int, float]] = []
        settings = Settings(**{"breaker_failures": 3, "breaker_window": 10.0, "breaker_pause": 4.0, **changed})  # type: ignore[arg-type]  # keywords pass through
        self.breakers = Breakers(settings, lambda _, failures, pause: self.told.append((failures, pause)), self._clock)

    def _clock(self) -> float:
        return self.now

    def fail(self, times: int = 1) -> None:
        for _ in range(times):
            self.breakers.enter(UP)
            self.breakers.note(UP, "upstream_error", None)

    def answer(self, status: int = 200) -> None:
        self.breakers.enter(UP)
        self.breakers.answered(UP, status)
        self.breakers.note(UP, "ok", status)

    def open(self) -> bool:
        return self.breakers.wait(UP.id) > 0


def test_failures_in_a_row_open_it_and_the_refusal_says_when_to_come_back() -> None:
    bench = Bench()
    bench.fail(2)
    assert not bench.open()
    bench.fail()
    assert bench.told == [(3, 4.0)]
    with pytest.raises(CircuitOpenError) as refused:
        bench.breakers.enter(UP)
    assert refused.value.code == "upstream_error"
    assert dict(refused.value.headers) == {b"retry-after": b"4"}
    assert not bench.breakers.wait("ups_2"), "another upstream is not concerned"


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
    bench.breakers.enter(UP)  # the probe
    with pytest.raises(CircuitOpenError):
        bench.breakers.enter(UP)
    bench.breakers.answered(UP, 200)
    assert not bench.open()
    assert bench.told == [(3, 4.0), (0, 0.0)]
    bench.fail(2)
    assert not bench.open(), "it counts from the beginning again"


def test_the_pause_doubles_up_to_the_longest() -> None:
    bench = Bench(breaker_max_pause=10.0)
    bench.fail(3)
    for pause in (4.0, 8.0, 10.0, 10.0):
        assert bench.breakers.wait(UP.id) == pause
        bench.now += pause
        bench.fail()
    assert bench.told[-1] == (7, 10.0)


def test_a_probe_whose_client_goes_leaves_its_place_to_another() -> None:
    bench = Bench()
    bench.fail(3)
    bench.now += 4.0
    bench.breakers.enter(UP)
    bench.breakers.note(UP, "client_disconnected", None)
    bench.answer()
    assert not bench.open()
    assert bench.told[-1] == (0, 0.0)


def test_calls_that_began_before_it_opened_change_nothing() -> None:
    bench = Bench()
    bench.fail(3)
    bench.breakers.answered(UP, 200)
    bench.breakers.answered(UP, 500)
    bench.breakers.note(UP, "upstream_timeout", None)
    assert bench.breakers.wait(UP.id) == 4.0
    assert bench.told == [(3, 4.0)]


def test_no_failures_means_never() -> None:
    bench = Bench(breaker_failures=0)
    bench.fail(100)
    assert not bench.open()
