"""The findings of a check or a failing test, as flat values that can cross a process boundary as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from policy_engine.errors import PolicyError
from policy_engine.location import NOWHERE, Location
from policy_engine.testing.results import Outcome, Result

TEST_FAILED = "test_failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and its place.

    `code` is a stable string, `message` one line. `severity` is `error`, `warning` or `note`; `hint` says what to do.
    `row` and `col` count from 1, 0 is unknown; `file` is "" for what has no place. `values` are lines with what the
    expression at this place saw: `input.role = "guest"`.
    """

    code: str
    message: str
    file: str = ""
    row: int = 0
    col: int = 0
    end_row: int = 0
    end_col: int = 0
    severity: str = "error"
    hint: str = ""
    values: tuple[str, ...] = ()

    @property
    def location(self) -> Location:
        return Location(self.file, self.row, self.col, self.end_row, self.end_col)

    @property
    def details(self) -> str:
        """The message, and a line for each value and the hint."""
        lines = [self.message, *(f"  {value}" for value in self.values)]
        return "\n".join([*lines, f"hint: {self.hint}"] if self.hint else lines)


def findings_of(error: PolicyError) -> list[Finding]:
    """Every error that an error combines."""
    return [
        Finding(single.code, single.message, *(single.location or NOWHERE), hint=single.hint) for single in error.errors
    ]


def findings_in(result: Result) -> Iterator[Finding]:
    """The reasons why a test did not pass: none if it passed or was skipped."""
    name = result.test.full_name
    if result.error is not None:
        where = result.error.location or result.test.location
        yield Finding(result.error.code, f"{name}: {result.error.message}", *where, hint=result.error.hint)
    elif result.outcome is Outcome.FAILED:
        for failure in result.failures:
            yield Finding(TEST_FAILED, f"{name}: {failure.message}", *failure.location, values=failure.values)
        if not result.failures:
            failed = [case.name for _, case in result.walk() if not case.passed and not case.cases]
            cases = f" for {', '.join(failed)}" if failed else ""
            yield Finding(TEST_FAILED, f"{name} is not true{cases}", *result.test.location)
