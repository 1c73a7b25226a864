"""Documents that depend on base data alone: made by one decision, kept with the data, found by later ones.

A decision must be charged the same whether it makes such a document or finds it, or its outcome would depend on what
others before it have asked for. So a document has a *price*, the steps it takes to make it when nothing is kept, and
a decision pays it for each document that it uses, once. A document that needs others pays for them in its price; what
a decision has paid for already, directly or through another document, it does not pay again.

For this a document is made in a context of its own, where nothing is remembered yet. Its budget is what the decision
that makes it could still pay, and the deadline is the same. If making fails nothing is kept: each decision fails alike.
"""

from __future__ import annotations

from typing import Any, Final

from policy_engine.codegen.context import (
    CODE,
    DATA,
    FNS,
    INDEXES,
    MEMO,
    NC,
    NOTHING,
    ROOT,
    START,
    USED,
    Indexes,
    Limits,
    Query,
    U,
    charge,
    first_slice,
    left_of,
)
from policy_engine.values import Value

MOST: Final = 4096
"""The most parts of one document that are kept."""


class Kept:
    """A document with its price. `own` is the price without the documents that it `needs`."""

    __slots__ = ("key", "needs", "own", "price", "value")

    def __init__(self, key: object, value: Value, price: int, own: int, needs: tuple[Kept, ...]) -> None:
        self.key = key
        self.value = value
        self.price = price
        self.own = own
        self.needs = needs


class Used:
    """The documents that a decision, or the making of a document, has paid for."""

    __slots__ = ("asked", "paid", "total")

    def __init__(self, kept: Kept) -> None:
        self.asked = {kept.key: kept}
        """Those that it has asked for itself."""
        self.paid: set[object] = set()
        """The keys of all, with those that are needed by others; empty while `asked` has one."""
        self.total = kept.price
        """The steps paid for them."""


def parts(indexes: Indexes | None, place: object) -> dict[object, Kept] | None:
    """The parts of a document that are kept, by the values that lookups have asked for."""
    if indexes is None:
        return None
    found: dict[object, Kept] = indexes.setdefault(place, {})
    if len(found) > MOST:
        found.clear()
    return found


def found(q: Query, kept: Kept) -> Value:
    """The value of a kept document, which the decision pays for if it has not yet."""
    price = kept.price
    if price:
        root = q[ROOT] or q
        used = root[USED]
        if used is None:
            root[USED] = Used(kept)
            charge(root, price)
        elif kept.key not in used.asked:
            _add(root, used, kept)
    return kept.value


def _add(root: Query, used: Used, kept: Kept) -> None:
    if not used.paid:
        for first in used.asked.values():
            _unpaid(first, used.paid)
    used.asked[kept.key] = kept
    cost = _unpaid(kept, used.paid)
    used.total += cost
    charge(root, cost)


def _unpaid(kept: Kept, paid: set[object]) -> int:
    """What a document costs beyond those that are paid for. Now it is paid for too."""
    cost = 0
    pending = [kept]
    while pending:
        item = pending.pop()
        if item.key not in paid:
            paid.add(item.key)
            cost += item.own
            pending += item.needs
    return cost


def aside(q: Query) -> Query:
    """A context for making a document."""
    root = q[ROOT] or q
    options, strict, limits, deadline, *rest = root[START]
    used = root[USED]
    # The document may need others that are paid for already.
    room = left_of(root) + (0 if used is None else used.total)
    budget = Limits(limits.seconds, room, limits.output_bytes)
    start = (options, strict, budget, deadline, *rest)
    slots = len(q) - MEMO
    fresh = [U, q[DATA], None, first_slice(budget), None, start, q[CODE].fns, NOTHING, q[CODE], q[INDEXES], None]
    fresh += [NC] * slots
    charge(fresh, slots // 256)
    return fresh


def keep(q: Query, made: Query, place: dict[Any, Any], key: object, value: Value) -> None:
    """Keep a document that was made in the context `made`, and have the context `q` pay for it."""
    used = made[USED]
    price = _spent(made)
    own, needs = (price, ()) if used is None else (price - used.total, tuple(used.asked.values()))
    kept = place[key] = Kept((id(place), key), value, price, own, needs)
    found(q, kept)


def not_made(q: Query, made: Query) -> None:
    """Charge for a document whose making has failed."""
    charge(q, _spent(made))


def _spent(made: Query) -> int:
    room: int = made[START][2].work
    return room - left_of(made)
