"""The lock that serialises all processes that append to the log: `flock` on `audit.lock`, with a time limit.

SQLite's own busy handler polls, and under load some processes starve: its worst waits are ten times as long as those of
a kernel lock (`benchmarks/audit_log.py`). `flock` has no time limit, and a process that is stopped while it holds the
lock must not stop the others too. Therefore a separate thread waits for a lock that is taken.
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from typing import Final

LOCK_SECONDS: Final = 5.0
"""How long to wait for the lock. After that the callers who wait are told that the log cannot be written."""


class FileLock:
    """An exclusive lock between processes. One thread owns the object: it acquires and releases the lock.

    The kernel releases the lock when the process ends, for whatever reason.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._waiting: _Waiting | None = None

    def acquire(self, timeout: float) -> bool:
        """Take the lock; False if that takes longer than `timeout` seconds.

        The wait then continues in the background, and the next call joins it.
        """
        if self._waiting is None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                self._waiting = _Waiting(self._file)
        if not self._waiting.done.wait(timeout):
            return False
        error, self._waiting = self._waiting.error, None
        if error is not None:
            raise error
        return True

    def release(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Release the lock. A wait that is still going on closes the file, and releases the lock, when it ends."""
        if self._waiting is None:
            os.close(self._file)
        else:
            self._waiting.abandon()


class _Waiting:
    """One blocking `flock` in a thread of its own. It can be abandoned."""

    def __init__(self, file: int) -> None:
        self.done = threading.Event()
        self.error: OSError | None = None
        self._file = file
        self._guard = threading.Lock()  # held to decide who closes the file
        self._abandoned = False
        self._over = False
        threading.Thread(target=self._wait, name="audit-lock", daemon=True).start()

    def _wait(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
        except OSError as error:
            self.error = error
        with self._guard:
            self._over = True
            if self._abandoned:
                os.close(self._file)  # and with it the lock
        self.done.set()

    def abandon(self) -> None:
        with self._guard:
            self._abandoned = True
            if self._over:
                os.close(self._file)
