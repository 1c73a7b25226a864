"""Keys that were reported to a worker and are real: the control process revokes them (`dataplane/leak_reports.py`)."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

from gateway.runtime.store import RuntimeStore, seen


def report(store: RuntimeStore, credential: str, peer: str) -> None:
    store.run("INSERT OR IGNORE INTO leak_report VALUES (?, ?, ?)", (credential, peer, time.time_ns()))


def waiting(path: Path) -> list[tuple[str, str]]:
    """The public ids of keys that were reported and are real, each with the address that reported it."""
    rows = seen(path, "SELECT credential, peer FROM leak_report ORDER BY time_ns LIMIT 100")
    return [(credential, peer) for credential, peer in rows]


def forget(store: RuntimeStore, done: Collection[str]) -> None:
    with store.transaction() as made:
        made.run_for("DELETE FROM leak_report WHERE credential = ?", [(each,) for each in done])
