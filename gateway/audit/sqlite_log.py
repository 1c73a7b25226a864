"""The log in `audit.db`, as a process appends to it: its lock, its connection, and what is kept between transactions.

It appends to one file. If the path leads to another file, or to none, nothing is recorded until the file is back: a log
restored from a backup must be checked by a restart, and what is written to a deleted file is not durable.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Final

from gateway.audit import storage
from gateway.audit.balance import Balance
from gateway.audit.balance_rows import Key
from gateway.audit.errors import AuditError, unavailable
from gateway.audit.log import Attempt, UnknownOutcomeError
from gateway.audit.log_files import opened_log
from gateway.audit.log_reader import IndexedLog
from gateway.audit.transaction import Kept, Transaction
from gateway.data_directory import DataDirectory
from gateway.storage.file_lock import FileLock
from gateway.storage.opened_file import OpenedFile, write_ahead_log

BALANCES: Final = 8192
"""The most balances, and heads of logs, that are kept from one transaction to the next."""


class SqliteLog:
    """Implements `Log`. Raises `audit_unavailable` if the file cannot be opened."""

    def __init__(self, data: DataDirectory, deployment: str, clock: Callable[[], int], lock_seconds: float) -> None:
        self._data = data
        self._deployment = deployment
        self._clock = clock
        self._lock_seconds = lock_seconds
        self._lost = False  # recent entries may be lost, so nothing may be appended after them
        self._kept: Kept | None = None  # the same as in the database, while its data version is this one
        self._data_version = -1
        self._db: sqlite3.Connection | None
        try:
            self._db = storage.connect(data.audit_db)
            self._schema = storage.schema_version(self._db)
            self._file = OpenedFile(data.audit_db)
            self._wal = OpenedFile(write_ahead_log(data.audit_db))
            self._lock = FileLock(data.audit_lock)
        except (sqlite3.Error, OSError) as error:
            raise unavailable(str(error)) from error

    def append(self, group: Callable[[], Sequence[Attempt]]) -> None:
        """One transaction: lock, look, append, commit."""
        if not self._lock.acquire(self._lock_seconds):
            raise unavailable("another process holds its lock")
        try:
            self._append(group())
        except BaseException:
            self._drop()
            raise
        finally:
            self._lock.release()

    def _append(self, group: Sequence[Attempt]) -> None:
        if not self._file.in_place():
            raise unavailable("its file was moved, deleted or replaced")
        db = self._connected()
        db.execute("BEGIN IMMEDIATE")
        if storage.schema_version(db) != self._schema:
            storage.check_schema(db, self._data.audit_db)
            self._schema = storage.schema_version(db)
        transaction = Transaction(db, self._deployment, self._clock, self._take_kept(db))
        for each in group:
            try:
                if each.draft is None:
                    storage.touch(db)
                    transaction.check_clock()
                else:
                    each.result = transaction.record(each.draft)
            except AuditError as error:
                each.error = error
        if not group:
            transaction.write_balances()
        transaction.finish()
        try:
            db.execute("COMMIT")
        except BaseException as error:
            raise UnknownOutcomeError(str(error) or type(error).__name__) from error
        self._kept = transaction.kept

    @property
    def is_written(self) -> bool:
        return self._kept is None or self._kept.balances.is_written

    def left(self) -> Iterable[tuple[Key, Balance]]:
        if self._kept is None:
            return ()
        return dict(itertools.chain.from_iterable(group.members for group in self._kept.balances.left)).items()

    def reading(self) -> AbstractContextManager[IndexedLog]:
        return opened_log(self._data)

    def close(self) -> None:
        """Close what is held. Uncommitted work is rolled back."""
        if self._db is not None:
            self._db.close()
        self._file.close()
        self._wal.close()
        self._lock.close()

    def _take_kept(self, db: sqlite3.Connection) -> Kept | None:
        """The state that the last commit has left. It need not be read, unless another connection has written since.

        It is taken away here, so that none is left if this transaction fails.
        """
        (version,) = db.execute("PRAGMA data_version").fetchone()
        kept, self._kept = self._kept, None
        if kept is not None and len(kept) > BALANCES:
            kept = None
        if kept is not None and version != self._data_version:
            kept.read_again()
        self._data_version = version
        return kept

    def _connected(self) -> sqlite3.Connection:
        """The connection; a new one if the last one failed."""
        if self._db is None:
            self._db = storage.connect(self._data.audit_db)
            # Data versions of two connections cannot be compared.
            self._kept, self._data_version = None, -1
            # While there was no connection, SQLite may have removed the write-ahead log and created another one.
            self._wal.close()
            self._wal = OpenedFile(write_ahead_log(self._data.audit_db))
        elif not self._wal.in_place():
            # Recent commits may be lost. A restart checks that.
            self._lost = True
        if self._lost:
            raise unavailable("its write-ahead log was deleted: restart the gateway")
        return self._db

    def _drop(self) -> None:
        """Close the connection, which rolls back what was not committed: one that has failed once is not used again."""
        db, self._db = self._db, None
        if db is not None:
            try:
                db.close()
            except sqlite3.Error:
                pass  # the next connection cleans up what this one leaves behind
