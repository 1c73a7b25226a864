"""Thresholds: entries that say that half, four fifths or all of a limit is used, each once for a window.

A threshold is reached when what calls have *spent* reaches it; what calls under way have reserved does not count, since
a burst reserves far more than it will use. That is looked at when a call has ended, and an entry follows in the same
transaction. The last threshold is also reached when a call is refused although it would fit into an unused window, and
so much was spent that only the next window has room for it: a limit is rarely used up to the last token.

The event id follows from the limit, its value, the window and the threshold, and an event id is unique in the log. So
there is one entry, whatever crashes and however many processes write. The value of a policy's limit is left out of it,
because a policy may compute another one for every call. `balance_check.py` makes the entries again.
Specification: docs/limits.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from gateway.audit.balances import OPEN, Balances, place_of, shown_time, window_name
from gateway.audit.entry import MAX_INTEGER, Entry

WHAT: Final = "limit.threshold"
"""What a `change` entry says that tells of a threshold."""

PERCENT: Final = (50, 80, 100)
_NEARLY: Final = 80  # percent that must be spent before a refusal counts as the last threshold
_NAMES: Final = {"spend_nanousd": "spend_microusd"}


class LimitWindow(NamedTuple):
    """A limit and its balance in one window, when a call was compared with it or settled. `needed` is for refusals."""

    scope: str
    counter: str
    used: int
    reserved: int
    value: int
    limit: str
    minute: int
    # When its window ends, in seconds since 1970; None if it has none.
    ends: int | None
    needed: int


class Reached(NamedTuple):
    """A threshold that is reached: the id of its entry, and the members that the entry has besides the common ones."""

    event_id: str
    fields: Entry


def reached(organization: str, reservation: Mapping[str, Any], balances: Balances) -> Iterator[Reached]:
    """The thresholds that are reached by now, of the limits that a call was compared with, once it is settled.

    Their entries may exist already. A window that has ended meanwhile is not told of any more.
    """
    for scope, counter, _, _, limit_value, *rest in reservation.get("read", ()):
        if not rest or counter == OPEN:
            continue  # entries of former versions do not name their limits
        balance, value = balances.get(organization, scope), int(limit_value)
        used, reserved = balance.at(counter, balance.minute)
        spent = used - reserved
        if spent * 100 < PERCENT[0] * value or not value:
            continue
        minute, place = reservation["minute"], place_of(counter)
        if minute < balance.begin(place):
            continue
        window = LimitWindow(scope, counter, used, reserved, value, str(rest[0]), minute, balance.end(place) * 60, 0)
        for percent in PERCENT:
            if spent * 100 >= percent * value:
                yield _reached(organization, window, percent)


def refused(organization: str, limits: Sequence[LimitWindow]) -> Iterator[Reached]:
    """The last thresholds that are reached because these limits have refused a call."""
    for each in limits:
        if is_used_up(each):
            found = _reached(organization, each, 100)
            found.fields["needed"] = _shown(each.counter, each.needed)
            yield found


def is_used_up(limit: LimitWindow) -> bool:
    """Whether only the next window can have room for the refused call, and most of this one is spent."""
    spent = limit.used - limit.reserved
    return (
        limit.counter != OPEN
        and limit.needed <= limit.value < spent + limit.needed
        and spent * 100 >= _NEARLY * limit.value
    )


def counter_of(name: str) -> str:
    """The counter of a limit's name, as entries have it."""
    metric, _, window = name.rpartition("_per_")
    return f"{'spend_nanousd' if metric == 'spend_microusd' else metric}_{window}"


def limit_name(counter: str) -> str:
    """The name of a limit on a counter."""
    if counter == OPEN:
        return "concurrent_requests"
    metric, _, window = counter.rpartition("_")
    return f"{_NAMES.get(metric, metric)}_per_{window}"


def unit(counter: str) -> int:
    """How many of a counter's units are one of the limit's: limits of money are in micro-dollars."""
    return 1000 if counter.startswith("spend") else 1


def _shown(counter: str, amount: int) -> int:
    return min(-(-amount // unit(counter)), MAX_INTEGER)


def _reached(organization: str, limit: LimitWindow, percent: int) -> Reached:
    scope, counter, used, reserved, value, identifier, minute, ends, _ = limit
    assert ends is not None
    window = window_name(place_of(counter), ends // 60)
    key = (organization, scope, counter, identifier, str(value) if identifier else "", window, str(percent))
    subject = scope.partition(" ")[0]
    fields: Entry = {
        "what": WHAT,
        "limit": identifier,
        "limit_name": limit_name(counter),
        "scope": scope,
        "percent": percent,
        "value": value // unit(counter),
        "spent": _shown(counter, used - reserved),
        "reserved": _shown(counter, reserved),
        "minute": minute,
        "resets_at": shown_time(ends),
    }
    if subject.startswith("agent:"):
        fields["agent"] = subject.removeprefix("agent:")
    digest = hashlib.sha256("\0".join(key).encode("utf-8", "replace")).hexdigest()
    return Reached(f"thr_{digest[:32]}", fields)
