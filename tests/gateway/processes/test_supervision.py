"""The supervisor with children that cannot live or be started: real processes, real limits of the kernel."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest

from gateway.data_directory import DataDirectory
from gateway.processes.status import _process
from gateway.storage.liveness import LiveBoots
from gateway.telemetry import collection
from gateway.telemetry.catalogue import KINDS
from tests.gateway.dataplane.processes import Live, request

# Real processes, which take their time.
pytestmark = pytest.mark.slow


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


def test_a_worker_that_gives_no_sign_of_life_does_not_count(live: Live) -> None:
    """Its process is there, and `gateway status` said that all workers run."""
    data, (child,) = DataDirectory(live.data), live.children("data")
    [boot] = _process(data).alive
    os.kill(child, signal.SIGSTOP)
    live.wait(lambda: _process(data).silent == [boot])
    assert (boot in LiveBoots(data), _process(data).alive) == (True, [])
    os.kill(child, signal.SIGCONT)
    live.wait(lambda: (_process(data).silent, _process(data).alive) == ([], [boot]))


def test_a_worker_whose_loop_stands_still_is_replaced(live: Live) -> None:
    """It served nobody for as long as it stood still, and no signal reached it."""
    with (live.data / "gateway.toml").open("a") as file:
        file.write("stall_timeout = 3\n")
    live.stop()
    live.start()
    assert live.up is not None
    up, (child,) = live.up, live.children("data")
    # While the supervisor is stopped, nothing is missing: that is no time of the worker's.
    up.process.send_signal(signal.SIGSTOP)
    time.sleep(5)
    up.process.send_signal(signal.SIGCONT)
    time.sleep(2)
    assert live.children("data") == [child]
    os.kill(child, signal.SIGSTOP)
    live.wait(lambda: live.children("data") not in ([], [child]))
    assert "the event loop of the data 1 process has stood still for 3 s: it is killed and replaced" in up.text
    live.wait(lambda: "restarted" in up.text)
    [stalled] = [
        numbers[KINDS["worker"].offset("aig_workers_stalled")]
        for kind, numbers in collection.collect(live.data / "metrics", ()).blocks.items()
        if kind == ("worker", ())
    ]
    assert stalled == 1

    def is_served() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", live.port), timeout=240) as client:
                client.sendall(request(live.key))
                return client.recv(12) == b"HTTP/1.1 200"
        except ConnectionError:
            return False

    live.wait(is_served)


def test_a_stop_while_the_control_process_is_gone_signs_the_log(live: Live) -> None:
    """It was told to end while it was being restarted, and left the last entries without a signature."""
    assert live.up is not None
    with socket.create_connection(("127.0.0.1", live.port), timeout=240) as client:
        client.sendall(request(live.key))
        assert client.recv(12) == b"HTTP/1.1 200"
    (child,) = live.children("control")
    up = live.up
    ends = up.text.count("the control process ended")
    os.kill(child, signal.SIGKILL)
    live.wait(lambda: up.text.count("the control process ended") > ends)
    live.stop()
    live.check_log()
    live.start()


def test_a_stop_without_a_drain_time_closes_every_decision(live: Live) -> None:
    """Requests are cut off at once; the worker that served them still writes how they ended, also to a busy log."""
    with (live.data / "gateway.toml").open("a") as file:
        file.write("drain_timeout = 0\n")
    live.stop()
    live.start()
    before = len(live.entries())
    with ExitStack() as stack:
        for _ in range(12):
            each = stack.enter_context(socket.create_connection(("127.0.0.1", live.port), timeout=240))
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


def test_a_client_that_stops_reading_is_recorded_as_gone(live: Live) -> None:
    """Its request ends with its connection: the decision does not stay open for as long as the client likes."""
    with (live.data / "gateway.toml").open("a") as file:
        file.write("write_timeout = 1\n")
    live.stop()
    live.start()
    before = len(live.entries())
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.connect(("127.0.0.1", live.port))
        client.sendall(request(live.key, "mock-words-99999", stream=True))

        def closings() -> list[str]:
            return [entry["outcome"] for entry in live.entries()[before:] if entry["kind"] == "completed"]

        live.wait(closings)
        assert closings() == ["client_disconnected"]


# -- /healthz and /readyz


@pytest.fixture
def addresses(live: Live) -> dict[str, str]:
    """The addresses of the data plane and the control plane of the running gateway."""
    assert live.up is not None
    return {"data": live.base_url.removesuffix("/v1"), "control": live.up.line(r"control plane (\S+)\)")[1]}


def ready(address: str) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.get(f"{address}/readyz", timeout=120).json()
    assert httpx.get(f"{address}/healthz", timeout=120).status_code == 200, "it is alive all the same"
    return answer


@pytest.mark.parametrize("kind", ["data", "control"])
def test_a_process_that_cannot_record_is_not_ready(live: Live, addresses: dict[str, str], kind: str) -> None:
    """Health was ok while every request was refused, and nobody but a request found out."""
    (child,) = live.children(kind)
    live.wait(lambda: ready(addresses[kind]) == {"status": "ready"})
    soft, hard = resource.prlimit(child, resource.RLIMIT_FSIZE)
    resource.prlimit(child, resource.RLIMIT_FSIZE, (1, hard))  # as on a full disk
    try:
        live.wait(lambda: "log" in ready(addresses[kind]).get("failing", []))
    finally:
        resource.prlimit(child, resource.RLIMIT_FSIZE, (soft, hard))
    live.wait(lambda: ready(addresses[kind]) == {"status": "ready"})


@pytest.mark.parametrize("kind", ["data", "control"])
def test_a_process_that_cannot_read_the_registry_is_not_ready(live: Live, addresses: dict[str, str], kind: str) -> None:
    registry = live.data / "registry.db"
    moved = registry.with_name("moved.db")
    registry.rename(moved)
    try:
        live.wait(lambda: "registry" in ready(addresses[kind]).get("failing", []))
    finally:
        moved.rename(registry)
    live.wait(lambda: ready(addresses[kind]) == {"status": "ready"})


def test_a_worker_that_lacks_a_policy_is_not_ready(live: Live) -> None:
    live.stop()
    bundles = live.data / "bundles"
    moved = bundles.with_name("moved")
    bundles.rename(moved)
    try:
        live.start()
        assert ready(live.base_url.removesuffix("/v1")) == {"status": "unavailable", "failing": ["policies"]}
    finally:
        if bundles.exists():
            shutil.rmtree(bundles)
        moved.rename(bundles)
    live.wait(lambda: ready(live.base_url.removesuffix("/v1")) == {"status": "ready"})
