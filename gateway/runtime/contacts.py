"""The last contact with each upstream, and the open breakers: kept for `gateway status`, written by workers.

All workers share one row for each upstream; the newest wins. Open circuit breakers have a row for each worker, which
goes when the breaker closes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.frozen import frozen
from gateway.runtime.store import RuntimeStore, seen

_MERGE: Final = """
INSERT INTO upstream_contact VALUES (?, ?, ?, ?) ON CONFLICT (upstream) DO UPDATE SET
  error = CASE WHEN excluded.error_ns > error_ns THEN excluded.error ELSE error END,
  error_ns = max(error_ns, excluded.error_ns),
  success_ns = max(success_ns, excluded.success_ns)
"""


@frozen()
class Contact:
    """The times of the last good answer of an upstream and of the last failed call (0: never), and that failure."""

    success_ns: int = 0
    error_ns: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class OpenBreaker:
    """A worker (its boot id) sends no calls to an upstream until its next probe, because so many in a row failed."""

    worker: str
    failures: int
    until_ns: int


def write(
    store: RuntimeStore, worker: str, contacts: Iterable[tuple[str, Contact]], breakers: dict[str, OpenBreaker] | None
) -> None:
    """Merge what a worker has seen; `breakers` replaces its open ones. Blocks; raises `GatewayError`."""
    # In one transaction, so that no reader finds this worker without its open breakers.
    with store.transaction() as made:
        made.run_for(_MERGE, [(each, seen.success_ns, seen.error_ns, seen.error) for each, seen in contacts])
        if breakers is not None:
            made.run("DELETE FROM open_breaker WHERE worker = ?", (worker,))
            listed = [(each, one.worker, one.failures, one.until_ns) for each, one in breakers.items()]
            made.run_for("INSERT INTO open_breaker VALUES (?, ?, ?, ?)", listed)


def read(path: Path) -> dict[str, Contact]:
    """Return the last contacts of all workers, by upstream id; empty if nothing was ever written."""
    rows = seen(path, "SELECT upstream, success_ns, error_ns, error FROM upstream_contact")
    return {upstream: Contact(*values) for upstream, *values in rows}


def open_breakers(path: Path) -> dict[str, list[OpenBreaker]]:
    """The open breakers of all workers, also of those that have died, by the upstream's id."""
    found: dict[str, list[OpenBreaker]] = {}
    for upstream, *values in seen(path, "SELECT upstream, worker, failures, until_ns FROM open_breaker"):
        found.setdefault(upstream, []).append(OpenBreaker(*values))
    return found
