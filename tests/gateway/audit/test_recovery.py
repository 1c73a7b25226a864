"""After a crash: what is closed and what is left alone, and what the quick check at a start finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.audit import recovery
from gateway.audit.decision import State
from gateway.audit.errors import AuditError

if TYPE_CHECKING:
    from tests.gateway.audit.conftest import Log, Make


def test_only_decisions_of_dead_processes_are_closed(log: Log, make: Make) -> None:
    alive, dead = log.writer(boot="boot_alive"), log.writer(boot="boot_dead")
    kept = make.decided()
    alive.write_sync(kept)
    lost = [make.decided(), make.decided(organization="acme"), make.decided(reservation=make.at_most(100))]
    for decision in lost:
        dead.write_sync(decision)
    ended = make.decided()
    dead.write_sync(ended)
    dead.write_sync(make.completed(ended))
    dead.close()

    writer = log.writer(boot="boot_recovery")
    own = make.decided()
    writer.write_sync(own)
    found = recovery.recover(writer, live_boots={"boot_alive"}, epoch=5)
    assert found == recovery.Recovery(3, frozenset({"boot_dead"}))
    assert {event for (event,) in log.rows("SELECT event_id FROM open_decision")} == {kept.event_id, own.event_id}
    closings = [
        entry for name in ("default", "acme") for entry in log.entries(name) if entry.get("outcome") == "unknown"
    ]
    assert {entry["decision"] for entry in closings} == {decision.event_id for decision in lost}
    assert {(entry["boot"], entry["agent"], entry["epoch"]) for entry in closings} == {("boot_recovery", "agt_one", 5)}
    [marker] = [entry for entry in log.entries() if entry["kind"] == "recovered"]
    assert (marker["count"], marker["boots_json"]) == (2, '["boot_dead"]')

    report = log.verify(live_boots={"boot_alive", "boot_recovery"})
    assert report.findings == []
    nothing = dict.fromkeys(State, 0)
    assert {log.organization: log.decisions for log in report.logs} == {
        "default": nothing | {State.OPEN: 2, State.CLOSED_BY_REQUEST: 1, State.CLOSED_BY_RECOVERY: 2},
        "acme": nothing | {State.CLOSED_BY_RECOVERY: 1},
    }
    assert {(each.event_id, each.alive) for log in report.logs for each in log.open} == {
        (kept.event_id, True),
        (own.event_id, True),
    }


def test_recovering_twice_changes_nothing(log: Log, make: Make) -> None:
    log.writer(boot="boot_dead").write_sync(make.decided())
    writer = log.writer()
    assert recovery.recover(writer, live_boots=()).closed == 1
    before = log.entries()
    assert recovery.recover(writer, live_boots=()) == recovery.Recovery(0, frozenset())
    assert recovery.recover(log.writer(), live_boots=()) == recovery.Recovery(0, frozenset())
    assert log.entries() == before


def test_a_late_closing_finds_the_recovered_one(log: Log, make: Make) -> None:
    """A worker that was thought dead: what it still has to say changes nothing, and it is told what stands."""
    worker = log.writer(boot="boot_slow")
    decision = make.decided()
    worker.write_sync(decision)
    recovery.recover(log.writer(), live_boots=())
    assert worker.write_sync(make.completed(decision)).entry["outcome"] == "unknown"
    log.sign()
    assert log.verify().status == "valid"


def test_a_sound_log_passes_the_check(log: Log, make: Make) -> None:
    recovery.check(log.data, log.verifier)
    writer = log.writer()
    for round_number in range(3):
        for _ in range(100 * round_number + 1):
            writer.submit(make.change())
        writer.write_sync(make.change(organization="acme"))
        recovery.check(log.data, log.verifier)
        log.sign()
        recovery.check(log.data, log.verifier)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ("UPDATE entry SET leaf = CAST(leaf || ' ' AS BLOB) WHERE log_id = 1 AND seq = 2", "entry 2 is not the one"),
        ("DELETE FROM entry WHERE log_id = 1 AND seq = 2", "counts 3 entries"),
        ("UPDATE log SET size = 2 WHERE id = 1", "counts 2 entries"),
        ("UPDATE log SET frontier = zeroblob(64) WHERE id = 1", "tiles disagree"),
        ("UPDATE tile SET hashes = zeroblob(96) WHERE log_id = 1", "tiles disagree"),
        ("DELETE FROM tile WHERE log_id = 1", "has no `tile/0/000.p/3`"),
        ("UPDATE checkpoint SET note = CAST('x' AS BLOB) WHERE log_id = 1", "no signatures"),
    ],
)
def test_a_damaged_log_is_not_continued(log: Log, make: Make, damage: str, complaint: str) -> None:
    writer = log.writer()
    writer.write_sync(make.change())
    log.sign()
    for _ in range(2):
        writer.write_sync(make.change())
    log.tamper(damage)
    with pytest.raises(AuditError, match=complaint) as caught:
        recovery.check(log.data, log.verifier)
    assert caught.value.code == "audit_damaged"
    assert "test/default/audit/1" in str(caught.value)
