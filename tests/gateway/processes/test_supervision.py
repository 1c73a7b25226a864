"""What the supervisor does when a child cannot live or cannot be started: real processes, real limits of the kernel."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.gateway.dataplane.processes import Live, request


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One gateway for all tests of this module; each leaves it running."""
    found = Live(tmp_path_factory.mktemp("live"))
    try:
        found.start()
        yield found
    finally:
        found.close()


@contextmanager
def no_more_files(process: int) -> Iterator[None]:
    """The process can open nothing more, as when its user has too many files open."""
    soft, hard = resource.prlimit(process, resource.RLIMIT_NOFILE)
    resource.prlimit(process, resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.prlimit(process, resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("kind", ["data", "control"])
def test_a_child_that_cannot_be_started_for_a_while(live: Live, kind: str) -> None:
    """One failure ended the keeper in silence: the child was never restarted, and nobody was told."""
    assert live.up is not None
    up = live.up
    (child,) = live.children(kind)
    name = "control" if kind == "control" else "data 1"
    complaint = f"the {name} process cannot be restarted, trying again: cannot start the {name} process: "
    with no_more_files(up.process.pid):
        os.kill(child, signal.SIGKILL)
        live.wait(lambda: complaint in up.text)
        time.sleep(1.0)  # more attempts, which fail like the first and are not worth a line each
    live.wait(lambda: len(live.children(kind)) == 1 and f"the {name} process is running again" in up.text)
    assert up.text.count(complaint) == 1
    assert "Traceback" not in up.text


def test_a_stop_without_a_drain_time_closes_every_decision(live: Live) -> None:
    """Requests are cut off at once; the worker that served them still writes how they ended, also to a busy log."""
    with (live.data / "gateway.toml").open("a") as file:
        file.write("drain_timeout = 0\n")
    live.stop()
    live.start()
    before = len(live.entries())
    with ExitStack() as stack:
        for _ in range(12):
            each = stack.enter_context(socket.create_connection(("127.0.0.1", live.port)))
            each.sendall(request(live.key, "mock-delay-20000"))
        live.wait(lambda: live.rows("SELECT count(*) FROM open_decision") == [(12,)])
        lock = stack.enter_context((live.data / "audit.lock").open())
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Longer than the workers' grace used to be.
        held = threading.Timer(5.5, lambda: fcntl.flock(lock, fcntl.LOCK_UN))
        held.start()
        stack.callback(held.join)
        live.stop()
    closings = [entry for entry in live.entries()[before:] if entry["kind"] == "completed"]
    assert [each["outcome"] for each in closings] == ["gateway_stopped"] * 12
    live.check_log()
    live.start()
