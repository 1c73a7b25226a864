"""`runtime.db`: what the processes of a gateway share, and may lose (architecture.md, section 13).

Each subject has a file in this room with its statements. Only this file knows that the database is one of SQLite, what
its tables are, how it is opened, and what a failure is called. On an event loop, use `look` and `note`: they run in
threads of the store, because a write waits for other processes and for the disk.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar, TypeVarTuple

from gateway.errors import Denied, GatewayError
from gateway.storage import database_files
from gateway.storage.opened_file import OpenedFile

logger = logging.getLogger("gateway.runtime.store")

BUSY_SECONDS: Final = 1.0
"""The time that a statement waits for a write of another process."""

VERSION: Final = 1
"""The tables have this version: raise it with any change but a new table. A start of the gateway throws a file of
another away.
"""

Row = tuple[Any, ...]
_Arguments = TypeVarTuple("_Arguments")
_Result = TypeVar("_Result")

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS nonce (
  key TEXT NOT NULL, nonce TEXT NOT NULL, expires INTEGER NOT NULL,
  PRIMARY KEY (key, nonce)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS nonce_by_end ON nonce (expires);

CREATE TABLE IF NOT EXISTS reference (
  organization TEXT NOT NULL, upstream TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL,
  agent TEXT NOT NULL, created_ns INTEGER NOT NULL,
  PRIMARY KEY (organization, upstream, kind, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS reference_by_age ON reference (created_ns);

-- The usage of the calls that made responses: a later call that continues one has at most so much of it as input.
CREATE TABLE IF NOT EXISTS response_usage (
  organization TEXT NOT NULL, upstream TEXT NOT NULL, id TEXT NOT NULL,
  agent TEXT NOT NULL, model TEXT NOT NULL, tokens INTEGER NOT NULL, created_ns INTEGER NOT NULL,
  PRIMARY KEY (organization, upstream, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS response_usage_by_age ON response_usage (created_ns);

-- All workers share one row for each upstream, but each has its own rows of open breakers.
CREATE TABLE IF NOT EXISTS upstream_contact (
  upstream TEXT PRIMARY KEY, success_ns INTEGER NOT NULL, error_ns INTEGER NOT NULL, error TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS open_breaker (
  upstream TEXT NOT NULL, worker TEXT NOT NULL, failures INTEGER NOT NULL, until_ns INTEGER NOT NULL,
  PRIMARY KEY (upstream, worker)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS outage (
  kind TEXT NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL, organization TEXT NOT NULL, worker TEXT NOT NULL,
  since_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL, success_ns INTEGER NOT NULL, refusals INTEGER NOT NULL,
  codes TEXT NOT NULL, PRIMARY KEY (kind, id, worker)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS key_use (key TEXT PRIMARY KEY, used_ns INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS key_rehash (
  credential TEXT PRIMARY KEY, old BLOB NOT NULL, new BLOB NOT NULL, pepper INTEGER NOT NULL, seal BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS leak_report (credential TEXT PRIMARY KEY, peer TEXT NOT NULL, time_ns INTEGER NOT NULL)
STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS tool_sighting (
  upstream TEXT NOT NULL, digest TEXT NOT NULL, definition TEXT NOT NULL, time_ns INTEGER NOT NULL,
  PRIMARY KEY (upstream, digest)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS proposal (
  organization TEXT NOT NULL, agent TEXT NOT NULL, decision TEXT NOT NULL, number INTEGER NOT NULL,
  person TEXT NOT NULL, name TEXT NOT NULL, arguments TEXT NOT NULL, model TEXT NOT NULL, time_ns INTEGER NOT NULL,
  PRIMARY KEY (organization, agent, decision, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS proposal_of_agent ON proposal (organization, agent, person, time_ns);
CREATE INDEX IF NOT EXISTS proposal_by_age ON proposal (time_ns);
-- Calls of tools that no model had proposed, of agents to which models propose calls.
CREATE TABLE IF NOT EXISTS unproposed_call (
  organization TEXT NOT NULL, agent TEXT NOT NULL, calls INTEGER NOT NULL, decision TEXT NOT NULL,
  first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL, PRIMARY KEY (organization, agent)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS legacy_client (
  organization TEXT NOT NULL, product TEXT NOT NULL, peer TEXT NOT NULL,
  calls INTEGER NOT NULL, first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL, models TEXT NOT NULL,
  moved_ns INTEGER, agent TEXT, returned INTEGER NOT NULL,
  PRIMARY KEY (organization, product, peer)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS announced (digest TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS policy_worker (boot TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS loaded (
  boot TEXT NOT NULL, digest TEXT NOT NULL, problem TEXT NOT NULL, PRIMARY KEY (boot, digest)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS receiver (
  id TEXT PRIMARY KEY, position INTEGER NOT NULL, failures INTEGER NOT NULL DEFAULT 0,
  next_ns INTEGER NOT NULL DEFAULT 0, success_ns INTEGER NOT NULL DEFAULT 0, error_ns INTEGER NOT NULL DEFAULT 0,
  error TEXT NOT NULL DEFAULT '', given_up INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS delivery (
  receiver TEXT NOT NULL, position INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
  first_ns INTEGER NOT NULL, next_ns INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (receiver, position)
) WITHOUT ROWID;
-- The deliveries under way: each receiver has one at a time.
CREATE TABLE IF NOT EXISTS delivery_sent (receiver TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
"""


