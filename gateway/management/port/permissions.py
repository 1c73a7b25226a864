"""What commands ask about permissions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.control.permission_records import AskedCall, Permission
    from gateway.management.port.activation import InForce


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Calls that are asked about: all combinations of these. Without an action a chat is meant."""

    models: Sequence[str]
    actions: Sequence[str] | None = None
    tools: Sequence[str] | None = None
    upstream: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PermissionsAt:
    """The answer: for every agent and every call, by agent and then by call; `call` of each counts in `calls`."""

    at_ns: int
    activation: InForce | None
    calls: list[AskedCall]
    permissions: list[Permission]
    not_considered: Sequence[str]


class Permissions(Protocol):
    """Who could make a call."""

    def asked(self, organization: str, agent: str | None, question: Question, at_ns: int | None) -> PermissionsAt:
        """What the policies say of one agent, or of all (None), now or at a time."""
