"""Others are served beside bodies of 32 MiB, several at a time: a small call waits for little that is not its own.

The wait of a call depends on what else the machine does. So one test counts the processor time that the worker has
used while the call waited: on an idle machine it can have waited no longer than that for the worker. The other one
measures the wait itself, and beside the same bodies that of calls to a bare pass-through, on the same core and just
before: where the machine makes one of them wait, it does so to both.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.gateway.faults import waits
from tests.gateway.faults.bodies import BODIES, PASSES, Hostile
from tests.gateway.faults.rig import Rig
from tests.gateway.faults.waits import AT_ONCE, Server

pytestmark = pytest.mark.slow

MORE = 0.1  # seconds that a call may wait longer beside large bodies
TRIES = 3  # on a busy machine either of the two waits may be another one's fault
ROOM = 3  # how many times as long everything may take on a busy machine, whose caches others use


def image() -> bytes:
    """A call with a picture of 12 MB."""
    picture = base64.b64encode(os.urandom(12_000_000))
    part = b'{"type":"image_url","image_url":{"url":"data:image/png;base64,%s"}}' % picture
    return b'{"model":"gpt-4o","messages":[{"role":"user","content":[%s]}]}' % part


CHOSEN = ("arrays as messages", "one string", "escapes", "backslashes", "a file", "a long value", "members")
BUSY = ("one string", "backslashes")
CASES = [
    *(each for each in BODIES if each.name in CHOSEN),
    Hostile("an image", image, PASSES),
]


@pytest.mark.parametrize("hostile", CASES, ids=str)
def test_a_call_beside_large_bodies(rig: Rig, hostile: Hostile) -> None:
    assert rig.bystander is not None
    began = time.monotonic()
    rig.wait(lambda: rig.bystander is not None and rig.bystander.since(began).count > 20)
    alone = rig.bystander.since(began)
    data = rig.request(hostile.make(), f"Content-Type: {hostile.kind}", path=hostile.path)
    began = time.monotonic()
    with rig.bystander.watching(f"{AT_ONCE} times {hostile.name}", rig.figures), ThreadPoolExecutor(AT_ONCE) as pool:
        got = list(pool.map(rig.send, [data] * AT_ONCE))
    beside = rig.bystander.since(began)
    assert {each.status for each in got} <= hostile.statuses
    assert beside.work - alone.work <= ROOM * MORE, (alone, beside)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    with waits.servers(tmp_path_factory.mktemp("waits")) as found:
        yield found


@pytest.mark.parametrize("hostile", CASES, ids=str)
def test_a_call_waits_no_longer_than_at_a_bare_pass_through(
    servers: tuple[Server, Server], hostile: Hostile, tmp_path: Path
) -> None:
    compare(*servers, hostile, tmp_path, busy=False)


@pytest.mark.parametrize("hostile", [each for each in CASES if each.name in BUSY], ids=str)
def test_a_call_waits_no_longer_when_the_event_loop_is_busy_too(
    servers: tuple[Server, Server], hostile: Hostile, tmp_path: Path
) -> None:
    """The thread that writes the log gets the interpreter, although two others take it in turns."""
    compare(*servers, hostile, tmp_path, busy=True)


def compare(bare: Server, gateway: Server, hostile: Hostile, directory: Path, *, busy: bool) -> None:
    tried = []
    for _ in range(TRIES):
        _, beside_bare = waits.beside(bare, hostile, directory, busy=busy)
        alone, beside = waits.beside(gateway, hostile, directory, busy=busy)
        print(f"\n{hostile.name}: {beside}; alone {alone}; bare {beside_bare}")
        if beside.worst <= max(alone.worst + MORE, beside_bare.worst):
            return
        tried.append((beside, alone, beside_bare))
    pytest.fail(f"a call waited too long: {tried}")
