"""Usage by minute and hour, added up from the log and kept in a file, so that a question reads sums and not entries.

The file is a cache: it can be deleted, and is built again from the log. The control process adds what is new from time
to time (`advance`), and so does whoever asks for usage; `traffic.py` is kept along with it. The part of the log that
was read is known by a position and the event that stands there; if that is another one, or the log is shorter (it was
restored, say), everything is read anew.
If only that entry is gone, the sums are all that is left of what was removed from the log, and they are kept.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from gateway.audit import completions, search
from gateway.audit.log_reader import LogIndex
from gateway.pauses import Pauses
from gateway.storage import database_files
from gateway.usage import traffic
from gateway.usage.totals import ZERO, UsageCounts, UsageSubject, counts_of, subject_of
from gateway.usage.traffic import AgentTraffic, Traffic

MINUTE: Final = 60
HOUR: Final = 3600
NAME: Final = "usage.db"

_SCHEMA: Final = 2
_BATCH = 5000
_BUSY_SECONDS = 60.0
_DIMENSIONS: Final = UsageSubject._fields
_COUNTS: Final = UsageCounts._fields

# Providers may report anything, and integers of databases have 64 bits: what was added up stops here.
_MOST: Final = 2**62
# Sums of rows are taken of both halves of a count, because SQLite's own would overflow.
_HALF: Final = 31

_TABLES = f"""
CREATE TABLE subject (
    id INTEGER PRIMARY KEY,
    {", ".join(f"{name} TEXT NOT NULL" for name in _DIMENSIONS)},
    UNIQUE ({", ".join(_DIMENSIONS)})
) STRICT;
-- What one subject used in a minute or an hour (`span`) that begins at `start`, in seconds since 1970.
CREATE TABLE usage (
    span INTEGER NOT NULL,
    start INTEGER NOT NULL,
    subject INTEGER NOT NULL REFERENCES subject,
    {", ".join(f"{name} INTEGER NOT NULL" for name in _COUNTS)},
    PRIMARY KEY (span, start, subject)
) STRICT, WITHOUT ROWID;
{traffic.TABLE}
CREATE TABLE agent (id TEXT PRIMARY KEY, name TEXT NOT NULL) STRICT, WITHOUT ROWID;
-- One row: how far the log was read, and the event there.
CREATE TABLE cursor (one INTEGER PRIMARY KEY CHECK (one = 1), position INTEGER NOT NULL, event TEXT NOT NULL) STRICT;
INSERT INTO cursor VALUES (1, 0, '');
PRAGMA user_version = {_SCHEMA};
"""  # noqa: S608  # our own names

_ADD = f"""
INSERT INTO usage (span, start, subject, {", ".join(_COUNTS)}) VALUES (?, ?, ?, {", ".join("?" * len(_COUNTS))})
ON CONFLICT DO UPDATE SET
    {", ".join(f"{name} = min({name}, {_MOST} - excluded.{name}) + excluded.{name}" for name in _COUNTS)}
