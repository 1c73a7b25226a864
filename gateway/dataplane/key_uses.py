"""When each key was used last, and hashes that move to the newest pepper: what a worker knows of keys, in `runtime.db`.

A request only writes to memory. What is new is written to the file every few seconds, and once more when the worker
ends: for each key at most once an hour, and once a minute in the last day before the key expires. So a last use is
known to the hour. All workers share one row for each key; the newest wins.

A worker cannot write the registry. The new hash of a key that was used under an older pepper waits in a second table
until the control process moves it. It is sealed with the newest pepper (`credentials.Rehash`).
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Collection
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from gateway.identity.credentials import Peppers, Rehash
from gateway.storage import database_files

logger = logging.getLogger("gateway.identity.keys")

FLUSH_SECONDS: Final = 3.0
LOOK_SECONDS: Final = 30.0
"""How often a worker looks for a new pepper."""

_SECOND: Final = 1_000_000_000
_HOUR: Final = 3600 * _SECOND
_DAY: Final = 24 * _HOUR
_MAX_NOTED: Final = 100_000
_MAX_MOVING: Final = 10_000

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS key_use (key TEXT PRIMARY KEY, used_ns INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS key_rehash (
  credential TEXT PRIMARY KEY, old BLOB NOT NULL, new BLOB NOT NULL, pepper INTEGER NOT NULL, seal BLOB NOT NULL
) STRICT, WITHOUT ROWID;
"""
_MERGE: Final = """
INSERT INTO key_use VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET used_ns = max(used_ns, excluded.used_ns)
"""
# The row of no key: since when uses are kept. A key without a row was not used since then.
_SINCE: Final = ""


class KeyUses:
    """What one worker has seen; used from its event loop's thread only."""

    def __init__(self, path: Path, peppers: Peppers) -> None:
        self._path = path
        self._peppers = peppers
        self._noted: dict[str, int] = {}
        self._changed: dict[str, int] = {}
        self._moved: dict[str, Rehash] = {}
        self._moving: set[tuple[str, int]] = set()
        self._begun = False
        self._complaint = ""

    def note(self, key: str, expires_ns: int | None) -> None:
        """A key (its id) was used by a request that it let in."""
        now = time.time_ns()
        before = self._noted.get(key)
        if before is not None and now - before < _HOUR:
            soon = expires_ns is not None and expires_ns - now < _DAY
            if not soon or now - before < 60 * _SECOND:
                return
        if len(self._noted) >= _MAX_NOTED:
            self._noted.clear()
        self._noted[key] = self._changed[key] = now

    def wants(self, credential: str, pepper: int) -> bool:
        """Whether the hash of this key under the newest pepper was not handed over yet; asked once for each."""
        if (credential, pepper) in self._moving:
            return False
        if len(self._moving) >= _MAX_MOVING:
            self._moving.clear()
        self._moving.add((credential, pepper))
        return True

    def move(self, rehash: Rehash) -> None:
        """Hand the new hash of a key over."""
        self._moved[rehash.credential] = rehash

    async def run(self) -> None:
        """Write what has changed at every interval, until cancelled."""
        looked = time.monotonic()
        while True:
            if self._changed or self._moved or not self._begun:
                uses, moved = self._take()
                if not await asyncio.to_thread(self._write, uses, list(moved.values())):
                    self._changed = uses | self._changed
                    self._moved = moved | self._moved
            if time.monotonic() - looked > LOOK_SECONDS:
                looked = time.monotonic()
                await asyncio.to_thread(self._peppers.look)
            await asyncio.sleep(FLUSH_SECONDS)

    def close(self) -> None:
        """Write what is left."""
        uses, moved = self._take()
        self._write(uses, list(moved.values()))

    def _take(self) -> tuple[dict[str, int], dict[str, Rehash]]:
        taken = self._changed, self._moved
        self._changed, self._moved = {}, {}
        return taken

    def _write(self, uses: dict[str, int], moved: list[Rehash]) -> bool:
        """Whether all of it is in the file now."""
        try:
            with suppress(FileExistsError):
                database_files.create(self._path)
            with closing(sqlite3.connect(self._path, isolation_level=None, timeout=1.0)) as db:
                db.execute("PRAGMA synchronous = NORMAL")
                db.executescript(_TABLES)
                db.execute("BEGIN IMMEDIATE")
                db.execute("INSERT OR IGNORE INTO key_use VALUES (?, ?)", (_SINCE, time.time_ns()))
                db.executemany(_MERGE, uses.items())
                db.executemany("INSERT OR REPLACE INTO key_rehash VALUES (?, ?, ?, ?, ?)", moved)
                db.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            if str(error) != self._complaint:
                logger.warning("when keys are used cannot be kept: %s", error)
            self._complaint = str(error)
            return False
        self._begun, self._complaint = True, ""
        return True


class Uses(dict[str, int]):
    """When keys (their ids) were used last, and since when that is kept; None if it never was."""

    since_ns: int | None = None


def read(path: Path) -> Uses:
    """What all workers have seen."""
    found = Uses()
    if path.exists():
        # An error means that no key was ever used, or that the file is of no use, which a start complains of.
        with suppress(sqlite3.Error), closing(_opened(path, "ro")) as db:
            found.update(db.execute("SELECT key, used_ns FROM key_use"))
            found.since_ns = found.pop(_SINCE, None)
    return found


def waiting(path: Path, limit: int) -> list[Rehash]:
    """Hashes that wait to be moved."""
    if path.exists():
        with suppress(sqlite3.Error), closing(_opened(path, "ro")) as db:
            return list(map(Rehash._make, db.execute("SELECT * FROM key_rehash LIMIT ?", (limit,))))
    return []


def forget(path: Path, moved: Collection[Rehash]) -> None:
    """These hashes are moved, or can never be."""
    with closing(_opened(path, "rw")) as db, db:
        db.executemany(
            "DELETE FROM key_rehash WHERE credential = ? AND new = ?", [(m.credential, m.new) for m in moved]
        )


def _opened(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=1.0)
