"""A log that another version wrote: migrated in place by the control process, refused by everybody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.audit import recovery, storage
from gateway.audit.errors import AuditError

if TYPE_CHECKING:
    from tests.gateway.audit.conftest import Log, Make


def test_a_log_of_the_schema_before_is_migrated_in_place(log: Log, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first migration has yet to be written: this one adds a table."""
    writer = log.writer(boot="boot_1")
    writer.write_sync(make.decided())
    writer.close()
    log.sign()
    step = "CREATE TABLE more (id INTEGER PRIMARY KEY) STRICT;"
    monkeypatch.setattr(storage, "SCHEMA", storage.SCHEMA + 1)
    monkeypatch.setattr(storage, "_MIGRATIONS", {storage.SCHEMA: step})
    monkeypatch.setattr(storage, "_READABLE", {storage.SCHEMA: storage._SCHEMA + step})
    monkeypatch.setattr(storage._checked, "__defaults__", ((storage.SCHEMA,),))
    with pytest.raises(AuditError, match="has schema 5") as caught:
        log.writer()
    assert (caught.value.code, caught.value.hint) == ("audit_schema", "start `gateway up` once to migrate it")
    storage.migrate(log.data)
    storage.migrate(log.data)  # twice is once
    recovery.check(log.data, log.verifier)
    later = log.writer(boot="boot_2")
    later.write_sync(make.decided(reservation=make.at_most(1)))
    assert log.verify().findings == []


@pytest.mark.parametrize(
    ("schema", "hint"),
    [(4, "no version migrates it: verify and keep it with the version that"), (6, "use the version that wrote it")],
)
def test_a_log_that_cannot_be_migrated_is_refused(log: Log, schema: int, hint: str) -> None:
    log.tamper(f"UPDATE meta SET schema = {schema}")
    if schema > storage.SCHEMA:
        storage.migrate(log.data)  # opening it says what is wrong
    else:
        with pytest.raises(AuditError, match=f"has schema {schema}"):
            storage.migrate(log.data)
    for attempt in (log.writer, log.verify):
        with pytest.raises(AuditError, match=f"has schema {schema}") as caught:
            attempt()
        assert (caught.value.code, caught.value.hint[: len(hint)]) == ("audit_schema", hint)
