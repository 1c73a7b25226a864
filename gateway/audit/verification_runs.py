"""Runs of a verification that somebody has asked a running gateway for: one at a time, each in a process of its own.

The state of the newest one is a file in the cache. A run holds a lock while it lives, whoever has begun it, so one that
was killed is known by the lock that nobody holds.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from gateway.data_directory import DataDirectory

MODULE = "gateway.processes.verifying"
"""The program of a run."""
_LAST_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationRun:
    """The newest run. `status` is `never`, `running`, `stopped`, `failed`, or what the report says.

    `done` of `total` entries are verified. `problem` says why it failed.
    """

    status: str = "never"
    begun_ns: int | None = None
    ended_ns: int | None = None
    done: int = 0
    total: int = 0
    problem: str = ""
    findings: list[str] = field(default_factory=list)
    logs: list[dict[str, Any]] = field(default_factory=list)
    public_key: str = ""


def newest(data: DataDirectory) -> VerificationRun:
    """The newest run, as far as it has come."""
    try:
        found = VerificationRun(**json.loads(_state(data).read_bytes()))
    except (OSError, ValueError, TypeError):
        return VerificationRun()
    if found.status == "running":
        with _locked(data) as lock:
            if lock is not None:  # nobody holds it, so what was running has ended without a word
                return VerificationRun(**{**asdict(found), "status": "stopped"})
    return found


def begin(data: DataDirectory, now_ns: int) -> None:
    """Begin a run, unless one is under way. Raises `OSError`."""
    data.cache.mkdir(mode=0o700, exist_ok=True)
    ends = time.monotonic() + _LAST_SECONDS
    while newest(data).status != "running":
        if _begun(data, now_ns) or time.monotonic() > ends:
            return
        time.sleep(0.02)  # the one before has told its result, and is about to end


def _begun(data: DataDirectory, now_ns: int) -> bool:
    with _locked(data) as lock:
        if lock is None:
            return False
        write(data, VerificationRun(status="running", begun_ns=now_ns))
        # The child inherits the lock, and holds it until it ends.
        child = subprocess.Popen(  # noqa: S603  # our own module, and nothing in it comes from outside
            [sys.executable, "-P", "-m", MODULE, str(data.path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[lock],
        )
    threading.Thread(target=child.wait, name="verification", daemon=True).start()
    return True


def write(data: DataDirectory, run: VerificationRun) -> None:
    new = _state(data).with_name("verification.json.new")
    new.write_text(json.dumps(asdict(run)))
    new.replace(_state(data))


def _state(data: DataDirectory) -> Any:
    return data.cache / "verification.json"


@contextmanager
def _locked(data: DataDirectory) -> Iterator[int | None]:
    """The descriptor of the lock; None if somebody else has it."""
    descriptor = os.open(data.cache / "verification.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)
