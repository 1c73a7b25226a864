"""The approvals that policies demand, and whether the one that a call uses gives them (pure).

A `Requirement` is one object of `require_approval` with its defaults. The approval that a call uses is the member
`approval` of its input document, so a decision can be computed again from what the log keeps.
Specification: docs/explanation/approvals.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from gateway.audit.approval_scope import SINGLE, Scope
from gateway.frozen import frozen

MAX_REQUIREMENTS: Final = 16
MAX_BYTES: Final = 8 * 1024
"""The most that all requirements of a decision may have, as text in the log's entry."""


@frozen()
class Escalation:
    """Others who may approve, too, once a request has waited so long."""

    after_seconds: int
    teams: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()


@frozen()
class Requirement:
    """One thing that people must do before a call may run; equal ones of several bundles are one.

    With neither `teams` nor `operators` anybody may approve who may approve at all. `quorum` people approve, and
    `denials` deny. `four_eyes` says that whoever is responsible for the agent does not count.
    """

    reason: str
    teams: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    quorum: int = 1
    expires_seconds: int = 3600
    four_eyes: bool = False
    escalate: Escalation | None = None
    denials: int = 1
    scope: Scope = SINGLE
    # It is for going over limits: from `over_limit`, and not from `require_approval`.
    over_limit: bool = False

    def document(self) -> dict[str, Any]:
        """It as JSON values, without an escalation that there is not, and and without what is as usual."""
        found: dict[str, Any] = asdict(self)
        if self.escalate is None:
            del found["escalate"]
        if self.denials == 1:
            del found["denials"]
        if self.scope == SINGLE:
            del found["scope"]
        if not self.over_limit:
            del found["over_limit"]
        for each in (found, found.get("escalate", {})):
            each |= {name: list(each[name]) for name in ("teams", "operators") if name in each}
        return found


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


def escalation_times(demanded: Sequence[Mapping[str, Any]], created_ns: int) -> dict[int, int]:
    """When the requirements of a request go to others as well, by their numbers; those that never do are left out."""
    return {
        number: created_ns + int(each["escalate"]["after_seconds"]) * 10**9
        for number, each in enumerate(demanded)
        if "escalate" in each
    }
