"""The lock between processes. Two descriptors exclude each other in one process as well."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from gateway.storage.file_lock import FileLock

LONG = 120.0


def waiters() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "audit-lock"]


def test_all_waits_are_made_by_one_thread(tmp_path: Path) -> None:
    before = len(waiters())
    holder, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    for _ in range(3):
        assert holder.acquire(LONG)
        assert not other.acquire(0.01)
        assert not other.acquire(0.01), "the wait goes on"
        assert len(waiters()) == before + 1
        holder.release()
        assert other.acquire(LONG)
        other.release()
    assert other.acquire(0), "a lock that nobody holds is not waited for"
    other.close()
    holder.close()
    ends = time.monotonic() + LONG
    while len(waiters()) > before:
        assert time.monotonic() < ends
        time.sleep(0.001)


def test_a_wait_that_was_given_up_keeps_no_lock(tmp_path: Path) -> None:
    holder, leaving, next_one = (FileLock(tmp_path / "lock") for _ in range(3))
    assert holder.acquire(LONG)
    assert not leaving.acquire(0.01)
    leaving.close()
    holder.release()
    assert next_one.acquire(LONG), "the one that has left got the lock first, perhaps, and gave it back"
    next_one.close()
    holder.close()


def test_closing_releases_a_lock_that_was_waited_for(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.acquire(LONG)
    assert not second.acquire(0.01)
    first.release()
    assert second.acquire(LONG)
    second.close()
    assert first.acquire(0), "at once"
    first.close()
