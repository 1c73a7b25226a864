"""One balance: what a scope has used and what is reserved, in the windows of minutes, hours, days and months.

Pure arithmetic. A call counts in the windows in which it was decided. When it is settled after such a window has ended,
that window is history, and no later one is charged. A clock that is set back does not open a window again.

Windows end at whole minutes, hours, days and months of UTC, unless a reservation says otherwise: its `ends` are the
minutes at which the hour, day and month end that *begin* with it, in the zone of its organization. A window that has
begun keeps its end, whatever later reservations say. So no zone has to be known here. Specification: limits.md.
"""

from __future__ import annotations

import functools
import time
from datetime import UTC, datetime
from typing import Final, TypeAlias

import orjson

METRICS: Final = ("requests", "tokens", "spend_nanousd")
WINDOWS: Final = ("minute", "hour", "day", "month")
MINUTE_NS: Final = 60 * 10**9

_N: Final = len(WINDOWS)
_MOST: Final = 2**62  # a provider may report anything, and integers of databases have 64 bits
_HALF: Final = _MOST // 2

OPEN: Final = "open"
USED: Final = tuple(f"{metric}_{window}" for metric in METRICS for window in WINDOWS)
# A request is used as soon as it is decided, so none is ever reserved.
RESERVED: Final = tuple(f"reserved_{metric}_{window}" for metric in METRICS[1:] for window in WINDOWS)

CONCURRENT: Final = "concurrent_requests"
COUNTERS: Final = {
    CONCURRENT: OPEN,
    **{f"requests_per_{each}": f"requests_{each}" for each in WINDOWS},
    **{f"tokens_per_{each}": f"tokens_{each}" for each in WINDOWS},
    **{f"spend_microusd_per_{each}": f"spend_nanousd_{each}" for each in WINDOWS},
}
"""Every limit by its name, and the counter of a balance that it holds below its value."""

LIMIT_NAMES: Final = {counter: name for name, counter in COUNTERS.items()}

