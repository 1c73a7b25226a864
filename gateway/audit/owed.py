"""Closings that could not be recorded yet: the writer keeps them and appends them with the next commit that succeeds.

What is still owed when the process dies is closed by recovery, because the open decision is still in the database.
"""

from __future__ import annotations

import threading
from itertools import islice
from typing import Final

from gateway.audit import decision
from gateway.audit.draft import Draft, draft
from gateway.audit.intents import Completed, Decided

CAPACITY: Final = 10_000
"""Beyond that closings are left to recovery."""


class Owed:
    """The closings that one writer owes, by event id. Any thread may use it."""

    def __init__(self, boot: str) -> None:
        self._boot = boot
        self._guard = threading.Lock()
        self._closings: dict[str, Draft] = {}

    def __len__(self) -> int:
        return len(self._closings)

    def add(self, failed: Draft, *, in_doubt: bool = False) -> None:
        """Remember what must still be recorded, if anything, although the caller was told that it is not.

        `in_doubt`: `failed` may be in the log after all.
        """
        intent = failed.intent
        if isinstance(intent, Completed):
            closing = decision.late(intent)
        elif isinstance(intent, Decided) and intent.open and in_doubt:
            closing = decision.not_forwarded(intent)
        else:
            return
        with self._guard:
            if len(self._closings) < CAPACITY:
                self._closings.setdefault(closing.event_id, draft(closing, self._boot))

    def settle(self, event_id: str) -> None:
        """This closing is in the log, or can never be."""
        if self._closings:
            with self._guard:
                self._closings.pop(event_id, None)

    def first(self, count: int) -> list[Draft]:
        """The oldest of them; they are owed until they are settled."""
        with self._guard:
            return list(islice(self._closings.values(), count))
