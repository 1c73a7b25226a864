"""The writer of a process: a thread that commits all waiting entries with one fsync and then wakes their callers.

*Group commit when free*: while one commit is on its way to the disk, the next group gathers behind it. So a single
client pays for one fsync, and the clients of a busy gateway share it. An event loop hands over its jobs after a turn in
which it has submitted no more, or after a millisecond: a group costs little more than its first entry, so it is worth
waiting for the rest of it. Entries queued while another process holds the lock join the group that waits for it.

The meaning of a failure. Before COMMIT is attempted, nothing was written. A COMMIT that reports an error has an
*unknown outcome*: all waiters get an error, the connection is closed, and event ids are looked up before anything is
appended again. A `completed` entry that could not be recorded is *owed*: the writer keeps it and appends it with the
next commit that succeeds (`owed.py`). It closes a decision that may have been recorded, although its request was
refused, the same way. Recovery closes what is owed when the process dies, because the open decision is still in the
database.

A writer appends to one file. If the path leads to another file, or to none, nothing is recorded until the file is back:
a log restored from a backup must be checked by a restart, and what is written to a deleted file is not durable.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from gateway.audit import storage
from gateway.audit.balance_rows import Key
from gateway.audit.draft import Draft, draft
from gateway.audit.errors import AuditError, unavailable
from gateway.audit.intents import Intent
from gateway.audit.owed import Owed
from gateway.audit.transaction import Committed, Kept, Transaction
from gateway.data_directory import DataDirectory
from gateway.storage.file_lock import LOCK_SECONDS, FileLock
from gateway.storage.opened_file import OpenedFile, write_ahead_log

__all__ = ["AuditWriter", "Committed"]

logger = logging.getLogger("gateway.audit.writer")

QUEUE: Final = 4096  # intents that may wait: about a second of work
BATCH: Final = 512
HOLD_SECONDS: Final = 0.001  # how long a busy loop may add to a group before the group is committed
IDLE_SECONDS: Final = 0.2  # how soon balances are written if there are no entries to write
OWED_SECONDS: Final = 1.0  # how soon what is owed is tried again if there is no other traffic
BALANCES: Final = 8192  # that are shown to readers
RECENT_SECONDS: Final = 5.0  # how long a commit counts as proof that the log can be written


@dataclass(slots=True, eq=False)
class _Job:
    """One draft, and the future that its caller waits for. A check has no draft.

    There is none if the writer owes it, or if the caller waits for a later one of the same group.
    """

    draft: Draft | None
    waiter: Future[Committed] | asyncio.Future[Any] | None
    result: Committed | None = None
    error: AuditError | None = None
    in_doubt: bool = False  # whether it may be in the log although `error` is set


class AuditWriter:
    """Appends to the log of one data directory. Any thread and any event loop may submit.

    The writer's thread owns the database connection and the lock. It shares the queue and what it owes with callers.
    """

    def __init__(
        self,
        data: DataDirectory,
        *,
        boot: str,
        deployment: str,
        capacity: int = QUEUE,
        lock_seconds: float = LOCK_SECONDS,
        clock: Callable[[], int] = time.time_ns,
        observe: Callable[[int, int], None] = lambda _nanoseconds, _entries: None,
    ) -> None:
        """`observe` is called in the writer's thread after a commit: how long it took, and how many entries it had."""
        self.data = data
        self.boot = boot
        self.deployment = deployment
        self._capacity = capacity
        self._lock_seconds = lock_seconds
        self._clock = clock
        self._observe = observe
        self._queue: queue.SimpleQueue[list[_Job] | None] = queue.SimpleQueue()
        self._guard = threading.Lock()  # for what submitters and the thread share: the next three
        self._closed = False  # nothing is queued after the last job
        self._gathered: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
        self._queued = 0  # jobs that wait, gathered ones too
        self._owed = Owed(boot)
        self._lost = False  # recent entries may be lost, so nothing may be appended after them
        self._still: dict[str, str] = {}  # why logs of these organizations cannot be written, as it was logged
        self._complaint = ""  # why nothing can be written, as it was logged last
        self._committed = -RECENT_SECONDS  # when a commit succeeded last
        self._check: asyncio.Future[None] | None = None  # the check under way
        self._in_hand: list[_Job] = []  # what the thread has taken from the queue and not answered
        self._death: Future[None] = Future()  # gets the exception that ended the thread
        self._death.set_running_or_notify_cancel()
        # The values of the balances that the last commits left, and when; None if nobody wants to know.
        self._balances: dict[Key, tuple[list[int], float]] | None = None
        self._kept: Kept | None = None  # the same as in the database, while its data version is this one
        self._data_version = -1
        self._db: sqlite3.Connection | None
        try:
            self._db = storage.connect(data.audit_db)  # raises here, not at the first entry
            self._schema = storage.schema_version(self._db)
            self._file = OpenedFile(data.audit_db)
            self._wal = OpenedFile(write_ahead_log(data.audit_db))
            self._lock = FileLock(data.audit_lock)
        except (sqlite3.Error, OSError) as error:
            raise unavailable(str(error)) from error
        self._thread = threading.Thread(target=self._run, name="audit-writer", daemon=True)
        self._thread.start()

    # -- submitting --------------------------------------------------------------------------------------------------

    def submit(self, intent: Intent) -> Future[Committed]:
        """Queue an intent. The future gets the entry when it is durable, or an `AuditError`.

        Raises `bad_entry` at once, and `audit_unavailable` if the queue is full.
        """
        waiter: Future[Committed] = Future()
        waiter.set_running_or_notify_cancel()  # what is queued will be written and cannot be cancelled
        self._enqueue(_Job(draft(intent, self.boot), waiter))
        return waiter

    async def write(self, intent: Intent) -> Committed:
        """Record an intent and return when it is durable. Cancelling ends the wait, not the recording."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Committed] = loop.create_future()
        self._gather(loop, _Job(draft(intent, self.boot), waiter))
        return await waiter

    @property
    def waiting(self) -> int:
        """The number of entries that wait for a commit."""
        return self._queued

    def balances(self) -> Mapping[Key, tuple[list[int], float]]:
        """The values of balances that the commits since the first call have left, and when: advice, for any thread."""
        if self._balances is None:
            self._balances = {}
        return self._balances

    def write_sync(self, intent: Intent) -> Committed:
        """The same for callers without an event loop."""
        return self.submit(intent).result()

    def write_all_sync(self, intents: Sequence[Intent], seconds: float | None = None) -> list[Committed | AuditError]:
        """Record intents in their order and in one commit, at most `BATCH`; returns what became of each.

        If one has an error of its own, the others are recorded all the same. Raises `AuditError` if that takes
        longer than `seconds`; they stay queued and may be recorded later.
        """
        if not intents:
            return []
        jobs = [_Job(draft(intent, self.boot), None) for intent in intents]
        # They are committed together, so whoever waits for the last one has waited for all.
        waiter: Future[Committed] = Future()
        waiter.set_running_or_notify_cancel()
        jobs[-1].waiter = waiter
        with self._guard:
            has_room = not self._closed and self._queued + len(jobs) <= self._capacity
            if has_room:
                self._queued += len(jobs)
                self._queue.put(jobs)
        if not has_room:
            self._reject(jobs[0])
        try:
            waiter.exception(seconds)
        except TimeoutError:
            raise unavailable("others are writing it") from None
        return [_outcome(job) for job in jobs]

    async def check(self) -> bool:
        """True if an entry could be recorded now; raises `AuditError` if not. For one event loop.

        A recent commit is proof enough. Otherwise the writer makes a commit that changes nothing. So a log that cannot
        be written, or can be written again, is noticed without a request.
        """
        if not self._complaint and time.monotonic() - self._committed < RECENT_SECONDS:
            return True
        if self._check is None or self._check.done():
            self._check = asyncio.get_running_loop().create_future()
            # If it fails when its callers are gone, nobody needs to know.
            self._check.add_done_callback(lambda check: check.cancelled() or check.exception())
            self._enqueue(_Job(None, self._check))
        await asyncio.shield(self._check)
        return True

    def _enqueue(self, job: _Job) -> None:
        with self._guard:
            if self._has_room():
                self._queued += 1
                self._queue.put([job])
                return
        self._reject(job)

    def _has_room(self) -> bool:
        return not self._closed and self._queued < self._capacity

    def _reject(self, job: _Job) -> NoReturn:
        if job.draft is not None:
            self._owed.add(job.draft)
        why = "the writer has been closed" if self._closed else f"{self._capacity} entries wait already"
        raise unavailable(why)

    def _gather(self, loop: asyncio.AbstractEventLoop, job: _Job) -> None:
        """Hold a job until its event loop has nothing more to submit."""
        with self._guard:
            if has_room := self._has_room():
                gathered = self._gathered.setdefault(loop, [])
                gathered.append(job)
                self._queued += 1
        if not has_room:
            self._reject(job)
        if len(gathered) == 1:
            loop.call_soon(self._hand_over, loop, 1, loop.time() + HOLD_SECONDS)

    def _hand_over(self, loop: asyncio.AbstractEventLoop, seen: int, until: float) -> None:
        """Queue the gathered jobs, unless the last turn of the loop has added to them. Runs in the loop's thread."""
        gathered = self._gathered.get(loop, ())
        if seen < len(gathered) < BATCH and loop.time() < until:
            loop.call_soon(self._hand_over, loop, len(gathered), until)
            return
        with self._guard:
            if jobs := self._gathered.pop(loop, None):  # `close` may have queued them already
                self._queue.put(jobs)

    async def watch(self) -> None:
        """Wait for as long as the thread works. Raises what ended it: then nothing can be recorded in this process."""
        await asyncio.wrap_future(self._death)

    def close(self) -> None:
        """Write what is queued and owed, then end the thread. Later submissions fail. May be called twice."""
        with self._guard:
            if not self._closed:
                self._closed = True
                for jobs in self._gathered.values():  # their loops may have stopped
                    self._queue.put(jobs)
                self._gathered.clear()
                self._queue.put(None)
        self._thread.join()

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001  # whatever it is: nobody may wait for a thread that is gone
            self._die(error)
        finally:
            self._let_go()

    def _die(self, error: BaseException) -> None:
        """Refuse everything from now on, and everything that waits."""
        with self._guard:
            self._closed = True
            jobs = self._in_hand + [job for gathered in self._gathered.values() for job in gathered]
            self._gathered.clear()
        with suppress(queue.Empty):
            while True:
                jobs += self._queue.get_nowait() or ()
        for job in jobs:
            job.result, job.error = None, unavailable("the thread that writes it has ended")
        self._wake(jobs)
        self._death.set_exception(error)

    def _work(self) -> None:
        open_ended = True
        while open_ended:
            jobs, open_ended = self._take()
            self._write(jobs)
        # Recovery would close what is still owed, but without knowing how the requests ended. So try once more.
        owed = len(self._owed) + 1
        while 0 < len(self._owed) < owed:
            owed = len(self._owed)
            self._write([])
        self._write([])  # balances

    def _let_go(self) -> None:
        """Close what this thread owns. Uncommitted work is rolled back."""
        if self._db is not None:
            self._db.close()
        self._file.close()
        self._wal.close()
        self._lock.close()

    def _write(self, jobs: list[_Job]) -> None:
        """Commit these jobs and what is owed, and wake the waiters."""
        jobs = [_Job(item, None) for item in self._owed.first(BATCH)] + jobs
        if jobs or not self._is_written():
            self._commit(jobs)
            self._wake(jobs)
        self._in_hand = []

    def _is_written(self) -> bool:
        """True if the database has all balances as they are."""
        return self._kept is None or self._kept.balances.is_written

    def _take(self) -> tuple[list[_Job], bool]:
        """The waiting jobs, at least one unless something else is to be written; and False after the last of all."""
        jobs: list[_Job] = []
        more = True
        try:
            seconds = None if self._is_written() else IDLE_SECONDS
            found = self._queue.get(timeout=OWED_SECONDS if self._owed else seconds)
            self._in_hand = jobs
            while found is not None:
                jobs += found
                if len(jobs) >= BATCH:
                    break
                found = self._queue.get_nowait()
            else:
                more = False
        except queue.Empty:
            pass
        with self._guard:
            self._queued -= len(jobs)
        return jobs, more

    def _join(self, jobs: list[_Job]) -> None:
        """Add to these jobs what was queued while they waited for the lock: a commit costs as much as ten entries."""
        joined: list[_Job] = []
        try:
            while len(jobs) + len(joined) < BATCH:
                found = self._queue.get_nowait()
                if found is None:
                    self._queue.put(None)  # `_take` ends with it, and nothing is queued after it
                    break
                joined += found
        except queue.Empty:
            pass
        self._in_hand += joined
        jobs += joined
        with self._guard:
            self._queued -= len(joined)

    def _commit(self, jobs: list[_Job]) -> None:
        """One transaction: lock, look, append, commit. Afterwards every job has a result or an error."""
        attempted = locked = False
        began = time.monotonic_ns()
        try:
            locked = self._lock.acquire(self._lock_seconds)
            if not locked:
                raise unavailable("another process holds its lock")
            self._join(jobs)
            if not self._file.in_place():
                raise unavailable("its file was moved, deleted or replaced")
            db = self._connected()
            db.execute("BEGIN IMMEDIATE")
            if storage.schema_version(db) != self._schema:
                storage.check_schema(db, self.data.audit_db)
                self._schema = storage.schema_version(db)
            transaction = Transaction(db, self.deployment, self._clock, self._take_kept(db))
            for job in jobs:
                try:
                    if job.draft is None:
                        storage.touch(db)
                        transaction.check_clock()
                    else:
                        job.result = transaction.record(job.draft)
                except AuditError as error:
                    job.error = error
            if not jobs:
                transaction.write_balances()
            transaction.finish()
            attempted = True
            # No waiter is woken before this returns. Afterwards the entries survive a power failure.
            db.execute("COMMIT")
            if any(
                (job.draft is None and job.error is None) or (job.result is not None and job.result.recorded)
                for job in jobs
            ):
                self._committed = time.monotonic()
            self._publish(transaction)
            if jobs:
                self._observe(time.monotonic_ns() - began, len(jobs))
            self._complain("")
            self._complain_of_logs(jobs)
        except Exception as error:  # noqa: BLE001  # whatever it is: this thread must go on, and every waiter be told
            self._fail(jobs, error, in_doubt=attempted)
        finally:
            if locked:
                self._lock.release()
        self._settle(jobs)

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

    def _publish(self, transaction: Transaction) -> None:
        """Keep what this commit has left, and show its balances."""
        self._kept = transaction.kept
        if (shown := self._balances) is None:
            return
        now = time.monotonic()
        left = dict(itertools.chain.from_iterable(group.members for group in transaction.balances.left))
        shown.update((key, (balance.values(), now)) for key, balance in left.items())
        if len(shown) > BALANCES:
            self._balances = {}

    def _connected(self) -> sqlite3.Connection:
        """The connection; a new one if the last one failed."""
        if self._db is None:
            self._db = storage.connect(self.data.audit_db)
            # Data versions of two connections cannot be compared.
            self._kept, self._data_version = None, -1
            # While there was no connection, SQLite may have removed the write-ahead log and created another one.
            self._wal.close()
            self._wal = OpenedFile(write_ahead_log(self.data.audit_db))
        elif not self._wal.in_place():
            # Recent commits may be lost. A restart checks that.
            self._lost = True
        if self._lost:
            raise unavailable("its write-ahead log was deleted: restart the gateway")
        return self._db

    def _fail(self, jobs: list[_Job], error: Exception, *, in_doubt: bool) -> None:
        """Give every waiter of this batch an error, and close the connection."""
        failure = _as_audit_error(error)
        self._complain(failure.message)
        for job in jobs:
            if in_doubt or job.error is None:
                job.result, job.error, job.in_doubt = None, failure, in_doubt
        # Closing rolls back what was not committed. A connection that has failed once is not used again.
        db, self._db = self._db, None
        if db is not None:
            try:
                db.close()
            except sqlite3.Error:
                pass  # the next connection cleans up what this one leaves behind

    def _complain(self, text: str) -> None:
        """Log once why nothing can be written, and once that it can be written again."""
        if text != self._complaint:
            logger.log(logging.ERROR if text else logging.WARNING, text or "the audit log can be written again")
        self._complaint = text

    def _complain_of_logs(self, jobs: list[_Job]) -> None:
        """Log once of each log that stands still although others are written, and once that it goes on."""
        for job in jobs:
            if job.draft is None or (job.error is None and not self._still):
                continue
            organization = job.draft.organization
            if job.error is not None and job.error.code == "audit_unavailable":
                if self._still.get(organization) != job.error.message:
                    logger.error("%s: %s", job.error.message, job.error.hint)
                self._still[organization] = job.error.message
            elif job.error is None and self._still.pop(organization, ""):
                logger.warning("the log `%s` can be written again", organization)

    def _settle(self, jobs: list[_Job]) -> None:
        """Update what is owed: add the closings that could not be recorded, remove those that were."""
        for job in jobs:
            if job.draft is None:
                continue
            if job.error is not None and job.error.code == "audit_unavailable":
                self._owed.add(job.draft, in_doubt=job.in_doubt)
            else:
                self._owed.settle(str(job.draft.entry["id"]))

    def _wake(self, jobs: list[_Job]) -> None:
        """Resolve every waiter, with one call for each event loop."""
        loops: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
        for job in jobs:
            if isinstance(job.waiter, Future):
                _answer(job, job.waiter)
            elif job.waiter is not None:
                loops.setdefault(job.waiter.get_loop(), []).append(job)
        for loop, waiting in loops.items():
            try:
                loop.call_soon_threadsafe(_resolve, waiting)
            except RuntimeError:
                pass  # the loop is closed


def _outcome(job: _Job) -> Committed | AuditError:
    return job.result or job.error or unavailable("the writer lost the entry")


def _as_audit_error(error: Exception) -> AuditError:
    """The error that the waiters of a failed batch get: always `audit_unavailable`."""
    if not isinstance(error, AuditError):
        return unavailable(str(error) or type(error).__name__)
    return error if error.code == "audit_unavailable" else unavailable(error.message)


def _resolve(jobs: list[_Job]) -> None:
    """Resolve the waiters that have not been cancelled. Runs in their loop's thread."""
    for job in jobs:
        if job.waiter is not None and not job.waiter.done():
            _answer(job, job.waiter)


def _answer(job: _Job, waiter: Future[Any] | asyncio.Future[Any]) -> None:
    if job.result is not None or (job.draft is None and job.error is None):
        waiter.set_result(job.result)
    else:
        waiter.set_exception(job.error or unavailable("the writer lost the entry"))
