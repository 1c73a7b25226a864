"""Every hostile body of 32 MiB is answered in time and within memory, and others are served meanwhile."""

from __future__ import annotations

import time

import pytest

from tests.gateway.faults.bodies import BODIES, SIZE, Hostile
from tests.gateway.faults.rig import Rig

pytestmark = pytest.mark.slow

MEMORY = 8 * SIZE


@pytest.mark.parametrize("hostile", BODIES, ids=str)
def test_a_body(rig: Rig, hostile: Hostile) -> None:
    assert rig.bystander is not None
    raw = hostile.make()
    assert SIZE * 0.98 <= len(raw) <= SIZE
    data = rig.request(raw, f"Content-Type: {hostile.kind}", path=hostile.path)
    del raw
    rig.forget_peak()
    base, seen, decided = rig.peak(), rig.faulty.seen.total(), _decided(rig)
    began = time.monotonic()
    with rig.bystander.watching(hostile.name, rig.figures):
        got = rig.send(data)
    rig.figures[-1] += f"; {got.status} in {time.monotonic() - began:.1f} s, memory +{(rig.peak() - base) / 1e6:.0f} MB"
    assert got.status in hostile.statuses, got.beginning[:500]
    assert rig.faulty.seen.total() - seen == (got.status == 200), "a refused body goes nowhere"
    assert _decided(rig) - decided == (got.status == 200), "nothing is forwarded without a record"
    assert rig.peak() - base < MEMORY
    assert rig.call("").status == 200


def _decided(rig: Rig) -> int:
    return sum(1 for each in rig.entries() if each["kind"] == "decided" and each["upstream"] == "faulty")
