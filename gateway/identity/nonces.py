"""The signatures that were used, so that none opens the gateway twice: in `runtime.db`, which all workers share.

A row is written before the request goes on. If it cannot be, the answer is 503: a replay could not be told from the
request that it repeats. Rows are forgotten some time after their signature has expired; the control process sees to
that. Specification: docs/architecture.md, section 13.
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Final

from gateway.errors import Denied, GatewayError
from gateway.storage import database_files
from gateway.storage.opened_file import OpenedFile

KEEP_SECONDS: Final = 300
"""For how long after its end a signature is remembered: a clock may be set back."""

_TABLE = """
CREATE TABLE IF NOT EXISTS nonce (
  key TEXT NOT NULL, nonce TEXT NOT NULL, expires INTEGER NOT NULL,
  PRIMARY KEY (key, nonce)
) STRICT, WITHOUT ROWID
"""
_BY_END = "CREATE INDEX IF NOT EXISTS nonce_by_end ON nonce (expires)"
_ADD = "INSERT INTO nonce VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_FORGET = """
DELETE FROM nonce WHERE (key, nonce) IN (SELECT key, nonce FROM nonce WHERE expires < ? ORDER BY expires LIMIT ?)
"""
_AT_ONCE = 1000  # rows that are forgotten in one transaction, so that a worker never waits long


class Nonces:
    """One worker's view. It writes on a thread of its own: a write may wait for another process or for the disk."""

    def __init__(self, path: Path) -> None:
        try:
            with suppress(FileExistsError):
                database_files.create(path)
            with ExitStack() as opened:
                self._file = opened.enter_context(closing(OpenedFile(path)))
                self._writes = opened.enter_context(
                    closing(sqlite3.connect(path, isolation_level=None, timeout=1.0, check_same_thread=False))
                )
                self._writes.execute("PRAGMA journal_mode = WAL")
                self._writes.execute("PRAGMA synchronous = NORMAL")
                self._writes.execute(_TABLE)
                self._writes.execute(_BY_END)
                opened.pop_all()  # all is well: they stay open until `close`
        except (sqlite3.Error, OSError) as error:
            raise GatewayError("runtime_unavailable", f"cannot use `{path}`: {error}", subject=str(path)) from error
        self._thread = ThreadPoolExecutor(1, "nonces")

    def close(self) -> None:
        self._thread.shutdown()
        self._writes.close()
        self._file.close()

    async def use(self, key: str, nonce: str, expires: int) -> bool:
        """Remember that a key (its row's id) has used this nonce; false if it had before.

        `expires` is in seconds since 1970. Raises `Denied` if it cannot be remembered.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._add, key, nonce, expires)

    def forget_old(self, now: float) -> int:
        """Forget signatures that cannot be used any more; returns how many. Blocks; raises `GatewayError`."""
        forgotten = 0
        try:
            while True:
                found = self._writes.execute(_FORGET, (int(now) - KEEP_SECONDS, _AT_ONCE)).rowcount
                forgotten += found
                if found < _AT_ONCE:
                    return forgotten
        except sqlite3.Error as error:
            raise GatewayError("runtime_unavailable", f"old nonces cannot be forgotten: {error}") from error

    def _add(self, key: str, nonce: str, expires: int) -> bool:
        # Another worker would write to the file that has the name now.
        if not self._file.in_place():
            raise Denied("registry_unavailable", "`runtime.db` was moved, deleted or replaced: restart the gateway")
        try:
            return self._writes.execute(_ADD, (key, nonce, expires)).rowcount == 1
        except sqlite3.Error as error:
            raise Denied("registry_unavailable", f"nonces: {error}") from error
