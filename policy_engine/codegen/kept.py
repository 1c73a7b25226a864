"""Documents that depend on base data alone: made by one decision, kept with the data, found by later ones.

A decision must be charged the same whether it makes such a document or finds it, or its outcome would depend on what
others before it have asked for. So a document has a *price*, the steps it takes to make it when nothing is kept, and
a decision pays it for each document that it uses, once. A document that needs others pays for them in its price; what
a decision has paid for already, directly or through another document, it does not pay again. A whole document that is
made in few steps is free: finding it should cost nothing, and rules that are made once are as many as are compiled.

For this a document is made in a context of its own, where nothing is remembered yet. Its budget is what the decision
that makes it could still pay, and the deadline is the same. If making fails nothing is kept: each decision fails alike.
"""

from __future__ import annotations

from typing import Any, Final

from policy_engine.codegen.context import (
    CODE,
    DATA,
    INDEXES,
    LEFT,
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
    pay,
)
from policy_engine.values import Value

MOST: Final = 4096
"""The most parts of one document that are kept."""


LIGHT: Final = 4096
"""The most steps for making a whole document that is free."""


class Kept:
    """A document with its price. `own` is the price without the documents that it `needs`."""

    __slots__ = ("alone", "key", "needs", "own", "price", "value")

    def __init__(self, key: object, value: Value, price: int, own: int, needs: tuple[Kept, ...]) -> None:
        self.key = key
        self.value = value
        self.price = price
        self.own = own
        self.needs = needs
        self.alone: Used | One = Used((self,), price, [0]) if key.__class__ is int else One(self)
        """The record of a decision that has used this document and nothing else."""


class Used:
    """The whole documents that a decision, or the making of a document, has used and paid for.

    Most decisions use the same ones in the same order, so it is remembered what comes after a use.
    """

    __slots__ = ("_after", "_remembered", "asked", "total")

    def __init__(self, asked: tuple[Kept, ...], total: int, remembered: list[int]) -> None:
        self.asked = asked
        """Those that it has asked for itself."""
        self.total = total
        """The steps paid for them, and for those that they need."""
        self._after: dict[object, tuple[Used, int]] = {}
        self._remembered = remembered
        """The number of uses that are remembered after the first one."""

    def with_(self, kept: Kept) -> tuple[Used | Parts, int]:
        """The documents used after `kept`, and the price of `kept`."""
        found = self._after.get(kept.key)
        if found is None:
            more = Parts(self.asked, self.total)
            cost = more.with_(kept)[1]
            if kept.key.__class__ is not int or self._remembered[0] >= MOST_REMEMBERED:
                return more, cost
            self._remembered[0] += 1
            used = Used(tuple(more.asked), more.total, self._remembered) if len(more.asked) > len(self.asked) else self
            found = self._after[kept.key] = used, cost
        return found


class One:
    """A part of a document, and nothing else. All decisions share it."""

    __slots__ = ("asked", "total")

    def __init__(self, kept: Kept) -> None:
        self.asked = (kept,)
        self.total = kept.price

    def with_(self, kept: Kept) -> tuple[One | Parts, int]:
        """The documents used after `kept`, and the price of `kept`."""
        if kept.key == self.asked[0].key:
            return self, 0
        return Parts(self.asked, self.total).with_(kept)


class Parts:
    """The same with parts of documents among them. It belongs to one decision: each may ask for others."""

    __slots__ = ("_paid", "asked", "total")

    def __init__(self, asked: tuple[Kept, ...], total: int) -> None:
        self.asked = list(asked)
        self.total = total
        self._paid: set[object] = set()
        for kept in asked:
            _unpaid(kept, self._paid)

    def with_(self, kept: Kept) -> tuple[Parts, int]:
        """The documents used after `kept`, and the price of `kept`."""
        if kept.key in self._paid:
            return self, 0
        cost = _unpaid(kept, self._paid)
        self.asked.append(kept)
        self.total += cost
        return self, cost


MOST_REMEMBERED: Final = 64
"""The most uses that are remembered after one."""


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
    root = q[ROOT] or q
    used = root[USED]
    if used is None:
        root[USED], cost = kept.alone, kept.price
    else:
        root[USED], cost = used.with_(kept)
    left = root[LEFT] - cost
    if left >= 0:
        root[LEFT] = left
    else:
        pay(root, cost)
    return kept.value


def _unpaid(kept: Kept, paid: set[object]) -> int:
    """The price of a document beyond those that are paid for. From now on it is paid for, too."""
    if not kept.needs:
        if kept.key in paid:
            return 0
        paid.add(kept.key)
        return kept.own
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
    # The document may need others that are paid for already, and may be free.
    room = left_of(root) + (0 if used is None else used.total) + LIGHT
    budget = Limits(limits.seconds, room, limits.output_bytes)
    start = (options, strict, budget, deadline, *rest)
    slots = len(q) - MEMO
    fresh = [U, q[DATA], None, first_slice(budget), None, start, q[CODE].fns, NOTHING, q[CODE], q[INDEXES], None, 0]
    fresh += [NC] * slots
    charge(fresh, slots // 256)
    return fresh


def keep(q: Query, made: Query, documents: dict[Any, Any], number: int, value: Value) -> None:
    """Keep a whole document that was made in the context `made`, and have the context `q` pay for it."""
    kept = _kept(made, number, value)
    if kept.price <= LIGHT:
        documents[number] = value
    else:
        documents[number] = kept
        found(q, kept)


def keep_part(q: Query, made: Query, place: dict[object, Kept], key: object, value: Value) -> None:
    """The same for a part of a document. There may be as many as there are inputs, so none is free."""
    kept = place[key] = _kept(made, (id(place), key), value)
    found(q, kept)


def _kept(made: Query, key: object, value: Value) -> Kept:
    price = _spent(made)
    used: Used | One | Parts | None = made[USED]
    if used is None:
        return Kept(key, value, price, price, ())
    return Kept(key, value, price, price - used.total, tuple(used.asked))


def not_made(q: Query, made: Query) -> None:
    """Charge for a document whose making has failed."""
    charge(q, _spent(made))


def _spent(made: Query) -> int:
    room: int = made[START][2].work
    return room - left_of(made)
