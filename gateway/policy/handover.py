"""How a new activation reaches the data workers without a gap (docs/architecture.md, sections 11 and 13).

The control process announces revisions; every live worker loads them and answers; only then is the activation written,
and its epoch bump switches all workers with their next request. All of that goes through `runtime.db`, which holds
nothing that must survive a restart. A worker can still be behind, if it starts in between or could not load a revision:
then it refuses requests with `policy_not_loaded` until it has caught up.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from gateway.errors import Denied, GatewayError
from gateway.policy.cache import PolicyCache, digests
from gateway.registry.port import RegistryPort
from gateway.storage import database_files

logger = logging.getLogger("gateway.policy.cache")

FOLLOW_SECONDS = 0.2
RETRY_SECONDS = 5.0
POLL_SECONDS = 0.05

_TABLES = """
CREATE TABLE IF NOT EXISTS announced (digest TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS policy_worker (boot TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS loaded (
  boot TEXT NOT NULL, digest TEXT NOT NULL, problem TEXT NOT NULL, PRIMARY KEY (boot, digest)
) WITHOUT ROWID;
"""


class Handover:
    """The tables that both sides share. One connection; used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        with suppress(FileExistsError):
            database_files.create(path)
        self._path = path
        with self._as_gateway_error(), ExitStack() as opened:
            rows = sqlite3.connect(path, isolation_level=None, timeout=1.0, check_same_thread=False)
            self._rows = opened.enter_context(closing(rows))
            rows.execute("PRAGMA journal_mode = WAL")
            rows.execute("PRAGMA synchronous = NORMAL")
            rows.executescript(_TABLES)
            opened.pop_all()  # all went well: it stays open until `close`

    def close(self) -> None:
        self._rows.close()

    # The control process

    def announce(self, wanted: Iterable[str]) -> None:
        """Ask every worker to load these revisions, and forget all earlier announcements and answers."""
        with self._as_gateway_error(), self._transaction():
            self._rows.execute("DELETE FROM announced")
            self._rows.execute("DELETE FROM loaded")
            self._rows.executemany("INSERT INTO announced VALUES (?)", [(digest,) for digest in wanted])

    def waiting_for(self, wanted: Collection[str], live: Collection[str]) -> tuple[set[str], list[str]]:
        """The live workers that have not answered for all of `wanted`, and the problems that live workers reported."""
        with self._as_gateway_error():
            workers = {boot for (boot,) in self._rows.execute("SELECT boot FROM policy_worker")}
            answers = self._rows.execute("SELECT boot, digest, problem FROM loaded").fetchall()
        alive = {boot for boot in workers if boot in live}
        answered = {boot: {digest for other, digest, _ in answers if other == boot} for boot in alive}
        missing = {boot for boot in alive if not answered[boot].issuperset(wanted)}
        return missing, sorted({problem for boot, _, problem in answers if problem and boot in alive})

    def wait(self, wanted: Collection[str], live: Collection[str], seconds: float) -> None:
        """Return when every live worker has loaded `wanted`. Raises `GatewayError` (`not_loaded`) if one cannot."""
        self.forget_dead(live)
        ends = time.monotonic() + seconds
        while True:
            missing, problems = self.waiting_for(wanted, live)
            if problems:
                raise GatewayError("not_loaded", f"a worker cannot load the policies: {problems[0]}")
            if not missing:
                return
            if time.monotonic() > ends:
                raise GatewayError("not_loaded", f"{len(missing)} workers did not load the policies in time")
            time.sleep(POLL_SECONDS)

    def forget_dead(self, live: Collection[str]) -> None:
        """Remove workers that were killed and so did not leave. A boot id is never used again."""
        with self._as_gateway_error():
            joined = [boot for (boot,) in self._rows.execute("SELECT boot FROM policy_worker")]
            dead = [(boot,) for boot in joined if boot not in live]
            self._rows.executemany("DELETE FROM policy_worker WHERE boot = ?", dead)
            self._rows.executemany("DELETE FROM loaded WHERE boot = ?", dead)

    # A data worker

    def join(self, boot: str) -> None:
        """Wait for this worker from now on, for as long as it lives."""
        with self._as_gateway_error():
            self._rows.execute("INSERT OR IGNORE INTO policy_worker VALUES (?)", (boot,))

    def leave(self, boot: str) -> None:
        with self._as_gateway_error():
            self._rows.execute("DELETE FROM policy_worker WHERE boot = ?", (boot,))

    def announced(self) -> set[str]:
        with self._as_gateway_error():
            return {digest for (digest,) in self._rows.execute("SELECT digest FROM announced")}

    def answer(self, boot: str, problems: dict[str, str]) -> None:
        """Report for each announced revision why it could not be loaded; "" if it is loaded."""
        with self._as_gateway_error():
            said = dict(self._rows.execute("SELECT digest, problem FROM loaded WHERE boot = ?", (boot,)))
            rows = [(boot, digest, problem) for digest, problem in problems.items() if said.get(digest) != problem]
            if rows:
                self._rows.executemany("INSERT OR REPLACE INTO loaded VALUES (?, ?, ?)", rows)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._rows.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._rows.execute("ROLLBACK")
            raise
        self._rows.execute("COMMIT")

    @contextmanager
    def _as_gateway_error(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            message = f"cannot use `{self._path}`: {error}"
            raise GatewayError("runtime_unavailable", message, subject=str(self._path)) from error


def workers(path: Path) -> list[str]:
    """The boot ids of the data workers that have joined, dead ones too; for those who only look."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)) as db:
            return [boot for (boot,) in db.execute("SELECT boot FROM policy_worker ORDER BY boot")]
    except sqlite3.Error:
        return []  # no worker has ever joined


class Follower:
    """A data worker's part: it keeps in memory what is in force and what is announced."""

    def __init__(self, handover: Handover, registry: RegistryPort, cache: PolicyCache, boot: str) -> None:
        self._handover = handover
        self._registry = registry
        self._cache = cache
        self._boot = boot
        self._failed: dict[str, str] = {}
        self._retry = 0.0
        self._complaint = ""

    async def begin(self) -> None:
        """Load what is in force, so that the first request finds it. Whatever cannot be loaded is tried again later."""
        self._handover.join(self._boot)
        await self.step()

    async def run(self) -> None:
        """Keep up until cancelled. No exception ends this, because nothing would tell the worker that it is behind."""
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            try:
                await self.step()
            except Exception:
                logger.exception("policies: following failed")
                await asyncio.sleep(RETRY_SECONDS)

    async def step(self) -> None:
        """Look once at what is wanted. Failures are logged, not raised; the requests concerned are refused then."""
        try:
            # In this order: a revision that is no longer announced here was activated before the next line reads.
            # Beside the loop: another process may hold the file just when a policy is activated.
            announced = await asyncio.to_thread(self._handover.announced)
            wanted = announced | digests(await self._registry.active_bundles())
            missing = wanted - self._cache.loaded
            # A revision that failed is not tried again at once; a new one is.
            if missing - self._failed.keys() or self._cache.loaded - wanted or time.monotonic() > self._retry:
                self._failed = await asyncio.to_thread(self._cache.follow, wanted)
                self._retry = time.monotonic() + RETRY_SECONDS
            answers = {digest: self._failed.get(digest, "") for digest in announced}
            await asyncio.to_thread(self._handover.answer, self._boot, answers)
            self._complain("; ".join(sorted(set(self._failed.values()))))
        except Denied as error:
            self._complain(f"{error.message}: {error.detail}")
        except GatewayError as error:
            self._complain(error.message)

    def close(self) -> None:
        """Leave: nobody waits for this worker any more."""
        try:
            self._handover.leave(self._boot)
        except GatewayError as error:
            self._complain(error.message)

    def _complain(self, text: str) -> None:
        """Log a problem once, not five times a second."""
        if text and text != self._complaint:
            logger.error("policies: %s", text)
        self._complaint = text
