"""Counts of refused requests: recorded once, whatever happens to the process that counted them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.audit import refused_note, storage
from gateway.audit.errors import AuditError
from gateway.audit.writer import AuditWriter
from gateway.dataplane import refusals as module
from gateway.dataplane.refusals import Asked, Refusals
from gateway.errors import Denied, PrincipalHint
from gateway.storage.file_lock import FileLock
from gateway.storage.liveness import LiveBoots, Presence
from tests.gateway.audit.conftest import Log

OWNER = PrincipalHint("acme", "agt_one", "key_one")
OTHER = PrincipalHint("other", "agt_other", "key_other")


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "data")


def counted(log: Log) -> dict[tuple[str, str], int]:
    """The number of refusals in the whole log, by organization and reason."""
    found: dict[tuple[str, str], int] = {}
    for organization in ("system", "acme"):
        for entry in log.entries(organization):
            key = (organization, entry["reason"])
            found[key] = found.get(key, 0) + entry["count"]
    return found


def sweep(log: Log) -> None:
    """As the control process does when a process is dead."""
    writer = AuditWriter(log.data, boot="boot_control", deployment="test", lock_seconds=0.05)
    try:
        LiveBoots(log.data).sweep(lambda note: refused_note.record(writer, note))
    finally:
        writer.close()


PROGRAM = """
import asyncio, sys
from pathlib import Path
from gateway.audit.writer import AuditWriter
from gateway.dataplane import refusals
from gateway.errors import Denied
from gateway.data_directory import DataDirectory
from gateway.storage.liveness import Presence
from tests.gateway.dataplane.test_refusals import OWNER

async def main():
    data = DataDirectory(Path(sys.argv[1]))
    presence = Presence(data, "boot_worker")
    counts = refusals.Refusals(AuditWriter(data, boot="boot_worker", deployment="test"), presence.leave)
    counting = asyncio.create_task(counts.run())
    for _ in range(7):
        counts.add(Denied("unknown_route"))
    for _ in range(15):
        counts.add(Denied("bad_request"), OWNER)
    await asyncio.sleep(refusals.NOTE_SECONDS * 1.5)
    print("counted", flush=True)
    await counting

