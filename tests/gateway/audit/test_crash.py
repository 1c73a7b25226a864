"""The crash matrix: whatever breaks and wherever, waiters fail closed, nothing is lost or said twice, the log verifies.

Every row of the table breaks one step of a commit, either before it had an effect or after; a COMMIT that fails *and*
took effect is the unknown outcome. Then the same with real processes and SIGKILL.
"""

from __future__ import annotations

import itertools
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from gateway.audit import recovery, storage
from gateway.audit import writer as writers
from gateway.audit.balance import VALUES
from gateway.audit.errors import AuditError
from gateway.audit.writer import AuditWriter
from gateway.usage.reservation import CallReservation

if TYPE_CHECKING:
    from tests.gateway.audit.conftest import Log, Make


class Break(NamedTuple):
    """The first statement that begins so, on its `nth` time, fails; with `effect` it is executed first."""

    statement: str
    nth: int = 1
    effect: bool = False


# The step that breaks, and whether the batch is in the log afterwards
MATRIX: list[tuple[Break, bool]] = [
    (Break("connect"), False),
    (Break("BEGIN IMMEDIATE"), False),
    (Break("BEGIN IMMEDIATE", effect=True), False),
    (Break("PRAGMA data_version"), False),
    (Break("SELECT seq"), False),
    (Break("INSERT INTO entry"), False),
    (Break("INSERT INTO entry", effect=True), False),
    (Break("INSERT INTO open_decision"), False),
    (Break("INSERT INTO private"), False),
    (Break("INSERT INTO tile"), False),
    (Break("INSERT INTO tile", effect=True), False),
    (Break("UPDATE log"), False),
    (Break("UPDATE log", effect=True), False),
    (Break("COMMIT"), False),
    (Break("COMMIT", effect=True), True),
]


class Breaking:
    """A connection that breaks once as told. Everything else goes through."""

    def __init__(self, db: sqlite3.Connection, plan: list[Break]) -> None:
        self._db = db
        self._plan = plan
        self._seen = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def execute(self, statement: str, *parameters: Any) -> Any:
        return self._run(self._db.execute, statement, *parameters)

    def executemany(self, statement: str, *parameters: Any) -> Any:
        return self._run(self._db.executemany, statement, *parameters)

    def _run(self, run: Callable[..., Any], statement: str, *parameters: Any) -> Any:
        if self._plan and statement.strip().startswith(self._plan[0].statement):
            self._seen += 1
            if self._seen == self._plan[0].nth:
                broken = self._plan.pop()
                if broken.effect:
                    run(statement, *parameters)
                raise sqlite3.OperationalError("disk I/O error")
        return run(statement, *parameters)


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Callable[[Break], None]:
    """Arms the next break in whatever connection a writer opens from now on."""
    plan: list[Break] = []
    connect = storage.connect

    def connect_breaking(path: Path) -> Any:
        if plan and plan[0].statement == "connect":
            plan.pop()
            raise sqlite3.OperationalError("unable to open database file")
        return Breaking(connect(path), plan)

    monkeypatch.setattr(storage, "connect", connect_breaking)
    return plan.append


def reopened(log: Log) -> AuditWriter:
    """A writer that has lost its connection once, so that opening it again is part of the next commit."""
    writer = log.writer()
    if writer._log._db is not None:
        writer._log._db.close()
        writer._log._db = None
    return writer


@pytest.mark.parametrize(("broken", "persisted"), MATRIX, ids=str)
def test_a_decision_whose_commit_breaks(
    log: Log, make: Make, breaking: Callable[[Break], None], broken: Break, persisted: bool
) -> None:
    """Its request is refused, so if the decision is in the log after all it gets closed as not forwarded."""
    if broken.statement == "SELECT seq":
        broken = Break("SELECT hashes")  # nothing is looked for that inserting the entry finds
    log.writer().write_sync(make.change())
    writer = reopened(log)
    decision = make.decided()
    breaking(broken)
    with pytest.raises(AuditError, match="audit log cannot be written"):
        writer.write_sync(decision)
    assert (decision.event_id in {entry["id"] for entry in log.entries()}) is persisted
    verified(log, complete=not persisted)

    writer.write_sync(make.change())  # the next commit settles what was in doubt
    outcomes = [entry["outcome"] for entry in log.entries() if entry["kind"] == "completed"]
    assert outcomes == (["not_forwarded"] if persisted else [])
    assert log.rows("SELECT * FROM open_decision") == []
    verified(log, complete=True)


