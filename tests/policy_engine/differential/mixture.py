"""Chooses a generator for each program of a run, from its seed and number."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from tests.policy_engine.differential.calls import Calls
from tests.policy_engine.differential.generator import Generator
from tests.policy_engine.differential.grammar import Grammar
from tests.policy_engine.differential.ill_typed import OTHER, IllTyped
from tests.policy_engine.differential.joins import Joins
from tests.policy_engine.differential.meaningful import Meaningful
from tests.policy_engine.differential.program import Program


def _ill_typed(rng: random.Random) -> Program:
    return Program({"t.rego": IllTyped(rng).module(), "u.rego": OTHER}, {}, {"a": 1}, ["data.t"])


GENERATORS: Final[dict[str, Callable[[random.Random], Program]]] = {
    "generator": lambda rng: Generator(rng).program(),
    "meaningful": lambda rng: Meaningful(rng).program(),
    "calls": lambda rng: Calls(rng).program(),
    "grammar": lambda rng: Grammar(rng).program(),
    "ill_typed": _ill_typed,
    "joins": lambda rng: Joins(rng).program(),
}
MIXTURE: Final = (
    "generator",
    "calls",
    "grammar",
    "meaningful",
    "calls",
    "grammar",
    "generator",
    "calls",
    "joins",
    "ill_typed",
)
"""The default generators, in turn."""


def program(seed: int, number: int, kinds: tuple[str, ...] = MIXTURE) -> Program:
    """The program `number` of a run with this seed. It depends on nothing else."""
    kind = kinds[number % len(kinds)]
    return GENERATORS[kind](random.Random(f"{seed}/{number}"))
