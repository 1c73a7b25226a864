"""A writer's promises to those who wait: durable when told so, once per event, in order, never a bad neighbour."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import threading
import time
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.audit import clock, storage
from gateway.audit import entry as entries
from gateway.audit import writer as writers
from gateway.audit.draft import draft
from gateway.audit.errors import AuditError
from gateway.audit.intents import SYSTEM, Activated, Recovered, Refused
from gateway.audit.transaction import Transaction
from gateway.audit.writer import AuditWriter, Committed
from gateway.storage.opened_file import write_ahead_log
from gateway.usage.reservation import CallReservation

if TYPE_CHECKING:
    from tests.gateway.audit.conftest import Log, Make

SECOND = 1_000_000_000
NOW = 1_764_000_000 * SECOND


def code_of(waiter: Future[Committed]) -> str:
    error = waiter.exception(timeout=120)
    assert isinstance(error, AuditError)
    return error.code


def test_an_entry_is_in_the_file_when_the_writer_says_so(log: Log, make: Make) -> None:
    writer = log.writer(boot="boot_a")
    decision = make.decided(fields={"model": "gpt-4o-mini", "now_ns": "12"}, reasons=["fine"], epoch=9)
    committed = writer.write_sync(decision)
    [entry] = log.entries()
    assert entry == committed.entry
    assert committed == Committed(0, int(entry["time"]), decision.event_id, entry)
    salt, value = log.rows("SELECT salt, input FROM private")[0]
    commitment = entry.pop("input_commitment")
    assert commitment == entries.commitment(salt, "input", value)
    assert value == decision.private
    assert abs(int(entry.pop("time")) - time.time_ns()) < 10 * SECOND
    assert entry == {
        "v": 1,
        "id": decision.event_id,
        "kind": "decided",
        "org": "default",
        "boot": "boot_a",
        "actor": "agt_one",
        "epoch": 9,
        "agent": "agt_one",
        "key": "key_one",
        "allow": True,
        "open": True,
        "reason": "allowed",
        "reasons_json": '["fine"]',
        "model": "gpt-4o-mini",
        "now_ns": "12",
    }


def test_every_kind_of_intent_becomes_an_entry(log: Log, make: Make) -> None:
    writer = log.writer()
    decision = make.decided()
    writer.write_sync(decision)
    writer.write_sync(make.completed(decision))
    writer.write_sync(make.change())
    writer.write_sync(Activated(event_id="act_1", actor="local:0", activation="act_1", fields={"commit": "abc"}))
    writer.write_sync(Refused(reason="bad_credentials", count=3, first_ns=NOW, last_ns=NOW + 1))
    writer.write_sync(Recovered(organization="default", boots=frozenset({"boot_x"})))
    assert [entry["kind"] for entry in log.entries()] == ["decided", "completed", "change", "recovered"]
    assert [entry["kind"] for entry in log.entries("system")] == ["activation", "refused"]
    log.sign()
    assert log.verify().status == "valid"


def test_an_event_is_recorded_once(log: Log, make: Make) -> None:
    writer = log.writer()
    event = make.change()
    first = writer.write_sync(event)
    assert writer.write_sync(event) == first
    assert log.writer(boot="boot_other").write_sync(event) == first, "another process may drain the same outbox"
    assert len(log.entries()) == 1


def test_an_event_id_stands_for_one_fact(log: Log, make: Make) -> None:
    writer = log.writer()
    event = make.change()
    writer.write_sync(event)
    assert code_of(writer.submit(make.change(event_id=event.event_id, what="agent.revoked"))) == "event_conflict"
    assert len(log.entries()) == 1


def test_a_decision_that_was_closed_is_not_opened_again(log: Log, make: Make) -> None:
    writer = log.writer()
    decision = make.decided()
    assert writer.write_sync(decision) == writer.write_sync(decision)
    writer.write_sync(make.completed(decision))
    assert code_of(writer.submit(decision)) == "event_conflict"


def test_the_first_closing_stands(log: Log, make: Make) -> None:
    writer = log.writer()
    decision = make.decided()
    writer.write_sync(decision)
    first = writer.write_sync(make.completed(decision))
    assert writer.write_sync(make.completed(decision, outcome="client_disconnected", status=None)) == first
    assert len(log.entries()) == 2


@pytest.mark.parametrize("changes", [{"allow": False, "open": False, "reason": "policy_denied"}, {"open": False}])
def test_only_an_open_decision_can_be_closed(log: Log, make: Make, changes: dict[str, Any]) -> None:
    writer = log.writer()
    decision = make.decided(**changes)
    assert code_of(writer.submit(make.completed(decision))) == "decision_not_open"
    writer.write_sync(decision)
    assert code_of(writer.submit(make.completed(decision))) == "decision_not_open"
    other = make.decided(organization="acme")
    writer.write_sync(other)
    assert code_of(writer.submit(make.completed(other, organization="default"))) == "decision_not_open"
    assert [entry["kind"] for entry in log.entries()] == ["decided"]


@pytest.mark.parametrize(
    "members",
    [
        {"event_id": "chg_1"},
        {"event_id": "dec_"},
        {"event_id": "dec_ä"},
        {"event_id": "dec_" + "1" * 70},
        {"allow": False, "open": True},
        {"fields": {"allow": True}},
        {"fields": {"id": "dec_2"}},
        {"fields": {"Money": 1}},
        {"fields": {"money": 0.1}},
        {"fields": {"count": 2**53}},
        {"fields": {"text": "x" * 5000}},
        {"fields": {"text": "\ud800"}},
        {"fields": {"a_json": "x" * 40_000, "b_json": "x" * 40_000}},
        {"salt": b"short"},
        {"epoch": 2**53},
        {"organization": "x" * 65},
    ],
)
def test_what_cannot_become_an_entry_is_refused_before_it_is_queued(
    log: Log, make: Make, members: dict[str, Any]
) -> None:
    writer = log.writer()
    with pytest.raises(AuditError) as caught:
        writer.submit(make.decided(**members))
    assert caught.value.code == "bad_entry"
    assert log.entries() == []


def test_what_only_the_transaction_can_refuse_does_not_cost_the_batch(log: Log, make: Make) -> None:
    """Held back by the lock, all of these are one batch."""
    writer = log.writer()
    with held_lock(log):
        good = [writer.submit(make.change()) for _ in range(3)]
        bad = [
            writer.submit(make.change(organization="no/log")),
            writer.submit(make.completed(make.decided())),
            writer.submit(make.change(event_id=(event := make.change()).event_id)),
            writer.submit(make.change(event_id=event.event_id, what="other")),
        ]
        good += [writer.submit(make.change()) for _ in range(3)]
    assert sorted(each.result(10).seq for each in [*good, bad[2]]) == list(range(7))
    assert [code_of(each) for each in (bad[0], bad[1], bad[3])] == ["bad_entry", "decision_not_open", "event_conflict"]
    log.sign()
    assert log.verify().status == "valid"


def test_reasons_are_cut_never_refused(log: Log, make: Make) -> None:
    reasons = ["\x01" * 5000, "ä" * 5000, "\ud800", *(f"reason {number} " + "y" * 600 for number in range(500))]
    log.writer().write_sync(make.decided(allow=False, open=False, reason="policy_denied", reasons=reasons))
    [entry] = log.entries()
    assert len(entry["reasons_json"]) <= 16 * 1024
    assert "more" in entry["reasons_json"]


def test_reasons_leave_room_for_everything_else_of_a_decision(log: Log, make: Make) -> None:
    """A policy must not be able to keep its own denial out of the log, whatever is escaped in it."""
    fields = {"nondeterministic_json": '"' * (12 * 1024), "bundles_json": '{"name":"b"}' * 1000, "detail": "d" * 2000}
    denial = make.decided(allow=False, open=False, reason="policy_denied", reasons=['"\\' * 200] * 32, fields=fields)
    log.writer().write_sync(denial)
    assert len(log.entries()) == 1


def test_each_organization_has_its_own_tree(log: Log, make: Make) -> None:
    writer = log.writer()
    for organization in ("acme", "default", "acme", "system", "acme"):
        writer.write_sync(make.change(organization=organization))
    assert log.rows("SELECT origin, size FROM log ORDER BY origin") == [
        ("test/acme/audit/1", 3),
        ("test/default/audit/1", 1),
        ("test/system/audit/1", 1),
    ]
    log.sign()
    assert log.verify().status == "valid"


def test_a_closing_that_turns_out_too_long_leaves_its_decision_open(
    log: Log, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settlement of its reservation is known inside the transaction only. It shares a batch with another entry."""
    monkeypatch.setattr("gateway.audit.draft._SLACK", 0)
    writer = log.writer()
    decision = make.decided(reservation=CallReservation(organization="default", scopes=("all",), tokens=100))
    writer.write_sync(decision)
    filling = {"filling_json": "x" * 40_000, "further_json": ""}
    long = draft(make.completed(decision, fields=filling), writer.boot).entry
    filling["further_json"] = "x" * (entries.MAX_LEAF - len(entries.encode(long)))
    with held_lock(log):
        too_long, other = writer.submit(make.completed(decision, fields=filling)), writer.submit(make.change())
    assert code_of(too_long) == "bad_entry"
    other.result(10)
    assert log.rows("SELECT event_id FROM open_decision") == [(decision.event_id,)]
    assert log.verify().findings == []
    writer.write_sync(make.completed(decision))
    assert log.rows("SELECT event_id FROM open_decision") == []
    assert log.verify().findings == []