@pytest.mark.parametrize(("broken", "persisted"), MATRIX, ids=str)
def test_a_closing_whose_commit_breaks(
    log: Log, make: Make, breaking: Callable[[Break], None], broken: Break, persisted: bool
) -> None:
    """The writer owes it: with the next commit it is there, once, and says whether its client saw the end."""
    if broken.statement in ("INSERT INTO open_decision", "INSERT INTO private"):
        broken = Break("DELETE FROM open_decision", effect=broken.effect)
    if broken.statement == "SELECT seq":
        broken = Break("SELECT hashes")
    writer = log.writer()
    decision = make.decided()
    writer.write_sync(decision)
    writer = reopened(log)
    breaking(broken)
    with pytest.raises(AuditError, match="audit log cannot be written"):
        writer.write_sync(make.completed(decision))
    verified(log, complete=persisted)

    writer.write_sync(make.change())
    [closing] = [entry for entry in log.entries() if entry["kind"] == "completed"]
    assert (closing["outcome"], closing["output_tokens"]) == ("ok", 34)
    assert closing.get("late", False) is not persisted
    verified(log, complete=True)


@pytest.mark.parametrize(("broken", "persisted"), MATRIX, ids=str)
def test_a_change_that_is_tried_again(
    log: Log, make: Make, breaking: Callable[[Break], None], broken: Break, persisted: bool
) -> None:
    """As the outbox does: the same event id, until it is told that the entry is there."""
    if broken.statement in ("INSERT INTO open_decision", "INSERT INTO private"):
        broken = Break("INSERT INTO log")
    writer = reopened(log)
    event = make.change()
    breaking(broken)
    with pytest.raises(AuditError, match="audit log cannot be written"):
        writer.write_sync(event)
    assert len(log.entries()) == persisted
    assert writer.write_sync(event).seq == 0
    assert len(log.entries()) == 1
    verified(log, complete=True)


@pytest.mark.parametrize(("broken", "persisted"), MATRIX, ids=str)
def test_what_was_kept_in_memory_does_not_outlive_a_commit_that_breaks(
    log: Log, make: Make, breaking: Callable[[Break], None], broken: Break, persisted: bool
) -> None:
    """Heads, tiles and balances are those of the database again, whatever had been done to them before it broke."""
    if broken.statement in ("connect", "SELECT seq"):
        broken = Break("INSERT INTO entry", effect=broken.effect)  # a connection that works needs neither
    writer = log.writer()
    counted = CallReservation(organization="default", scopes=("a", "b"), tokens=100)
    first = make.decided(reservation=counted)
    writer.write_sync(first)
    writer.write_sync(make.completed(first, settled=(1, 7, 0)))
    decision = make.decided(reservation=counted)
    breaking(broken)
    with pytest.raises(AuditError, match="audit log cannot be written"):
        writer.write_sync(decision)
    verified(log, complete=not persisted)
    again = make.decided(reservation=counted)
    writer.write_sync(again)
    writer.write_sync(make.completed(again, settled=(1, 3, 0)))
    verified(log, complete=True)
    month = VALUES.index("requests_month")
    used = {scope: balance.values()[month] for scope, balance in log.balances().items()}
    assert used == {"a": 2, "b": 2}, "what was not forwarded counts as none"


