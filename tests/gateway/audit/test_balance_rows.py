"""Rows of balances that are behind the log: nobody who reads them may see less than the entries say."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from gateway.audit import balances
from gateway.audit import writer as writers
from gateway.audit.errors import AuditError
from gateway.audit.writer import IDLE_SECONDS, AuditWriter
from gateway.usage.reservation import CallReservation
from gateway.usage.standing import StandingBalances

if TYPE_CHECKING:
    from tests.gateway.audit.conftest import Log, Make

COUNTED = CallReservation(organization="default", scopes=("all",), tokens=100)


def call(writer: AuditWriter, make: Make) -> None:
    opened = make.decided(reservation=COUNTED)
    writer.write_sync(opened)
    writer.write_sync(make.completed(opened, settled=(1, 7, 0)))


def used(log: Log) -> dict[str, int]:
    return {scope: balance.values()[2] for scope, balance in log.balances().items()}


def written(log: Log) -> tuple[int, int]:
    """The last entry that the rows contain, and the last one."""
    [(stored, last)] = log.rows("SELECT entry_id, (SELECT max(id) FROM entry) FROM balanced")
    return stored, last


def kill(writer: AuditWriter) -> None:
    """The process ends and writes nothing more."""
    writer._log._kept = None
    writer.close()


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, no writer finds that it has nothing else to write."""
    monkeypatch.setattr(writers, "IDLE_SECONDS", 600)


def test_rows_follow_when_there_is_nothing_else_to_write(log: Log, make: Make) -> None:
    writer = log.writer()
    call(writer, make)
    assert used(log) == {"all": 1}
    until = time.monotonic() + 60
    while (found := written(log))[0] != found[1]:
        assert time.monotonic() < until
        time.sleep(IDLE_SECONDS / 10)
    assert len(log.rows("SELECT * FROM balance")) == 1
    assert log.verify().findings == []


def test_a_writer_that_is_closed_leaves_all_rows(log: Log, make: Make) -> None:
    writer = log.writer()
    call(writer, make)
    writer.close()
    assert written(log) == (2, 2)


@pytest.mark.usefixtures("busy")
def test_what_a_killed_process_had_not_written_is_counted_by_the_next(log: Log, make: Make) -> None:
    writer = log.writer()
    still_open = make.decided(reservation=COUNTED)
    writer.write_sync(still_open)
    call(writer, make)
    kill(writer)
    assert (log.rows("SELECT * FROM balance"), log.verify().findings) == ([], [])
    later = log.writer()
    later.write_sync(make.completed(still_open, settled=(1, 9, 0)))
    call(later, make)
    later.close()
    [balance] = log.balances().values()
    assert (balance.open, balance.at("tokens_month", balance.minute)) == (0, (23, 0))
    assert log.verify().findings == []


@pytest.mark.usefixtures("busy")
def test_rows_are_written_now_and_then_while_entries_come(
    log: Log, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(balances, "WRITE_EVERY", 6)
    writer = log.writer()
    seen = set()
    for _ in range(12):
        call(writer, make)
        seen.add(written(log)[0])
    assert seen >= {6, 12, 18}
    kill(writer)
    assert (used(log), log.verify().findings) == ({"all": 12}, [])


def test_an_entry_that_counts_nowhere_needs_no_balances(log: Log, make: Make) -> None:
    worker, control = log.writer(), log.writer()
    for _ in range(3):
        call(worker, make)
        control.write_sync(make.change())
        worker.write_sync(make.decided(allow=False, reason="denied", open=False))
    call(control, make)
    call(worker, make)
    kill(worker)
    kill(control)
    assert (used(log), log.verify().findings) == ({"all": 5}, [])


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("UPDATE balanced SET entry_id = 2", "requests in the month: 3 is stored, the entries make 2"),
        ("UPDATE balanced SET entry_id = 5", "it is not known which entries the balances contain"),
        ("DELETE FROM balanced", "it is not known which entries the balances contain"),
        ("DELETE FROM balance", "the balance of `all` in `default` is missing"),
    ],
)
def test_rows_that_do_not_belong_to_their_entries_are_found(log: Log, make: Make, change: str, found: str) -> None:
    writer = log.writer()
    call(writer, make)
    call(writer, make)
    writer.close()
    log.tamper(change)
    assert any(found in each.message for each in log.verify().findings)


