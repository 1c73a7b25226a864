"""`audit.db`: its schema, how it is opened, and how the log is read back from it (SQLite).

`entry.leaf` is the evidence. `tile`, `log` and `checkpoint` can be recomputed from the leaves and the signatures, and
`verify.py` does so. The other columns of `entry` and all of `open_decision` and `balance` are indexes, which
verification derives again from the leaves. `private` and `content` hold what must be erasable; a leaf only commits to
it. Only `transaction.py` writes entries, and only `signer.py` writes checkpoints.

Any number of processes on one machine may have the file open: readers never wait (WAL), writers take turns
(`gateway/storage/file_lock.py`).
"""

from __future__ import annotations

import functools
import os
import sqlite3
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, Final

from gateway.audit import balance_rows, balances, content, merkle, tiles
from gateway.audit.errors import AuditError, unavailable
from gateway.audit.log_reader import Head, LogIndex, Row, UnreadableError
from gateway.data_directory import DataDirectory
from gateway.errors import Hint
from gateway.storage import database_files
from gateway.storage.file_lock import LOCK_SECONDS, FileLock

SCHEMA: Final = 5
APPLICATION: Final = 0x61696761  # "aiga"
PAGE_SIZE: Final = 4096
BUSY_SECONDS: Final = 2.0  # only for programs that do not take `audit.lock`, such as an sqlite3 shell

_TABLES = """
CREATE TABLE meta (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    schema INTEGER NOT NULL,
    created_ns INTEGER NOT NULL
) STRICT;

-- One row per tree: its head. The frontier is all that appending needs to know of the tree.
CREATE TABLE log (
    id INTEGER PRIMARY KEY,
    organization TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    origin TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    frontier BLOB NOT NULL,
    time_ns INTEGER NOT NULL,
    UNIQUE (organization, epoch)
) STRICT;

-- `id` is the order of insertion over all logs, `seq` the index in the tree.
CREATE TABLE entry (
    id INTEGER PRIMARY KEY,
    log_id INTEGER NOT NULL REFERENCES log,
    seq INTEGER NOT NULL,
    event_id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    time_ns INTEGER NOT NULL,
    agent TEXT,
    leaf BLOB NOT NULL,
    UNIQUE (log_id, seq)
) STRICT;

CREATE TABLE tile (
    log_id INTEGER NOT NULL REFERENCES log,
    level INTEGER NOT NULL,
    number INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    PRIMARY KEY (log_id, level, number)
) STRICT;

CREATE TABLE checkpoint (
    log_id INTEGER NOT NULL REFERENCES log,
    size INTEGER NOT NULL,
    note BLOB NOT NULL,
    PRIMARY KEY (log_id, size)
) STRICT, WITHOUT ROWID;

CREATE TABLE open_decision (
    event_id TEXT PRIMARY KEY,
    log_id INTEGER NOT NULL REFERENCES log,
    boot TEXT NOT NULL,
    agent TEXT,
    reservation TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE private (
    entry_id INTEGER PRIMARY KEY REFERENCES entry,
    salt BLOB NOT NULL,
    input BLOB
) STRICT;
"""
# By parts of 256 entries, so that those of many agents are inserted next to each other: by agents alone, a third of the
# pages that a commit writes would be of this index.
_AGENTS = """
CREATE INDEX entry_agent ON entry (id >> 8, agent) WHERE agent IS NOT NULL;
"""
_SCHEMA = _TABLES + _AGENTS + balance_rows.TABLE + content.TABLE + balance_rows.BALANCED

_READABLE: Final = {SCHEMA: _SCHEMA}
"""Schemas that can be read: an auditor who keeps copies must not have to write to them."""

_MIGRATIONS: Final[dict[int, str]] = {}
"""The statements that make a log of the schema before into one of each number, without a gap up to `SCHEMA`.

None is older than the first release, before which the schema was 5.
"""


