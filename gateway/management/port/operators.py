"""What commands ask about operators and their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.registry.records import NewToken, OperatorRecord, OperatorTokenRecord, OperatorVersionRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOperatorToken:
    """Whose a new token is, how long it works, and what it is for; None: for ever, and for everything."""

    operator: str
    lifetime_ns: int | None = None
    scopes: Sequence[str] | None = None


class Operators(Protocol):
    """Who may use the control API: operators of an organization or of the whole gateway (None), by name or id."""

    def add(self, organization: str | None, name: str, role: str, reason: str) -> OperatorRecord: ...

    def listed(self, organization: str | None) -> list[OperatorRecord]:
        """By name; without an organization all that may be seen, also those of organizations."""

    def show(self, organization: str | None, operator: str) -> OperatorRecord: ...

    def versions(self, organization: str | None, operator: str) -> list[OperatorVersionRecord]: ...

    def update(self, organization: str | None, operator: str, role: str, reason: str) -> OperatorRecord | None: ...

    def revoke(self, organization: str | None, operator: str, reason: str) -> OperatorRecord | None: ...

    def readmit(self, organization: str | None, operator: str, reason: str) -> OperatorRecord | None:
        """Let the person of a revoked operator log in again; None if no login is barred by it."""

    def tokens(self, organization: str | None, operator: str) -> list[OperatorTokenRecord]: ...

    def create_token(self, organization: str | None, new: NewOperatorToken, reason: str) -> NewToken: ...

    def revoke_token(self, organization: str | None, token: str, reason: str) -> OperatorTokenRecord | None:
        """End a token, named by its id or the beginning of its text."""
