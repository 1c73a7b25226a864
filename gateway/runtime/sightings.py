"""Tools that servers have told agents of and that are not as they were approved: the control process takes them in."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from gateway.runtime.store import RuntimeStore, seen


class Sighting(NamedTuple):
    """A tool as a server (the id of its upstream) has described it; `definition` is the text of its digest."""

    upstream: str
    digest: str
    definition: str


def note(store: RuntimeStore, sightings: Iterable[Sighting]) -> None:
    """Keep sightings until they are taken in. Blocks; raises `GatewayError`."""
    rows = [(*each, time.time_ns()) for each in sightings]
    with store.transaction() as made:
        made.run_for("INSERT OR IGNORE INTO tool_sighting VALUES (?, ?, ?, ?)", rows)


def waiting(path: Path) -> list[Sighting]:
    """The oldest sightings that were not taken in."""
    rows = seen(path, "SELECT upstream, digest, definition FROM tool_sighting ORDER BY time_ns LIMIT 200")
    return [Sighting(*row) for row in rows]


def forget(store: RuntimeStore, done: Collection[Sighting]) -> None:
    with store.transaction() as made:
        made.run_for(
            "DELETE FROM tool_sighting WHERE upstream = ? AND digest = ?",
            [(each.upstream, each.digest) for each in done],
        )
