"""A database that does not do what it is told: triggers, views and changed tables, also planted while it is in use."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from gateway.audit import recovery, storage
from gateway.audit.errors import AuditError

if TYPE_CHECKING:
    from tests.gateway.audit.conftest import Log, Make

TRIGGERS = {
    "entry": "CREATE TRIGGER t BEFORE INSERT ON entry WHEN NEW.kind = 'decided' BEGIN SELECT RAISE(IGNORE); END",
    "open": "CREATE TRIGGER t BEFORE INSERT ON open_decision BEGIN SELECT RAISE(IGNORE); END",
    "private": "CREATE TRIGGER t BEFORE INSERT ON private BEGIN SELECT RAISE(IGNORE); END",
    "tile": "CREATE TRIGGER t BEFORE INSERT ON tile BEGIN SELECT RAISE(IGNORE); END",
    "tile update": "CREATE TRIGGER t BEFORE UPDATE ON tile BEGIN SELECT RAISE(IGNORE); END",
    "head": "CREATE TRIGGER t BEFORE UPDATE ON log BEGIN SELECT RAISE(IGNORE); END",
    "closing": "CREATE TRIGGER t BEFORE DELETE ON open_decision BEGIN SELECT RAISE(IGNORE); END",
    "undone": "CREATE TRIGGER t AFTER INSERT ON entry BEGIN DELETE FROM private; UPDATE entry SET agent = 'x'; END",
}
OTHER = {
    "view": ("CREATE VIEW v AS SELECT * FROM entry", "view `v` is not one of its own"),
    "table": ("CREATE TABLE t (x)", "table `t` is not one of its own"),
    "index": ("CREATE INDEX i ON entry (kind)", "index `i` is not one of its own"),
    "no index": ("DROP INDEX entry_agent", "index `entry_agent` is missing"),
    "no table": ("DROP TABLE tile", "table `tile` is missing"),
    "column": ("ALTER TABLE entry ADD COLUMN x INTEGER", "table `entry` was changed"),
}


def plant(log: Log, statement: str) -> None:
    db = sqlite3.connect(log.data.audit_db)
    db.execute(statement)
    db.close()


@pytest.mark.parametrize("name", TRIGGERS)
def test_a_planted_trigger_lets_nothing_be_written(log: Log, make: Make, name: str) -> None:
    """While a writer has the database open: it notices before it tells anybody that something was recorded."""
    writer = log.writer()
    first = make.decided()
    writer.write_sync(first)
    before = (log.entries(), log.rows("SELECT * FROM open_decision"))
    plant(log, TRIGGERS[name])
    for intent in (make.decided(), make.completed(first)):
        with pytest.raises(AuditError, match="trigger `t` is not one of its own") as caught:
            writer.write_sync(intent)
        assert caught.value.code == "audit_unavailable"
    assert (log.entries(), log.rows("SELECT * FROM open_decision")) == before
    with pytest.raises(AuditError, match="trigger `t`"):
        log.writer()
    with pytest.raises(AuditError, match="trigger `t`"), storage.exclusive(log.data):
        pass
    with pytest.raises(AuditError, match="trigger `t`"):
        recovery.check(log.data, log.verifier)
    assert ("", "trigger `t` is not one of its own") in {(each.origin, each.message) for each in log.verify().findings}
    plant(log, "DROP TRIGGER t")
    assert writer.write_sync(make.decided()).entry["allow"] is True
    writer.close()
    assert log.verify().findings == []


@pytest.mark.parametrize("name", TRIGGERS)
def test_each_write_looks_at_what_it_changed(log: Log, make: Make, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the schema looks right: what was not written, or changed beside it, is never acknowledged."""
    writer = log.writer()
    first = make.decided()
    writer.write_sync(first)
    before = (log.entries(), log.rows("SELECT * FROM open_decision"))
    plant(log, TRIGGERS[name])
    monkeypatch.setattr(storage, "schema_differences", lambda db: [])
    intent = make.completed(first) if name == "closing" else make.decided()
    with pytest.raises(AuditError) as caught:
        writer.write_sync(intent)
    assert caught.value.code in ("audit_unavailable", "decision_not_open")
    assert (log.entries(), log.rows("SELECT * FROM open_decision")) == before


def test_a_checkpoint_that_is_not_stored_is_not_reported_as_stored(
    log: Log, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.writer().write_sync(make.change())
    plant(log, "CREATE TRIGGER t BEFORE INSERT ON checkpoint BEGIN SELECT RAISE(IGNORE); END")
    monkeypatch.setattr(storage, "schema_differences", lambda db: [])
    with pytest.raises(AuditError, match="a statement did not store its checkpoint"):
        log.sign()


@pytest.mark.parametrize("name", OTHER)
def test_any_other_schema_is_refused_and_found(log: Log, make: Make, name: str) -> None:
    statement, says = OTHER[name]
    log.writer().write_sync(make.change())
    log.close()
    plant(log, statement)
    with pytest.raises(AuditError) as caught:
        log.writer()
    assert (caught.value.code, says in caught.value.message) == ("audit_damaged", True)
    report = log.verify()
    assert (report.exit_code, says in {each.message for each in report.findings}) == (1, True)


def test_a_table_that_is_not_strict_any_more_is_found(log: Log, make: Make) -> None:
    log.writer().write_sync(make.change())
    log.close()
    db = sqlite3.connect(log.data.audit_db, isolation_level=None)
    db.execute("PRAGMA writable_schema = ON")
    db.execute("UPDATE sqlite_schema SET sql = replace(sql, ') STRICT', ')') WHERE name = 'entry'")
    db.close()
    with pytest.raises(AuditError, match="table `entry` was changed"):
        log.writer()
    assert "table `entry` was changed" in {each.message for each in log.verify().findings}


def test_statistics_are_no_change(log: Log, make: Make) -> None:
    log.writer().write_sync(make.change())
    plant(log, "ANALYZE")
    log.writer().write_sync(make.change())
    log.sign()
    assert log.verify().status == "valid"
