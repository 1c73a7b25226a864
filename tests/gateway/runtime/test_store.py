"""The store that processes share: written together, never to a file that was replaced, and beside every event loop."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.call import Reference
from gateway.errors import GatewayError
from gateway.runtime import leaks
from gateway.runtime.references import References
from gateway.runtime.store import RuntimeStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RuntimeStore]:
    with closing(RuntimeStore(tmp_path / "runtime.db")) as made:
        yield made


def test_a_transaction_that_fails_leaves_nothing_and_lets_the_next_one_begin(store: RuntimeStore) -> None:
    def announce(digests: Iterable[str]) -> None:
        with store.transaction() as made:
            made.run_for("INSERT INTO announced VALUES (?)", ((each,) for each in digests))

    with pytest.raises(GatewayError) as caught:
        announce(["a", "a"])
    assert (caught.value.code, caught.value.subject) == ("runtime_unavailable", str(store.path))
    with pytest.raises(ZeroDivisionError):
        announce("b" if number else str(1 // number) for number in (1, 0))
    with store.transaction(seconds=5, durable=True) as made:
        made.run_for("INSERT INTO announced VALUES (?)", [("c",), ("d",)])
    assert store.rows("SELECT digest FROM announced ORDER BY digest") == [("c",), ("d",)]


def test_nothing_is_written_to_a_file_that_was_replaced(store: RuntimeStore) -> None:
    """Another process would never see it."""
    leaks.report(store, "aig_sk_1", "10.0.0.1")
    store.path.rename(store.path.with_name("moved.db"))
    with closing(RuntimeStore(store.path)) as other:
        other.open()
        for write in (lambda: leaks.report(store, "aig_sk_2", "10.0.0.1"), lambda: leaks.forget(store, ["aig_sk_1"])):
            with pytest.raises(GatewayError, match="moved, deleted or replaced: restart the gateway"):
                write()


def test_tables_of_another_version_are_not_used_and_a_start_begins_anew(store: RuntimeStore) -> None:
    leaks.report(store, "aig_sk_1", "10.0.0.1")
    store.renew()  # they are of this one
    assert [each for each, _ in leaks.waiting(store.path)] == ["aig_sk_1"]
    with closing(sqlite3.connect(store.path)) as db:
        db.execute("PRAGMA user_version = 0")  # what has tables and no version is from before there were any
    with closing(RuntimeStore(store.path)) as other:
        with pytest.raises(GatewayError, match="its tables are of another version: restart the gateway"):
            other.open()
        other.renew()
        other.open()
        assert other.rows("SELECT * FROM leak_report") == []


async def test_an_event_loop_waits_for_no_look(store: RuntimeStore) -> None:
    """Each look at references stood in the way of all other requests."""
    references = References(store)
    with store._reading:
        asked = asyncio.create_task(references.foreign("acme", "ups_1", "agt_1", [Reference("file", "file-1")]))
        await asyncio.wait([asked], timeout=0.05)
        assert not asked.done()
    assert await asked == (Reference("file", "file-1"),)
