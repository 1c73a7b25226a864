"""Random programs, the same ones each time: OPA and this engine agree, in both error modes, however code is generated.

`python -m tests.policy_engine.differential.run` looks at as many others as there is time for. What only the order of
evaluation decides is no disagreement: whether an error surfaces before a result makes it unnecessary.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from policy_engine.codegen import body, index
from tests.oracle import Oracle, OracleUnavailable, both_modes
from tests.policy_engine.differential.compare import ask, differences
from tests.policy_engine.differential.generator import Generator

SEEDS = range(10)
PROGRAMS = 30
"""For each seed."""


@pytest.fixture(scope="module")
def oracles() -> Iterator[dict[bool, Oracle]]:
    """strict → OPA in that mode."""
    try:
        with both_modes() as (strict, default):
            yield {True: strict, False: default}
    except OracleUnavailable as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("seed", SEEDS)
def test_opa_and_the_engine_agree(seed: int, oracles: dict[bool, Oracle], monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(PROGRAMS):
        program = Generator(random.Random(f"{seed}/{number}")).program()
        for strict, oracle in oracles.items():
            answers = ask(program, oracle)
            for fewest, depth in ((index.FEWEST, body.MAX_DEPTH), (2, 2)):
                with monkeypatch.context() as patch:
                    patch.setattr(index, "FEWEST", fewest)
                    patch.setattr(body, "MAX_DEPTH", depth)
                    found = [item for item in differences(program, answers, strict=strict) if not item.order]
                assert not found, f"seed {seed}/{number}\n{program.modules['t.rego']}\n{program.input}\n{found}"