def create(data: DataDirectory) -> None:
    """Create an empty `audit.db` and its lock file. Raises `audit_exists` rather than start an existing log anew."""
    path = data.audit_db
    try:
        database_files.create(path)
        os.close(os.open(data.audit_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except FileExistsError as error:
        raise AuditError("audit_exists", f"`{path}` exists already", subject=str(path)) from error
    except OSError as error:
        raise AuditError("audit_missing", f"cannot create `{path}`: {error.strerror}", subject=str(path)) from error
    db = _open(path, "rw")
    try:
        # The page size and the vacuum mode cannot be changed once the first table exists.
        db.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        _configure(db)
        db.executescript(f"BEGIN; PRAGMA application_id = {APPLICATION}; {_SCHEMA}")
        db.execute("INSERT INTO meta (one, schema, created_ns) VALUES (1, ?, ?)", (SCHEMA, time.time_ns()))
        db.execute("COMMIT")
    finally:
        db.close()


def migrate(data: DataDirectory) -> None:
    """Bring a log that an older version wrote to the schema of this one. No entry is changed.

    Only for the control process, before any other process writes. A log of a later version is left alone: opening it
    says what is wrong.
    """
    try:
        with closing(FileLock(data.audit_lock)) as lock, closing(_open(data.audit_db, "rw")) as db:
            if not lock.acquire(LOCK_SECONDS):
                raise unavailable("another process holds its lock")
            found = _version(db, data.audit_db)
            if found >= SCHEMA:
                return
            if found < _first():
                raise _wrong_schema(data.audit_db, found)
            _configure(db)
            steps = "".join(_MIGRATIONS[number] for number in range(found + 1, SCHEMA + 1))
            db.executescript(f"BEGIN IMMEDIATE; {steps} UPDATE meta SET schema = {SCHEMA}; COMMIT")  # noqa: S608
    except (sqlite3.Error, OSError) as error:
        raise unavailable(f"it cannot be migrated: {error}") from error


def connect(path: Path) -> sqlite3.Connection:
    """Open an existing log for appending. Raises `audit_damaged` if its schema is not the one of this program.

    Transactions are begun and ended explicitly.
    """
    db = _checked(_open(path, "rw"), path)
    try:
        check_schema(db, path)
        _configure(db)
    except BaseException:
        db.close()
        raise
    return db


def connect_read_only(path: Path, *, undecodable: bool = False) -> SqliteReader:
    """Open an existing log for reading: that of a running gateway, or a copy.

    With `undecodable` a text that is none is read all the same. On a read-only disk SQLite cannot create the files that
    readers share; a copy there is opened as immutable.
    """
    db = _connect_read_only(path)
    if undecodable:
        db.text_factory = lambda data: data.decode("utf-8", "replace")
    return SqliteReader(db, path)


def _connect_read_only(path: Path) -> sqlite3.Connection:
    try:
        return _checked(_open(path, "ro"), path, _READABLE)
    except sqlite3.OperationalError as error:
        wal = path.with_name(f"{path.name}-wal")
        if wal.exists() and wal.stat().st_size:  # it holds entries, which an immutable database does not show
            raise AuditError(
                "audit_damaged",
                f"`{path}` cannot be read together with `{wal.name}` beside it: {error}",
                subject=str(path),
                hint="copy both to a place that can be written to",
            ) from error
    try:
        return _checked(_open(path, "ro", immutable=True), path, _READABLE)
    except sqlite3.OperationalError as error:
        raise AuditError("audit_missing", f"cannot read `{path}`: {error}", subject=str(path)) from error


@contextmanager
def exclusive(data: DataDirectory) -> Iterator[sqlite3.Connection]:
    """One transaction under `audit.lock`, for callers other than the writer; committed unless the block raises.

    Raises `audit_unavailable` if the log cannot be written.
    """
    try:
        with closing(FileLock(data.audit_lock)) as lock:
            if not lock.acquire(LOCK_SECONDS):
                raise unavailable("another process holds its lock")
            with closing(connect(data.audit_db)) as db:
                db.execute("BEGIN IMMEDIATE")
                yield db
                db.execute("COMMIT")
    except (sqlite3.Error, OSError) as error:
        raise unavailable(str(error)) from error


def store_checkpoints(data: DataDirectory, notes: Sequence[tuple[bytes, int, str]]) -> None:
    """Store signed notes, each with the size of its tree and the origin of its log, unless they are there already."""
    with exclusive(data) as db:
        db.executemany(
            "INSERT OR IGNORE INTO checkpoint (note, size, log_id) SELECT ?, ?, id FROM log WHERE origin = ?", notes
        )
        for each in notes:
            stored = db.execute(
                "SELECT count(*) FROM checkpoint WHERE note = ? AND size = ? "
                "AND log_id = (SELECT id FROM log WHERE origin = ?)",
                each,
            )
            if stored.fetchone() != (1,):
                raise unavailable("a statement did not store its checkpoint: look for a trigger")


def _checked(db: sqlite3.Connection, path: Path, schemas: Container[int] = (SCHEMA,)) -> sqlite3.Connection:
    try:
        check_version(db, path, schemas)
    except BaseException:
        db.close()
        raise
    return db


def _open(path: Path, mode: str, *, immutable: bool = False) -> sqlite3.Connection:
    if not path.is_file():
        raise AuditError("audit_missing", f"there is no audit log at `{path}`", subject=str(path))
    uri = f"{path.resolve().as_uri()}?mode={mode}{'&immutable=1' if immutable else ''}"
    # Connections are handed to one thread and used there only; creating them elsewhere is allowed.
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False)


def _configure(db: sqlite3.Connection) -> None:
    """Set what SQLite does not store in the file."""
    db.execute("PRAGMA synchronous = FULL")  # NORMAL may lose acknowledged commits when the power fails
    db.execute("PRAGMA secure_delete = ON")  # an erased private row leaves no bytes behind


def touch(db: sqlite3.Connection) -> None:
    """Change nothing, in a way that COMMIT has to bring to the disk: write the first page as it is."""
    db.execute(f"PRAGMA application_id = {APPLICATION}")


def check_version(db: sqlite3.Connection, path: Path, schemas: Container[int]) -> None:
    """Raise `audit_schema` if the database is not an audit log, or one of another version than these."""
    if (found := _version(db, path)) not in schemas:
        raise _wrong_schema(path, found)


def _first() -> int:
    """The earliest schema that can be migrated."""
    return SCHEMA - len(_MIGRATIONS)


def _wrong_schema(path: Path, found: int) -> AuditError:
    if found < _first():
        hint = "no version migrates it: verify and keep it with the version that wrote it, and begin a new directory"
    elif found < SCHEMA:
        hint = Hint("start `gateway up` once to migrate it")
    else:
        hint = "use the version that wrote it"
    return AuditError(
        "audit_schema",
        f"`{path}` has schema {found}, this program reads and writes schema {SCHEMA}",
        subject=str(path),
        hint=hint,
    )


def _version(db: sqlite3.Connection, path: Path) -> int:
    """The number of the schema. Raises `audit_schema` if the database is not an audit log."""
    try:
        (application,) = db.execute("PRAGMA application_id").fetchone()
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        known = application == APPLICATION and "meta" in tables
        row = db.execute("SELECT schema FROM meta").fetchone() if known else None
    except sqlite3.OperationalError:
        raise  # it cannot be opened at all
    except sqlite3.DatabaseError as error:
        raise AuditError("audit_schema", f"`{path}` is not an audit log: {error}", subject=str(path)) from error
    if row is None:
        raise AuditError("audit_schema", f"`{path}` is not an audit log", subject=str(path))
    return int(row[0])


def check_schema(db: sqlite3.Connection, path: Path) -> None:
    """Raise `audit_damaged` unless the schema is the one of this program: a foreign trigger can undo a write."""
    if differences := schema_differences(db):
        raise AuditError(
            "audit_damaged",
            f"the schema of `{path}` was changed: {'; '.join(differences)}",
            subject=str(path),
            hint=Hint("`gateway audit verify` says what else is wrong; do not go on writing to this log"),
        )


def schema_differences(db: sqlite3.Connection) -> list[str]:
    """Differences of tables, indexes, triggers, views from those of this program, or of the one that wrote the log."""
    (number,) = db.execute("SELECT schema FROM meta").fetchone()
    expected, found = _expected_schema(number), _schema(db)
    changed = [
        f"{found[name][0]} `{name}` was changed" for name in found if expected.get(name, found[name]) != found[name]
    ]
    missing = [f"{expected[name][0]} `{name}` is missing" for name in expected.keys() - found.keys()]
    foreign = [f"{found[name][0]} `{name}` is not one of its own" for name in found.keys() - expected.keys()]
    return sorted(changed + missing + foreign)


def schema_version(db: sqlite3.Connection) -> int:
    """A number that SQLite changes with every change of the schema. It is cheaper to compare than the schema."""
    (version,) = db.execute("PRAGMA schema_version").fetchone()
    return int(version)


def _schema(db: sqlite3.Connection) -> dict[str, tuple[str, str, str | None]]:
    rows = db.execute("SELECT name, type, tbl_name, sql FROM sqlite_schema")
    # ANALYZE adds tables of statistics, which change no meaning.
    return {name: (kind, table, sql) for name, kind, table, sql in rows if not name.startswith("sqlite_stat")}


@functools.cache
def _expected_schema(number: int) -> dict[str, tuple[str, str, str | None]]:
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(_READABLE.get(number, _SCHEMA))
        return _schema(db)


class SqliteAnswer:
    """The rows of one query."""

    __slots__ = ("_cursor", "_path")

    def __init__(self, cursor: sqlite3.Cursor, path: Path) -> None:
        self._cursor = cursor
        self._path = path

    def fetchone(self) -> Any:
        with _readable(self._path):
            return self._cursor.fetchone()

    def fetchall(self) -> list[Any]:
        with _readable(self._path):
            return self._cursor.fetchall()

    def __iter__(self) -> Iterator[Any]:
        with _readable(self._path):
            yield from self._cursor

    def close(self) -> None:
        self._cursor.close()


class SqliteReader:
    """A `LogReader` and a `LogIndex` over an `audit.db`, which is not changed. Used by one thread at a time."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self._path = path

    def close(self) -> None:
        self._db.close()

    def execute(self, statement: str, values: Any = (), /) -> SqliteAnswer:
        with _readable(self._path):
            return SqliteAnswer(self._db.execute(statement, values), self._path)

    def create_function(self, name: str, narg: int, func: Callable[..., Any], /, *, deterministic: bool) -> None:
        self._db.create_function(name, narg, func, deterministic=deterministic)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        self.execute("BEGIN")
        try:
            yield
        finally:
            self.execute("ROLLBACK")

    def check_schema(self) -> None:
        """Raise `audit_damaged` unless the schema is the one of this program."""
        with _readable(self._path):
            check_schema(self._db, self._path)

    def faults(self) -> list[str]:
        with _readable(self._path):
            return schema_differences(self._db)

    def damage(self) -> list[str]:
        return [text for (text,) in self.execute("PRAGMA integrity_check(10)") if text != "ok"]

    def heads(self) -> list[Head]:
        return heads(self)

    def head(self, organization: str) -> Head | None:
        return head(self, organization)

    def tile_reader(self, log_id: int) -> tiles.Read:
        return tile_reader(self, log_id)

    def stored_tile(self, log_id: int, level: int, number: int) -> bytes:
        row = self.execute(_TILE, (log_id, level, number)).fetchone()
        return row[0] if row and type(row[0]) is bytes else b""

    def tile_count(self, log_id: int) -> int:
        return self._count("tile WHERE log_id = ?", log_id)

    def checkpoints(self, log_id: int, after: object, limit: int) -> list[Row]:
        query = "SELECT size, note FROM checkpoint WHERE log_id = ? AND size > ? ORDER BY size LIMIT ?"
        return [(size, text_of(note)) for size, note in self.execute(query, (log_id, after, limit))]

    def newest_checkpoint(self, log_id: int) -> str | None:
        """The note about the largest signed tree of a log, not verified."""
        query = "SELECT note FROM checkpoint WHERE log_id = ? ORDER BY size DESC LIMIT 1"
        row = self.execute(query, (log_id,)).fetchone()
        return text_of(row[0]) if row else None

    def strays(self, log_ids: Sequence[int]) -> dict[str, int]:
        logs = ",".join(map(str, log_ids)) or "NULL"
        return {table: self._count(f"{table} WHERE log_id NOT IN ({logs})") for table in ("tile", "checkpoint")}

    def entry_count(self) -> int:
        return self._count("entry")

    def open_count(self) -> int:
        """The number of open decisions."""
        return self._count("open_decision")

    def entries(self, position: int, limit: int) -> AbstractContextManager[Iterator[Row]]:
        return self._each(_ENTRIES, position, limit)

    def private_rows(self, position: int) -> AbstractContextManager[Iterator[Row]]:
        return self._each(_PRIVATE, position)

    def content_rows(self, position: int) -> AbstractContextManager[Iterator[Row]]:
        return self._each(content.ROWS, position)

    def place_of(self, event_id: str) -> tuple[int, int] | None:
        row = self.execute("SELECT log_id, seq FROM entry WHERE event_id = ?", (event_id,)).fetchone()
        return row and (row[0], row[1])

    def open_decisions(self) -> list[Row]:
        query = "SELECT event_id, log_id, boot, agent, reservation FROM open_decision ORDER BY event_id"
        return self.execute(query).fetchall()

    def balances(self) -> list[tuple[tuple[str, str], Sequence[Any] | None]]:
        return list(balances.read_all(self))

    @contextmanager
    def _each(self, statement: str, *values: object) -> Iterator[Iterator[Row]]:
        with closing(self.execute(statement, values)) as rows:
            yield iter(rows)

    def _count(self, what: str, *values: object) -> int:
        (count,) = self.execute(f"SELECT count(*) FROM {what}", values).fetchone()  # noqa: S608  # our own text
        return int(count)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise UnreadableError(path, error) from error


def split_hashes(data: bytes) -> list[bytes]:
    """The hashes that a frontier or a tile stores one after the other."""
    return [data[at : at + merkle.HASH_BYTES] for at in range(0, len(data), merkle.HASH_BYTES)]


_TILE = "SELECT hashes FROM tile WHERE log_id = ? AND level = ? AND number = ?"
_ENTRIES = """
SELECT id, log_id, seq, event_id, kind, time_ns, agent, leaf
  FROM entry NOT INDEXED WHERE id > ? ORDER BY id LIMIT ?
"""
_PRIVATE = "SELECT entry_id, salt, input FROM private WHERE entry_id > ? ORDER BY entry_id"
_HEAD = "SELECT id, organization, epoch, origin, size, frontier, time_ns FROM log"


def heads(db: LogIndex) -> list[Head]:
    """All trees, oldest first."""
    return [_head(row) for row in db.execute(f"{_HEAD} ORDER BY id")]


def head(db: LogIndex, organization: str) -> Head | None:
    """The tree that an organization's entries are appended to: the one of its latest epoch."""
    row = db.execute(f"{_HEAD} WHERE organization = ? ORDER BY epoch DESC LIMIT 1", (organization,)).fetchone()
    return _head(row) if row else None


def _head(row: tuple[int, str, int, str, int, bytes, int]) -> Head:
    identifier, organization, epoch, origin, size, frontier, time_ns = row
    if tuple(map(type, row)) != (int, str, int, str, int, bytes, int):
        # The type of a value is stored in a byte that can be changed, too.
        raise AuditError("audit_damaged", f"the head of `{origin}` holds a value of a wrong type", subject=str(origin))
    return Head(identifier, organization, epoch, origin, size, tuple(split_hashes(frontier)), time_ns)


def tile_reader(db: LogIndex, log_id: int) -> tiles.Read:
    """A function that reads hash tiles of one log, and entry bundles at the level `tiles.ENTRIES`."""

    def read(tile: tiles.Tile) -> bytes:
        if tile.level == tiles.ENTRIES:
            first = tile.number * tiles.WIDTH
            rows = db.execute(
                "SELECT leaf FROM entry WHERE log_id = ? AND seq >= ? AND seq < ? ORDER BY seq",
                (log_id, first, first + tile.width),
            ).fetchall()
            if len(rows) == tile.width:
                return tiles.encode_bundle(leaf for (leaf,) in rows)
        else:
            row = db.execute(_TILE, (log_id, tile.level, tile.number)).fetchone()
            if row and type(row[0]) is bytes and len(row[0]) >= tile.width * merkle.HASH_BYTES:
                return row[0][: tile.width * merkle.HASH_BYTES]
        raise AuditError("bad_proof", f"the log has no `{tiles.path(tile)}`")

    return read


def text_of(note: object) -> str:
    """A stored note as text. A value of another type gives the empty text, which is no valid note."""
    return note.decode("utf-8", "replace") if isinstance(note, bytes) else ""
