"""Reservations: an allow that its own transaction may turn into a denial, across batches, writers and processes.

`make.at_most` is the smallest real one: so many decisions may be open at the same time.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from gateway.audit.balance import VALUES
from gateway.audit.balances import Balances
from gateway.audit.errors import AuditError
from gateway.audit.intents import Denial, Fields, Reservation
from gateway.audit.over_limits import RaisedLimit
from gateway.usage.reservation import CallReservation
from tests.gateway.audit.conftest import reservation

if TYPE_CHECKING:
    from tests.gateway.audit.conftest import Log, Make


@dataclass(frozen=True)
class Saying:
    """Answers as told."""

    answer: Callable[[], Fields | Denial]

    def take(self, balances: Balances, time_ns: int, raised: Sequence[RaisedLimit] = ()) -> Fields | Denial:
        return self.answer()


def fail() -> Fields:
    raise ZeroDivisionError("a defect")


def test_an_allow_is_turned_around_inside_its_transaction(log: Log, make: Make) -> None:
    writer = log.writer()
    decision = make.decided(reservation=make.at_most(0))
    committed = writer.write_sync(decision)
    [entry] = log.entries()
    assert committed.entry == entry
    assert (entry["allow"], entry["open"], entry["reason"]) == (False, False, "limit_exceeded")
    assert (entry["reasons_json"], entry["limit"], entry["used"]) == ('["0 requests are running, 0 may"]', 0, 0)
    assert log.rows("SELECT * FROM open_decision") == []
    with pytest.raises(AuditError, match="is not an open decision"):
        writer.write_sync(make.completed(decision))
    log.sign()
    assert log.verify().status == "valid"


def test_what_was_reserved_stays_with_the_open_decision(log: Log, make: Make) -> None:
    writer = log.writer()
    decision = make.decided(reservation=make.at_most(1))
    reserved = writer.write_sync(decision).entry["reservation_json"]
    assert json.loads(str(reserved))["scopes"] == ["all"]
    assert log.rows("SELECT reservation FROM open_decision") == [(reserved,)]
    assert writer.write_sync(make.decided(reservation=make.at_most(1))).entry["allow"] is False
    writer.write_sync(make.completed(decision))
    assert writer.write_sync(make.decided(reservation=make.at_most(1))).entry["allow"] is True
    assert log.verify().findings == []


def test_the_decisions_of_one_batch_see_each_other(log: Log, make: Make) -> None:
    writer = log.writer()
    waiting = [writer.submit(make.decided(reservation=make.at_most(7))) for _ in range(50)]
    allowed = [each.result(10).entry["allow"] for each in waiting]
    assert (allowed.count(True), allowed.count(False)) == (7, 43)
    assert len(log.rows("SELECT * FROM open_decision")) == 7


def test_what_is_denied_or_fails_reserves_nothing(log: Log, make: Make) -> None:
    writer = log.writer()
    held = {"reservation_json": reservation(1, ["all"], tokens=5)}
    denial = functools.partial(Denial, fields=held)
    assert writer.write_sync(make.decided(reservation=Saying(denial))).entry["allow"] is False
    with pytest.raises(AuditError, match="a reservation failed: ZeroDivisionError"):
        writer.write_sync(make.decided(reservation=Saying(fail)))
    impossible: list[Fields] = [{"allow": True}, {"not a name": 1}, {"limits_json": "x" * 50_000}]
    for fields in impossible:
        with pytest.raises(AuditError) as caught:
            writer.write_sync(make.decided(reservation=Saying(functools.partial(dict, fields | held))))
        assert caught.value.code == "bad_entry"
    assert log.balances() == {}
    assert writer.write_sync(make.decided(reservation=Saying(functools.partial(dict, held)))).entry["allow"] is True
    [(scope, balance)] = log.balances().items()
    assert (scope, balance.open, balance.at("tokens_day", 1)) == ("all", 1, (5, 5))
    assert len(log.rows("SELECT * FROM open_decision")) == 1
    assert log.verify().findings == []


def test_a_reservation_that_fails_costs_no_neighbour(log: Log, make: Make) -> None:
    writer = log.writer()
    answers: list[Reservation | None] = [None, Saying(fail), make.at_most(9)]
    waiting = [writer.submit(make.decided(reservation=each)) for each in answers]
    assert [each.exception(10) is None for each in waiting] == [True, False, True]


def test_a_denial_that_is_sent_again_stays_one(log: Log, make: Make) -> None:
    """The limit has room by then, but this event is in the log, and its request was refused."""
    decision = make.decided(reservation=make.at_most(0))
    first = log.writer().write_sync(decision)
    again = make.decided(event_id=decision.event_id, reservation=make.at_most(5))
    assert log.writer().write_sync(again) == first
    assert len(log.entries()) == 1
    with pytest.raises(AuditError, match="says something else"):
        log.writer().write_sync(make.decided(event_id=decision.event_id, agent="agt_two", reservation=make.at_most(5)))


def test_only_what_stays_open_can_reserve(log: Log, make: Make) -> None:
    for members in ({"open": False}, {"open": False, "allow": False, "reason": "policy_denied"}):
        with pytest.raises(AuditError, match="only a decision that stays open"):
            log.writer().submit(make.decided(reservation=make.at_most(5), **members))


PROCESS = """
import sys
from pathlib import Path
from gateway.audit.writer import AuditWriter
from gateway.data_directory import DataDirectory
from tests.gateway.audit.conftest import Make

