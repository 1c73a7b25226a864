"""Brings a new activation to the data workers without a gap (architecture.md, sections 11 and 13).

The control process announces revisions; every live worker loads them and answers; only then is the activation written,
and its epoch bump switches all workers with their next request. None of it must survive a restart. A worker can still
be behind, if it starts in between or could not load a revision: then it refuses requests with `policy_not_loaded` until
it has caught up.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from pathlib import Path

from gateway.errors import GatewayError
from gateway.runtime.store import RuntimeStore, seen

POLL_SECONDS = 0.05

_SAID = "SELECT digest, problem FROM loaded WHERE boot = ?"


class Handover:
    """The messages between the control process and the workers. Every method blocks, and may raise `GatewayError`."""

    def __init__(self, store: RuntimeStore) -> None:
        self._store = store

    # The control process

    def announce(self, wanted: Iterable[str]) -> None:
        """Ask every worker to load these revisions, and forget all earlier announcements and answers."""
        with self._store.transaction() as made:
            made.run("DELETE FROM announced")
            made.run("DELETE FROM loaded")
            made.run_for("INSERT INTO announced VALUES (?)", [(digest,) for digest in wanted])

    def waiting_for(self, wanted: Collection[str], live: Collection[str]) -> tuple[set[str], list[str]]:
        """The live workers that have not answered for all of `wanted`, and the problems that live workers reported."""
        workers = {boot for (boot,) in self._store.rows("SELECT boot FROM policy_worker")}
        answers = self._store.rows("SELECT boot, digest, problem FROM loaded")
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
        joined = [boot for (boot,) in self._store.rows("SELECT boot FROM policy_worker")]
        if dead := [(boot,) for boot in joined if boot not in live]:
            with self._store.transaction() as made:
                made.run_for("DELETE FROM policy_worker WHERE boot = ?", dead)
                made.run_for("DELETE FROM loaded WHERE boot = ?", dead)

    # A data worker

    def join(self, boot: str) -> None:
        """Wait for this worker from now on, for as long as it lives."""
        self._store.run("INSERT OR IGNORE INTO policy_worker VALUES (?)", (boot,))

    def leave(self, boot: str) -> None:
        self._store.run("DELETE FROM policy_worker WHERE boot = ?", (boot,))

    def announced(self) -> set[str]:
        return {digest for (digest,) in self._store.rows("SELECT digest FROM announced")}

    def answer(self, boot: str, problems: dict[str, str]) -> None:
        """Report for each announced revision why it could not be loaded; "" if it is loaded."""
        said: dict[str, str] = dict(self._store.rows(_SAID, (boot,)))
        if rows := [(boot, digest, problem) for digest, problem in problems.items() if said.get(digest) != problem]:
            with self._store.transaction() as made:
                made.run_for("INSERT OR REPLACE INTO loaded VALUES (?, ?, ?)", rows)


def workers(path: Path) -> list[str]:
    """The boot ids of the data workers that have joined, dead ones too; for those who only look."""
    return [boot for (boot,) in seen(path, "SELECT boot FROM policy_worker ORDER BY boot")]
