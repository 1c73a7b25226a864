"""The writer of a process: a thread that commits all waiting entries with one fsync and then wakes their callers.

*Group commit when free*: while one commit is on its way to the disk, the next group gathers behind it. So a single
client pays for one fsync, and the clients of a busy gateway share it. An event loop hands over its jobs after a turn in
which it has submitted no more, or after a millisecond: a group costs little more than its first entry, so it is worth
waiting for the rest of it. Entries queued while another process holds the lock join the group that waits for it.

The meaning of a failure. Before a commit is attempted, nothing was written. A commit that reports an error has an
*unknown outcome*: all waiters get an error, and event ids are looked up before anything is appended again. A
`completed` entry that could not be recorded is *owed*: the writer keeps it and appends it with the next commit that
succeeds (`decision.Owed`). It closes a decision that may have been recorded, although its request was refused, the same
way. Recovery closes what is owed when the process dies, because the open decision is still in the database.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from gateway.audit.balance_rows import Key
from gateway.audit.decision import Owed
from gateway.audit.draft import draft
from gateway.audit.errors import AuditError, unavailable
from gateway.audit.intents import Intent
from gateway.audit.log import Attempt, Committed, Log, UnknownOutcomeError
from gateway.audit.log_reader import IndexedLog
from gateway.audit.sqlite_log import BALANCES, SqliteLog
from gateway.data_directory import DataDirectory
from gateway.storage.file_lock import LOCK_SECONDS

__all__ = ["AuditWriter", "Committed"]

logger = logging.getLogger("gateway.audit.writer")

QUEUE: Final = 4096  # intents that may wait: about a second of work
BATCH: Final = 512
HOLD_SECONDS: Final = 0.001  # the time that a busy loop may add to a group before the group is committed
IDLE_SECONDS: Final = 0.2  # the pause before balances are written if there are no entries to write
OWED_SECONDS: Final = 1.0  # the pause before owed entries are tried again if there is no other traffic
RECENT_SECONDS: Final = 5.0  # the time for which a commit counts as proof that the log can be written


@dataclass(slots=True, eq=False)
class _Job(Attempt):
    """One draft, and the future that its caller waits for.

    There is none if the writer owes it, or if the caller waits for a later one of the same group.
    """

    waiter: Future[Committed] | asyncio.Future[Any] | None = None
    in_doubt: bool = False  # true if it may be in the log although `error` is set


class AuditWriter:
    """Appends to the log of one data directory. Any thread and any event loop may submit.

    The writer's thread owns the log. It shares the queue and what it owes with callers.
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
        self._observe = observe
        self._queue: queue.SimpleQueue[list[_Job] | None] = queue.SimpleQueue()
        self._guard = threading.Lock()  # guards the next three, which submitters and the thread share
        self._closed = False  # nothing is queued after the last job
        self._gathered: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
        self._queued = 0  # jobs that wait, gathered ones too
        self._owed = Owed(boot)
        self._still: dict[str, str] = {}  # organization to the logged reason why its log cannot be written
        self._complaint = ""  # the last logged reason why nothing can be written
        self._committed = -RECENT_SECONDS  # when a commit succeeded last
        self._check: asyncio.Future[None] | None = None  # the check under way
        self._in_hand: list[_Job] = []  # jobs that the thread has taken from the queue and not answered
        self._death: Future[None] = Future()  # gets the exception that ended the thread
        self._death.set_running_or_notify_cancel()
        # The values of the balances that the last commits left, and when; None if nobody wants to know.
        self._balances: dict[Key, tuple[list[int], float]] | None = None
        self._log: Log = SqliteLog(data, deployment, clock, lock_seconds)  # raises here, not at the first entry
        self._thread = threading.Thread(target=self._run, name="audit-writer", daemon=True)
        self._thread.start()

    # -- submitting --------------------------------------------------------------------------------------------------

    def submit(self, intent: Intent) -> Future[Committed]:
        """Queue an intent. The future gets the entry when it is durable, or an `AuditError`.

        Raises `bad_entry` at once, and `audit_unavailable` if the queue is full.
        """
        waiter: Future[Committed] = Future()
        waiter.set_running_or_notify_cancel()  # a queued entry will be written and cannot be cancelled
        self._enqueue(_Job(draft(intent, self.boot), waiter=waiter))
        return waiter

    async def write(self, intent: Intent) -> Committed:
        """Record an intent and return when it is durable. Cancelling ends the wait, not the recording."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Committed] = loop.create_future()
        self._gather(loop, _Job(draft(intent, self.boot), waiter=waiter))
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

    def reading(self) -> AbstractContextManager[IndexedLog]:
        """The log as it is now, to be read in any thread. Raises `AuditError`."""
        return self._log.reading()

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
        jobs = [_Job(draft(intent, self.boot)) for intent in intents]
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
            self._enqueue(_Job(None, waiter=self._check))
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
            self._log.close()

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

    def _write(self, jobs: list[_Job]) -> None:
        """Commit these jobs and what is owed, and wake the waiters."""
        jobs = [_Job(item) for item in self._owed.first(BATCH)] + jobs
        if jobs or not self._log.is_written:
            self._commit(jobs)
            self._wake(jobs)
        self._in_hand = []

    def _take(self) -> tuple[list[_Job], bool]:
        """The waiting jobs, at least one unless something else is to be written; and False after the last of all."""
        jobs: list[_Job] = []
        more = True
        try:
            seconds = None if self._log.is_written else IDLE_SECONDS
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

    def _joined(self, jobs: list[_Job]) -> list[_Job]:
        """These jobs, with what was queued while they waited for their turn: a commit costs as much as ten entries."""
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
        return jobs

    def _commit(self, jobs: list[_Job]) -> None:
        """Append these jobs and those that join them. Afterwards every job has a result or an error."""
        attempted = False
        began = time.monotonic_ns()
        try:
            # No waiter is woken before this returns. Afterwards the entries survive a power failure.
            self._log.append(lambda: self._joined(jobs))
            attempted = True
            if any(
                (job.draft is None and job.error is None) or (job.result is not None and job.result.recorded)
                for job in jobs
            ):
                self._committed = time.monotonic()
            self._publish()
            if jobs:
                self._observe(time.monotonic_ns() - began, len(jobs))
            self._complain("")
            self._complain_of_logs(jobs)
        except Exception as error:  # noqa: BLE001  # whatever it is: this thread must go on, and every waiter be told
            self._fail(jobs, error, in_doubt=attempted or isinstance(error, UnknownOutcomeError))
        self._settle(jobs)

    def _publish(self) -> None:
        """Show the balances that this commit has left."""
        if (shown := self._balances) is None:
            return
        now = time.monotonic()
        shown.update((key, (balance.values(), now)) for key, balance in self._log.left())
        if len(shown) > BALANCES:
            self._balances = {}

    def _fail(self, jobs: list[_Job], error: Exception, *, in_doubt: bool) -> None:
        """Give every waiter of this batch an error."""
        failure = _as_audit_error(error)
        self._complain(failure.message)
        for job in jobs:
            if in_doubt or job.error is None:
                job.result, job.error, job.in_doubt = None, failure, in_doubt

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
