"""The state at providers that agents have created. An agent may refer to its own state without a policy's permission.

Rows live in `runtime.db`. They are written before the client sees the end of the answer that created the state, so that
it can refer to it at once, also through another worker. The log lists the same state (`created_json` of a `completed`
entry). A lost row makes a reference foreign, which denies. Rows are forgotten after `KEEP_DAYS`, for which OpenAI keeps
answers; the control process sees to that. What a provider keeps until it is deleted is never forgotten.
Specification: docs/architecture.md, sections 6 and 13.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from gateway.call import Reference
from gateway.errors import Denied, GatewayError
from gateway.storage import database_files
from gateway.usage.bounds import Kept

_TABLE = """
CREATE TABLE IF NOT EXISTS reference (
  organization TEXT NOT NULL, upstream TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL,
  agent TEXT NOT NULL, created_ns INTEGER NOT NULL,
  PRIMARY KEY (organization, upstream, kind, id)
) STRICT, WITHOUT ROWID
"""
# The usage of the calls that made responses: a later call that continues one has at most so much of it as input.
_USAGE_TABLE = """
CREATE TABLE IF NOT EXISTS response_usage (
  organization TEXT NOT NULL, upstream TEXT NOT NULL, id TEXT NOT NULL,
  agent TEXT NOT NULL, model TEXT NOT NULL, tokens INTEGER NOT NULL, created_ns INTEGER NOT NULL,
  PRIMARY KEY (organization, upstream, id)
) STRICT, WITHOUT ROWID
"""
_USAGE_BY_AGE = "CREATE INDEX IF NOT EXISTS response_usage_by_age ON response_usage (created_ns)"
_ADD_USAGE = "INSERT OR IGNORE INTO response_usage VALUES (?, ?, ?, ?, ?, ?, ?)"
_FIND_USAGE = "SELECT agent, model, tokens FROM response_usage WHERE organization = ? AND upstream = ? AND id = ?"
_FORGET_USAGE = """
DELETE FROM response_usage WHERE (organization, upstream, id) IN (
  SELECT organization, upstream, id FROM response_usage WHERE created_ns < ? ORDER BY created_ns LIMIT ?
)
"""
_FIND = "SELECT agent FROM reference WHERE organization = ? AND upstream = ? AND kind = ? AND id = ?"
_BY_AGE = "CREATE INDEX IF NOT EXISTS reference_by_age ON reference (created_ns)"
# The first agent created it: an id cannot be taken over.
_ADD = "INSERT OR IGNORE INTO reference VALUES (?, ?, ?, ?, ?, ?)"
_FORGET = """
DELETE FROM reference WHERE (organization, upstream, kind, id) IN (
  SELECT organization, upstream, kind, id FROM reference
  WHERE created_ns < ? AND kind NOT IN ('file', 'vector_store', 'conversation') ORDER BY created_ns LIMIT ?
)
"""

KEEP_DAYS = 30
_DAY_NS = 86_400_000_000_000
_AT_ONCE = 1000  # rows that are forgotten in one transaction, so that a worker never waits long


class References:
    """One worker's view. Call `foreign` in the event loop's thread, and `remember` in any other."""

    def __init__(self, path: Path) -> None:
        try:
            with suppress(FileExistsError):
                database_files.create(path)
            with ExitStack() as opened:
                self._writes = opened.enter_context(closing(_connect(path)))
                self._writes.execute("PRAGMA journal_mode = WAL")
                self._writes.execute("PRAGMA synchronous = NORMAL")
                self._writes.execute(_TABLE)
                self._writes.execute(_BY_AGE)
                self._writes.execute(_USAGE_TABLE)
                self._writes.execute(_USAGE_BY_AGE)
                self._rows = opened.enter_context(closing(_connect(path)))
                opened.pop_all()  # all is well: they stay open until `close`
        except (sqlite3.Error, OSError) as error:
            raise GatewayError("runtime_unavailable", f"cannot use `{path}`: {error}", subject=str(path)) from error
        self._guard = threading.Lock()  # for `_writes`

    def close(self) -> None:
        self._rows.close()
        self._writes.close()

    def foreign(
        self, organization: str, upstream: str, agent: str, references: Iterable[Reference]
    ) -> tuple[Reference, ...]:
        """The references to state that this agent did not create at this upstream (its id) through this gateway."""
        try:
            return tuple(
                each
                for each in references
                if self._rows.execute(_FIND, (organization, upstream, each.kind, each.id)).fetchone() != (agent,)
            )
        except sqlite3.Error as error:
            raise Denied("registry_unavailable", f"references: {error}") from error

    def usage_of(self, organization: str, upstream: str, agent: str, response: str) -> Kept | None:
        """The model that was asked for a response of this agent, and what that call has used; None if not known."""
        try:
            found = self._rows.execute(_FIND_USAGE, (organization, upstream, response)).fetchone()
        except sqlite3.Error as error:
            raise Denied("registry_unavailable", f"references: {error}") from error
        return Kept(found[1], found[2]) if found is not None and found[0] == agent else None

    def remember_usage(self, organization: str, upstream: str, agent: str, response: str, kept: Kept) -> None:
        """Record what the call has used that made a response. Blocks; raises `GatewayError`."""
        row = organization, upstream, response, agent, *kept, time.time_ns()
        try:
            with self._guard:
                self._writes.execute(_ADD_USAGE, row)
        except sqlite3.Error as error:
            raise GatewayError("runtime_unavailable", f"usage cannot be remembered: {error}") from error

    def remember(self, organization: str, upstream: str, agent: str, created: Iterable[Reference]) -> None:
        """Record that an agent has created this state. Blocks; raises `GatewayError`."""
        now = time.time_ns()
        rows = [(organization, upstream, each.kind, each.id, agent, now) for each in created]
        try:
            with self._guard:
                self._writes.executemany(_ADD, rows)
        except sqlite3.Error as error:
            raise GatewayError("runtime_unavailable", f"references cannot be remembered: {error}") from error

    def forget_old(self, now_ns: int) -> int:
        """Forget what is older than `KEEP_DAYS`; returns how much that was. Blocks; raises `GatewayError`."""
        forgotten = 0
        try:
            for statement in (_FORGET, _FORGET_USAGE):
                found = _AT_ONCE
                while found == _AT_ONCE:
                    with self._guard:
                        found = self._writes.execute(statement, (now_ns - KEEP_DAYS * _DAY_NS, _AT_ONCE)).rowcount
                    forgotten += found
            return forgotten
        except sqlite3.Error as error:
            raise GatewayError("runtime_unavailable", f"old references cannot be forgotten: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, timeout=1.0, check_same_thread=False)