# -- the clock ---------------------------------------------------------------------------------------------------------


def test_time_never_runs_backwards_in_a_log(log: Log, make: Make) -> None:
    clock = [NOW]
    writer = log.writer(clock=lambda: clock[0])
    times = []
    for offset in (0, -1, -5 * SECOND, 1):
        clock[0] = NOW + offset
        times.append(writer.write_sync(make.change()).time_ns)
    assert times == [NOW, NOW, NOW, NOW + 1]


def test_a_clock_that_jumps_back_stops_the_log_until_it_has_caught_up(log: Log, make: Make) -> None:
    clock = [NOW]
    writer = log.writer(clock=lambda: clock[0])
    writer.write_sync(make.change())
    clock[0] = NOW - 5 * SECOND - 1
    assert code_of(writer.submit(make.change())) == "audit_unavailable"
    writer.write_sync(make.change(organization="acme"))  # nothing there is younger
    clock[0] = NOW - 4 * SECOND
    assert writer.write_sync(make.change()).seq == 1


def test_a_closing_that_the_clock_holds_up_leaves_its_decision_open(log: Log, make: Make) -> None:
    """It shares a batch with an entry of another log that goes through."""
    clock = [NOW]
    writer = log.writer(clock=lambda: clock[0])
    decision = make.decided()
    writer.write_sync(decision)
    clock[0] = NOW - 60 * SECOND
    with held_lock(log):
        held_up, other = writer.submit(make.completed(decision)), writer.submit(make.change(organization="acme"))
    assert code_of(held_up) == "audit_unavailable"
    other.result(10)
    assert log.rows("SELECT event_id FROM open_decision") == [(decision.event_id,)]
    assert log.verify().findings == []
    clock[0] = NOW
    writer.write_sync(make.change())
    assert log.entries()[1]["late"] is True, "and is closed as soon as the clock allows"