# The step that breaks when balances are written or read, and nothing else is under way.
BALANCES = [
    Break("INSERT INTO balance"),
    Break("INSERT INTO balance", effect=True),
    Break("UPDATE balanced"),
    Break("UPDATE balanced", effect=True),
    Break("COMMIT"),
    Break("COMMIT", effect=True),
]


@pytest.mark.parametrize("broken", BALANCES, ids=str)
def test_balances_that_could_not_be_written_are_added_up_again(
    log: Log, make: Make, breaking: Callable[[Break], None], broken: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "IDLE_SECONDS", 1.0)
    writer = reopened(log)
    counted = CallReservation(organization="default", scopes=("a",), tokens=100)
    for number in (1, 2):
        decision = make.decided(reservation=counted)
        writer.write_sync(decision)
        if number == 2:
            breaking(broken)
            until = time.monotonic() + 30
            while writer._log._db is not None:  # it is given up when it has failed
                assert time.monotonic() < until
                time.sleep(0.01)
            verified(log, complete=False)
        writer.write_sync(make.completed(decision, settled=(1, 7, 0)))
    [balance] = log.balances().values()
    assert (balance.open, balance.values()[VALUES.index("requests_month")]) == (0, 2)
    writer.close()
    verified(log, complete=True)


@pytest.mark.parametrize("statement", ["SELECT entry_id", "SELECT entry.leaf"])
def test_a_call_is_refused_if_balances_cannot_be_brought_up_to_date(
    log: Log, make: Make, breaking: Callable[[Break], None], statement: str
) -> None:
    writer, other = reopened(log), log.writer()
    counted = CallReservation(organization="default", scopes=("a",), tokens=100)
    writer.write_sync(make.decided(reservation=counted))
    other.write_sync(make.decided(reservation=counted))
    breaking(Break(statement))
    with pytest.raises(AuditError, match="audit log cannot be written"):
        writer.write_sync(make.decided(reservation=counted))
    writer.write_sync(make.decided(reservation=counted))
    assert log.balances()["a"].open == 3
    assert log.verify().findings == []


def verified(log: Log, *, complete: bool) -> None:
    """An independent look at everything; what is merely unsigned is no fault here."""
    report = log.verify()
    assert report.findings == []
    assert complete is not any(each.open for each in report.logs)


def test_a_recovery_that_breaks_has_closed_nothing(log: Log, make: Make, breaking: Callable[[Break], None]) -> None:
    """All of it is one transaction: the second of three closings fails, and none of them is there."""
    dead = log.writer(boot="boot_dead")
    decisions = [make.decided() for _ in range(3)]
    for decision in decisions:
        dead.write_sync(decision)
    dead.close()
    writer = reopened(log)
    breaking(Break("INSERT INTO entry", nth=2))
    with pytest.raises(AuditError, match="audit log cannot be written"):
        recovery.recover(writer, live_boots=())
    assert len(log.entries()) == 3
    assert recovery.recover(writer, live_boots=()).closed == 3
    assert recovery.recover(writer, live_boots=()).closed == 0
    assert [entry["kind"] for entry in log.entries()] == ["decided"] * 3 + ["completed"] * 3 + ["recovered"]
    verified(log, complete=True)


def test_a_refused_decision_that_is_sent_again_is_not_forwarded(
    log: Log, make: Make, breaking: Callable[[Break], None]
) -> None:
    """Its first attempt is in the log, was reported as failed, and is closed by then: no second life."""
    writer = reopened(log)
    decision = make.decided()
    breaking(Break("COMMIT", effect=True))
    with pytest.raises(AuditError, match="audit log cannot be written"):
        writer.write_sync(decision)
    with pytest.raises(AuditError, match="closed already"):
        writer.write_sync(decision)
    verified(log, complete=True)


