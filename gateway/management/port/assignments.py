"""What commands ask about bindings and limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.registry.limit_states import LimitState
    from gateway.registry.records import BindingRecord, Effect, LimitRecord, SubjectKind


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBinding:
    """A bundle, and whom it judges."""

    kind: SubjectKind
    subject: str
    bundle: str
    effect: Effect
    pinned: str | None
    without_members: bool
    shadow: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitName:
    """Which limit of whom."""

    kind: SubjectKind
    subject: str
    name: str
    upstream: str = ""
    model: str = ""


class Bindings(Protocol):
    """Which bundles judge whom."""

    def bind(self, organization: str, new: NewBinding, *, other_effect: bool, reason: str) -> BindingRecord: ...

    def unbind(
        self, organization: str, kind: SubjectKind, subject: str, bundle: str, *, shadow: bool, reason: str
    ) -> BindingRecord: ...

    def listed(self, organization: str, agent: str | None) -> list[BindingRecord]: ...

    def missing_step(self, bundle: str) -> str:
        """What is to be done for a bundle that is not in force; empty if that is not known."""


class Limits(Protocol):
    """Limits that operators set."""

    def set(
        self,
        organization: str,
        limit: LimitName,
        value: int,
        *,
        mode: str | None,
        without_members: bool,
        reason: str,
    ) -> LimitRecord: ...

    def raise_(self, organization: str, limit: LimitName, value: int, for_ns: int, reason: str) -> LimitRecord: ...

    def remove(self, organization: str, limit: LimitName, reason: str) -> LimitRecord: ...

    def listed(self, organization: str) -> list[LimitRecord]: ...

    def states(self, organization: str, kind: SubjectKind, subject: str) -> list[LimitState]:
        """Of all limits that hold a subject back."""