asyncio.run(main())
"""


@pytest.mark.slow
def test_counts_survive_a_kill(log: Log) -> None:
    program = [sys.executable, "-c", PROGRAM, str(log.data.path)]
    with subprocess.Popen(program, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"counted\n"
        sweep(log)  # it is alive
        assert counted(log) == {("acme", "bad_request"): 10}
        process.send_signal(signal.SIGKILL)
    for _ in range(2):
        sweep(log)
        assert counted(log) == {("system", "unknown_route"): 7, ("acme", "bad_request"): 15}
    assert os.listdir(log.data.processes) == []
    assert log.verify().findings == []


def counting(log: Log, test: Callable[[Refusals, Presence, AuditWriter], Any]) -> None:
    """Run a test with the counters of a worker, which dies afterwards."""

    async def main() -> None:
        presence = Presence(log.data, "boot_worker")
        writer = AuditWriter(log.data, boot="boot_worker", deployment="test", lock_seconds=0.05)
        refusals = Refusals(writer, presence.leave)
        await test(refusals, presence, writer)
        os.close(presence._file)  # the kernel does no more for a process that is killed
        await asyncio.to_thread(writer.close)

    asyncio.run(main())


async def settled(refusals: Refusals) -> None:
    """When the writer has answered for all that it was given."""
    while refusals._in_flight:  # noqa: ASYNC110  # the counters have no event to wait for
        await asyncio.sleep(0.005)


def test_what_was_recorded_before_the_kill_is_not_recorded_again(log: Log) -> None:
    """The note is as old as a second; what it counts may be in the log by then, and with a higher count."""

    async def test(refusals: Refusals, presence: Presence, writer: AuditWriter) -> None:
        refusals.add(Denied("unknown_route"))
        refusals.note()
        refusals.add(Denied("unknown_route"))
        presence.leave = lambda note: None  # type: ignore[method-assign]
        refusals._leave = presence.leave
        refusals.flush()
        await settled(refusals)

    counting(log, test)
    sweep(log)
    assert counted(log) == {("system", "unknown_route"): 2}
    assert os.listdir(log.data.processes) == []


def test_what_cannot_be_recorded_is_tried_again_and_not_doubled(log: Log) -> None:
    async def test(refusals: Refusals, presence: Presence, writer: AuditWriter) -> None:
        lock = FileLock(log.data.audit_lock)
        assert lock.acquire(1)
        for _ in range(3):
            refusals.add(Denied("unknown_route"))
            refusals.add(Denied("bad_request"), OWNER)
            refusals.flush()
            await settled(refusals)
        lock.close()
        refusals.flush()
        await settled(refusals)

    counting(log, test)
    assert counted(log) == {("system", "unknown_route"): 3, ("acme", "bad_request"): 3}
    sweep(log)
    assert counted(log) == {("system", "unknown_route"): 3, ("acme", "bad_request"): 3}


def test_while_the_log_is_held_a_note_waits(log: Log) -> None:
    async def test(refusals: Refusals, presence: Presence, writer: AuditWriter) -> None:
        refusals.add(Denied("unknown_route"))
        refusals.note()

    counting(log, test)
    lock = FileLock(log.data.audit_lock)
    assert lock.acquire(1)
    with pytest.raises(AuditError):
        sweep(log)
    lock.close()
    assert os.listdir(log.data.processes) == ["boot_worker"]
    sweep(log)
    assert counted(log) == {("system", "unknown_route"): 1}


def test_a_log_that_cannot_be_written_for_long_costs_counters_and_not_memory(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_UNRECORDED", 3)

    async def test(refusals: Refusals, presence: Presence, writer: AuditWriter) -> None:
        writer.close()
        for _ in range(10):
            refusals.add(Denied("unknown_route"))
            refusals.flush()
        assert (len(refusals._unrecorded), len(refusals._counts)) == (3, 1)

    counting(log, test)
    sweep(log)
    assert counted(log) == {("system", "unknown_route"): 10}


@pytest.mark.parametrize(
    "note", [b"{", b"[1]", b'[{"reason":"x"}]', b'[{"reason":"x","count":"y","first_ns":1,"last_ns":1}]', b"null"]
)
def test_a_note_that_is_none_is_dropped(log: Log, note: bytes) -> None:
    presence = Presence(log.data, "boot_worker")
    presence.leave(note)
    presence.close()
    sweep(log)
    assert os.listdir(log.data.processes) == []
    with storage.exclusive(log.data) as db:
        assert storage.heads(db) == []


def test_denials_of_many_agents_are_counted_apart_up_to_a_number(log: Log) -> None:
    """The entries of one interval do not grow with the agents that an organization has, nor with what they ask for."""

    async def test(refusals: Refusals, presence: Presence, writer: AuditWriter) -> None:
        many = module.NAMED + 30
        for number in range(many):
            owner = PrincipalHint("acme", f"agt_{number}", f"key_{number}")
            for path in range(9):
                refusals.add_denial("policy_denied", owner, Asked("POST", f"/{path}\n\u202e{'x' * 500}", "gpt-4o"))
        refusals.add_denial("policy_denied", OTHER, Asked())
        refusals.flush()
        await settled(refusals)
        entries = log.entries("acme")
        assert len(entries) == module.NAMED + 1
        assert sum(each["count"] for each in entries) == 9 * many
        [rest] = [each for each in entries if each["agent"] is None]
        assert rest["count"] == 9 * 30
        for each in entries:
            asked = json.loads(each["asked_json"])
            assert len(asked) == 5
            assert sum(one["count"] for one in asked) + each["asked_others"] == each["count"]
            assert all(one["path"].isprintable() and len(one["path"]) < 200 for one in asked)
        assert [each["agent"] for each in log.entries("other")] == ["agt_other"]

    counting(log, test)
    assert log.verify().findings == []