writer = AuditWriter(DataDirectory(Path(sys.argv[1])), boot=sys.argv[2], deployment="test")
print("ready", flush=True)
sys.stdin.readline()
open_decisions = []
for _ in range(40):
    waiting = [(each, writer.submit(each)) for each in [Make.decided(reservation=Make.at_most(6)) for _ in range(3)]]
    for decision, future in waiting:
        if future.result(10).entry["allow"]:
            open_decisions.append(decision)
    if len(open_decisions) > 1:
        writer.write_sync(Make.completed(open_decisions.pop()))
writer.close()
"""


def test_a_writer_that_had_to_connect_again_forgets_its_balances(log: Log, make: Make) -> None:
    """Each connection counts the changes of others from its own beginning, so equal numbers of two mean nothing."""
    one, limit = log.writer(), 6
    for _ in range(3):
        one.write_sync(make.decided(reservation=make.at_most(limit)))
    path, away = log.data.audit_db, log.data.audit_db.with_name("away.db")
    path.rename(away)
    with pytest.raises(AuditError, match="its file was moved"):
        one.write_sync(make.decided(reservation=make.at_most(limit)))
    away.rename(path)
    other = log.writer()
    for _ in range(3):
        other.write_sync(make.decided(reservation=make.at_most(limit)))
    assert one.write_sync(make.decided(reservation=make.at_most(limit))).entry["allow"] is False
    log.sign()
    assert log.verify().findings == []


def test_two_processes_share_one_limit(log: Log) -> None:
    """Both reserve and give back without pause: at no entry of the log are more open than may be."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, log.data.path, f"boot_{name}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "ab"
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        process.communicate("go\n", timeout=300)
        assert process.returncode == 0
    now_open, most, denied = 0, 0, 0
    entries = log.entries()
    for entry in entries:
        if entry["kind"] == "completed":
            now_open -= 1
        elif entry["open"]:
            now_open += 1
        else:
            denied += 1
            assert entry["used"] == now_open
        most = max(most, now_open)
    assert (most, len(entries) > 240, denied > 0) == (6, True, True)
    assert {entry["boot"] for entry in entries if entry.get("open")} == {"boot_a", "boot_b"}
    assert log.verify().findings == []


def test_writers_that_take_turns_forget_what_the_other_has_changed(log: Log, make: Make) -> None:
    """Heads, tiles and balances are kept in memory only by a writer after which nobody has written."""
    writers = log.writer(), log.writer()
    counted = CallReservation(organization="default", scopes=("all",), tokens=100)
    for _ in range(3):
        for writer in writers:
            for _ in range(2):  # the second finds what the first has left
                opened = make.decided(reservation=counted)
                writer.write_sync(opened)
                writer.write_sync(make.completed(opened, settled=(1, 7, 0)))
    values = dict(zip(VALUES, log.balances()["all"].values(), strict=False))
    assert (values["open"], values["requests_month"], values["tokens_month"]) == (0, 12, 84)
    assert log.verify().findings == []
