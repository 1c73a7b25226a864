"""Answers about usage: sums by who and when, between two times, in a time zone."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from gateway.audit.log_reader import LogIndex
from gateway.usage.rollup import HOUR, MINUTE, Rollup, naive
from gateway.usage.totals import ZERO, UsageCounts, UsageSubject

UNITS: Final = ("minute", "hour", "day", "month")
DIMENSIONS: Final = UsageSubject._fields
_NS: Final = 10**9


@dataclass(frozen=True, slots=True)
class UsageQuestion:
    """A question: usage from one time on and before another one, by these units and members of a subject.

    `only` are members of a subject that must have a value. Times are nanoseconds since 1970.
    """

    since_ns: int
    until_ns: int
    by: Sequence[str]
    only: Mapping[str, str]
    zone: tzinfo = UTC


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One line of an answer: a value for each member that was asked for, and how much."""

    key: tuple[str, ...]
    counts: UsageCounts


def answer(question: UsageQuestion, rollup: Rollup, log: LogIndex) -> list[UsageRow]:
    """The rows, in the order of time and then of names.

    Whole minutes or hours come from the sums; parts of a minute at both ends from the log itself.
    """
    dimensions = [name for name in question.by if name not in UNITS]
    units = [name for name in question.by if name in UNITS]
    found: dict[tuple[str, ...], UsageCounts] = {}

    def add(start: int, values: Mapping[str, str], counts: UsageCounts) -> None:
        when = {unit: label(start, unit, question.zone) for unit in units}
        key = tuple(when[name] if name in when else values[name] for name in question.by)
        found[key] = found.get(key, ZERO).plus(counts)

    minute = MINUTE * _NS
    first = -(-question.since_ns // minute) * minute
    end = question.until_ns // minute * minute
    if first < end:
        since, until = first // _NS, end // _NS
        span = HOUR if _in_hours(question, since, until) else MINUTE
        for start, values, counts in rollup.rows(span, since, until, dimensions, question.only, times=bool(units)):
            add(start, dict(zip(dimensions, values, strict=True)), counts)
        parts = [(question.since_ns, first), (end, question.until_ns)]
    else:
        parts = [(question.since_ns, question.until_ns)]
        if question.since_ns < first < question.until_ns:  # a piece of one minute and a piece of the next
            parts = [(question.since_ns, first), (first, question.until_ns)]
    for since_ns, until_ns in parts:
        if since_ns < until_ns:
            for subject, counts in naive(log, since_ns, until_ns).items():
                named = subject._asdict()
                if all(named[name] == value for name, value in question.only.items()):
                    add(since_ns // _NS, named, counts)
    return [UsageRow(key, found[key]) for key in sorted(found)]


@functools.lru_cache(maxsize=100_000)
def label(start: int, unit: str, zone: tzinfo) -> str:
    """The minute, hour, day or month in which a second lies."""
    when = datetime.fromtimestamp(start, zone)
    if unit == "month":
        return when.strftime("%Y-%m")
    if unit == "day":
        return when.strftime("%Y-%m-%d")
    if unit == "hour":
        when = when.replace(minute=0)
    return when.isoformat(timespec="minutes").replace("+00:00", "Z")


def begin(at_ns: int, unit: str, zone: tzinfo) -> int:
    """When the minute, hour, day or month began in which a time lies."""
    when = datetime.fromtimestamp(at_ns // _NS, zone).replace(second=0)
    if unit != "minute":
        when = when.replace(minute=0)
    if unit in ("day", "month"):
        # By the clock on the wall: a day may have 23 or 25 hours.
        when = when.replace(hour=0, fold=0)
    if unit == "month":
        when = when.replace(day=1)
    return int(when.timestamp()) * _NS


def _in_hours(question: UsageQuestion, since: int, until: int) -> bool:
    """True if sums of hours are fine enough: for both ends, the units and the zone."""
    if since % HOUR or until % HOUR or "minute" in question.by:
        return False
    if question.zone is UTC or not set(question.by) & set(UNITS):
        return True
    # Zones are apart by whole hours nearly everywhere; summer time may begin and end in between.
    day = timedelta(days=30)
    when, last = datetime.fromtimestamp(since, UTC), datetime.fromtimestamp(until, UTC)
    if last - when > 1000 * day:
        return False
    while when < last:
        offset = when.astimezone(question.zone).utcoffset() or timedelta()
        if offset.total_seconds() % HOUR:
            return False
        when += day
    return True
