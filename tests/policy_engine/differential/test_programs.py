"""Random programs, the same ones each time: OPA and this engine agree, in both error modes, however code is generated.

`python -m tests.policy_engine.differential.run` looks at as many others as there is time for. A difference in the
order of evaluation is no disagreement, if another order of the same program shows that it is the cause.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.oracle import OracleUnavailable
from tests.policy_engine.differential.examine import Oracles, examine
from tests.policy_engine.differential.mixture import program
from tests.policy_engine.differential.shrink import sources

SEED = 20
PROGRAMS = 40
"""In a batch."""
BATCHES = [0, *(pytest.param(batch, marks=pytest.mark.slow) for batch in range(1, 6))]


@pytest.fixture(scope="module")
def oracles() -> Iterator[Oracles]:
    try:
        running = Oracles()
    except OracleUnavailable as error:
        pytest.skip(str(error))
    yield running
    running.close()


@pytest.mark.parametrize("batch", BATCHES)
def test_opa_and_the_engine_agree(batch: int, oracles: Oracles) -> None:
    evaluated = 0
    for number in range(batch * PROGRAMS, (batch + 1) * PROGRAMS):
        found = examine(program(SEED, number), number, oracles)
        evaluated += found.evaluated
        for small, difference in found.unexplained:
            pytest.fail(f"seed {SEED}/{number}\n{sources(small)}\n{difference}")
    assert oracles.lost == 0
    assert evaluated > 0.9 * PROGRAMS, "most programs are to have something that can be evaluated"
