"""Deliveries that are due, in `runtime.db`: how far each webhook has followed the log, and what it has not got yet.

The log is the queue: a webhook's place in it moves on only when the events before it are rows here, and no more than
`MOST` of them wait at a time. A row goes when its event was delivered, or was tried for `GIVEN_UP_SECONDS`. What is
lost with the file is delivered again from the place where the webhook was added: at least once, never not at all.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.storage import database_files

MOST: Final = 200
GIVEN_UP_SECONDS: Final = 3 * 86400
_FIRST_SECONDS: Final = 5
_LAST_SECONDS: Final = 3600

_TABLES: Final = (
    """
    CREATE TABLE IF NOT EXISTS webhook (
      id TEXT PRIMARY KEY, position INTEGER NOT NULL, failures INTEGER NOT NULL DEFAULT 0,
      next_ns INTEGER NOT NULL DEFAULT 0, success_ns INTEGER NOT NULL DEFAULT 0, error_ns INTEGER NOT NULL DEFAULT 0,
      error TEXT NOT NULL DEFAULT '', given_up INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS webhook_delivery (
      webhook TEXT NOT NULL, position INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
      first_ns INTEGER NOT NULL, next_ns INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (webhook, position)
    ) WITHOUT ROWID
    """,
)


@dataclass(frozen=True, slots=True)
class State:
    """How a webhook fares. A time of 0 is never; `failures` are those in a row; `waiting` counts events to deliver."""

    failures: int = 0
    success_ns: int = 0
    error_ns: int = 0
    error: str = ""
    given_up: int = 0
    waiting: int = 0


def state_document(state: State) -> dict[str, Any]:
    """A state for programs, with times of None for never (`registry/documents.py` writes them)."""
    return {
        "waiting": state.waiting,
        "failures": state.failures,
        "given_up": state.given_up,
        "success_ns": state.success_ns or None,
        "failure_ns": state.error_ns or None,
        "error": state.error,
    }


def pause(failures: int) -> int:
    """How many seconds to wait after so many failures in a row."""
    return int(min(_FIRST_SECONDS * 4 ** (failures - 1), _LAST_SECONDS))


class Deliveries:
    """Each method is one transaction on a connection of its own; may be used from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with suppress(FileExistsError):
            database_files.create(path)
        with self._open() as db:
            for table in _TABLES:
                db.execute(table)

    def position(self, webhook: str, first: int) -> int:
        """How far a webhook has followed the log, which begins at `first`."""
        with self._open() as db:
            db.execute("INSERT OR IGNORE INTO webhook (id, position) VALUES (?, ?)", (webhook, first))
            (found,) = db.execute("SELECT position FROM webhook WHERE id = ?", (webhook,)).fetchone()
            return int(found)

    def add(self, webhook: str, positions: Sequence[int], position: int, now_ns: int) -> None:
        """Have these entries delivered, and go on after `position` the next time."""
        with self._open() as db:
            rows = [(webhook, each, now_ns) for each in positions]
            db.executemany(
                "INSERT OR IGNORE INTO webhook_delivery (webhook, position, first_ns) VALUES (?, ?, ?)", rows
            )
            db.execute("UPDATE webhook SET position = ? WHERE id = ?", (position, webhook))

    def waiting(self, webhook: str) -> int:
        with self._open() as db:
            (count,) = db.execute("SELECT count(*) FROM webhook_delivery WHERE webhook = ?", (webhook,)).fetchone()
            return int(count)

    def due(self, webhook: str, now_ns: int) -> int | None:
        """The position of the entry that is to be delivered next; None if there is none, or it is too early."""
        with self._open() as db:
            row = db.execute(
                "SELECT d.position FROM webhook_delivery d JOIN webhook w ON w.id = d.webhook "
                "WHERE d.webhook = ? AND w.next_ns <= ? AND d.next_ns <= ? ORDER BY d.attempts, d.position LIMIT 1",
                (webhook, now_ns, now_ns),
            ).fetchone()
            return None if row is None else int(row[0])

    def delivered(self, webhook: str, position: int, now_ns: int) -> None:
        with self._open() as db:
            db.execute("DELETE FROM webhook_delivery WHERE webhook = ? AND position = ?", (webhook, position))
            db.execute("UPDATE webhook SET failures = 0, next_ns = 0, success_ns = ? WHERE id = ?", (now_ns, webhook))

    def failed(self, webhook: str, position: int, error: str, now_ns: int) -> bool:
        """Note that an attempt has failed. True if it was the last one: the event is given up."""
        key = webhook, position
        where = "WHERE webhook = ? AND position = ?"
        with self._open() as db:
            row = db.execute(f"SELECT attempts, first_ns FROM webhook_delivery {where}", key).fetchone()  # noqa: S608
            if row is None:
                return False
            attempts, first_ns = row
            given_up = now_ns - first_ns > GIVEN_UP_SECONDS * 10**9
            if given_up:
                db.execute(f"DELETE FROM webhook_delivery {where}", key)  # noqa: S608
            else:
                later = now_ns + pause(attempts + 1) * 10**9
                db.execute(
                    f"UPDATE webhook_delivery SET attempts = attempts + 1, next_ns = ? {where}",  # noqa: S608
                    (later, *key),
                )
            (failures,) = db.execute("SELECT failures FROM webhook WHERE id = ?", (webhook,)).fetchone()
            db.execute(
                "UPDATE webhook SET failures = failures + 1, next_ns = ?, error_ns = ?, error = ?, "
                "given_up = given_up + ? WHERE id = ?",
                (now_ns + pause(failures + 1) * 10**9, now_ns, error, int(given_up), webhook),
            )
            return bool(given_up)

    def keep_only(self, webhooks: Sequence[str]) -> None:
        """Forget what belongs to webhooks that were removed."""
        marks = ", ".join("?" * len(webhooks))
        with self._open() as db:
            db.execute(f"DELETE FROM webhook WHERE id NOT IN ({marks})", webhooks)  # noqa: S608
            db.execute(f"DELETE FROM webhook_delivery WHERE webhook NOT IN ({marks})", webhooks)  # noqa: S608

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, isolation_level=None, timeout=5.0)) as db:
            db.execute("PRAGMA synchronous = FULL")
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")


def states(path: Path) -> dict[str, State]:
    """How all webhooks fare, by their ids; empty if none was ever followed."""
    if not path.exists():
        return {}
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)) as db:
            rows = db.execute(
                "SELECT id, failures, success_ns, error_ns, error, given_up, "
                "(SELECT count(*) FROM webhook_delivery WHERE webhook = id) FROM webhook"
            ).fetchall()
    except sqlite3.Error:
        return {}
    return {identifier: State(*values) for identifier, *values in rows}
