"""time.* against the real OPA: random instants, zones, layouts and texts that nearly fit them."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Final

import pytest

from policy_engine.builtins import times
from policy_engine.builtins.layouts import formatter
from policy_engine.values import Number, Value, to_term
from tests.oracle import Oracle
from tests.policy_engine.builtins.conftest import Query, opa_outcome, outcome, verdict

ROUNDS: Final = int(os.environ.get("DIFFERENTIAL_ROUNDS", "60"))

# Zones whose rules do not change from one release of the database to the next.
_ZONES: Final = (
    *("UTC", "", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia"),
    *("America/Sao_Paulo", "Europe/Dublin", "EST5EDT", "GMT", "Etc/GMT+5", "Antarctica/Troll", "America/St_Johns"),
)
_NO_ZONES: Final = ("Nope", "a/../b", "/x", "utc", "europe/berlin", "\\x")
_ELEMENT_TEXTS: Final = (
    "2006 06 01 1 January Jan Monday Mon 02 _2 2 002 __2 15 03 3 04 4 05 5 PM pm MST Z0700 Z070000 Z07 Z07:00 Z07:00:00"
    " -0700 -070000 -07 -07:00 -07:00:00 .000 .999 .0 .000000000 .999999999 .0000000000000 _2006 ,000"
)
_ELEMENTS: Final = _ELEMENT_TEXTS.split()
_BETWEEN: Final = ("", " ", "  ", "-", "T", "x", "/", ":", "é", ", ", ".", "1", "Jane")
_SLIPS: Final = ("", "0", "9", "x", " ", "-", "+", "é", ".5", "Z", "GMT", "UTC", "pm")
_UNITS: Final = ("ns", "us", "µs", "μs", "ms", "s", "m", "h", "d", "w", "y", "x", "")
_AMOUNTS: Final = (
    "1",
    "2.5",
    ".75",
    "0",
    "100",
    "9223372036854775807",
    "0.333333333333333333333",
    "9999999999",
    "1.",
    ".",
)


def nanoseconds(rnd: random.Random) -> Value:
    edges = (
        0,
        1,
        -1,
        2**63 - 1,
        -(2**63),
        2**63,
        Number("1e18"),
        1.5,
        10**30,
        1711846800 * 10**9,
        1711846800 * 10**9 - 1,
    )
    return rnd.choice((rnd.randint(0, 2 * 10**18), rnd.randint(-(2**63), 2**63 - 1), rnd.choice(edges)))


def layout(rnd: random.Random) -> str:
    if rnd.random() < 0.3:
        return rnd.choice((*formatter.NAMED, *formatter.NAMED.values()))
    return "".join(rnd.choice(_ELEMENTS) + rnd.choice(_BETWEEN) for _ in range(rnd.randint(0, 6)))


def instant(rnd: random.Random) -> Value:
    kind = rnd.random()
    if kind < 0.25:
        return nanoseconds(rnd)
    if kind < 0.9:
        zone = rnd.choice(_ZONES if rnd.random() < 0.9 else _NO_ZONES)
        return [nanoseconds(rnd), zone] + ([layout(rnd)] if rnd.random() < 0.3 else [])
    return rnd.choice(("x", None, [], {}, ["x"], [0, 1], [0, "UTC", 1], True, [1, "UTC", "", "y"]))


def stamp(rnd: random.Random, pattern: str, earliest: int = 0) -> str:
    """A time in the layout, with a slip of the pen in every other one."""
    zone = times._zone(rnd.choice(_ZONES), "test")
    moment = times._shown(rnd.randint(earliest, 2**63 - 1), zone)
    text = formatter.render(moment, formatter.NAMED.get(pattern, pattern))
    if not text or rnd.random() < 0.5:
        return text
    at = rnd.randrange(len(text))
    return text[:at] + rnd.choice(_SLIPS) + text[at + rnd.randint(0, 2) :]


def duration(rnd: random.Random) -> str:
    parts = (rnd.choice(_AMOUNTS) + rnd.choice(_UNITS) for _ in range(rnd.randint(0, 3)))
    return rnd.choice(("", "", "-", "+")) + "".join(parts)


def _parse(rnd: random.Random) -> tuple[Value, ...]:
    pattern = layout(rnd)
    return pattern, stamp(rnd, pattern)


def _rfc3339(rnd: random.Random) -> tuple[Value, ...]:
    like = ("2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05.999999999Z07:00", "2006-01-02T15:04:05,0000000000+07:00")
    return (stamp(rnd, rnd.choice(like), -(2**63)),)


CALLS: Final[dict[str, Callable[[random.Random], tuple[Value, ...]]]] = {
    "time.add_date": lambda rnd: (
        instant(rnd),
        rnd.choice((0, 1, -1, 5, 300, rnd.randint(-100, 100))),
        rnd.choice((0, 1, -1, 13, -25, rnd.randint(-2000, 2000))),
        rnd.choice((0, 1, -1, 31, -400, rnd.randint(-9999, 9999), "x", 1.5)),
    ),
    "time.clock": lambda rnd: (instant(rnd),),
    "time.date": lambda rnd: (instant(rnd),),
    "time.diff": lambda rnd: (instant(rnd), instant(rnd)),
    "time.format": lambda rnd: (rnd.choice((instant(rnd), [nanoseconds(rnd), rnd.choice(_ZONES), layout(rnd)])),),
    "time.parse_duration_ns": lambda rnd: (duration(rnd),),
    "time.parse_ns": _parse,
    "time.parse_rfc3339_ns": _rfc3339,
    "time.weekday": lambda rnd: (instant(rnd),),
}


@pytest.mark.parametrize("name", CALLS)
def test_same_as_opa(name: str, oracle: Oracle) -> None:
    rnd = random.Random(name)
    for _ in range(ROUNDS):
        operands = CALLS[name](rnd)
        got, want = verdict(name, *operands), opa_outcome(oracle.call(name, *operands))
        assert got == want, f"{name}({', '.join(map(to_term, operands))})"


_FRACTIONS: Final = (
    *("1234567890123456789.01", "1.0000000000000000000001", "9223372036854775807.2", "-9223372036854775808.2"),
    *("9223372036854775807.3", "123456789.0000000001", "0.99999999999999999999999", "0e-500", "1e-30000", "1e400"),
)


def test_fractions_beyond_64_bits_do_not_count(oracle: Oracle) -> None:
    for text in _FRACTIONS:
        for operand in (Number(text), [Number(text), "Europe/Berlin"]):
            got, want = verdict("time.format", operand), opa_outcome(oracle.call("time.format", operand))
            assert got == want, text


_ODD_TEXTS: Final = (
    *(("2006 002", "2024 060"), ("2006 002", "2023 060"), ("2006 002", "2023 366"), ("2006 002", "2024 366")),
    *(("2006 01 002", "2024 03 060"), ("2006 01 02 __2", "2024 02 29  60"), ("2006 002", "2024 000")),
    *(("2006-01-02", "2023-02-29"), ("2006-01-02", "2023-00-10"), ("01-02", "02-30"), ("2006", "-123"), ("06", "-5")),
    *(("MST", zone) for zone in ("ABCDEF", "WITA", "ABCD", "ABCT", "ABCDT", "ChST", "GMT+3", "GMT+30", "+0300", "AB")),
    *(("3:04PM", "12:30AM"), ("3:04pm", "13:30pm"), (".00", ".-1"), (".00", ".+1"), (".00", "x12"), ("05", "07.123")),
    *(("05 .000", "07.1 .123"), ("05.000", "07.12"), ("05.999", "07"), ("Jan", "jAN"), ("", ""), ("", "x"), (" ", "")),
    *(("  x", "x"), ("a b", "ab"), ("15", "24"), ("-0700", "+2500"), ("-0700", "+0099"), ("-07:00", "+07-00")),
    *(("-0700", "+25:00"), ("-0700", "+23:00"), ("-070000", "+25x9"), ("-070000", "+yy6161"), ("-0700", "+2599")),
    *(("Z07:00", "z"), ("2006 MST", "2020 é"), ("January", "Febr"), ("2006", "99999")),
)


def test_odd_texts(oracle: Oracle) -> None:
    for pattern, text in _ODD_TEXTS:
        got, want = verdict("time.parse_ns", pattern, text), opa_outcome(oracle.call("time.parse_ns", pattern, text))
        assert got == want, f"{text!r} as {pattern!r}"


_ODD_DURATIONS: Final = (
    *(
        "1d",
        "P1D",
        "-0",
        "+",
        "5",
        "h",
        "1h1x",
        ".s",
        "1.2.3s",
        "1.2.3d",
        "1d1.2.3s",
        ".d",
        "1d.s",
        "é1d",
        "1dé",
        "1d1μs",
    ),
    *("9223372036854775807ns", "9223372036854775808ns", "-9223372036854775808ns", "2562047h47m16.854775807s", "--1d"),
    *("106751d23h47m16.854775807s", "-106751d23h47m16.854775808s", "0.99999999999999999999s", "0.9223372036854775808s"),
    *(
        "1" * 5000 + "s",
        "0." + "1" * 5000 + "s",
        "0" * 30 + "1s",
        "1" * 400 + "d",
        "100000.1d",
        "9.87654321y",
        "99.99w",
    ),
)


def test_odd_durations(oracle: Oracle) -> None:
    for text in _ODD_DURATIONS:
        want = opa_outcome(oracle.call("time.parse_duration_ns", text))
        assert verdict("time.parse_duration_ns", text) == want, text


@pytest.mark.parametrize("operands", [(0, 2**62, 0, 0), (0, 0, 0, 2**63 - 1), (0, 0, -(2**62), 0)])
def test_dates_too_far_away_are_errors(operands: tuple[int, ...]) -> None:
    """OPA's 64-bit arithmetic comes back to the day before, or to 1970."""
    assert outcome("time.add_date", *operands) == "eval_builtin_error: time.add_date: time outside of valid range"


def test_the_clock_stands_still() -> None:
    query = Query()
    first = outcome("time.now_ns", query=query)
    assert first == outcome("time.now_ns", query=query) == "[1700000000123456789]"
    assert list(query.remembered) == [("time.now_ns", "[]")]


def test_local_time_is_utc() -> None:
    assert outcome("time.format", [0, "Local", "15:04 MST"]) == '["00:00 UTC"]'
