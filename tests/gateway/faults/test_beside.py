"""Others are served beside bodies of 32 MiB, several at a time: a small call waits for little work that is not its own.

How long a call waits depends on what else the machine does. So this counts the processor time that the worker has used
while the call waited: on an idle machine it can have waited no longer than that for the worker.
"""

from __future__ import annotations

import base64
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.gateway.faults.bodies import BODIES, PASSES, Hostile
from tests.gateway.faults.rig import Rig

pytestmark = pytest.mark.slow

AT_ONCE = 3
MORE = 0.1  # seconds of work that a call may wait for beside large bodies
ROOM = 3  # how many times as long everything may take on a busy machine, whose caches others use


def image() -> bytes:
    """A call with a picture of 12 MB."""
    picture = base64.b64encode(os.urandom(12_000_000))
    part = b'{"type":"image_url","image_url":{"url":"data:image/png;base64,%s"}}' % picture
    return b'{"model":"gpt-4o","messages":[{"role":"user","content":[%s]}]}' % part


CHOSEN = ("arrays as messages", "one string", "escapes", "backslashes", "a file", "a long value", "members")
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
