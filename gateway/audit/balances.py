"""Balances: what has been used and what is reserved, as a function of the entries of a log.

A `decided` entry that stays open says in `reservation_json` which scopes it counts in and how much of them it reserves.
Its `completed` entry says what that was settled at. So every balance follows from the leaves. The table `balance` is an
index of them: `transaction.py` keeps it in the transaction of each entry, and `verify.py` computes it again.

A *scope* is a name, such as `agent:agt_1` or `team:research`, within one organization. What names mean is decided
where reservations are made (`gateway/usage/`). The arithmetic of one balance is in `balance.py`. Specification:
docs/limits.md.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import orjson

from gateway.audit.balance import OWN, RESERVED, USED, VALUES, Amounts, Balance, Ends
from gateway.audit.entry import MAX_INTEGER, Entry, Scalar

_FIND: Final = "SELECT amounts FROM balance WHERE organization = ? AND scope = ?"
_WRITE: Final = """
INSERT INTO balance (organization, scope, amounts) VALUES (?, ?, ?)
ON CONFLICT (organization, scope) DO UPDATE SET amounts = excluded.amounts
"""
TABLE: Final = """
-- What the open and closed decisions of each scope add up to: a JSON array of integers (`balances.VALUES`). As columns
-- they would make a call cost twice as much, because every call reads and writes several rows.
CREATE TABLE balance (
    organization TEXT NOT NULL,
    scope TEXT NOT NULL,
    amounts TEXT NOT NULL,
    PRIMARY KEY (organization, scope)
) STRICT, WITHOUT ROWID;
"""

Key: TypeAlias = tuple[str, str]
"""Organization and scope."""

_REMEMBERED: Final = 4096
_GROUPS: Final = 8192


class Group:
    """The balances of the scopes that a call counts in, looked up once: the same for all calls of an agent."""

    __slots__ = ("balances", "by_scope", "changed", "members", "read_at", "text")

    def __init__(self, keys: Sequence[Key], balances: Sequence[Balance]) -> None:
        self.members = list(zip(keys, balances, strict=True))
        self.balances = balances
        self.by_scope = {scope: balance for (_, scope), balance in self.members}
        self.changed = False
        self.read_at = 0
        self.text = orjson.dumps([scope for _, scope in keys]).decode()
        """The scopes as a `reservation_json` has them."""


class Held(NamedTuple):
    """What an open decision has reserved, and in which balances. `read` are the limits that it was compared with."""

    group: Group
    minute: int
    tokens: int
    spend_nanousd: int
    ends: Ends | None
    read: Sequence[Sequence[Any]]


class Balances:
    """The balances that transactions touch: each is read once, and written once in a transaction that changed it.

    May be kept from one transaction to the next: then it is what the database has, unless somebody else has written to
    that. After this call `read_again`, and each balance is read once more before it is used. Also the whole of them
    while a log is verified: then there is no database, and all begin with nothing.
    """

    def __init__(self, db: sqlite3.Connection | None = None) -> None:
        self._db = db
        self._reading = 0  # grows whenever what was read before is no longer what the database has
        self.found: dict[Key, Balance] = {}
        self._groups: dict[tuple[str, tuple[str, ...]], Group] = {}
        self._changed: list[Group] = []
        # Reservations that were read or made not long ago, by the text that says so and their organization.
        self._held: dict[tuple[str, object], Held] = {}
        # What the open decisions have reserved that were met here; None if one counts in no balance.
        self._open: dict[str, Held | None] = {}
        # What `write` has written last, as values that no longer change, and when.
        self.written: dict[Key, tuple[list[int], float]] = {}
        # The last thresholds that the log tells of, so that they are not looked for again (`thresholds.py`).
        self.told: dict[object, int] = {}

    def get(self, organization: str, scope: str) -> Balance:
        """A balance as it is now, to be read only."""
        key = organization, scope
        balance = self.found.get(key)
        if balance is None:
            balance = self.found[key] = Balance()
            balance.read_at = -1
        if balance.read_at != self._reading:
            row = None if self._db is None else self._db.execute(_FIND, key).fetchone()
            balance.read(None if row is None else row[0])
            balance.read_at = self._reading
        return balance

    def read_again(self) -> None:
        """Believe nothing that was read until now: somebody else has written to the database."""
        self._reading += 1

    def of(self, organization: str, scopes: tuple[str, ...]) -> Group:
        """The balances of these scopes as they are now, to be read only."""
        key = organization, scopes
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= _GROUPS:  # which models a call names decides which limits of models it counts for
                self._groups.clear()
            keys = [(organization, scope) for scope in key[1]]
            group = self._groups[key] = Group(keys, [self.get(*each) for each in keys])
            group.read_at = self._reading
        elif group.read_at != self._reading:
            self._read(group)
        return group

    def _read(self, group: Group) -> None:
        for key, _ in group.members:
            self.get(*key)
        group.read_at = self._reading

    def remember(self, organization: str, text: str, held: Held) -> None:
        """Spare parsing of a `reservation_json` by whoever has just made it of this reservation."""
        if len(self._held) >= _REMEMBERED:
            self._held.clear()
        self._held[organization, text] = held

    def reserve(self, entry: Mapping[str, Scalar]) -> None:
        """Take account of a `decided` entry that stays open."""
        organization, text = str(entry["org"]), entry.get("reservation_json")
        held = self._held.get((organization, text))
        if held is None or held.group.read_at != self._reading:
            held = self._parsed(organization, text)
        if len(self._open) >= _REMEMBERED:
            self._open.clear()
        self._open[str(entry["id"])] = held
        if held is None:
            return
        group, minute, tokens, spend, ends, _ = held
        if not group.changed:
            group.changed = True
            self._changed.append(group)
        for balance in group.balances:
            balance.reserve(minute, tokens, spend, ends)

    def knows(self, decision_id: str) -> bool:
        """Whether `closing` needs no text for this decision."""
        return decision_id in self._open

    def closing(self, organization: str, decision_id: str, text: object = None) -> Held | None:
        """What the decision that is closed now has reserved, as `text` says; None if it counts in no balance."""
        if decision_id not in self._open:
            return self._parsed(organization, text)
        held = self._open.pop(decision_id)
        if held is not None and held.group.read_at != self._reading:
            self._read(held.group)
        return held

    def settle(self, held: Held, settled: Amounts) -> None:
        """Take account of a closing: what its decision had reserved becomes what it was settled at."""
        group, minute, tokens, spend, _, _ = held
        if not group.changed:
            group.changed = True
            self._changed.append(group)
        more = settled[0] - 1, settled[1] - tokens, settled[2] - spend
        for balance in group.balances:
            balance.settle(minute, more, tokens, spend)

    def _parsed(self, organization: str, text: object) -> Held | None:
        found = reservation_of(text)
        if found is None:
            return None
        group = self.of(organization, tuple(found["scopes"]))
        amounts = found["minute"], found["tokens"], found["spend_nanousd"]
        return Held(group, *amounts, found.get("ends"), found.get("read", ()))

    def write(self, write: Callable[[str, list[tuple[object, ...]]], object]) -> None:
        """Write every balance that changed."""
        self.written = written = {}
        now = time.monotonic()
        rows: list[tuple[object, ...]] = []
        for group in self._changed:
            group.changed = False
            for key, balance in group.members:
                if key not in written:
                    values = balance.values()
                    written[key] = values, now
                    rows.append((*key, orjson.dumps(values).decode()))
        self._changed.clear()
        if rows:
            write(_WRITE, rows)


def reservation_of(text: object) -> dict[str, Any] | None:
    """The reservation in a `reservation_json`; None if there is none, or it counts in no balance."""
    if not isinstance(text, str):
        return None
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) and "scopes" in found else None


def number(amount: int) -> int | str:
    """An amount as a document of the log has it: those beyond 2**53-1 as text."""
    return amount if amount <= MAX_INTEGER else str(amount)


def settlement(held: Held, settled: Amounts | None) -> tuple[Amounts, Entry]:
    """What a closing settles a reservation at, None being all of it; and the members of its entry that say so."""
    requests, tokens, spend = (1, held.tokens, held.spend_nanousd) if settled is None else settled
    if tokens > MAX_INTEGER or spend > MAX_INTEGER:
        tokens, spend = min(tokens, MAX_INTEGER), min(spend, MAX_INTEGER)
    return (requests, tokens, spend), {
        "settled_requests": requests,
        "settled_tokens": tokens,
        "settled_nanousd": spend,
    }


def settled_of(entry: Mapping[str, Scalar]) -> Amounts | None:
    """What a `completed` entry says that its reservation was settled at; None if it says nothing or no amounts."""
    found = [entry.get(name) for name in ("settled_requests", "settled_tokens", "settled_nanousd")]
    requests, tokens, spend = found
    if type(requests) is int and type(tokens) is int and type(spend) is int and min(requests, tokens, spend) >= 0:
        return requests, tokens, spend
    return None


def read_all(db: sqlite3.Connection) -> Iterable[tuple[Key, object]]:
    """Every stored balance, for verification: its `amounts` may be anything."""
    for organization, scope, amounts in db.execute("SELECT organization, scope, amounts FROM balance"):
        yield (organization, scope), amounts


def find(db: sqlite3.Connection, organization: str, scope: str) -> Balance | None:
    """The committed balance of a scope, outside of any transaction of the writer."""
    row = db.execute(_FIND, (organization, scope)).fetchone()
    return None if row is None else Balance.of(row[0])


def differences(amounts: object, due: Balance) -> list[str]:
    """How the stored amounts differ from the balance that the entries make, value by value."""
    try:
        stored = json.loads(amounts) if isinstance(amounts, str) else None
    except ValueError:
        stored = None
    values = due.values()
    if not isinstance(stored, list) or len(stored) not in (len(VALUES), len(VALUES) + len(OWN)):
        return ["it cannot be read"]
    if len(stored) != len(values):
        return ["it has windows in another zone than the entries say"]
    names = ("minute", "open decisions", *map(_spoken, USED), *map(_spoken, RESERVED), *map(_spoken_window, OWN))
    return [
        f"{name}: {have!r} is stored, the entries make {want}"
        for name, have, want in zip(names, stored, values, strict=False)
        if type(have) is not int or have != want
    ]


def _spoken(column: str) -> str:
    metric, _, window = column.removeprefix("reserved_").rpartition("_")
    return f"{'reserved ' if column.startswith('reserved_') else ''}{metric} in the {window}"


def _spoken_window(name: str) -> str:
    window, _, what = name.partition("_")
    return f"{what} of the {window}"
