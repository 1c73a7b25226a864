"""A log that an older version wrote: migrated in place by the control process, refused by everybody else."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from gateway.audit import recovery, search, storage
from gateway.audit.errors import AuditError
from gateway.audit.search import Filters

if TYPE_CHECKING:
    from tests.gateway.audit.conftest import Log, Make


def test_a_log_without_balances_is_migrated_in_place(log: Log, make: Make) -> None:
    writer = log.writer(boot="boot_1")
    decision = make.decided()
    writer.write_sync(decision)
    writer.close()
    log.sign()
    log.tamper("UPDATE meta SET schema = 1")
    log.tamper_schema("DROP TABLE balance")
    log.tamper_schema("DROP TABLE balanced")
    log.tamper_schema("DROP TABLE content")
    log.tamper_schema("DROP INDEX entry_agent")
    log.tamper_schema("CREATE INDEX entry_agent ON entry (agent) WHERE agent IS NOT NULL")
    with pytest.raises(AuditError, match="has schema 1") as caught:
        log.writer()
    assert (caught.value.code, caught.value.hint) == ("audit_schema", "start `gateway up` once to migrate it")
    storage.migrate(log.data)
    storage.migrate(log.data)  # twice is once
    recovery.check(log.data, log.verifier)
    later = log.writer(boot="boot_2")
    # What was open before has reserved nothing, and what comes now does.
    recovery.recover(later, set())
    later.write_sync(make.decided(reservation=make.at_most(1)))
    assert list(log.balances()) == ["all"]
    assert log.verify().findings == []
    log.tamper("UPDATE meta SET schema = 6")
    storage.migrate(log.data)
    with pytest.raises(AuditError, match="has schema 6"):
        log.writer()


def test_a_copy_that_an_older_version_wrote_is_read_as_it_is(log: Log, make: Make) -> None:
    writer = log.writer()
    for agent in ("agt_one", "agt_two", "agt_one"):
        writer.write_sync(make.decided(agent=agent, reservation=make.at_most(3)))
    writer.close()
    log.sign()
    log.tamper("UPDATE meta SET schema = 4")
    log.tamper_schema("DROP TABLE balanced")
    assert (log.verify().findings, set(log.balances())) == ([], {"all"})
    log.tamper("UPDATE meta SET schema = 3")
    log.tamper_schema("DROP INDEX entry_agent")
    log.tamper_schema("CREATE INDEX entry_agent ON entry (agent) WHERE agent IS NOT NULL")
    assert log.verify().findings == []
    with closing(storage.connect_read_only(log.data.audit_db)) as db:
        assert [each.seq for each in search.matching(db, 9, Filters(agent="agt_one")).found] == [0, 2]
    # Only what the older version had belongs there.
    log.tamper_schema("CREATE TRIGGER gone AFTER INSERT ON entry BEGIN DELETE FROM private; END")
    assert [each.message for each in log.verify().findings] == ["trigger `gone` is not one of its own"]
    with pytest.raises(AuditError, match="has schema 3"):
        log.writer()
