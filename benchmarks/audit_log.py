"""The cost of durability: one client and many, one process and two, each beside what it is compared with.

    python benchmarks/audit_log.py [DIRECTORY]

Claims that rest on this: a lone client waits for about one fsync, many share it, and with `audit.lock` the unlucky
process waits tens of milliseconds where SQLite's own busy handler lets it wait for hundreds
(`gateway/storage/file_lock.py`).
Figures depend on the disk: give a DIRECTORY on the one that counts, and read them as ratios.
"""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gateway.audit import sqlite_log, storage
from gateway.audit.intents import Changed, Completed, Decided
from gateway.audit.writer import AuditWriter
from gateway.data_directory import DataDirectory
from gateway.identifiers import new_id

SECONDS = 2.0


class NoLock:
    """Taken by a writer instead of the lock file, to see what happens without."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def acquire(self, timeout: float) -> bool:
        return True

    def release(self) -> None:
        pass

    def close(self) -> None:
        pass


def bare_commits(path: Path) -> list[float]:
    """The yardstick: one row, one commit, one fsync, nothing else."""
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (leaf BLOB)")
    waits = []
    end = time.perf_counter() + SECONDS
    while (began := time.perf_counter()) < end:
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO t VALUES (zeroblob(1000))")
        db.execute("COMMIT")
        waits.append(time.perf_counter() - began)
    db.close()
    return waits


async def load(log: AuditWriter, clients: int) -> list[float]:
    """Clients that open and close decisions as fast as they are acknowledged."""
    waits: list[float] = []
    end = time.perf_counter() + SECONDS

    async def client() -> None:
        while time.perf_counter() < end:
            decision = Decided(
                organization="default",
                event_id=new_id("dec"),
                agent=new_id("agt"),
                key=new_id("key"),
                allow=True,
                reason="allowed",
                open=True,
                fields={"model": "gpt-4o-mini", "detail": "x" * 500},
                private=b'{"agent":{}}' * 40,
            )
            closing = Completed(
                organization="default", decision_id=decision.event_id, agent=decision.agent, outcome="ok"
            )
            for intent in (decision, closing):
                began = time.perf_counter()
                await log.write(intent)
                waits.append(time.perf_counter() - began)

    await asyncio.gather(*(client() for _ in range(clients)))
    return waits


def show(what: str, waits: list[float]) -> None:
    waits.sort()
    half, most, worst = (waits[min(int(len(waits) * share), len(waits) - 1)] * 1000 for share in (0.5, 0.99, 1))
    rate = len(waits) / SECONDS
    print(f"{what:44}{rate:9,.0f}/s   median {half:7.2f} ms   99 % {most:7.2f} ms   worst {worst:7.2f} ms", flush=True)


def new_data(directory: Path, name: str) -> DataDirectory:
    data = DataDirectory(directory / name)
    data.create()
    storage.create(data)
    return data


def alone(directory: Path) -> None:
    show("one row, one commit (bare SQLite)", bare_commits(directory / "bare.db"))
    for clients in (1, 8, 64):
        log = AuditWriter(new_data(directory, f"alone-{clients}"), boot="boot_a", deployment="benchmark")
        show(f"the log, {clients} client{'s' if clients > 1 else ''}", asyncio.run(load(log, clients)))
        log.close()


def together(directory: Path, lock: str) -> None:
    """A process under load, and a second one that writes one change after the other."""
    data = new_data(directory, f"together-{lock}")
    with subprocess.Popen(
        [sys.executable, __file__, "--load", lock, str(data.path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        log = second_writer(data, lock)
        waits = []
        end = time.perf_counter() + SECONDS
        while (began := time.perf_counter()) < end:
            log.write_sync(Changed(organization="default", event_id=new_id("chg"), actor="local:0", what="key.revoked"))
            waits.append(time.perf_counter() - began)
        log.close()
    show(f"beside 64 clients of another process, {lock}", waits)


def second_writer(data: DataDirectory, lock: str) -> AuditWriter:
    if lock == "busy handler":
        sqlite_log.FileLock = NoLock  # type: ignore[misc, assignment]  # the comparison, not a use of it
    return AuditWriter(data, boot="boot_b", deployment="benchmark")


def main(directory: str | None = None) -> None:
    with tempfile.TemporaryDirectory(dir=directory) as temporary:
        alone(Path(temporary))
        for lock in ("audit.lock", "busy handler"):
            together(Path(temporary), lock)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--load"]:
        log = second_writer(DataDirectory(Path(sys.argv[3])), sys.argv[2])
        print("ready", flush=True)
        asyncio.run(load(log, 64))
        log.close()
    else:
        main(*sys.argv[1:2])
