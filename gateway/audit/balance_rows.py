"""The stored balances: rows that contain the entries up to one of them, and the entries after that.

A row is not written with every entry that counts in it: that would be a tenth of what a call costs. `balanced` says
which entries the rows contain; whoever reads balances adds the later ones (`Balances.current`). Rows and `balanced` are
written in one transaction, so the two always belong together.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias

import orjson

from gateway.audit.entry import Entry
from gateway.audit.log_reader import LogIndex

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
BALANCED: Final = """
-- The last entry that the rows of `balance` contain, of all logs. Later ones are added by whoever reads balances.
CREATE TABLE balanced (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    entry_id INTEGER NOT NULL
) STRICT;
INSERT INTO balanced (one, entry_id) SELECT 1, coalesce(max(id), 0) FROM entry;
"""
_ROW: Final = "SELECT amounts FROM balance WHERE organization = ? AND scope = ?"
_WRITE: Final = """
INSERT INTO balance (organization, scope, amounts) VALUES (?, ?, ?)
ON CONFLICT (organization, scope) DO UPDATE SET amounts = excluded.amounts
"""
_MOVE: Final = "UPDATE balanced SET entry_id = ?"
_LAST: Final = "(SELECT coalesce(max(id), 0) FROM entry)"
_POSITION: Final = f"SELECT entry_id, {_LAST} FROM balanced"  # noqa: S608
_AFTER: Final = """
SELECT entry.leaf, decided.leaf
  FROM entry LEFT JOIN entry AS decided
    ON entry.kind = 'completed' AND decided.event_id = 'dec_' || substr(entry.event_id, 5)
 WHERE entry.id > ? AND entry.id <= ? AND entry.kind IN ('decided', 'completed')
 ORDER BY entry.id
"""

Key: TypeAlias = tuple[str, str]
"""Organization and scope."""

Write: TypeAlias = Callable[[str, list[tuple[object, ...]]], object]
"""Carries out a statement for each of these rows."""


class UncountedError(sqlite3.IntegrityError):
    """It is not known what the rows contain. For the writer it is an error of the whole transaction."""


def position(db: LogIndex) -> tuple[int, int]:
    """The last entry that the rows contain, and the last entry.

    Raises `UncountedError` if the first is not known, so that a whole transaction fails and not one draft.
    """
    found = db.execute(_POSITION).fetchone()
    if found is None or not 0 <= found[0] <= found[1]:
        raise UncountedError("it is not known which entries the balances contain")
    written_to, last = found
    return written_to, last


def row(db: LogIndex, key: Key) -> str | None:
    """The stored amounts of one balance."""
    found = db.execute(_ROW, key).fetchone()
    return None if found is None else found[0]


def rows(db: LogIndex) -> Iterator[tuple[Key, object]]:
    """All of them. After somebody else has changed them the amounts may be anything."""
    for organization, scope, amounts in db.execute("SELECT organization, scope, amounts FROM balance"):
        yield (organization, scope), amounts


def entries_after(db: LogIndex, position: int, last: int) -> Iterator[tuple[Entry, object]]:
    """The entries after one and up to another that may count, in their order, not verified.

    Each with what the decision that it closes has reserved: its `reservation_json`. Raises `UncountedError` if
    one cannot be read.
    """
    for leaf, decided in db.execute(_AFTER, (position, last)):
        yield _entry(leaf), None if decided is None else _entry(decided).get("reservation_json")


def write(write: Write, balances: Iterable[tuple[Key, Sequence[int]]], last: int) -> None:
    """Write these balances, which contain all entries up to the last one."""
    rows: list[tuple[object, ...]] = [(*key, orjson.dumps(values).decode()) for key, values in balances]
    if rows:
        write(_WRITE, rows)
    write(_MOVE, [(last,)])


def _entry(leaf: object) -> dict[str, Any]:
    try:
        found = orjson.loads(leaf) if isinstance(leaf, bytes) else None
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise UncountedError("an entry that the balances do not contain cannot be read")
    return found
