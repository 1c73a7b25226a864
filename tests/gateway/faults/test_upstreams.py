"""Every fault of an upstream: bounded time, the right answer, the right closing, one request upstream, no restart."""

from __future__ import annotations

import time

import pytest

from tests.gateway.faults.acts import ACTS, ANSWER
from tests.gateway.faults.cases import CASES, Case
from tests.gateway.faults.rig import Rig

pytestmark = pytest.mark.slow

MEMORY = 100_000_000
"""The most that one answer may take, whatever an upstream sends."""
# The tests of the others are in `test_resilience.py` and `test_departures.py`.
ELSEWHERE = {"closed_when_asked", "flaky", "paced"}


def test_every_act_has_its_outcome() -> None:
    assert {case.name for case in CASES} == set(ACTS) - ELSEWHERE


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_fault(rig: Rig, case: Case) -> None:
    rig.forget_peak()
    base, before = rig.peak(), rig.faulty.seen[case.name]
    assert rig.bystander is not None
    members = {"stream": True, "stream_options": {"include_usage": True}} if case.streamed else {}
    began = time.monotonic()
    with rig.bystander.watching(case.name, rig.figures):
        got = rig.call(case.name, **members)
    rig.figures[-1] += f"; {time.monotonic() - began:.1f} s, memory +{(rig.peak() - base) / 1e6:.0f} MB"
    closing = rig.closing(got.headers["x-decision-id"])
    told = (got.status, got.complete, closing["outcome"], closing.get("timeout"))
    assert told == (case.status, case.complete, case.outcome, case.timeout), (
        closing.get("detail"),
        got.beginning[:300],
    )
    assert got.size >= case.least
    assert closing["status"] == case.status
    assert rig.faulty.seen[case.name] == before + 1, "what may have been carried out is sent once"
    assert rig.peak() - base < MEMORY
    assert b"smuggled" not in got.beginning
    # The gateway goes on, over whatever connection it has kept.
    time.sleep(case.pause)
    after = rig.call("")
    assert (after.status, after.beginning) == (200, ANSWER)