def test_what_is_owed_needs_no_other_traffic(
    log: Log, make: Make, breaking: Callable[[Break], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "OWED_SECONDS", 0.02)
    decision = make.decided()
    log.writer().write_sync(decision)
    writer = reopened(log)
    breaking(Break("COMMIT"))
    with pytest.raises(AuditError, match="audit log cannot be written"):
        writer.write_sync(make.completed(decision))
    deadline = time.monotonic() + 60
    while log.rows("SELECT * FROM open_decision") and time.monotonic() < deadline:
        time.sleep(0.01)
    verified(log, complete=True)


def test_a_closing_that_a_full_queue_turned_away_is_owed(log: Log, make: Make) -> None:
    writer = log.writer(capacity=0)
    decision = make.decided()
    log.writer().write_sync(decision)
    with pytest.raises(AuditError, match="entries wait already"):
        writer.submit(make.completed(decision))
    writer.close()
    assert log.entries()[-1]["late"] is True
    verified(log, complete=True)


# -- real processes ----------------------------------------------------------------------------------------------------

LOAD = Path(__file__).with_name("load.py")


class Load:
    """One such process. It writes to a file, because a pipe that nobody reads would slow it down."""

    def __init__(self, log: Log, output: Path, boot: str) -> None:
        self._output = output
        with output.open("wb") as file:
            self._process = subprocess.Popen([sys.executable, LOAD, log.data.path, "32", boot], stdout=file)

    def wait_for(self, lines: int) -> None:
        """Wait until it has printed so many lines."""
        deadline = time.monotonic() + 240
        while len(self.lines()) < lines:
            assert time.monotonic() < deadline, f"the load has printed only {len(self.lines())} lines"
            time.sleep(0.005)

    def lines(self) -> list[str]:
        return self._output.read_text().splitlines()

    def end(self, how: signal.Signals) -> int:
        self._process.send_signal(how)
        return self._process.wait(240)


@pytest.fixture
def load(log: Log, tmp_path: Path) -> Iterator[Callable[[str], Load]]:
    started: list[Load] = []

    def start(boot: str) -> Load:
        started.append(Load(log, tmp_path / boot, boot))
        started[-1].wait_for(1)
        return started[-1]

    yield start
    for each in started:
        each.end(signal.SIGKILL)


@pytest.mark.slow
def test_killed_in_the_middle_of_it(log: Log, load: Callable[[str], Load]) -> None:
    """SIGKILL under load, again and again on the same log: nothing that was acknowledged is missing."""
    acknowledged: set[str] = set()
    for round_number in range(40):
        process = load(f"boot_{round_number}")
        process.wait_for(100 * (1 + round_number % 4))
        process.end(signal.SIGKILL)
        acknowledged.update(process.lines()[1:])

        recovery.check(log.data, log.verifier)
        writer = log.writer()
        recovered = recovery.recover(writer, live_boots=())
        writer.close()
        assert recovered.boots <= {f"boot_{round_number}"}
        log.sign()
        report = log.verify()
        assert (report.status, report.findings) == ("valid", [])
    entries = log.entries()
    ids = {entry["id"] for entry in entries}
    assert len(acknowledged) > 200
    assert acknowledged <= ids
    closings = [entry["decision"] for entry in entries if entry["kind"] == "completed"]
    decisions = [entry["id"] for entry in entries if entry["kind"] == "decided"]
    assert sorted(closings) == sorted(decisions)


def test_two_processes_append_at_the_same_time(log: Log, make: Make, load: Callable[[str], Load]) -> None:
    """A gateway under load, and beside it a command line that opens the log anew for each of its changes."""
    process = load("boot_load")
    for _ in range(60):
        process.wait_for(len(process.lines()) + 1)  # on a busy machine it may stand still for a while
        writer = AuditWriter(log.data, boot="boot_cli", deployment="test")
        writer.write_sync(make.change())
        writer.close()
    assert process.end(signal.SIGTERM) == 0
    log.sign()
    report = log.verify()
    assert (report.status, report.findings) == ("valid", [])
    boots = [entry["boot"] for entry in log.entries()]
    assert boots.count("boot_cli") == 60
    switches = sum(one != other for one, other in itertools.pairwise(boots))
    assert switches > 60, "they took turns, not one after the other"
