"""The port for appending to the log of a gateway: groups of entries that become durable together.

`AuditWriter` gathers groups and answers those who wait; what keeps them is an implementation of `Log`. There is one,
over SQLite (`sqlite_log.py`). Reading is `log_reader.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from gateway.audit import entry as entries
from gateway.audit.balance import Balance
from gateway.audit.balance_rows import Key
from gateway.audit.draft import Draft
from gateway.audit.errors import AuditError
from gateway.audit.log_reader import IndexedLog


class Committed(NamedTuple):
    """A durable entry and its place in the log."""

    seq: int
    time_ns: int
    event_id: str
    entry: entries.Entry
    # False for a denial that its caller only counts (`Decided.counted`): then there is no place.
    recorded: bool = True


@dataclass(slots=True, eq=False)
class Attempt:
    """A draft to be appended, and what became of it. A check, which changes nothing, has no draft."""

    draft: Draft | None
    result: Committed | None = None
    error: AuditError | None = None


class UnknownOutcomeError(Exception):
    """It is not known whether a group is in the log. Event ids tell, so each attempt may be repeated."""


class Log(Protocol):
    """All logs of one gateway, as one process appends to them. One thread uses it at a time, but for `reading`."""

    def append(self, group: Callable[[], Sequence[Attempt]]) -> None:
        """Append a group: afterwards it is durable, and each attempt has its result or an error of its own.

        `group` is called once it is this process's turn, so that what came meanwhile joins it. An empty group writes
        balances. Raises if nothing of it was recorded; `UnknownOutcomeError` if that is not known.
        """
        ...

    @property
    def is_written(self) -> bool:
        """True if the stored balances contain all that was appended here."""
        ...

    def left(self) -> Iterable[tuple[Key, Balance]]:
        """The balances that the last group has changed."""
        ...

    def reading(self) -> AbstractContextManager[IndexedLog]:
        """The durable entries, to be read. Any thread may call it."""
        ...

    def close(self) -> None: ...
