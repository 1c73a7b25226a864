"""Tools that agents were told of and that are not as they were approved: handed over to the control process.

A list of tools passes through a worker, which removes the ones that nobody has approved (`upstream/guards.py`). What it
has removed is noted here, once for each definition, so that an operator hears of it soon and not at the next look.
"""

from __future__ import annotations

from gateway.runtime import sightings
from gateway.runtime.notes import BufferedNotes
from gateway.runtime.sightings import Sighting
from gateway.runtime.store import RuntimeStore

_MOST = 200  # definitions that wait to be written, of at most 64 KiB each
_KNOWN = 10_000  # definitions that were noted before


class ToolSightings(BufferedNotes[list[Sighting]]):
    """The tools that one worker has removed from lists."""

    SECONDS = 1.0
    WHAT = "tools that have changed"

    def __init__(self, store: RuntimeStore) -> None:
        super().__init__(store)
        self._waiting: dict[tuple[str, str], Sighting] = {}
        self._noted: dict[tuple[str, str], None] = {}

    def note(self, upstream: str, digest: str, definition: str) -> None:
        """Remember a tool of an upstream (its id). More than can be kept are found when the server is looked at."""
        key = upstream, digest
        if key not in self._noted and len(self._waiting) < _MOST:
            self._waiting[key] = Sighting(upstream, digest, definition)

    def _take(self) -> list[Sighting] | None:
        taken, self._waiting = list(self._waiting.values()), {}
        if len(self._noted) > _KNOWN:
            self._noted.clear()
        self._noted.update(((each.upstream, each.digest), None) for each in taken)
        return taken or None

    def _put_back(self, taken: list[Sighting]) -> None:
        for each in taken:
            self._noted.pop((each.upstream, each.digest), None)
            self._waiting.setdefault((each.upstream, each.digest), each)

    def _write(self, taken: list[Sighting]) -> None:
        sightings.note(self._store, taken)