"""  # noqa: S608  # our own names

Progress = Callable[[int, int], None]


class Rollup:
    """The sums in one file. Used from one thread; several processes may use the file."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def update(self, log: LogIndex, progress: Progress | None = None, most: int | None = None) -> None:
        """Add what the log has got since the last time, or the next entries of it."""
        end = search.last_position(log)
        position = first = self._begin(log)
        end = end if most is None else min(end, position + most)
        while position < end:
            found = completions.after(log, position, end + 1, _BATCH)
            self._add(log, found, position, found[-1].position if len(found) == _BATCH else end)
            # Another process may have added something at the same time.
            position = self._begin(log)
            if progress is not None:
                progress(position - first, end - first)

    def rows(
        self, span: int, since: int, until: int, dimensions: Sequence[str], only: Mapping[str, str], *, times: bool
    ) -> Iterator[tuple[int, tuple[str, ...], UsageCounts]]:
        """The sums by these members of a subject from one start on and before another, with the start if `times`.

        `only` are members of a subject that must have a value.
        """
        assert set(dimensions) | set(only) <= set(_DIMENSIONS)
        columns = ["usage.start" if times else "0", *(f"subject.{name}" for name in dimensions)]
        group = [*(["usage.start"] if times else []), *columns[1:]]
        sums = [f"sum(usage.{name} {part})" for part in (f">> {_HALF}", f"& {2**_HALF - 1}") for name in _COUNTS]
        query = f"SELECT {', '.join([*columns, *sums])}"
        query += " FROM usage JOIN subject ON subject.id = usage.subject"
        query += " WHERE usage.span = ? AND usage.start >= ? AND usage.start < ?"
        query += "".join(f" AND subject.{name} = ?" for name in only)
        if group:
            query += f" GROUP BY {', '.join(group)}"
        for row in self._db.execute(query, (span, since, until, *only.values())):
            if row[-1] is not None:  # there was something to add up
                upper, lower = row[len(columns) : -len(_COUNTS)], row[-len(_COUNTS) :]
                counts = UsageCounts(*((high << _HALF) + low for high, low in zip(upper, lower, strict=True)))
                yield row[0], row[1 : len(columns)], counts

    def traffic(
        self, span: int, since: int, until: int, *, organization: str = "", agent: str = "", model: str = ""
    ) -> list[Traffic]:
        """The ends of requests in each hour or day (`traffic.HOUR`, `traffic.DAY`, of UTC) that begins in a time.

        They are those of the whole gateway, an organization, one of its agents (an id), or a model. It is one query, by
        the table's key.
        """
        assert not agent or (organization and not model), "sums are kept for an agent of an organization, of all models"
        values = organization, agent, model, span, since, until
        return [Traffic(*row) for row in self._db.execute(traffic.READ, values)]

    def of_agents(self, organization: str, agents: Sequence[str], since: int, until: int) -> dict[str, AgentTraffic]:
        """What these agents (ids) of an organization have done in the days of UTC that begin in a time."""
        rows = self._db.execute(traffic.of_agents(agents), (organization, *agents, since, until))
        return dict(map(traffic.agent_traffic, rows))

    def reached(self, log: LogIndex) -> tuple[int, int]:
        """The position up to which the log was read, and its newest one: later entries are not in the sums yet."""
        (position,) = self._db.execute("SELECT position FROM cursor").fetchone()
        return position, search.last_position(log)

    def names(self, organization: str | None = None) -> dict[str, str]:
        """The last known name of each agent, by its id; all or those of one organization."""
        if organization is None:
            return dict(self._db.execute("SELECT id, name FROM agent").fetchall())
        mine = "SELECT id, name FROM agent WHERE id IN (SELECT agent FROM subject WHERE organization = ?)"
        return dict(self._db.execute(mine, (organization,)).fetchall())

    def organizations(self) -> list[str]:
        """Those that have used something."""
        return [name for (name,) in self._db.execute("SELECT DISTINCT organization FROM subject ORDER BY organization")]

    def _begin(self, log: LogIndex) -> int:
        """The position to go on from in the log; from its start if it is not the one that was read before."""
        position, event = self._db.execute("SELECT position, event FROM cursor").fetchone()
        found = completions.event_at(log, position)
        is_gone = found is None and search.last_position(log) > position
        if position and found != event and not is_gone:
            with _transaction(self._db):
                for table in ("usage", "subject", "agent", "traffic"):
                    self._db.execute(f"DELETE FROM {table}")  # noqa: S608
                self._db.execute("UPDATE cursor SET position = 0, event = ''")
            return 0
        return int(position)

    def _add(self, log: LogIndex, found: Sequence[completions.Completion], before: int, position: int) -> None:
        """Add these calls, and that the log was read from one position to another, in one transaction.

        Nothing is added if it was read further meanwhile.
        """
        sums: dict[tuple[int, int, UsageSubject], UsageCounts] = {}
        names: dict[str, str] = {}
        pause = Pauses()  # a running gateway's log is written by another thread of the same process
        for call in found:
            pause()
            subject, counts = subject_of(call), counts_of(call)
            seconds = call.time_ns // 10**9
            for span in (MINUTE, HOUR):
                key = (span, seconds - seconds % span, subject)
                so_far = sums.get(key)
                sums[key] = counts if so_far is None else so_far.plus(counts)
            if isinstance(name := call.decided.get("agent_name"), str):
                names[subject.agent] = name
        event = completions.event_at(log, position) or ""
        with _transaction(self._db):
            if self._db.execute("SELECT position FROM cursor").fetchone()[0] != before:
                return
            ids = {subject: self._id(subject) for subject in dict.fromkeys(key[2] for key in sums)}
            self._db.executemany(
                _ADD,
                (
                    (span, start, ids[who], *(min(each, _MOST) for each in counts))
                    for (span, start, who), counts in sums.items()
                ),
            )
            refused = completions.refusals(log, before, position)
            self._db.executemany(traffic.ADD, traffic.rows_of(found, refused))
            self._db.executemany("INSERT OR REPLACE INTO agent VALUES (?, ?)", names.items())
            self._db.execute("UPDATE cursor SET position = ?, event = ?", (position, event))

    def _id(self, subject: UsageSubject) -> int:
        marks = ", ".join("?" * len(subject))
        names = ", ".join(_DIMENSIONS)
        self._db.execute(f"INSERT OR IGNORE INTO subject ({names}) VALUES ({marks})", subject)  # noqa: S608
        where = " AND ".join(f"{name} = ?" for name in _DIMENSIONS)
        (found,) = self._db.execute(f"SELECT id FROM subject WHERE {where}", subject).fetchone()  # noqa: S608
        return int(found)


