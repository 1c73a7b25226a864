"""One child by itself: what it does without its supervisor, and when a part of it dies."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from gateway.http import sockets
from gateway.http.health import Health
from gateway.processes.background import Background
from gateway.processes.children import flags
from gateway.processes.creation import create_empty
from gateway.processes.data_worker import DataWorker
from gateway.settings import load_settings
from tests.gateway.dataplane.processes import environment


@pytest.fixture
def descriptor() -> Iterator[int]:
    """The socket that a worker is given to listen on."""
    with sockets.bind("127.0.0.1", 0, shared=True) as opened:
        yield opened.fileno()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The line that a supervisor writes to a worker's standard input."""
    data = tmp_path_factory.mktemp("child") / "data"
    create_empty(data)
    return json.dumps(flags(load_settings({"data": data, "port": 0}, env={}))).encode() + b"\n"


def test_what_a_worker_must_be_able_to_do_to_be_ready(settings: bytes) -> None:
    async def checks() -> set[str]:
        given = load_settings(json.loads(settings), env={})
        async with AsyncExitStack() as stack:
            worker = DataWorker(given, "boot_test", Background(asyncio.Event()), stack)
            await worker.open()
            health = worker.application()
            assert isinstance(health, Health)
            return set(health._checks)

    assert asyncio.run(checks()) == {"registry", "log", "policies", "requests"}


@pytest.mark.parametrize("written", [0, 10, None], ids=["no settings", "half of the settings", "all settings"])
def test_a_supervisor_that_dies_while_a_worker_starts(settings: bytes, written: int | None, descriptor: int) -> None:
    """The worker ends without a word: there is nobody to report to, and nothing is wrong with it."""
    reader, writer = os.pipe()
    os.close(reader)  # nobody reads its report
    with os.fdopen(writer, "wb") as stdout:
        done = subprocess.run(
            [sys.executable, "-m", "gateway.processes.app", "data", "boot_test", str(descriptor)],
            input=settings[:written],
            stdout=stdout,
            stderr=subprocess.PIPE,
            pass_fds=(descriptor,),
            env=environment(),
            timeout=300,
        )
    assert done.stderr.decode() == ""
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("module", "part", "work"),
    [
        ("gateway.dataplane.refusals", "Refusals", "async def run(self):"),
        ("gateway.policy.follower", "Follower", "async def run(self):"),
        ("gateway.audit.writer", "AuditWriter", "def _take(self):"),  # in a thread
    ],
)
def test_a_background_task_that_dies_ends_the_worker(
    settings: bytes, descriptor: int, module: str, part: str, work: str
) -> None:
    """A worker that follows no policies or can record nothing any more must not go on as if nothing had happened."""
    program = f"""
import sys
from {module} import {part} as Part
from gateway.processes import app

{work}
    raise RuntimeError("a defect")

setattr(Part, {work!r}.split("(")[0].split()[-1], {work.split("(")[0].split()[-1]})
sys.exit(app.main(["data", "boot_test", "{descriptor}"]))
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=(descriptor,),
        env=environment(),
    ) as child:
        assert child.stdin is not None
        child.stdin.write(settings)
        child.stdin.flush()  # and it stays open: the supervisor is alive
        assert child.wait(240) == 1
        assert child.stderr is not None
        [line] = child.stderr.read().splitlines()
    said = json.loads(line)
    assert said["level"] == "error"
    assert said["message"].endswith("ended, so this process stops")
    assert "RuntimeError: a defect" in said["traceback"]


@pytest.mark.parametrize(
    ("fails", "stopped", "failed"), [(True, True, True), (False, False, True), (False, True, False)]
)
async def test_which_end_of_a_background_task_is_a_failure(fails: bool, stopped: bool, failed: bool) -> None:
    async def work() -> None:
        if fails:
            raise RuntimeError("a defect")

    stop = asyncio.Event()
    if stopped:
        stop.set()
    background = Background(stop)
    await asyncio.wait({background.start("working", work())})
    assert background.failed == failed
    assert stop.is_set()