def test_whoever_accepts_the_clock_lets_the_log_go_on(log: Log, make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """587 s behind: everything is refused, the check says so, it is logged once, and the way out is an entry."""
    now = [NOW]
    writer = log.writer(clock=lambda: now[0])
    decision = make.decided()
    for intent in (decision, make.change(organization=SYSTEM), make.change(organization="acme")):
        writer.write_sync(intent)
    now[0] = NOW - 587 * SECOND
    writer._committed = -1e9  # no commit proves anything now
    for _ in range(3):
        assert code_of(writer.submit(make.completed(decision))) == "audit_unavailable"
        with pytest.raises(AuditError, match="the clock is behind the log"):
            asyncio.run(writer.check())
    said = [each.getMessage() for each in caplog.records if "the clock" in each.getMessage()]
    assert len(said) == 1
    assert "`gateway audit accept-clock`" in said[0]
    other = log.writer(clock=lambda: now[0])
    with closing(storage.connect_read_only(log.data.audit_db)) as db:
        found = clock.ahead(db, now[0])
        assert [each.organization for each in found] == ["default", SYSTEM, "acme"]
        assert str(found[0]).startswith("the clock is 587 s behind the log `default`")
        assert clock.are_all(found, db)
        assert not clock.are_all(found[:2], db)
        for each in found:
            other.write_sync(clock.acceptance(each, "local:0", "NTP came late", now[0]))
        assert clock.ahead(db, now[0]) == []
    asyncio.run(writer.check())
    writer.write_sync(make.change())
    now[0] = NOW + 1
    writer.write_sync(make.change())
    entries = log.entries()
    assert [each["kind"] for each in entries] == ["decided", "change", "completed", "change", "change"]
    accepted, late, early, on_time = entries[1:]
    assert (accepted["what"], accepted["actor"], accepted["reason"]) == (clock.WHAT, "local:0", "NTP came late")
    assert {each["time"] for each in (accepted, late, early)} == {str(NOW)}
    assert {each["clock_ns"] for each in (accepted, late, early)} == {str(NOW - 587 * SECOND)}
    assert (on_time["time"], "clock_ns" in on_time) == (str(NOW + 1), False)
    now[0] = NOW - 60 * SECOND
    assert code_of(writer.submit(make.change())) == "audit_unavailable", "it was accepted for that time only"
    assert log.verify().findings == []


# -- waiting -----------------------------------------------------------------------------------------------------------


class held_lock:
    """Another process that is in the middle of appending."""

    def __init__(self, log: Log) -> None:
        self._path = log.data.audit_lock

    def __enter__(self) -> None:
        self._file = os.open(self._path, os.O_RDWR)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *error: object) -> None:
        os.close(self._file)


