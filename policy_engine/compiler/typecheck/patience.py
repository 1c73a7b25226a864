"""How much looking at types there may be: rules can have types whose parts double with every rule.

A type that is `[x, x]`, where x is `[y, y]` and so on, is small in memory and endless to look at, and OPA hangs on what
it has to compare or to write of such types. Here that is an error.
"""

from __future__ import annotations

import threading
from typing import Final

from policy_engine.errors import TYPE_ERROR, PolicyError

STEPS: Final = 1_000_000
"""Types that may be looked at in a policy, and again for each of its rules; usual rules take a few dozen."""
STEPS_PER_RULE: Final = 1000


class _Left(threading.local):
    steps = STEPS


_LEFT: Final = _Left()


def begin(rules: int) -> None:
    """From here on a policy of so many rules is checked."""
    _LEFT.steps = STEPS + rules * STEPS_PER_RULE


def step() -> None:
    """One more type is looked at. Raises `PolicyError`."""
    _LEFT.steps -= 1
    if _LEFT.steps < 0:
        raise PolicyError(
            TYPE_ERROR,
            "the types of this policy are too large to be checked",
            hint="look for rules that repeat other rules' documents, which repeat others again",
        )
