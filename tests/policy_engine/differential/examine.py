"""Compares one program: acceptance, values, errors and builds; and explains its differences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.oracle import Oracle
from tests.policy_engine.differential.compare import VARIANTS, Difference, Engine, differences, generated_with
from tests.policy_engine.differential.known import BUDGET, beyond_the_budget, reason
from tests.policy_engine.differential.order import proof
from tests.policy_engine.differential.program import Program
from tests.policy_engine.differential.repair import repaired


class Oracles:
    """OPA in both modes. A process that dies or hangs is replaced, and the program it died of is counted as lost."""

    def __init__(self) -> None:
        self.lost = 0
        self._running: dict[bool, Oracle] = {}
        for strict in (True, False):
            self._running[strict] = Oracle(strict=strict)

    def __getitem__(self, strict: bool) -> Oracle:
        return self._running[strict]

    @contextmanager
    def survived(self) -> Iterator[None]:
        """Replace the oracles if one dies in this block."""
        try:
            yield
        except (RuntimeError, BrokenPipeError):
            self.lost += 1
            self.close()
            self.__dict__.update(_running={strict: Oracle(strict=strict) for strict in (True, False)})

    def close(self) -> None:
        for oracle in self._running.values():
            oracle.close()


@dataclass(slots=True)
class Found:
    """The unexplained differences with their programs, and the explanations of the others."""

    unexplained: list[tuple[Program, Difference]] = field(default_factory=list)
    explained: int = 0
    """The number of differences due to the order of evaluation."""
    known: list[str] = field(default_factory=list)
    """The names of the documented differences found."""
    evaluated: int = 0

    def add(self, program: Program, difference: Difference, oracle: Oracle) -> None:
        """A difference that order does not explain."""
        if name := reason(program, difference, oracle):
            self.known.append(name)
        else:
            self.unexplained.append((program, difference))


def examine(program: Program, number: int, oracles: Oracles) -> Found:
    """Compare a program. If it is refused, also compare the rest without the refused rules."""
    found = Found()
    with oracles.survived(), generated_with(**VARIANTS[number % len(VARIANTS)]):
        engine = Engine(program)
        if engine.codes:
            for item in differences(program, oracles[True], engine, strict=True):
                found.add(program, item, oracles[True])
            rest = repaired(engine)
            if rest is None:
                return found
            program, engine = rest.program, rest
        found.evaluated = 1
        for strict in (True, False):
            for item in differences(program, oracles[strict], engine, strict=strict):
                if beyond_the_budget(program, item):
                    found.known.append(BUDGET)
                elif proof(program, item, oracles[strict]) is not None:
                    found.explained += 1
                else:
                    found.add(program, item, oracles[strict])
    return found
