"""Troubles of a gateway under load, one function for each scenario. A gateway that it kills is started again."""

from __future__ import annotations

import fcntl
import os
import random
import resource
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias

from tests.gateway.crash.rig import Rig, send

Scenario: TypeAlias = Callable[[Rig, random.Random], None]


def killed_worker(rig: Rig, draw: random.Random) -> None:
    send(draw.choice(rig.children("data")), signal.SIGKILL)


def killed_control(rig: Rig, draw: random.Random) -> None:
    send(rig.children("control")[0], signal.SIGKILL)


def killed_altogether(rig: Rig, draw: random.Random) -> None:
    rig.kill()
    rig.start()


def stopped_worker(rig: Rig, draw: random.Random) -> None:
    """It may hold the log's lock meanwhile, so that the others have to refuse."""
    process = draw.choice(rig.children("data"))
    send(process, signal.SIGSTOP)
    time.sleep(draw.uniform(0.5, 2))
    send(process, signal.SIGCONT)


def held_lock(rig: Rig, draw: random.Random) -> None:
    with (rig.data / "audit.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        time.sleep(draw.choice([0.3, 1.0, 6.0]))  # longer than a writer waits


def held_lock_and_stop(rig: Rig, draw: random.Random) -> None:
    """The gateway is told to stop while nothing can be recorded, with no time for running requests."""
    assert rig.up is not None
    with (rig.data / "audit.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rig.up.process.send_signal(signal.SIGTERM)
        time.sleep(draw.uniform(0.2, 1.5))
    rig.up.process.wait(240)
    rig.up = None
    rig.start()


def limited_file_size(rig: Rig, draw: random.Random) -> None:
    """The log's files cannot grow any more: every write behind this size fails, part of a write may succeed."""
    size = max(path.stat().st_size for path in rig.data.glob("audit.db*"))
    limits = {process: resource.prlimit(process, resource.RLIMIT_FSIZE) for process in rig.children("data")}
    for process in limits:
        resource.prlimit(process, resource.RLIMIT_FSIZE, (max(4096, size // 2), limits[process][1]))
    time.sleep(draw.uniform(0.3, 1))
    for process, before in limits.items():
        if Path(f"/proc/{process}").exists():
            resource.prlimit(process, resource.RLIMIT_FSIZE, before)


def moved_files(rig: Rig, draw: random.Random) -> None:
    path = rig.data / draw.choice(["audit.db", "registry.db"])
    away = rig.directory / "away.db"
    path.rename(away)
    time.sleep(draw.uniform(0.2, 1))
    away.rename(path)


def read_only_start(rig: Rig, draw: random.Random) -> None:
    """A start that cannot write its files is refused with one line, and the next one works. Root can write anywhere."""
    rig.kill()
    path = rig.data / draw.choice(["audit.db", "registry.db", "signer-state"])
    path.chmod(0o400)
    try:
        if os.geteuid():
            rig.run("up", "--port", "0", "--control-port", "0", code=1)
    finally:
        path.chmod(0o600)
    rig.start()


def full_disk(rig: Rig, draw: random.Random) -> None:
    assert rig.faults
    with rig.faults.on("disk_full"):
        time.sleep(draw.uniform(0.3, 1.5))


def failing_fsync(rig: Rig, draw: random.Random) -> None:
    assert rig.faults
    with rig.faults.on("fsync_fails"):
        time.sleep(draw.uniform(0.1, 0.8))


def clock_set_back(rig: Rig, draw: random.Random) -> None:
    assert rig.faults
    with rig.faults.on("clock_offset_ns", -draw.choice([2, 3600]) * 1_000_000_000):
        time.sleep(draw.uniform(0.3, 1))


def power_cut(rig: Rig, draw: random.Random) -> None:
    rig.cut_power()
    rig.start()


def _start_under(rig: Rig, draw: random.Random, fault: AbstractContextManager[object]) -> None:
    """A start while something fails: it is refused, or what it serves meanwhile holds. Afterwards it works."""
    with fault:
        if is_up := rig.try_start():
            time.sleep(draw.uniform(0.3, 1))
    if not is_up:
        rig.start()


def full_disk_at_start(rig: Rig, draw: random.Random) -> None:
    assert rig.faults
    rig.kill()
    _start_under(rig, draw, rig.faults.on("disk_full"))


def failing_fsync_at_start(rig: Rig, draw: random.Random) -> None:
    assert rig.faults
    rig.kill()
    _start_under(rig, draw, rig.faults.on("fsync_fails"))


def power_cut_and_full_disk(rig: Rig, draw: random.Random) -> None:
    assert rig.faults
    rig.cut_power()
    _start_under(rig, draw, rig.faults.on("disk_full"))


def limited_file_size_at_start(rig: Rig, draw: random.Random) -> None:
    """The processes begin with the limit, as under a service manager."""
    rig.kill()
    size = max(path.stat().st_size for path in rig.data.glob("audit.db*"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Of this process, whose children have it too. It only reads meanwhile.
    resource.setrlimit(resource.RLIMIT_FSIZE, (draw.choice([size, size + 65_536, 2 * size]), before[1]))
    try:
        is_up = rig.try_start()
        time.sleep(draw.uniform(0.3, 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    if is_up:
        rig.kill()
    rig.start()


EVERYWHERE: tuple[Scenario, ...] = (
    killed_worker,
    killed_control,
    killed_altogether,
    stopped_worker,
    held_lock,
    held_lock_and_stop,
    limited_file_size,
    moved_files,
    read_only_start,
    limited_file_size_at_start,
)
WITH_FAULTS: tuple[Scenario, ...] = (
    full_disk,
    failing_fsync,
    clock_set_back,
    power_cut,
    full_disk_at_start,
    failing_fsync_at_start,
    power_cut_and_full_disk,
)
