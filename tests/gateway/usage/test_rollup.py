"""Sums over the log: equal to a plain reading of it, whenever they are made and however they were made before."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest

from gateway.audit import storage
from gateway.usage import rollup
from gateway.usage.rollup import NAME, Rollup, naive
from gateway.usage.totals import ZERO, UsageCounts
from gateway.usage.usage_report import UsageQuestion, answer, begin, label

from .conftest import NS, Call, Log

START = int(datetime(2026, 10, 24, tzinfo=UTC).timestamp())  # the night before clocks change in Europe
DAYS = 3


@contextmanager
def sums(log: Log) -> Iterator[tuple[sqlite3.Connection, Rollup]]:
    db = storage.connect_read_only(log.data.audit_db)
    try:
        with rollup.opened(log.data.cache, db) as found:
            yield db, found
    finally:
        db.close()


def some_calls(dice: random.Random, number: int) -> list[Call]:
    """Calls in the order of time, some of them in the same second, some at the first of a minute."""
    times = sorted(dice.randrange(0, DAYS * 86400 * NS, dice.choice((1, NS, 60 * NS))) for _ in range(number))
    return [
        Call(
            time_ns=START * NS + time,
            organization=dice.choice(("default", "acme")),
            agent=dice.choice(("agt_1", "agt_2", "agt_3")),
            team=dice.choice(("", "research")),
            model=dice.choice(("gpt-4o", "o1")),
            response_model=dice.choice((None, "gpt-4o-2024-08-06")),
            input=dice.choice((None, 0, 7, 1000)),
            cached=dice.choice((0, 5)),
            cost=dice.choice((None, 0, 123_456)),
        )
        for time in times
    ]


def plain(db: sqlite3.Connection, question: UsageQuestion) -> dict[tuple[str, ...], UsageCounts]:
    """The same answer in the simplest way: second by second from the log."""
    found: dict[tuple[str, ...], UsageCounts] = {}
    for time_ns in {time for (time,) in db.execute("SELECT time_ns FROM entry WHERE kind = 'completed'")}:
        if not question.since_ns <= time_ns < question.until_ns:
            continue
        for subject, counts in naive(db, time_ns, time_ns + 1).items():
            named = subject._asdict()
            if any(named[name] != value for name, value in question.only.items()):
                continue
            key = tuple(
                named[name] if name in named else label(time_ns // NS, name, question.zone) for name in question.by
            )
            found[key] = found.get(key, ZERO).plus(counts)
    return found


ZONES: list[tzinfo] = [UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kolkata"), ZoneInfo("Australia/Lord_Howe")]


def questions(dice: random.Random, number: int) -> Iterator[UsageQuestion]:
    names = ["organization", "team", "agent", "upstream", "model", "response_model", "minute", "hour", "day", "month"]
    for _ in range(number):
        step = dice.choice((1, NS, 60 * NS, 3600 * NS, 86400 * NS))
        since, until = sorted(dice.randrange(0, DAYS * 86400 * NS + step, step) for _ in range(2))
        yield UsageQuestion(
            START * NS + since,
            START * NS + until,
            dice.sample(names, dice.randint(0, 3)),
            dice.choice(({}, {}, {"team": "research"}, {"agent": "agt_2", "model": "o1"})),
            dice.choice(ZONES),
        )


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 8))])
def test_sums_equal_a_plain_reading_at_any_time(log: Log, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(seed)
    monkeypatch.setattr(rollup, "_BATCH", dice.choice((1, 3, 1000)))
    calls = some_calls(dice, 60 if seed else 24)
    at = 0
    while at < len(calls):
        more = dice.randint(1, 15)
        log.add(calls[at : at + more])
        at += more
        if dice.random() < 0.3:
            (log.data.cache / NAME).unlink(missing_ok=True)
        with sums(log) as (db, found):
            for question in questions(dice, 8):
                rows = answer(question, found, db)
                assert {row.key: row.counts for row in rows} == plain(db, question), question
                assert [row.key for row in rows] == sorted(row.key for row in rows)


def test_the_file_is_made_again_if_it_is_damaged_or_of_another_log(log: Log) -> None:
    question = UsageQuestion(0, 2**62, [], {})
    log.add(some_calls(random.Random(1), 20))

    def requests() -> int:
        with sums(log) as (db, found):
            return sum(row.counts.requests for row in answer(question, found, db))

    assert requests() == 20
    path = log.data.cache / NAME
    for damaged in (b"", b"no database", b"SQLite format 3\x00" + bytes(4096)):
        path.write_bytes(damaged)
        assert requests() == 20
    # The entry that was read last is gone, because its time was over: the sums are all that is left of it.
    log.add(some_calls(random.Random(3), 1))
    with closing(sqlite3.connect(log.data.audit_db)) as db, db:
        assert db.execute("DELETE FROM entry WHERE id <= 40").rowcount == 40
    assert requests() == 21
    (log.data.cache / NAME).unlink()
    assert requests() == 1
    with closing(sqlite3.connect(log.data.audit_db)) as db, db:
        db.execute("DELETE FROM entry")
        db.execute("DELETE FROM log")
    log.add(some_calls(random.Random(1), 20))
    assert requests() == 20
    # The log was restored from a copy that was made earlier, and went on from there.
    with closing(sqlite3.connect(log.data.audit_db)) as db, db:
        db.execute("DELETE FROM entry WHERE id > 20")
    db.close()
    log.calls = 100
    log.add(some_calls(random.Random(2), 15))
    assert requests() == 25


def test_without_a_place_for_the_file_the_answer_is_the_same(log: Log) -> None:
    log.add([Call(START * NS)])
    log.data.cache.write_text("not a directory")
    with sums(log) as (db, found):
        assert [row.counts.requests for row in answer(UsageQuestion(0, 2**62, [], {}), found, db)] == [1]


def test_a_unit_begins_by_the_clock_on_the_wall() -> None:
    zone = ZoneInfo("Europe/Berlin")
    at_ns = int(datetime(2026, 10, 25, 12, 30, 30, tzinfo=zone).timestamp()) * NS + 5
    assert [
        datetime.fromtimestamp(begin(at_ns, unit, zone) // NS, zone).isoformat()
        for unit in ("minute", "hour", "day", "month")
    ] == [
        "2026-10-25T12:30:00+01:00",
        "2026-10-25T12:00:00+01:00",
        "2026-10-25T00:00:00+02:00",
        "2026-10-01T00:00:00+02:00",
    ]


@pytest.mark.slow
def test_absurd_counts_of_one_organization_leave_the_sums_of_others_readable(log: Log) -> None:
    """Their sum had no room in 64 bits, and then nobody's usage could be shown."""
    most = 2**53 - 1
    absurd = [Call(START * NS + number * 60 * NS, "acme", input=most, cost=most) for number in range(1100)]
    log.add([*absurd, Call((START + 70_000) * NS)])
    with sums(log) as (db, found):
        rows = answer(UsageQuestion(START * NS, (START + 86400) * NS, ["organization"], {}), found, db)
        assert [(*row.key, row.counts.input, row.counts.cost_nanousd) for row in rows] == [
            ("acme", 1100 * most, 1100 * most),
            ("default", 10, 1000),
        ]
    log.add([Call((START + 70_000) * NS, "acme", input=most) for _ in range(1100)])
    with sums(log) as (db, found):
        in_one_minute = UsageQuestion((START + 69_960) * NS, (START + 70_020) * NS, ["organization"], {})
        assert [row.counts.input for row in answer(in_one_minute, found, db)] == [2**62, 10]
