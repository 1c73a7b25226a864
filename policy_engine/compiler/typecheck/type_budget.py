"""The work limit of type checking.

The type of a rule that is `[x, x]`, where x is `[y, y]` and so on, is small in memory, but doubles in size with every
rule when it is walked. OPA hangs when it compares or prints such types; here the policy is rejected.
"""

from __future__ import annotations

import threading
from typing import Final

from policy_engine.errors import TYPE_ERROR, PolicyError

STEPS: Final = 1_000_000
"""The number of types that may be visited in one policy, without those that its rules add."""
STEPS_PER_RULE: Final = 1000
"""The number that each rule adds; a usual rule takes a few dozen."""


class _Left(threading.local):
    steps = STEPS


_LEFT: Final = _Left()


def begin(rules: int) -> None:
    """Start the check of a policy with this many rules."""
    _LEFT.steps = STEPS + rules * STEPS_PER_RULE


def step() -> None:
    """Count one visited type. Raises `PolicyError` when the budget is used up."""
    _LEFT.steps -= 1
    if _LEFT.steps < 0:
        raise PolicyError(
            TYPE_ERROR,
            "the types of this policy are too large to be checked",
            hint="look for rules that repeat other rules' documents, which repeat others again",
        )
