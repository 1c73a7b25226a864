"""Ports for reading a log: `LogReader` is the evidence, `LogIndex` what is kept beside it to find entries quickly.

Verification takes a `LogReader` and needs nothing else, so that a log that was exported to files can be verified by an
implementation over them. Searches and sums of usage ask the index in SQL. `IndexedLog` is both, as the log of a gateway
is (`log_files.opened_log`). One implementation serves all today: `storage.SqliteReader`. No value that it gives is
trusted: a changed file can hold any type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.audit import merkle, tiles
from gateway.audit.errors import AuditError
from gateway.errors import Hint

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Head:
    """A tree as the log describes it: the number of entries, and the frontier over them."""

    id: int
    organization: str
    epoch: int
    origin: str
    size: int
    frontier: tuple[bytes, ...]
    time_ns: int

    @property
    def root(self) -> bytes:
        return merkle.frontier_root(self.frontier)


class UnreadableError(AuditError):
    """The log cannot be read; `why` says it in the words of the implementation."""

    def __init__(self, place: object, why: object) -> None:
        hint = Hint("see `gateway audit verify`")
        super().__init__("audit_damaged", f"cannot read `{place}`: {why}", subject=str(place), hint=hint)
        self.why = str(why)


class FoundRows(Protocol):
    """The rows that an index has found. Close it, or read it to its end."""

    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...
    def close(self) -> None: ...


class LogIndex(Protocol):
    """The tables of `storage.py`, asked in SQL. The writer's own connection is one as well."""

    def execute(self, statement: str, values: Any = ..., /) -> FoundRows: ...

    def create_function(self, name: str, narg: int, func: Callable[..., Any], /, *, deterministic: bool) -> None: ...


class LogReader(Protocol):
    """All logs of one gateway. Raises `UnreadableError`; everything in a `snapshot` is of one moment."""

    def close(self) -> None: ...

    def snapshot(self) -> AbstractContextManager[None]: ...

    def faults(self) -> list[str]:
        """The differences of the tables from those of this program."""
        ...

    def damage(self) -> list[str]:
        """The faults that the store itself finds in its file."""
        ...

    # Trees

    def heads(self) -> list[Head]:
        """All trees, oldest first."""
        ...

    def tile_reader(self, log_id: int) -> tiles.Read:
        """A function that reads hash tiles of one log, and entry bundles at the level `tiles.ENTRIES`."""
        ...

    def stored_tile(self, log_id: int, level: int, number: int) -> bytes:
        """A tile as it is stored, however long; empty if there is none."""
        ...

    def tile_count(self, log_id: int) -> int: ...

    def checkpoints(self, log_id: int, after: object, limit: int) -> list[Row]:
        """The size and the note of the next signed trees of a log that are larger than a size."""
        ...

    def strays(self, log_ids: Sequence[int]) -> dict[str, int]:
        """The number of rows of each kind that belong to none of these logs."""
        ...

    # Entries, in the order in which they were written, and what is kept beside them

    def entry_count(self) -> int: ...

    def entries(self, position: int, limit: int) -> AbstractContextManager[Iterator[Row]]:
        """The entries after a position, as (position, log, index, event id, kind, time, agent, leaf)."""
        ...

    def private_rows(self, position: int) -> AbstractContextManager[Iterator[Row]]:
        """The private rows of entries after a position, as (position, salt, input)."""
        ...

    def content_rows(self, position: int) -> AbstractContextManager[Iterator[Row]]:
        """The content kept of entries after a position, as (position, log, decision, agent, expiry, salt, sealed)."""
        ...

    def place_of(self, event_id: str) -> tuple[int, int] | None:
        """The log of an entry, and its index there."""
        ...

    def open_decisions(self) -> list[Row]:
        """The decisions that are listed as open, as (event id, log, boot, agent, reservation)."""
        ...

    def balances(self) -> list[tuple[tuple[str, str], Sequence[Any] | None]]:
        """The values of every balance, and None for one that cannot be read (`balances.read_all`)."""
        ...


class IndexedLog(LogReader, LogIndex, Protocol):
    """The log of a gateway, or a copy of its file. Used by one thread at a time."""

    def check_schema(self) -> None:
        """Raise `audit_damaged` unless the tables are those of this program."""
        ...

    def head(self, organization: str) -> Head | None:
        """The tree that an organization's entries are appended to: the one of its latest epoch."""
        ...

    def newest_checkpoint(self, log_id: int) -> str | None:
        """The note about the largest signed tree of a log, not verified."""
        ...

    def open_count(self) -> int:
        """The number of open decisions."""
        ...