def test_a_full_queue_turns_away_at_once(log: Log, make: Make) -> None:
    writer = log.writer(capacity=3)
    with held_lock(log):
        waiting = [writer.submit(make.change())]
        while writer.waiting:  # until the writer stands before the lock with it
            time.sleep(0.001)
        waiting += [writer.submit(make.change()) for _ in range(3)]
        with pytest.raises(AuditError) as caught:
            writer.submit(make.change())
        assert caught.value.code == "audit_unavailable"
    assert sorted(each.result(10).seq for each in waiting) == [0, 1, 2, 3]


def test_what_comes_while_the_lock_is_waited_for_is_one_commit(log: Log, make: Make) -> None:
    sizes: list[int] = []
    writer = log.writer(observe=lambda _nanoseconds, entries: sizes.append(entries))
    with held_lock(log):
        waiting = [writer.submit(make.change())]
        while not writer._log._lock._waiting:
            time.sleep(0.001)
        waiting += [writer.submit(make.change()) for _ in range(5)]
    assert [each.result(120).seq for each in waiting] == [0, 1, 2, 3, 4, 5]
    assert sizes == [6]


def test_closing_writes_what_came_while_the_lock_was_waited_for(log: Log, make: Make) -> None:
    writer = log.writer()
    with held_lock(log):
        waiting = [writer.submit(make.change())]
        while not writer._log._lock._waiting:
            time.sleep(0.001)
        waiting.append(writer.submit(make.change()))
        closing = threading.Thread(target=writer.close)
        closing.start()
        while not writer._closed:
            time.sleep(0.001)
    closing.join(120)
    assert not closing.is_alive()
    assert [each.result(120).seq for each in waiting] == [0, 1]


