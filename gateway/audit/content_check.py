"""Verification of kept content: each row is the one its entry commits to, and one that is gone was erased.

`verify.py` hands over every entry in the order of rows. No key is needed: the commitment is to the sealed bytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from gateway.audit import content
from gateway.audit.entry import SALT_BYTES, Entry
from gateway.audit.intents import closing_id


class RowsBeside:
    """Rows beside the entries, in the order of these: each is taken with its entry, and the others are strays."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._rows: Iterator[tuple[Any, ...]] = iter(())
        self._next: tuple[Any, ...] | None = None

    def begin(self, rows: Iterator[tuple[Any, ...]]) -> None:
        """Read on: these rows are used until the next `begin`."""
        self._rows = rows
        self._next = next(self._rows, None)

    def strays(self, before: int | None) -> Iterator[str]:
        """Findings about rows up to the entry with the row id `before` (all that are left, for None)."""
        while self._next is not None and (before is None or self._next[0] < before):
            yield f"{self._what} belongs to no entry (row {self._next[0]})"
            self._next = next(self._rows, None)

    def take(self, row_id: int) -> tuple[Any, ...] | None:
        """The row of this entry without its id, if it has one."""
        if self._next is None or self._next[0] != row_id:
            return None
        row, self._next = self._next, next(self._rows, None)
        return row[1:]


class ContentCheck:
    """The content that entries commit to, while a log is read."""

    def __init__(self) -> None:
        self.rows = 0
        # By log and event: the index of the entry whose content is missing.
        self.gone: dict[tuple[int, str], int] = {}

    def entry(self, log_id: int, index: int, entry: Entry, row: tuple[Any, ...] | None) -> str:
        """The fault of the content of an entry, or empty."""
        promised = entry.get("content_commitment")
        if row is None:
            if promised is not None:
                self.gone[log_id, str(entry["id"])] = index
            return ""
        self.rows += 1
        its_log, decision, agent, expires_ns, salt, sealed = row
        decided = str(entry["id"] if entry["kind"] == "decided" else entry.get("decision"))
        if promised is None or entry["kind"] not in ("decided", "completed"):
            return "its content is not one that it commits to"
        if type(salt) is not bytes or len(salt) != SALT_BYTES or type(sealed) is not bytes:
            return "its content is not stored as bytes"
        if content.commitment(salt, sealed) != promised:
            return "its content was changed: it commits to another one"
        if (its_log, decision, agent, str(expires_ns)) != (
            log_id,
            decided,
            entry.get("agent"),
            entry.get("content_expires_ns"),
        ):
            return "the columns beside its content say something else"
        return ""

    def erased(self, logs: list[int], decisions: list[Any]) -> None:
        """An erasure in one log of an organization names these decisions of any of them: both parts may be gone."""
        for log_id, each in itertools.product(logs, decisions):
            self.gone.pop((log_id, str(each)), None)
            self.gone.pop((log_id, closing_id(str(each))), None)