METRIC_OF: Final = {OPEN: 0, **{name: place // _N for place, name in enumerate(USED)}}
"""The one of `METRICS` that each counter adds up. Open decisions are requests."""

Amounts: TypeAlias = tuple[int, int, int]
"""Requests, tokens and nano-dollars."""

Ends: TypeAlias = tuple[int, int, int]
"""The minutes since 1970 at which an hour, a day and a month end."""

VALUES: Final = ("minute", OPEN, *USED, *RESERVED)
"""The parts of a balance, in this order. `minute` is counted from 1970."""

_USED: Final = 2  # the positions at which `USED` and `RESERVED` begin in `VALUES`
_RESERVED: Final = _USED + len(USED)
_PLACE: Final = {name: place for place, name in enumerate(USED)}

OWN: Final = ("hour_begin", "day_begin", "month_begin", "hour_end", "day_end", "month_end")
"""Further parts of a balance whose windows are not those of UTC: their begins and ends, counted as `minute` is."""


@functools.lru_cache(maxsize=1024)
def windows(minute: int) -> tuple[int, int, int, int]:
    """The numbers of the minute, hour, day and month of UTC that a minute since 1970 is in."""
    date = time.gmtime(minute * 60)
    return minute, minute // 60, minute // 1440, date.tm_year * 12 + date.tm_mon - 1


@functools.lru_cache(maxsize=1024)
def _utc(minute: int) -> tuple[int, ...]:
    """The begins and ends of the hour, day and month of UTC that a minute is in, in the order of `OWN`."""
    _, hour, day, month = windows(minute)
    return hour * 60, day * 1440, _month(month), (hour + 1) * 60, (day + 1) * 1440, _month(month + 1)


def _month(number: int) -> int:
    """The minute at which a month begins."""
    return int(datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC).timestamp()) // 60


def unit(name: str) -> int:
    """The number of a counter's units in one of its limit's, by either name: limits of money are in micro-dollars."""
    return 1000 if name.startswith("spend") else 1


def place_of(counter: str) -> int:
    """The one of `WINDOWS` that a counter that is not `OPEN` has."""
    return WINDOWS.index(counter.rpartition("_")[2])


def window_name(place: int, end: int) -> str:
    """The name of the window that ends at a minute: its number, if it is one that ends when UTC's does."""
    last = windows(end - 1)
    number = last[place]
    return str(number) if windows(end)[place] != number else f"until {end}"


def shown_time(seconds: int) -> str:
    """A time in seconds since 1970 as documents have it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Balance:
    """The balance of one scope.

    `open` are the decisions that are not closed. Usage, spent and reserved together, and the reserved part of it
    stand in `_values` as `VALUES` has them; that list is never changed, only replaced, so others may keep it. Amounts
    added in all four windows of `minute` are kept apart until they are written, because that is nearly everything: the
    requests, the tokens and spend that were settled, and those that are reserved (`_held_…`). `_own` has where the
    windows begin and end (`OWN`); it is empty if they are those of UTC. A window that began with the first
    reservation in it has that as its begin: all that settling asks is whether a decision was made before.
    """

    __slots__ = (
        *("_held_spend", "_held_tokens", "_own", "_requests", "_spend", "_tokens", "_values"),
        *("minute", "open", "read_at"),
    )

    def __init__(self, values: list[int] | None = None) -> None:
        self.read_at = 0  # the number of the database reading it is from (`Balances`)
        self._take(values or [0] * len(VALUES))

    def _take(self, values: list[int]) -> None:
        self.minute, self.open = values[0], values[1]
        self._own = values[len(VALUES) :]
        self._values = values[: len(VALUES)] if self._own else values
        self._requests = self._tokens = self._spend = self._held_tokens = self._held_spend = 0

    @classmethod
    def of(cls, text: str) -> Balance:
        """The balance of a stored row."""
        return cls(orjson.loads(text))

    def read(self, text: str | None) -> None:
        """Become the balance of another stored row; None if there is none."""
        self._take([0] * len(VALUES) if text is None else orjson.loads(text))

    def values(self) -> list[int]:
        """The balance in the order of `VALUES`, and of `OWN` if it has windows of its own. Not to be changed."""
        # Written out, because nearly every transaction does this for every balance that it changes.
        requests, held_tokens, held_spend = self._requests, self._held_tokens, self._held_spend
        tokens, spend = self._tokens + held_tokens, self._spend + held_spend
        _, _, a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q, r, s, t, u = self._values
        self._values = values = [
            self.minute, self.open,
            a + requests, b + requests, c + requests, d + requests,
            e + tokens, f + tokens, g + tokens, h + tokens,
            i + spend, j + spend, k + spend, m + spend,
            n + held_tokens, o + held_tokens, p + held_tokens, q + held_tokens,
            r + held_spend, s + held_spend, t + held_spend, u + held_spend,
        ]  # fmt: skip
        # Looking at all of them costs as much as a quarter of the sums, and a month holds what its minutes to days do.
        if d > _HALF or h > _HALF or m > _HALF or tokens > _HALF or spend > _HALF:
            values[_USED:_RESERVED] = [min(amount, _MOST) for amount in values[_USED:_RESERVED]]
        self._requests = self._tokens = self._spend = self._held_tokens = self._held_spend = 0
        return values + self._own if self._own else values

    def begin(self, place: int) -> int:
        """The minute from which on decisions count in the last window of this kind (a place in `WINDOWS`)."""
        return (self._own or _utc(self.minute))[place - 1] if place else self.minute

    def end(self, place: int) -> int:
        """The minute at which the last window of this kind ends."""
        return (self._own or _utc(self.minute))[place + 2] if place else self.minute + 1

    def ends(self, counter: str, minute: int, ends: Ends | None = None) -> int | None:
        """When the window of a counter that `minute` is in ends, in seconds since 1970; None if it has no window.

        `ends` are those of windows that would begin in this minute; None for those of UTC.
        """
        if counter == OPEN:
            return None
        place = place_of(counter)
        end = self.end(place)
        if minute >= end:
            end = (ends or _utc(minute)[3:])[place - 1] if place else minute + 1
        return end * 60

    def at(self, counter: str, minute: int) -> tuple[int, int]:
        """The used amount of one counter, and its reserved part, in the window that `minute` is in.

        A counter is one of `USED`, or `OPEN` for the decisions that are not closed.
        """
        if counter == OPEN:
            return self.open, self.open
        place = _PLACE[counter]
        if minute != self.minute and minute >= self.end(place % _N):
            return 0, 0
        return self._used(place), self._held(place)

    def spent(self, counter: str) -> int:
        """The used amount of a counter that is not reserved, in its last window; 0 for `OPEN`, which is never spent."""
        if counter == OPEN:
            return 0
        place = _PLACE[counter]
        return self._used(place) - self._held(place)

    def _used(self, place: int) -> int:
        """The used amount of a counter of `USED`, by its place, in its last window."""
        used = self._values[_USED + place]
        if place < _N:
            return used + self._requests
        return used + (self._tokens + self._held_tokens if place < 2 * _N else self._spend + self._held_spend)

    def _held(self, place: int) -> int:
        """The reserved amount of it."""
        if place < _N:
            return 0
        return self._values[_RESERVED + place - _N] + (self._held_tokens if place < 2 * _N else self._held_spend)

    def used(self, minute: int) -> list[int]:
        """The used amounts of every counter of `USED`, in the windows that `minute` is in."""
        if minute != self.minute:
            return [self.at(counter, minute)[0] for counter in USED]
        return self.values()[_USED:_RESERVED]

    def reserve(self, minute: int, tokens: int, spend: int, ends: Ends | None = None) -> None:
        """One more decision is open, which counts in the windows of `minute`; that is never before `self.minute`.

        `ends` are those of the windows that begin with it; None for those of UTC.
        """
        if minute > self.minute:
            self._begin(minute, ends)
        self.open += 1
        self._requests += 1
        self._held_tokens += tokens
        self._held_spend += spend

    def settle(self, minute: int, settled: Amounts, tokens: int, spend: int) -> None:
        """A decision of this minute is closed, which had reserved so many tokens and so much spend."""
        self.open -= 1
        if minute == self.minute:
            if settled[0] != 1:
                self._requests += settled[0] - 1
            self._tokens += settled[1]
            self._spend += settled[2]
            self._held_tokens -= tokens
            self._held_spend -= spend
            return
        more = settled[0] - 1, settled[1] - tokens, settled[2] - spend
        values = self.values()[: len(VALUES)]
        for window in range(_N):
            if minute < self.begin(window):
                continue
            for metric, amount in enumerate(more):
                place = _USED + metric * _N + window
                values[place] = min(values[place] + amount, _MOST)
            for metric, amount in enumerate((tokens, spend)):
                values[_RESERVED + metric * _N + window] -= amount
        self._values = values

    def _begin(self, minute: int, ends: Ends | None) -> None:
        """Begin the windows that `minute` is in and the last one was not."""
        values = self.values()[: len(VALUES)]
        over = [place for place in range(_N) if minute >= self.end(place)]
        if ends is not None or self._own:
            own, new = list(self._own or _utc(self.minute)), ends or _utc(minute)[3:]
            for place in over:
                if place:
                    own[place - 1], own[place + 2] = minute, new[place - 1]
            self._own = own
        for place in over:
            values[_USED + place : _RESERVED : _N] = [0] * len(METRICS)
            values[_RESERVED + place :: _N] = [0] * (len(METRICS) - 1)
        self._values = values
        self.minute = minute
