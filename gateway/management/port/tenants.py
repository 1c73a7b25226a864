"""What commands ask about organizations and teams, and emergency stops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.identity.standing import Standing
    from gateway.registry.given_names import GivenNameRecord
    from gateway.registry.records import OrganizationRecord, OrganizationVersionRecord, StopRecord, TeamRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationUpdate:
    """What to change of an organization; None leaves a member as it is, and 0 days are for never.

    `suspend_now` says that agents may be suspended at once, which nobody has reviewed in time.
    """

    review_days: int | None = None
    suspend_after_days: int | None = None
    zone: str | None = None
    suspend_now: bool = False


class Organizations(Protocol):
    """Organizations, each named by its name."""

    def create(self, name: str, reason: str) -> str:
        """The id of the new one."""

    def listed(self) -> list[OrganizationRecord]: ...

    def show(self, name: str) -> OrganizationRecord: ...

    def versions(self, name: str) -> list[OrganizationVersionRecord]: ...

    def standing(self, organization: str, team: str) -> Standing:
        """What decides over the agents of a team (or of none: empty), beside their own states."""

    def update(self, name: str, update: OrganizationUpdate, reason: str) -> OrganizationRecord | None: ...

    def suspend(self, name: str, reason: str) -> OrganizationRecord | None: ...

    def resume(self, name: str, reason: str) -> OrganizationRecord | None: ...

    def revoke(self, name: str, reason: str) -> OrganizationRecord | None: ...

    def names(self, organization: str) -> list[GivenNameRecord]:
        """The trust domains and issuers that it was given."""

    def give(self, organization: str, kind: str, name: str, audience: str, reason: str) -> GivenNameRecord: ...

    def take(self, organization: str, given: str, reason: str) -> GivenNameRecord:
        """Take one back, by its id."""


class Teams(Protocol):
    """Teams of an organization, each named by its name."""

    def create(self, organization: str, name: str, owner: str, description: str, reason: str) -> TeamRecord: ...

    def update(
        self, organization: str, team: str, owner: str | None, description: str | None, reason: str
    ) -> TeamRecord | None: ...

    def listed(self, organization: str) -> list[TeamRecord]:
        """With their agents and bundles, by name."""

    def briefly(self, organization: str) -> list[TeamRecord]:
        """Without their agents and bundles, by name."""

    def show(self, organization: str, team: str) -> TeamRecord: ...

    def suspend(self, organization: str, team: str, reason: str) -> TeamRecord | None: ...

    def resume(self, organization: str, team: str, reason: str) -> TeamRecord | None: ...

    def revoke(self, organization: str, team: str, reason: str) -> TeamRecord | None: ...


class Stops(Protocol):
    """Emergency stops: of an organization, or of all (None)."""

    def begin(self, organization: str | None, reason: str) -> tuple[StopRecord, bool]:
        """The stop, and whether it has begun now."""

    def end(self, organization: str | None, reason: str) -> StopRecord | None: ...

    def in_force(self) -> list[StopRecord]: ...