@pytest.mark.parametrize("change", ["UPDATE balanced SET entry_id = 9", "DELETE FROM balanced"])
def test_nothing_is_allowed_on_balances_of_unknown_age(log: Log, make: Make, change: str) -> None:
    writer = log.writer()
    call(writer, make)
    writer.close()
    log.tamper(change)
    with pytest.raises(AuditError, match="it is not known which entries the balances contain"):
        log.writer().write_sync(make.decided(reservation=COUNTED))


def test_a_row_that_was_changed_is_found_behind_later_entries(log: Log, make: Make) -> None:
    writer = log.writer()
    call(writer, make)
    writer.close()
    log.tamper("UPDATE balance SET amounts = json_set(amounts, '$[5]', 7)")
    later = log.writer()
    call(later, make)
    kill(later)
    [finding] = log.verify().findings
    assert finding.message.endswith("requests in the month: 8 is stored, the entries make 2")
    log.tamper("UPDATE balance SET amounts = 'nonsense'")
    [finding] = log.verify().findings
    assert finding.message.endswith("it cannot be read")


def test_no_call_of_a_group_is_allowed_then(log: Log, make: Make) -> None:
    """A failure of the first of them must not be taken for done by the next."""
    writer = log.writer()
    call(writer, make)
    writer.close()
    log.tamper("DELETE FROM balanced")
    answers = log.writer().write_all_sync([make.decided(reservation=COUNTED) for _ in range(3)])
    assert [getattr(each, "code", "allowed") for each in answers] == ["audit_unavailable"] * 3


@pytest.mark.usefixtures("busy")
def test_a_reader_counts_no_entry_twice(log: Log, make: Make) -> None:
    writer = log.writer()
    standing = StandingBalances(log.data, dict)
    for number in range(1, 4):
        call(writer, make)
        assert standing.balance("default", "all", now=True).values()[2] == number
    call(writer, make)
    call(writer, make)
    last = log.rows("SELECT id, leaf FROM entry ORDER BY id DESC LIMIT 1")
    log.tamper("UPDATE entry SET leaf = x'00' WHERE id = ?", last[0][0])
    assert standing.balance("default", "all", now=True).values()[2] == 3, "what is known if it cannot be read"
    log.tamper("UPDATE entry SET leaf = ? WHERE id = ?", last[0][1], last[0][0])
    assert standing.balance("default", "all", now=True).values()[2] == 5
    standing.close()


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No writer believes that others write as well until it meets their entries."""
    monkeypatch.setattr(balances, "_SHARED", 1)


OTHER = CallReservation(organization="default", scopes=("other",), tokens=5)


@pytest.mark.usefixtures("busy", "alone")
def test_rows_that_are_written_late_contain_what_others_have_appended(log: Log, make: Make) -> None:
    """Two processes, the first of which comes to write its rows when the second one has appended its first entry."""
    first = log.writer()
    call(first, make)
    second = log.writer()
    second.write_sync(make.decided(reservation=OTHER))
    assert written(log) == (0, 3), "neither has written"
    first._write([])  # as it does when there is nothing else to do
    kill(first)
    assert used(log) == {"all": 1, "other": 1}
    second.write_sync(make.decided(reservation=OTHER))
    second.close()
    assert (used(log), log.verify().findings) == ({"all": 1, "other": 2}, [])


@pytest.mark.usefixtures("busy", "alone")
def test_what_was_counted_for_a_refused_entry_is_read_again_after_others_have_written(log: Log, make: Make) -> None:
    offset = 0
    first, second = log.writer(clock=lambda: time.time_ns() + offset), log.writer()
    call(first, make)
    second.write_sync(make.decided(reservation=OTHER))
    offset = -3600 * 10**9
    with pytest.raises(AuditError, match="the clock is behind"):
        first.write_sync(make.decided(reservation=COUNTED))
    offset = 0
    second.write_sync(make.decided(reservation=OTHER))
    second.close()
    first.write_sync(make.decided(reservation=COUNTED))
    first.close()
    assert (used(log), log.verify().findings) == ({"all": 2, "other": 2}, [])


@pytest.mark.usefixtures("busy")
def test_entries_that_count_nowhere_do_not_leave_the_rows_behind(
    log: Log, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that begins reads what is behind, and a client can be refused a million times."""
    monkeypatch.setattr(balances, "WRITE_EVERY", 6)
    writer = log.writer()
    for _ in range(8):
        writer.write_sync(make.decided(allow=False, reason="denied", open=False))
    assert written(log) == (6, 8)
    kill(writer)
    assert log.verify().findings == []