@contextmanager
def opened(directory: Path, log: LogIndex, progress: Progress | None = None) -> Iterator[Rollup]:
    """The sums of a log, up to date. A file in this directory that cannot be read is made anew.

    If none can be written there, as in a copy that was made as evidence, the sums are made for this time only.
    """
    path = directory / NAME
    db = _kept(path) or _open(None)
    try:
        rollup = Rollup(db)
        try:
            rollup.update(log, progress)
        except sqlite3.DatabaseError:
            db.close()
            with suppress(OSError):
                database_files.remove(path)
            db = _open(None)
            rollup = Rollup(db)
            rollup.update(log, progress)
        yield rollup
    finally:
        db.close()


def advance(directory: Path, log: LogIndex, most: int) -> None:
    """Add the next entries of a log to the file in this directory, if it can be written."""
    if (db := _kept(directory / NAME)) is None:
        return
    with closing(db):
        try:
            Rollup(db).update(log, most=most)
        except sqlite3.DatabaseError:
            database_files.remove(directory / NAME)
            raise


@contextmanager
def as_kept(directory: Path) -> Iterator[Rollup | None]:
    """The sums of the file in this directory as they are (`Rollup.reached`), for pages; None if there are none."""
    path = directory / NAME
    if not path.exists():
        yield None
        return
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS)) as db:
        try:
            known = db.execute("PRAGMA user_version").fetchone() == (_SCHEMA,)
        except sqlite3.Error:
            known = False
        yield Rollup(db) if known else None


def _kept(path: Path) -> sqlite3.Connection | None:
    for _ in range(2):
        try:
            return _open(path)
        except (sqlite3.Error, OSError):
            with suppress(OSError):
                database_files.remove(path)
    return None


def _open(path: Path | None) -> sqlite3.Connection:
    """A file of this version, or one in memory. Raises if it has another version or is damaged."""
    if path is not None:
        path.parent.mkdir(mode=0o700, exist_ok=True)
    db = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=_BUSY_SECONDS)
    try:
        with _transaction(db):
            if path is not None:
                os.chmod(path, 0o600)
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _TABLES.split(";"):
                    db.execute(statement)
        if version not in (0, _SCHEMA):
            raise sqlite3.DatabaseError("it has another version")
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def naive(log: LogIndex, since_ns: int, until_ns: int) -> dict[UsageSubject, UsageCounts]:
    """The same sums for any two times, read from the log itself: slow, for parts of a minute and to check by."""
    found: dict[UsageSubject, UsageCounts] = {}
    for call in completions.between(log, since_ns, until_ns):
        subject = subject_of(call)
        found[subject] = found.get(subject, ZERO).plus(counts_of(call))
    return found