def test_a_lock_that_is_not_given_up_is_not_waited_for_forever(log: Log, make: Make) -> None:
    writer = log.writer(lock_seconds=0.05)
    with held_lock(log):
        assert code_of(writer.submit(make.change())) == "audit_unavailable"
        assert code_of(writer.submit(make.change())) == "audit_unavailable"
    assert writer.write_sync(make.change()).seq == 0


def test_a_log_that_was_moved_or_replaced_is_not_written(
    log: Log, make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite would go on writing into the old file, and every decision would be recorded where nobody looks."""
    writer = log.writer()
    decision = make.decided()
    writer.write_sync(decision)
    path, away = log.data.audit_db, tmp_path / "away.db"
    path.rename(away)
    assert code_of(writer.submit(make.decided())) == "audit_unavailable"
    shutil.copyfile(away, path)
    error = writer.submit(make.completed(decision)).exception(timeout=120)
    assert str(error) == ("audit_unavailable: the audit log cannot be written: its file was moved, deleted or replaced")
    away.replace(path)
    writer.close()  # the closing is owed, and can be recorded again
    assert [entry["kind"] for entry in log.entries()] == ["decided", "completed"]
    # The operator is told once, not with every request.
    assert [record.getMessage() for record in caplog.records] == [
        "the audit log cannot be written: its file was moved, deleted or replaced",
        "the audit log can be written again",
    ]


def test_without_its_write_ahead_log_nothing_is_written_any_more(log: Log, make: Make) -> None:
    """Its content may be lost, and a new connection would go on from before that."""
    writer = log.writer()
    writer.write_sync(make.decided())
    write_ahead_log(log.data.audit_db).unlink()
    for _ in range(2):
        error = writer.submit(make.decided()).exception(timeout=120)
        assert "its write-ahead log was deleted: restart the gateway" in str(error)
    writer.close()
    log.writer().write_sync(make.decided())  # a restart goes on from what is there


def test_a_write_ahead_log_that_sqlite_made_anew_is_its_own(
    log: Log, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When every connection has failed nobody is connected, and SQLite tidies up."""
    writer = log.writer()
    writer.write_sync(make.decided())
    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "finish", lambda transaction: 1 / 0)
        assert code_of(writer.submit(make.decided())) == "audit_unavailable"
    assert not write_ahead_log(log.data.audit_db).exists()
    writer.write_sync(make.decided())
    writer.write_sync(make.decided())


def test_closing_while_the_lock_is_held_by_another_process(log: Log, make: Make) -> None:
    writer = log.writer(lock_seconds=0.05)
    with held_lock(log):
        waiting = writer.submit(make.change())
        writer.close()
        assert code_of(waiting) == "audit_unavailable"
    # The abandoned wait gets the lock and lets go of it, or nobody could ever write again.
    assert log.writer().write_sync(make.change()).seq == 0


def test_closing_writes_all_that_is_owed(log: Log, make: Make) -> None:
    """Requests that were cancelled at a stop have their closings recorded, however many there are, once that can be."""
    other = log.writer()
    decisions = [make.decided() for _ in range(writers.BATCH + 300)]
    for waiting in [other.submit(each) for each in decisions]:
        waiting.result(10)
    writer = log.writer(lock_seconds=0.05)
    with held_lock(log):
        waiting_ = [writer.submit(make.completed(each, outcome="gateway_stopped")) for each in decisions]
        assert {code_of(each) for each in waiting_} == {"audit_unavailable"}
    writer.close()
    assert log.rows("SELECT * FROM open_decision") == []
    assert [entry["late"] for entry in log.entries() if entry["kind"] == "completed"] == [True] * len(decisions)


def test_closing_tries_once_more_what_has_just_failed(log: Log, make: Make) -> None:
    writer = log.writer(lock_seconds=0.05)
    decision = make.decided()
    writer.write_sync(decision)
    lock = held_lock(log)
    lock.__enter__()
    release = writer._complain

    def complain(text: str) -> None:  # the moment at which the first attempt has failed
        if text:
            lock.__exit__(None, None, None)
        release(text)

    writer._complain = complain  # type: ignore[method-assign]
    waiting = writer.submit(make.completed(decision))
    writer.close()
    assert code_of(waiting) == "audit_unavailable"
    assert log.entries()[-1]["late"] is True


