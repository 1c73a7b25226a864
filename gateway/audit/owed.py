"""Closings that could not be recorded yet. The writer appends them with the next commit that succeeds.

If the process dies first, recovery closes the decisions: they are still open in the database.
"""

from __future__ import annotations

import threading
from itertools import islice
from typing import Final

from gateway.audit import decision
from gateway.audit.draft import Draft, draft
from gateway.audit.intents import Completed, Decided

CAPACITY: Final = 10_000
"""Further closings are left to recovery."""


class Owed:
    """The closings that one writer owes, by event id. Any thread may use it."""

    def __init__(self, boot: str) -> None:
        self._boot = boot
        self._guard = threading.Lock()
        self._closings: dict[str, Draft] = {}

    def __len__(self) -> int:
        return len(self._closings)

    def add(self, failed: Draft, *, in_doubt: bool = False) -> None:
        """Remember the closing that must still be recorded, if there is one, after this draft has failed.

        `in_doubt`: the draft may be in the log although its caller got an error.
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
        """Forget a closing: it is in the log, or can never be."""
        if self._closings:
            with self._guard:
                self._closings.pop(event_id, None)

    def first(self, count: int) -> list[Draft]:
        """The oldest closings. They stay owed until they are settled."""
        with self._guard:
            return list(islice(self._closings.values(), count))
