"""Every deterministic builtin against the real OPA: the same random operands, the same value text or error text.

The seed is fixed, so a failure repeats. `DIFFERENTIAL_ROUNDS` sets how many calls each builtin gets. A difference that
is meant is a row in `signatures.DIFFERENT_ON_PURPOSE`, with its reason.
"""

from __future__ import annotations

import os
import random
from typing import Final

import pytest

from policy_engine.errors import EVAL_CANCEL_ERROR
from policy_engine.values import Value, to_term
from tests.oracle import Oracle
from tests.policy_engine.builtins import generate as g
from tests.policy_engine.builtins.conftest import opa_outcome, verdict
from tests.policy_engine.builtins.signatures import DIFFERENT_ON_PURPOSE, SAME_CODE_ONLY, SIGNATURES

ROUNDS: Final = int(os.environ.get("DIFFERENTIAL_ROUNDS", "60"))


def _never(operands: list[Value]) -> bool:
    return False


def _code(result: str) -> str:
    return result.partition(":")[0] if result.startswith("eval_") else result


@pytest.mark.parametrize("name", SIGNATURES)
def test_same_as_opa(name: str, oracle: Oracle) -> None:
    rnd, differs = random.Random(name), DIFFERENT_ON_PURPOSE.get(name, _never)
    for _ in range(ROUNDS):
        operands = g.operands(rnd, SIGNATURES[name])
        got = verdict(name, *operands)
        if got.startswith(EVAL_CANCEL_ERROR):
            continue  # over the budget here; OPA would go on for minutes
        want = opa_outcome(oracle.call(name, *operands))
        if name in SAME_CODE_ONLY:
            got, want = _code(got), _code(want)
        assert got == want or differs(operands), f"{name}({', '.join(map(to_term, operands))})"
