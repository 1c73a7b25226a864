"""A boot is alive as long as its process lives, and not a moment longer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.storage.liveness import LiveBoots, OnlyOne, Presence

left: list[bytes] = []
"""The files that dead processes have left to the tests of this file."""


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    found = DataDirectory(tmp_path / "data")
    found.create()
    return found


def test_from_beginning_to_end(data: DataDirectory) -> None:
    live = LiveBoots(data)
    assert ("boot_a" in live, list(live), len(live)) == (False, [], 0)
    first, second = Presence(data, "boot_a"), Presence(data, "boot_b")
    assert (sorted(live), "boot_a" in live, "boot_c" in live) == (["boot_a", "boot_b"], True, False)
    first.close()
    assert list(live) == ["boot_b"]
    second.close()
    assert not live


def test_what_a_process_leaves_is_found_when_it_is_dead(data: DataDirectory) -> None:
    left: list[bytes] = []
    live = LiveBoots(data)
    first, second, third = (Presence(data, f"boot_{name}") for name in "abc")
    first.leave(b"something long")
    first.leave(b"short")
    second.leave(b"gone")
    second.leave(b"")
    live.sweep(left.append)
    assert left == []
    for each in (first, second, third):
        each.close()
    assert os.listdir(data.processes) == ["boot_a"]

    def fail(note: bytes) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        live.sweep(fail)
    live.sweep(left.append)
    live.sweep(left.append)
    assert (left, os.listdir(data.processes)) == ([b"short"], [])


def test_a_killed_process_is_dead_at_once(data: DataDirectory) -> None:
    program = (
        "import sys, time; from pathlib import Path; from gateway.storage.liveness import Presence\n"
        "from gateway.data_directory import DataDirectory\n"
        "held = Presence(DataDirectory(Path(sys.argv[1])), 'boot_x'); print('held', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(data.path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])},
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        live = LiveBoots(data)
        live.sweep(left.append)
        assert list(live) == ["boot_x"]
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert list(live) == []
        assert len(os.listdir(data.processes)) == 1
        live.sweep(left.append)
        assert os.listdir(data.processes) == []


def test_a_sweep_never_takes_the_place_of_a_process_that_begins(data: DataDirectory) -> None:
    live, stop = LiveBoots(data), threading.Event()

    def sweep() -> None:
        while not stop.is_set():
            live.sweep(left.append)

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        for number in range(300):
            presence = Presence(data, f"boot_{number}")
            assert f"boot_{number}" in live
            presence.close()
    finally:
        stop.set()
        sweeper.join()


def test_one_gateway_per_directory(data: DataDirectory) -> None:
    first = OnlyOne(data)
    with pytest.raises(GatewayError, match="is running on") as caught:
        OnlyOne(data)
    assert caught.value.code == "already_running"
    first.close()
    OnlyOne(data).close()


def test_a_gateway_is_run_by_its_owner(data: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner of a directory could not open any more what root leaves in it."""
    monkeypatch.setattr(os, "geteuid", lambda: data.path.stat().st_uid + 1)
    with pytest.raises(GatewayError, match="belongs to user"):
        OnlyOne(data)
    assert not (data.path / "up.lock").exists()


def test_a_directory_that_takes_no_more(data: DataDirectory) -> None:
    (data.path / "up.lock").mkdir()
    with pytest.raises(GatewayError, match="cannot write to") as caught:
        OnlyOne(data)
    assert caught.value.code == "data_not_writable"
