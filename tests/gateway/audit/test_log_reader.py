"""The port of those who verify a log: an implementation without a database is verified by the same code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from gateway.audit import storage, tiles
from gateway.audit.errors import AuditError
from gateway.audit.log_reader import Head, LogReader, Row, UnreadableError
from gateway.audit.verify import verify_log

if TYPE_CHECKING:
    from tests.gateway.audit.conftest import Log, Make


class Exported:
    """All of a log as it could be exported to files: values, and no database."""

    def __init__(self, log: LogReader) -> None:
        self._heads = log.heads()
        self._tiles: dict[tuple[int, tiles.Tile], bytes] = {}
        self._checkpoints = {head.id: log.checkpoints(head.id, -1, 1000) for head in self._heads}
        for head in self._heads:
            read = log.tile_reader(head.id)
            for level in range(3):
                size = head.size >> tiles.HEIGHT * level
                for number in range(-(-size // tiles.WIDTH)):
                    tile = tiles.Tile(level, number, min(tiles.WIDTH, size - number * tiles.WIDTH))
                    self._tiles[head.id, tile] = read(tile)
        with log.entries(0, -1) as rows, log.private_rows(0) as private, log.content_rows(0) as content:
            self.rows = {"entry": list(rows), "private": list(private), "content": list(content)}
        self._open, self._balances = log.open_decisions(), log.balances()

    def close(self) -> None: ...

    def snapshot(self) -> AbstractContextManager[None]:
        return nullcontext()

    def faults(self) -> list[str]:
        return []

    damage = faults

    def heads(self) -> list[Head]:
        return self._heads

    def tile_reader(self, log_id: int) -> tiles.Read:
        return lambda tile: self.stored_tile(log_id, tile.level, tile.number)

    def stored_tile(self, log_id: int, level: int, number: int) -> bytes:
        return next(
            data
            for (its, tile), data in self._tiles.items()
            if (its, tile.level, tile.number) == (log_id, level, number)
        )

    def tile_count(self, log_id: int) -> int:
        return sum(its == log_id for its, _ in self._tiles)

    def checkpoints(self, log_id: int, after: Any, limit: int) -> list[Row]:
        return [each for each in self._checkpoints[log_id] if each[0] > after][:limit]

    def strays(self, log_ids: object) -> dict[str, int]:
        return {}

    def entry_count(self) -> int:
        return len(self.rows["entry"])

    def entries(self, position: int, limit: int) -> AbstractContextManager[Iterator[Row]]:
        found = self._after("entry", position)
        return nullcontext(iter(found if limit < 0 else found[:limit]))

    def private_rows(self, position: int) -> AbstractContextManager[Iterator[Row]]:
        return nullcontext(iter(self._after("private", position)))

    def content_rows(self, position: int) -> AbstractContextManager[Iterator[Row]]:
        return nullcontext(iter(self._after("content", position)))

    def place_of(self, event_id: str) -> tuple[int, int] | None:
        return next(((row[1], row[2]) for row in self.rows["entry"] if row[3] == event_id), None)

    def open_decisions(self) -> list[Row]:
        return self._open

    def balances(self) -> list[tuple[tuple[str, str], Any]]:
        return self._balances

    def _after(self, name: str, position: int) -> list[Row]:
        return [row for row in self.rows[name] if row[0] > position]


def test_a_log_without_a_database_is_verified_by_the_same_code(log: Log, make: Make) -> None:
    writer = log.writer()
    writer.write_all_sync([make.decided(reservation=make.at_most(1)) for _ in range(300)])
    writer.close()
    log.sign()
    with closing(storage.connect_read_only(log.data.audit_db)) as reader:
        exported = Exported(reader)
    report, same = verify_log(exported, log.verifier), log.verify()
    assert (report.status, report.entries, report.private_rows) == (same.status, same.entries, same.private_rows)
    row = exported.rows["entry"][5]
    exported.rows["entry"][5] = (*row[:7], row[7].replace(b"agt_one", b"agt_two"))
    report = verify_log(exported, log.verifier)
    assert [each.index for each in report.findings if "its leaf was changed" in each.message] == [row[2]]


def test_what_cannot_be_read_is_told_in_one_way(log: Log) -> None:
    with closing(storage.connect_read_only(log.data.audit_db)) as reader:
        with pytest.raises(UnreadableError) as caught:
            reader.execute("SELECT * FROM nowhere")
        assert isinstance(caught.value, AuditError)
        assert (caught.value.code, caught.value.why) == ("audit_damaged", "no such table: nowhere")
