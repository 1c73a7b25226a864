"""The results of tests: outcomes, cases of parametrised tests, and one test's result."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from policy_engine.errors import PolicyError
from policy_engine.location import Location
from policy_engine.testing.discovery import Test


class Outcome(enum.Enum):
    """PASS: the rule is true. FAIL: it has another value or is undefined. ERROR: its evaluation ended in an error."""

    PASSED = "PASS"
    FAILED = "FAIL"
    ERROR = "ERROR"
    SKIPPED = "SKIPPED"


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a parametrised test, or a group of cases, which passes if all of them do."""

    name: str
    passed: bool
    cases: Mapping[str, Case] = field(default_factory=dict)

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Case]]:
        """This case and all cases below it with their depths, sorted by name."""
        yield depth, self
        for name in sorted(self.cases):
            yield from self.cases[name].walk(depth + 1)


@dataclass(frozen=True, slots=True)
class Failure:
    """An expression that failed: its place and text, what is wrong with it, and what it saw, `input.x = 3`."""

    location: Location
    text: str
    what: str
    values: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        return f"`{self.text}` {self.what}"


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one test. `prints` are the lines it printed, `error` is set if the outcome is ERROR.

    `failures` are the expressions that made it fail: none if its body held, but its value is not true.
    """

    test: Test
    outcome: Outcome
    duration_ns: int = 0
    error: PolicyError | None = None
    prints: tuple[str, ...] = ()
    cases: Mapping[str, Case] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()

    def walk(self) -> Iterator[tuple[int, Case]]:
        for name in sorted(self.cases):
            yield from self.cases[name].walk()

    def counts(self) -> Iterator[Outcome]:
        """The outcomes to add to the totals: one, or one for each case."""
        if self.cases and self.outcome in (Outcome.PASSED, Outcome.FAILED):
            for _, case in self.walk():
                if not case.cases:
                    yield Outcome.PASSED if case.passed else Outcome.FAILED
        else:
            yield self.outcome
