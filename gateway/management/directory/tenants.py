"""Organizations and teams of a data directory, and emergency stops."""

from __future__ import annotations

import dataclasses

from gateway.identity.standing import Standing
from gateway.management.directory.change import change
from gateway.management.port.tenants import OrganizationUpdate
from gateway.processes import local
from gateway.registry import changes, emergency_stops, given_names, pages, teams, tenant_changes, tenants
from gateway.registry.database import Registry
from gateway.registry.given_names import GivenNameRecord
from gateway.registry.records import OrganizationRecord, OrganizationVersionRecord, StopRecord, TeamRecord


class DirectoryTeams:
    """`Teams` of `port/tenants.py`."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def create(self, organization: str, name: str, owner: str, description: str, reason: str) -> TeamRecord:
        return teams.create_team(
            self._registry,
            actor=local.actor(),
            organization=organization,
            name=name,
            owner=owner,
            description=description,
            reason=reason,
        )

    def update(
        self, organization: str, team: str, owner: str | None, description: str | None, reason: str
    ) -> TeamRecord | None:
        return teams.update_team(
            self._registry,
            actor=local.actor(),
            organization=organization,
            team=team,
            owner=owner,
            description=description,
            reason=reason,
        )

    def listed(self, organization: str) -> list[TeamRecord]:
        return teams.teams(self._registry, organization)

    def briefly(self, organization: str) -> list[TeamRecord]:
        return pages.teams(self._registry, organization)

    def show(self, organization: str, team: str) -> TeamRecord:
        return teams.team(self._registry, organization, team)

    def suspend(self, organization: str, team: str, reason: str) -> TeamRecord | None:
        return tenant_changes.suspend_team(
            self._registry, actor=local.actor(), organization=organization, team=team, reason=reason
        )

    def resume(self, organization: str, team: str, reason: str) -> TeamRecord | None:
        return tenant_changes.resume_team(
            self._registry, actor=local.actor(), organization=organization, team=team, reason=reason
        )

    def revoke(self, organization: str, team: str, reason: str) -> TeamRecord | None:
        return tenant_changes.revoke_team(
            self._registry, actor=local.actor(), organization=organization, team=team, reason=reason
        )


class DirectoryOrganizations:
    """`Organizations` of `port/tenants.py`."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def create(self, name: str, reason: str) -> str:
        return changes.create_organization(self._registry, actor=local.actor(), name=name, reason=reason)

    def listed(self) -> list[OrganizationRecord]:
        return tenants.organization_records(self._registry)

    def show(self, name: str) -> OrganizationRecord:
        return tenants.organization(self._registry, name)

    def versions(self, name: str) -> list[OrganizationVersionRecord]:
        return tenants.versions(self._registry, name)

    def standing(self, organization: str, team: str) -> Standing:
        return tenants.standing(self._registry, organization, team)

    def update(self, name: str, update: OrganizationUpdate, reason: str) -> OrganizationRecord | None:
        return tenant_changes.update_organization(
            self._registry, actor=local.actor(), organization=name, reason=reason, **dataclasses.asdict(update)
        )

    def suspend(self, name: str, reason: str) -> OrganizationRecord | None:
        return tenant_changes.suspend_organization(
            self._registry, actor=local.actor(), organization=name, reason=reason
        )

    def resume(self, name: str, reason: str) -> OrganizationRecord | None:
        return tenant_changes.resume_organization(self._registry, actor=local.actor(), organization=name, reason=reason)

    def revoke(self, name: str, reason: str) -> OrganizationRecord | None:
        return tenant_changes.revoke_organization(self._registry, actor=local.actor(), organization=name, reason=reason)

    def names(self, organization: str) -> list[GivenNameRecord]:
        return given_names.given(self._registry, organization)

    def give(self, organization: str, kind: str, name: str, audience: str, reason: str) -> GivenNameRecord:
        by = change(organization, reason)
        return given_names.give(self._registry, kind=kind, name=name, audience=audience, **by)

    def take(self, organization: str, given: str, reason: str) -> GivenNameRecord:
        return given_names.take(self._registry, given=given, **change(organization, reason))


class DirectoryStops:
    """`Stops` of `port/tenants.py`."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def begin(self, organization: str | None, reason: str) -> tuple[StopRecord, bool]:
        return emergency_stops.stop(self._registry, actor=local.actor(), organization=organization, reason=reason)

    def end(self, organization: str | None, reason: str) -> StopRecord | None:
        return emergency_stops.resume(self._registry, actor=local.actor(), organization=organization, reason=reason)

    def in_force(self) -> list[StopRecord]:
        return emergency_stops.stops(self._registry)
