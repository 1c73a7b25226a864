"""The ends of a zone's hours, days and months, against a clock that is looked at every quarter of an hour."""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.usage import zones

# Clocks that change at night, at midnight, never; by an hour or a half; and offsets of hours, halves and quarters.
ZONES = (
    *("Europe/Zurich", "America/New_York", "America/Havana", "Africa/Cairo", "America/Santiago", "Asia/Beirut"),
    *("Asia/Kolkata", "Asia/Kathmandu", "Pacific/Chatham", "Pacific/Kiritimati", "Pacific/Apia", "America/St_Johns"),
)
FORMATS = {"hour": "%Y-%m-%dT%H%z", "day": "%Y-%m-%d", "month": "%Y-%m"}
FIRST, LAST = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) // 60 for year in (2024, 2034))


@functools.lru_cache(maxsize=100_000)
def shown(kind: str, minute: int, zone: str) -> str:
    return datetime.fromtimestamp(minute * 60, ZoneInfo(zone)).strftime(FORMATS[kind])


@given(st.sampled_from(ZONES), st.integers(FIRST, LAST))
def test_ends_are_those_of_a_local_clock(zone: str, minute: int) -> None:
    found = zones.ends(zone, minute)
    assert found is not None
    for kind, end in zip(FORMATS, found, strict=True):
        now = shown(kind, minute, zone)
        assert shown(kind, end, zone) != now
        # Nowhere between: days and months are looked at in steps, the quarter before the end in any case.
        step = {"hour": 15, "day": 15, "month": 720}[kind]
        assert all(shown(kind, each, zone) == now for each in (*range(minute, end, step), end - 1))


@pytest.mark.parametrize(
    ("zone", "at", "hours"),
    [
        ("Europe/Zurich", "2026-03-29T12:00+02:00", 23),
        ("Europe/Zurich", "2026-10-25T12:00+01:00", 25),
        ("Africa/Cairo", "2026-04-24T12:00+03:00", 23),  # midnight itself is left out
        ("America/Havana", "2026-11-01T12:00-05:00", 25),  # midnight comes twice
        ("Asia/Kolkata", "2026-03-29T12:00+05:30", 24),
    ],
)
def test_days_have_as_many_hours_as_clocks_say(zone: str, at: str, hours: int) -> None:
    when = datetime.fromisoformat(at)
    begin = zones.ends(zone, int((when - timedelta(days=1)).timestamp()) // 60)
    end = zones.ends(zone, int(when.timestamp()) // 60)
    assert begin is not None
    assert end is not None
    assert end[1] - begin[1] == hours * 60


def test_a_day_that_was_left_out_and_a_midnight_that_came_again() -> None:
    # Samoa had no 30 December 2011; clocks of St. John's were set back from one minute past midnight to 23:01.
    for zone, before, after in (
        ("Pacific/Apia", "2011-12-29T12:00-10:00", "2011-12-31T00:00+14:00"),
        ("America/St_Johns", "2010-11-06T23:30-03:30", "2010-11-07T00:00-03:30"),
    ):
        found = zones.ends(zone, int(datetime.fromisoformat(before).timestamp()) // 60)
        assert found is not None
        assert found[1] == int(datetime.fromisoformat(after).timestamp()) // 60


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Europe/Zurch", "did you mean `Europe/Zurich`?"),
        ("europe/zurich", "did you mean `Europe/Zurich`?"),
        ("../../etc/passwd", "write a name of the tz database"),
        ("", "write a name of the tz database"),
        ("localtime", ""),
        ("+02:00", ""),
    ],
)
def test_a_mistyped_zone_is_explained(name: str, hint: str) -> None:
    with pytest.raises(GatewayError) as caught:
        zones.find(name)
    assert caught.value.code == "invalid_zone"
    assert hint in caught.value.hint


@pytest.mark.parametrize("step", [10, pytest.param(1, marks=pytest.mark.slow)])
def test_every_zone_can_be_used(step: int) -> None:
    minute = int(datetime(2026, 7, 1, 12, 34, tzinfo=UTC).timestamp()) // 60
    assert len(zones.names()) > 500
    for name in sorted(zones.names() - {zones.DEFAULT})[::step]:
        found = zones.ends(name, minute)
        assert found is not None
        assert minute < found[0] <= found[1] <= found[2]
    assert zones.ends(zones.DEFAULT, minute) is None
