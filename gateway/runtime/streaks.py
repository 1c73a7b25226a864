"""Streaks of refusals: what workers tell each other of those to whom nothing succeeds (`dataplane/outages.py`)."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple

from gateway.runtime.store import RuntimeStore, seen

Kind = Literal["gateway", "organization", "upstream", "bundle", "agent"]

_READ: Final = """
SELECT kind, id, name, organization, worker, since_ns, last_ns, success_ns, refusals, codes FROM outage
"""
_WRITE: Final = "INSERT OR REPLACE INTO outage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_DELETE: Final = "DELETE FROM outage WHERE kind = ? AND id = ? AND worker = ?"


class Scope(NamedTuple):
    """Requests that belong together. `id` is the registry's; organizations and bundles go by their names."""

    kind: Kind
    id: str = ""
    name: str = ""
    organization: str = ""


@dataclass(slots=True)
class Streak:
    """The refusals of one scope since its last success, in one worker. Without a refusal, `refusals` is 0."""

    since_ns: int = 0
    last_ns: int = 0
    success_ns: int = 0
    refusals: int = 0
    codes: set[str] = field(default_factory=set)

    def note(self, code: str, now_ns: int) -> None:
        """Add a request: `code` is the reason of its refusal, empty for a success."""
        if not code:
            self.success_ns = max(self.success_ns, now_ns)
            if self.refusals:
                self.begin_anew()
            return
        if not self.refusals:
            self.since_ns = now_ns
        self.last_ns = now_ns
        self.refusals += 1
        self.codes.add(code)

    def begin_anew(self) -> None:
        """Forget the refusals, because something has succeeded."""
        self.refusals, self.codes = 0, set()


def read(path: Path) -> dict[Scope, dict[str, Streak]]:
    """The streaks that workers have written, by scope and worker."""
    found: dict[Scope, dict[str, Streak]] = {}
    for *scope, worker, since_ns, last_ns, success_ns, refusals, codes in seen(path, _READ):
        streak = Streak(since_ns, last_ns, success_ns, refusals, set(codes.split()))
        found.setdefault(Scope(*scope), {})[worker] = streak
    return found


def write(store: RuntimeStore, worker: str, told: Iterable[tuple[Scope, Streak]], over: Iterable[Scope]) -> None:
    """Write a worker's streaks, and delete those that are over. Blocks; raises `GatewayError`."""
    rows = [
        (*scope, worker, one.since_ns, one.last_ns, one.success_ns, one.refusals, " ".join(sorted(one.codes)))
        for scope, one in told
    ]
    with store.transaction() as made:
        made.run_for(_WRITE, rows)
        made.run_for(_DELETE, [(scope.kind, scope.id, worker) for scope in over])


def forget_old(store: RuntimeStore, live: Container[str]) -> None:
    """Delete the rows of workers that are not live."""
    dead = {worker for streaks in read(store.path).values() for worker in streaks if worker not in live}
    if dead:
        with store.transaction() as made:
            made.run_for("DELETE FROM outage WHERE worker = ?", [(each,) for each in dead])
