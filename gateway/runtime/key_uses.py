"""Notes the uses of keys by a worker: the last use of each key, and hashes that move to the newest pepper.

A request only writes to memory. New uses are written to the file every few seconds, and once more when the worker
ends: for each key at most once an hour, and once a minute in the last day before the key expires. So a last use is
known to the hour. All workers share one row for each key; the newest wins.

A worker cannot write the registry. The new hash of a key that was used under an older pepper waits in a second table
until the control process moves it. It is sealed with the newest pepper (`credentials.Rehash`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from gateway.identity.credentials import Peppers, Rehash
from gateway.runtime.notes import BufferedNotes
from gateway.runtime.store import RuntimeStore, seen

LOOK_SECONDS: Final = 30.0
"""The time between two looks of a worker for a new pepper."""

_SECOND: Final = 1_000_000_000
_HOUR: Final = 3600 * _SECOND
_DAY: Final = 24 * _HOUR
_MAX_NOTED: Final = 100_000
_MAX_MOVING: Final = 10_000

_MERGE: Final = """
INSERT INTO key_use VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET used_ns = max(used_ns, excluded.used_ns)
"""
# The row of no key: since when uses are kept. A key without a row was not used since then.
_SINCE: Final = ""


_Taken = tuple[dict[str, int], dict[str, Rehash]]


class KeyUses(BufferedNotes[_Taken]):
    """The uses of keys that one worker has seen."""

    SECONDS = 3.0
    WHAT = "when keys are used"

    def __init__(self, store: RuntimeStore, peppers: Peppers) -> None:
        super().__init__(store)
        self._peppers = peppers
        self._noted: dict[str, int] = {}
        self._changed: dict[str, int] = {}
        self._moved: dict[str, Rehash] = {}
        self._moving: set[tuple[str, int]] = set()
        self._begun = False

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
        """True if the hash of this key under the newest pepper was not handed over yet; asked once for each."""
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
        """Write what is new now and at every interval, and look for new peppers, until cancelled."""
        looked = time.monotonic()
        while True:
            await self.flush()
            if time.monotonic() - looked > LOOK_SECONDS:
                looked = time.monotonic()
                await asyncio.to_thread(self._peppers.look)
            await asyncio.sleep(self.SECONDS)

    def _take(self) -> _Taken | None:
        if self._begun and not self._changed and not self._moved:
            return None
        taken = self._changed, self._moved
        self._changed, self._moved = {}, {}
        return taken

    def _put_back(self, taken: _Taken) -> None:
        self._changed = taken[0] | self._changed
        self._moved = taken[1] | self._moved

    def _write(self, taken: _Taken) -> None:
        uses, moved = taken
        with self._store.transaction() as made:
            made.run("INSERT OR IGNORE INTO key_use VALUES (?, ?)", (_SINCE, time.time_ns()))
            made.run_for(_MERGE, uses.items())
            made.run_for("INSERT OR REPLACE INTO key_rehash VALUES (?, ?, ?, ?, ?)", moved.values())
        self._begun = True


class LastUses(dict[str, int]):
    """When keys (their ids) were used last, and since when that is kept; None if it never was."""

    since_ns: int | None = None


def read(path: Path, keys: Sequence[str]) -> LastUses:
    """Return the last uses of these keys that all workers have seen."""
    found = LastUses(of(path, [*keys, _SINCE]))
    found.since_ns = found.pop(_SINCE, None)
    return found


def of(path: Path, keys: Sequence[str]) -> dict[str, int]:
    """Return the times at which these keys were used last; keys of which nothing is known are left out."""
    marks = ", ".join("?" * len(keys))
    return dict(seen(path, f"SELECT key, used_ns FROM key_use WHERE key IN ({marks})", tuple(keys)))  # noqa: S608


def waiting(path: Path, limit: int) -> list[Rehash]:
    """Hashes that wait to be moved."""
    return [Rehash(*row) for row in seen(path, "SELECT * FROM key_rehash LIMIT ?", (limit,))]


def forget(store: RuntimeStore, moved: Collection[Rehash]) -> None:
    """These hashes are moved, or can never be."""
    with store.transaction() as made:
        made.run_for("DELETE FROM key_rehash WHERE credential = ? AND new = ?", [(m.credential, m.new) for m in moved])
