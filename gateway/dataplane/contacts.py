"""How each upstream answered last: kept for `gateway status`, in `runtime.db`.

A request only writes to memory. What has changed is written to the file once a second, and once more when the worker
ends, so a file that cannot be written delays no request. All workers share one row for each upstream; the newest wins.
Open circuit breakers have a row for each worker, which goes when the breaker closes.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.frozen import frozen
from gateway.storage import database_files
from gateway.upstream.providers.rejections import CLIENTS, Why

logger = logging.getLogger("gateway.upstreams")

FLUSH_SECONDS = 1.0
_LONGEST_ERROR = 300

_TABLE = """
CREATE TABLE IF NOT EXISTS upstream_contact (
  upstream TEXT PRIMARY KEY, success_ns INTEGER NOT NULL, error_ns INTEGER NOT NULL, error TEXT NOT NULL
) WITHOUT ROWID
"""
_BREAKERS = """
CREATE TABLE IF NOT EXISTS open_breaker (
  upstream TEXT NOT NULL, worker TEXT NOT NULL, failures INTEGER NOT NULL, until_ns INTEGER NOT NULL,
  PRIMARY KEY (upstream, worker)
) WITHOUT ROWID
"""
_MERGE = """
INSERT INTO upstream_contact VALUES (?, ?, ?, ?) ON CONFLICT (upstream) DO UPDATE SET
  error = CASE WHEN excluded.error_ns > error_ns THEN excluded.error ELSE error END,
  error_ns = max(error_ns, excluded.error_ns),
  success_ns = max(success_ns, excluded.success_ns)
"""


@frozen()
class Contact:
    """When an upstream last answered well and when a call to it last failed (0: never), and how that failed."""

    success_ns: int = 0
    error_ns: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class OpenBreaker:
    """A worker (its boot id) sends no calls to an upstream until its next probe, because so many in a row failed."""

    worker: str
    failures: int
    until_ns: int


class Contacts:
    """What one worker has seen; used from its event loop's thread only."""

    def __init__(self, path: Path, worker: str) -> None:
        self._path = path
        self._worker = worker
        self._open: dict[str, OpenBreaker] = {}
        self._breakers_changed = False
        self._seen: dict[str, Contact] = {}
        self._changed: set[str] = set()
        self._complaint = ""

    def note(self, upstream: str, outcome: str, status: int | None, detail: str, rejected: Why | None = None) -> None:
        """Remember how a call to this upstream (its id) ended. What the client or the gateway ended says nothing.

        `rejected` is what a provider's error is about, if that is known.
        """
        before = self._seen.get(upstream, Contact())
        error = _error(outcome, status, detail, rejected)
        if error is None:
            return
        now = time.time_ns()
        if error:
            self._seen[upstream] = Contact(before.success_ns, now, error)
        else:
            self._seen[upstream] = Contact(now, before.error_ns, before.error)
        self._changed.add(upstream)

    def breaker(self, upstream: str, failures: int, pause: float) -> None:
        """Remember that a breaker has opened for `pause` seconds, or has closed (0)."""
        if pause:
            self._open[upstream] = OpenBreaker(self._worker, failures, time.time_ns() + int(pause * 1e9))
        else:
            self._open.pop(upstream, None)
        self._breakers_changed = True

    async def run(self) -> None:
        """Write what has changed at every interval, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            if self._changed or self._breakers_changed:
                rows, breakers = self._take(), self._take_breakers()
                if not await asyncio.to_thread(self._write, rows, breakers):
                    self._changed.update(row[0] for row in rows)
                    self._breakers_changed |= breakers is not None

    def close(self) -> None:
        """Write what is left. A worker that ends has no breakers any more."""
        self._breakers_changed |= bool(self._open)
        self._open = {}
        self._write(self._take(), self._take_breakers())

    def _take_breakers(self) -> dict[str, OpenBreaker] | None:
        """The open breakers, if they have changed."""
        changed, self._breakers_changed = self._breakers_changed, False
        return dict(self._open) if changed else None

    def _take(self) -> list[tuple[str, int, int, str]]:
        taken, self._changed = self._changed, set()
        return [(each, seen.success_ns, seen.error_ns, seen.error) for each in taken for seen in [self._seen[each]]]

    def _write(self, rows: list[tuple[str, int, int, str]], breakers: dict[str, OpenBreaker] | None) -> bool:
        """Whether the rows are in the file now."""
        if not rows and breakers is None:
            return True
        try:
            with suppress(FileExistsError):
                database_files.create(self._path)
            with closing(sqlite3.connect(self._path, isolation_level=None, timeout=1.0)) as db:
                db.execute("PRAGMA synchronous = NORMAL")
                db.execute(_TABLE)
                db.execute(_BREAKERS)
                # As one: nobody who reads in between finds this worker without its open breakers.
                db.execute("BEGIN IMMEDIATE")
                db.executemany(_MERGE, rows)
                if breakers is not None:
                    db.execute("DELETE FROM open_breaker WHERE worker = ?", (self._worker,))
                    listed = [(each, one.worker, one.failures, one.until_ns) for each, one in breakers.items()]
                    db.executemany("INSERT INTO open_breaker VALUES (?, ?, ?, ?)", listed)
                db.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            if str(error) != self._complaint:
                logger.warning("how upstreams answered cannot be kept for `gateway status`: %s", error)
            self._complaint = str(error)
            return False
        self._complaint = ""
        return True


def read(path: Path) -> dict[str, Contact]:
    """What all workers have seen, by the upstream's id; empty if nothing was ever written."""
    if not path.exists():
        return {}
    try:
        with closing(_reading(path)) as db:
            rows = db.execute("SELECT upstream, success_ns, error_ns, error FROM upstream_contact").fetchall()
    except sqlite3.Error:
        return {}  # no request was ever forwarded, or the file is of no use, which a start of the gateway complains of
    return {upstream: Contact(*values) for upstream, *values in rows}


def open_breakers(path: Path) -> dict[str, list[OpenBreaker]]:
    """The open breakers of all workers, also of those that have died, by the upstream's id."""
    found: dict[str, list[OpenBreaker]] = {}
    if path.exists():
        with suppress(sqlite3.Error), closing(_reading(path)) as db:  # no breaker was ever open
            for upstream, *values in db.execute("SELECT upstream, worker, failures, until_ns FROM open_breaker"):
                found.setdefault(upstream, []).append(OpenBreaker(*values))
    return found


def _reading(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)


def _error(outcome: str, status: int | None, detail: str, rejected: Why | None) -> str | None:
    """Why a call failed; "" if the upstream did its part, None if that is not known.

    An answer that blames the request (400, 404, …) is an answer: only the agent can do something about it.
    """
    if outcome == "ok":
        return ""
    if outcome == "provider_error":
        ours = status is None or status in (401, 402, 403, 407, 429) or status >= 500
        ours = ours if rejected is None else rejected not in CLIENTS
        return (detail or f"it answered with status {status}")[:_LONGEST_ERROR] if ours else ""
    if outcome == "upstream_timeout":
        return detail[:_LONGEST_ERROR] or "it did not answer in time"
    if outcome == "upstream_error":
        return detail[:_LONGEST_ERROR] or "it could not be reached or broke off"
    return None
