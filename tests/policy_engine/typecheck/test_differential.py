"""OPA and this engine refuse the same random modules, with the same codes.

A short run; `python -m tests.policy_engine.differential.refusals` makes it as long as you like.
"""

from __future__ import annotations

import random

from tests.oracle import Oracle
from tests.policy_engine.differential.compare import Engine
from tests.policy_engine.differential.ill_typed import IllTyped
from tests.policy_engine.differential.program import Program
from tests.policy_engine.differential.refusals import OTHER, disagreement, opa_says

PROGRAMS = 250


def test_random_modules(oracle: Oracle) -> None:
    refused = 0
    for number in range(PROGRAMS):
        source = IllTyped(random.Random(f"test/{number}")).module()
        modules = {"t.rego": source, "u.rego": OTHER}
        opa = opa_says(modules, oracle)
        refused += bool(opa)
        assert not (found := disagreement(opa, Engine(Program(modules, {}, {})))), (
            f"test/{number}: {found}\n{source}\n{opa}"
        )
    assert PROGRAMS // 4 < refused < PROGRAMS, "the generator makes only one kind of modules"
