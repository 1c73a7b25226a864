"""Thresholds: entries that say that half, four fifths or all of a limit is used, each once for a window.

A threshold is reached when what calls have *spent* reaches it; what calls under way have reserved does not count, since
a burst reserves far more than it will use. It is looked at when a call has ended, and an entry follows in the same
transaction. The last threshold is also reached when a call is refused although it would fit into an unused window, and
so much was spent that only the next window has room for it: a limit is rarely used up to the last token.

The event id follows from the limit, its value, the window and the threshold, and an event id is unique in the log. So
there is one entry, whatever crashes and however many processes write. The value of a policy's limit is left out of it,
because a policy may compute another one for every call. `balance_check.py` makes the entries again.
Specification: limits.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from gateway.audit.balance import LIMIT_NAMES, OPEN, Balance, place_of, shown_time, unit, window_name
from gateway.audit.balances import Balances, Held
from gateway.audit.entry import MAX_INTEGER, Entry

WHAT: Final = "limit.threshold"
"""The members of a `change` entry that tells of a threshold."""

PERCENT: Final = (50, 80, 100)
_NEARLY: Final = 80  # percent that must be spent before a refusal counts as the last threshold
_NAMED: Final = 6  # the length of what was read of a limit, with the name of the limit
_TOLD: Final = 8192


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


def reached(organization: str, held: Held, balances: Balances) -> list[Reached]:
    """The thresholds that are reached by now, of the limits that a call was compared with, once it is settled.

    Their entries may exist already; what these balances have found before is left out (`Balances.told`). A window that
    has ended meanwhile is not told of any more.
    """
    found: list[Reached] = []
    for read in held.read:
        if len(read) < _NAMED:
            continue  # entries of former versions do not name their limits
        scope, counter, value = read[0], read[1], int(read[4])
        balance = held.group.by_scope.get(scope) or balances.get(organization, scope)
        # Every call comes by here with each of its limits, and most go no further.
        if balance.spent(counter) * 100 >= PERCENT[0] * value > 0:
            limit = LimitWindow(scope, counter, *balance.at(counter, balance.minute), value, str(read[5]), 0, None, 0)
            found += _new(organization, limit, held.minute, balance, balances.told)
    return found


def _new(
    organization: str, limit: LimitWindow, minute: int, balance: Balance, told: dict[object, int]
) -> Iterator[Reached]:
    """The thresholds of a limit that are reached and not told of yet, if the window of this minute has not ended."""
    place = place_of(limit.counter)
    if minute < balance.begin(place):
        return
    limit = limit._replace(minute=minute, ends=balance.end(place) * 60)
    key = organization, limit.scope, limit.counter, limit.value, limit.limit, limit.ends
    for percent in PERCENT:
        if told.get(key, 0) < percent and (limit.used - limit.reserved) * 100 >= percent * limit.value:
            if len(told) >= _TOLD:
                told.clear()
            told[key] = percent
            yield _reached(organization, limit, percent)


def refused(organization: str, limits: Sequence[LimitWindow]) -> Iterator[Reached]:
    """The last thresholds that are reached because these limits have refused a call."""
    for each in limits:
        if is_used_up(each):
            found = _reached(organization, each, 100)
            found.fields["needed"] = _shown(each.counter, each.needed)
            yield found


def is_used_up(limit: LimitWindow) -> bool:
    """True if only the next window can have room for the refused call, and most of this one is spent."""
    spent = limit.used - limit.reserved
    return (
        limit.counter != OPEN
        and limit.needed <= limit.value < spent + limit.needed
        and spent * 100 >= _NEARLY * limit.value
    )


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
        "limit_name": LIMIT_NAMES[counter],
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