def test_closing_writes_what_is_queued(log: Log, make: Make) -> None:
    writer = log.writer()
    waiting = [writer.submit(make.change()) for _ in range(1000)]
    writer.close()
    assert [each.result(0).seq for each in waiting] == list(range(1000))
    with pytest.raises(AuditError) as caught:
        writer.submit(make.change())
    assert caught.value.code == "audit_unavailable"
    writer.close()


def test_many_tasks_share_the_commits(log: Log, make: Make) -> None:
    writer = log.writer()
    commits = count_commits(writer)

    async def client(name: str) -> list[int]:
        return [(await writer.write(make.change(fields={"client": name}))).seq for _ in range(20)]

    async def run() -> list[list[int]]:
        return await asyncio.gather(*(client(f"c{number}") for number in range(32)))

    seqs = asyncio.run(run())
    assert sorted(seq for each in seqs for seq in each) == list(range(640))
    assert all(each == sorted(each) for each in seqs)
    assert commits() < 320
    log.sign()
    assert log.verify().status == "valid"


def count_commits(writer: AuditWriter) -> Any:
    seen = [0]

    def trace(statement: str) -> None:
        seen[0] += statement == "COMMIT"

    assert writer._log._db is not None
    writer._log._db.set_trace_callback(trace)
    return lambda: seen[0]


def test_a_cancelled_wait_does_not_take_the_entry_back(log: Log, make: Make) -> None:
    writer = log.writer()

    async def run() -> None:
        with held_lock(log):
            task = asyncio.create_task(writer.write(make.change()))
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await writer.write(make.change())

    asyncio.run(run())
    assert len(log.entries()) == 2


def test_a_waiter_whose_loop_has_ended_disturbs_nobody(log: Log, make: Make) -> None:
    writer = log.writer()

    async def leave() -> None:
        asyncio.ensure_future(writer.write(make.change()))  # noqa: RUF006  # abandoned on purpose
        await asyncio.sleep(0)

    with held_lock(log):
        asyncio.run(leave())
    assert writer.write_sync(make.change()).seq == 1


def test_errors_reach_the_task_that_waits(log: Log, make: Make) -> None:
    writer = log.writer()

    async def run() -> str:
        with pytest.raises(AuditError) as caught:
            await writer.write(make.completed(make.decided()))
        return caught.value.code

    assert asyncio.run(run()) == "decision_not_open"


def test_writers_of_several_threads(log: Log, make: Make) -> None:
    writer = log.writer()
    threads = [threading.Thread(target=lambda: [writer.write_sync(make.change()) for _ in range(25)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(log.entries()) == 200


def test_a_writer_whose_thread_has_died_keeps_nobody_waiting(
    log: Log, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting and later entries are refused, and watchers are told why."""
    writer = log.writer()
    taken, go = threading.Event(), threading.Event()

    def settle(jobs: object) -> None:
        taken.set()
        go.wait(120)
        raise MemoryError("a defect")

    monkeypatch.setattr(writer, "_settle", settle)
    in_hand = writer.submit(make.decided())
    assert taken.wait(120)
    queued = writer.submit(make.decided())

    async def main() -> None:
        watching = asyncio.create_task(writer.watch())
        gathered = asyncio.create_task(writer.write(make.decided()))
        await asyncio.sleep(0)
        go.set()
        with pytest.raises(AuditError, match="has ended"):
            await gathered
        with pytest.raises(MemoryError):
            await watching

    asyncio.run(main())
    assert [code_of(waiter) for waiter in (in_hand, queued)] == ["audit_unavailable"] * 2
    with pytest.raises(AuditError, match="closed"):
        writer.submit(make.decided())
    writer.close()
