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
"""The time to wait for the lock. After that the callers who wait are told that the log cannot be written."""


class FileLock:
    """An exclusive lock between processes. One thread owns the object: it acquires and releases the lock.

    The kernel releases the lock when the process ends, for whatever reason.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._waiter: _Waiter | None = None  # made when the lock is taken for the first time
        self._waiting = False

    def acquire(self, timeout: float) -> bool:
        """Take the lock; False if that takes longer than `timeout` seconds.

        The wait then continues in the background, and the next call joins it.
        """
        if not self._waiting:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if self._waiter is None:
                    self._waiter = _Waiter(self._file)
                self._waiter.begin()
                self._waiting = True
        assert self._waiter is not None
        if not self._waiter.wait(timeout):
            return False
        self._waiting = False
        if self._waiter.error is not None:
            raise self._waiter.error
        return True

    def release(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Release the lock. A wait that is still going on closes the file, and releases the lock, when it ends."""
        if self._waiter is not None:
            self._waiter.end(close_file=self._waiting)
        if not self._waiting:
            os.close(self._file)


class _Waiter:
    """A thread that waits in blocking calls of `flock`, one at a time, and may be left alone with the last one.

    With two busy processes most commits wait, and starting a thread for each costs more than the wait.
    """

    def __init__(self, file: int) -> None:
        self.error: OSError | None = None  # of the last wait
        self._file = file
        self._ended = self._close_file = False
        # Both are locked from the start. Plain locks are waited for without any Python code.
        self._begun, self._over = threading.Lock(), threading.Lock()
        self._begun.acquire()
        self._over.acquire()
        threading.Thread(target=self._run, name="audit-lock", daemon=True).start()

    def begin(self) -> None:
        self._begun.release()

    def wait(self, timeout: float) -> bool:
        """True when the wait is over; False if it is not within this time."""
        return self._over.acquire(timeout=timeout)

    def end(self, *, close_file: bool) -> None:
        """End the thread, as soon as it does not wait any more; with `close_file` it closes the file then."""
        self._close_file = close_file
        self._ended = True
        if self._begun.locked():  # otherwise the thread has not seen `begin` yet, and will see this first
            self._begun.release()

    def _run(self) -> None:
        while True:
            self._begun.acquire()
            if self._ended:
                break
            self.error = None
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX)
            except OSError as error:
                self.error = error
            if self._ended:
                break
            self._over.release()
        if self._close_file:
            os.close(self._file)  # and with it the lock
