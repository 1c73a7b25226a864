"""The pace of each holder: what it may cause at once, and how time makes room."""

from __future__ import annotations

from gateway.pace import Pace, Rate
from gateway.shares import Holder
from tests.rigs.pace import Clock

ONE, TWO, THREE = (Holder("agent", name) for name in ("one", "two", "three"))
ACME, OTHER = Holder("organization", "acme"), Holder("organization", "other")


def test_a_holder_has_its_pace_and_leaves_the_others_theirs() -> None:
    clock = Clock()
    pace = Pace({"agent": Rate(3, 1), "organization": Rate(5, 2)}, clock)
    caused = 0
    while pace.has_room(ONE, ACME):
        pace.spend(ONE, ACME)
        caused += 1
    assert caused == 3
    assert pace.has_room(TWO, ACME), "another agent of the organization"
    pace.spend(TWO, ACME, amount=10)  # its cost is known afterwards
    assert not pace.has_room(THREE, ACME), "the organization has caused its share"
    assert pace.has_room(THREE, OTHER)
    clock.now = 1.0
    assert pace.has_room(ONE)
    assert not pace.has_room(TWO), "it waits until its debt is paid"
    assert not pace.has_room(ONE, ACME)
    clock.now = 8.0
    assert pace.has_room(TWO, ACME)
    clock.now = 1e6
    for _ in range(3):
        assert pace.has_room(ONE, ACME)
        pace.spend(ONE, ACME)
    assert not pace.has_room(ONE, ACME), "rest makes room for so many at once, and no more"


def test_the_wait_is_that_of_whoever_has_caused_most() -> None:
    clock = Clock()
    pace = Pace({"agent": Rate(3, 1), "organization": Rate(5, 2)}, clock)
    assert pace.wait(ONE, ACME) == 0
    pace.spend(ONE, ACME, amount=4)
    assert pace.wait(ONE, ACME) == 2.0
    assert pace.wait(TWO, ACME) == 0
    pace.spend(TWO, ACME, amount=3)
    assert pace.wait(TWO, ACME) == 1.5
    clock.now = 1.5
    assert pace.wait(TWO, ACME) == 0
    assert pace.wait(ONE, ACME) == 0.5


def test_a_kind_without_a_rate_is_not_limited() -> None:
    pace = Pace({"agent": Rate(1, 1)}, Clock())
    for _ in range(100):
        pace.spend(ACME)
    assert pace.has_room(ACME)