class StoreTransaction:
    """Its statements are written together, or not at all."""

    __slots__ = ("_db",)

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def run(self, statement: str, values: Sequence[object] = ()) -> None:
        self._db.execute(statement, values)

    def run_for(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        self._db.executemany(statement, rows)

    def rows(self, statement: str, values: Sequence[object] = ()) -> list[Row]:
        return self._db.execute(statement, values).fetchall()


class _Opened(NamedTuple):
    file: OpenedFile
    writes: sqlite3.Connection
    reads: sqlite3.Connection


class RuntimeStore:
    """One process' view of the store. Any thread may use it. It is opened when it is first used.

    Every failure is a `GatewayError` with `runtime_unavailable`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: _Opened | None = None
        self._opening, self._writing, self._reading = threading.Lock(), threading.Lock(), threading.Lock()
        # Two, because what only looks need not wait for those who write.
        self._looks, self._notes = ThreadPoolExecutor(1, "runtime-looks"), ThreadPoolExecutor(1, "runtime-notes")

    def open(self) -> None:
        """Open it now, so that it is known at once whether it can be used."""
        with self._explained():
            self._open()

    def renew(self) -> None:
        """Throw away a file with the tables of another version: what is in it may be lost. Only for a start."""
        if not self.path.exists():
            return
        with self._explained():
            with closing(_connect(str(self.path))) as db:
                is_old = _version(db) not in (None, VERSION)
            if is_old:
                logger.warning("`%s` has the tables of another version, and begins anew", self.path)
                database_files.remove(self.path)

    def close(self) -> None:
        self._looks.shutdown()
        self._notes.shutdown()
        if self._opened is not None:
            for each in reversed(self._opened):
                each.close()

    def look(self, work: Callable[[*_Arguments], _Result], *args: *_Arguments) -> Awaitable[_Result]:
        """Do this beside the event loop; it only reads."""
        return asyncio.get_running_loop().run_in_executor(self._looks, work, *args)

    def note(self, work: Callable[[*_Arguments], _Result], *args: *_Arguments) -> Awaitable[_Result]:
        """Do this beside the event loop; it writes."""
        return asyncio.get_running_loop().run_in_executor(self._notes, work, *args)

    # These block.

    def rows(self, statement: str, values: Sequence[object] = ()) -> list[Row]:
        with self._explained():
            opened = self._open()
            with self._reading:
                return opened.reads.execute(statement, values).fetchall()

    def run(self, statement: str, values: Sequence[object] = ()) -> int:
        """Carry out one statement that writes; returns how many rows it has changed."""
        # Each signed request has one: written out, because the two contexts are a tenth of its time.
        try:
            opened = self._open()
            with self._writing:
                self._check(opened)
                return opened.writes.execute(statement, values).rowcount
        except (sqlite3.Error, OSError) as error:
            raise self._error(error) from error

    @contextmanager
    def transaction(self, *, seconds: float = BUSY_SECONDS, durable: bool = False) -> Iterator[StoreTransaction]:
        """Wait so many seconds for writes of other processes; if `durable`, no loss of power undoes it afterwards."""
        with self._explained(), self._writer() as db:
            db.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")
            db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            try:
                db.execute("BEGIN IMMEDIATE")
                yield StoreTransaction(db)
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                db.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
                db.execute("PRAGMA synchronous = NORMAL")

    def forget(self, statement: str, values: Sequence[object], at_once: int = 1000) -> int:
        """Repeat a deletion whose last parameter is how many rows it deletes, until nothing is left; says how many.

        So no other process waits long.
        """
        forgotten = found = self.run(statement, (*values, at_once))
        while found == at_once:
            found = self.run(statement, (*values, at_once))
            forgotten += found
        return forgotten

    @contextmanager
    def _writer(self) -> Iterator[sqlite3.Connection]:
        opened = self._open()
        with self._writing:
            self._check(opened)
            yield opened.writes

    def _check(self, opened: _Opened) -> None:
        """Another process would write to the file that has the name now."""
        if not opened.file.in_place():
            raise OSError("it was moved, deleted or replaced: restart the gateway")

    def _open(self) -> _Opened:
        if self._opened is None:
            with self._opening:
                self._opened = self._opened or _open(self.path)
        return self._opened

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> GatewayError:
        return GatewayError("runtime_unavailable", f"cannot use `{self.path}`: {error}", subject=str(self.path))


def _open(path: Path) -> _Opened:
    with suppress(FileExistsError):
        database_files.create(path)
    with ExitStack() as opened:
        file = opened.enter_context(closing(OpenedFile(path)))
        writes, reads = (opened.enter_context(closing(_connect(str(path)))) for _ in range(2))
        writes.execute("PRAGMA journal_mode = WAL")  # so that looking locks nobody out
        writes.execute("PRAGMA synchronous = NORMAL")
        if _version(writes) not in (None, VERSION):
            raise OSError("its tables are of another version: restart the gateway")
        writes.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT")
        opened.pop_all()  # all is well: they stay open until `close`
        return _Opened(file, writes, reads)


def _version(db: sqlite3.Connection) -> int | None:
    """The version of the tables; None if there are none yet."""
    ((many,),) = db.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    ((version,),) = db.execute("PRAGMA user_version").fetchall()
    return int(version) if many else None


def _connect(name: str, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(name, uri=uri, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False)


def seen(path: Path, statement: str, values: Sequence[object] = ()) -> list[Row]:
    """Read rows of the store at this path, for those who only look at it, such as `gateway status`. Blocks.

    Returns no rows if nothing was ever written there, or if the file is of no use; a start of the gateway complains of
    such a file.
    """
    if path.exists():
        with suppress(sqlite3.Error), closing(_connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            return db.execute(statement, values).fetchall()
    return []


def denied(what: str, error: GatewayError) -> Denied:
    """The refusal of a request that needs the store, which has failed."""
    return Denied("registry_unavailable", f"{what}: {error.message}")
