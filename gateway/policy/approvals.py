"""The approvals that policies demand, and whether the one that a call uses gives them (pure).

A `Requirement` is one object of `require_approval` with its defaults. The approval that a call uses is the member
`approval` of its input document, so a decision can be computed again from what the log keeps.
Specification: docs/explanation/approvals.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final

from gateway.frozen import frozen

MAX_REQUIREMENTS: Final = 16
MAX_BYTES: Final = 8 * 1024
"""The most that all requirements of a decision may have, as text in the log's entry."""


@frozen()
class Requirement:
    """One thing that people must do before a call may run; equal ones of several bundles are one.

    With neither `teams` nor `operators` anybody may approve who may approve at all. `four_eyes` says that whoever is
    responsible for the agent does not count.
    """

    reason: str
    teams: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    quorum: int = 1
    expires_seconds: int = 3600
    four_eyes: bool = False

    def document(self) -> dict[str, Any]:
        """It as JSON values, with all members."""
        found: dict[str, Any] = asdict(self)
        return found | {"teams": list(self.teams), "operators": list(self.operators)}


def ordered(requirements: Iterable[Requirement]) -> tuple[Requirement, ...]:
    """Distinct ones in an order that does not depend on bundles or bindings."""
    return tuple(sorted(set(requirements), key=lambda each: str(each.document())))


def documents(requirements: Iterable[Requirement]) -> list[dict[str, Any]]:
    return [each.document() for each in requirements]


def are_given(requirements: Iterable[Requirement], approval: object) -> bool:
    """True if an approval was given for all of these; `approval` is the member of the input document."""
    if not isinstance(approval, Mapping):
        return False
    given = approval.get("requirements")
    return isinstance(given, list) and all(each in given for each in documents(requirements))
