"""Organizations and teams, and emergency stops."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from gateway.errors import GatewayError
from gateway.identity.standing import Standing
from gateway.management import documents
from gateway.management.client import Client
from gateway.management.permitted import unless_forbidden
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


class Teams:
    def __init__(self, client: Client) -> None:
        self._client = client

    def create(self, organization: str, name: str, owner: str, description: str, reason: str) -> TeamRecord:
        body = {"name": name, "owner": owner, "description": description, "reason": reason}
        reply = self._client.send("POST", "teams", body=body, organization=organization)
        return self._whole(organization, reply.body)

    def update(
        self, organization: str, team: str, owner: str | None, description: str | None, reason: str
    ) -> TeamRecord | None:
        given = {"owner": owner, "description": description}
        body = {name: value for name, value in given.items() if value is not None} | {"reason": reason}
        before = self._client.get("teams", team, organization=organization).body["version"]
        # What is given is meant whatever the team is, as on the gateway's machine.
        reply = self._client.send("PATCH", "teams", team, body=body, match="*", organization=organization)
        return None if reply.body["version"] == before else self._whole(organization, reply.body)

    def listed(self, organization: str) -> list[TeamRecord]:
        return documents.records(TeamRecord, self._client.items("teams", organization=organization, members="true"))

    def briefly(self, organization: str) -> list[TeamRecord]:
        return unless_forbidden(
            lambda: [_team(each) for each in self._client.items("teams", organization=organization)], []
        )

    def show(self, organization: str, team: str) -> TeamRecord:
        found = self._client.get("teams", team, organization=organization, members="true")
        return documents.record(TeamRecord, found.body)

    def suspend(self, organization: str, team: str, reason: str) -> TeamRecord | None:
        return self._transition("suspend", organization, team, reason)

    def resume(self, organization: str, team: str, reason: str) -> TeamRecord | None:
        return self._transition("resume", organization, team, reason)

    def revoke(self, organization: str, team: str, reason: str) -> TeamRecord | None:
        return self._transition("revoke", organization, team, reason)

    def _transition(self, verb: str, organization: str, team: str, reason: str) -> TeamRecord | None:
        before = self._client.get("teams", team, organization=organization).body["version"]
        reply = self._client.send("POST", "teams", team, verb, body={"reason": reason}, organization=organization)
        return None if reply.body["version"] == before else _team(reply.body)

    def _whole(self, organization: str, document: dict[str, object]) -> TeamRecord:
        """A team that has been changed, with its agents and bundles if the token may read these."""
        name = str(document["name"])
        return unless_forbidden(lambda: self.show(organization, name), _team(document))


class Organizations:
    def __init__(self, client: Client) -> None:
        self._client = client

    def create(self, name: str, reason: str) -> str:
        made: str = self._client.send("POST", "organizations", body={"name": name, "reason": reason}).body["id"]
        return made

    def listed(self) -> list[OrganizationRecord]:
        return documents.records(OrganizationRecord, self._client.items("organizations"))

    def show(self, name: str) -> OrganizationRecord:
        return documents.record(OrganizationRecord, self._client.get("organizations", name).body)

    def versions(self, name: str) -> list[OrganizationVersionRecord]:
        return documents.records(OrganizationVersionRecord, self._client.items("organizations", name, "versions"))

    def standing(self, organization: str, team: str) -> Standing:
        """What the token may not read counts as in order: it is only a remark that is missing then."""
        status = unless_forbidden(lambda: self.show(organization).status, "active")
        nobody: set[str | None] = set()
        whose = unless_forbidden(lambda: self._stopped(organization), nobody)
        stopped = "all" if None in whose else "organization" if organization in whose else None
        state = None if not team else unless_forbidden(lambda: self._team_status(organization, team), None)
        return Standing(status, state, stopped)

    def update(self, name: str, update: OrganizationUpdate, reason: str) -> OrganizationRecord | None:
        given = {member: value for member, value in dataclasses.asdict(update).items() if value is not None}
        for days in {"review_days", "suspend_after_days"} & given.keys():
            given[days] = given[days] or None
        before = self.show(name)
        # What is given is meant whatever the organization is, as on the gateway's machine.
        reply = self._client.send("PATCH", "organizations", name, body=given | {"reason": reason}, match="*")
        after = documents.record(OrganizationRecord, reply.body)
        return None if after.version == before.version else after

    def suspend(self, name: str, reason: str) -> OrganizationRecord | None:
        return self._transition("suspend", name, reason)

    def resume(self, name: str, reason: str) -> OrganizationRecord | None:
        return self._transition("resume", name, reason)

    def revoke(self, name: str, reason: str) -> OrganizationRecord | None:
        return self._transition("revoke", name, reason)

    def names(self, organization: str) -> list[GivenNameRecord]:
        nothing: list[dict[str, Any]] = []
        found = unless_forbidden(lambda: self._client.items("organizations", organization, "names"), nothing)
        return documents.records(GivenNameRecord, found)

    def give(self, organization: str, kind: str, name: str, audience: str, reason: str) -> GivenNameRecord:
        body = {"kind": kind, "name": name, "audience": audience, "reason": reason}
        reply = self._client.send("POST", "organizations", organization, "names", body=body)
        return documents.record(GivenNameRecord, reply.body)

    def take(self, organization: str, given: str, reason: str) -> GivenNameRecord:
        reply = self._client.send("DELETE", "organizations", organization, "names", given, reason=reason)
        return documents.record(GivenNameRecord, reply.body)

    def _transition(self, verb: str, name: str, reason: str) -> OrganizationRecord | None:
        before = self.show(name)
        reply = self._client.send("POST", "organizations", name, verb, body={"reason": reason})
        after = documents.record(OrganizationRecord, reply.body)
        return None if after.version == before.version else after

    def _stopped(self, organization: str) -> set[str | None]:
        return {each["organization"] for each in self._client.items("stops", organization=organization)}

    def _team_status(self, organization: str, team: str) -> str | None:
        try:
            found: str = self._client.get("teams", team, organization=organization).body["status"]
        except GatewayError as error:
            if error.code != "unknown_team":
                raise
            return None
        return found


class Stops:
    def __init__(self, client: Client) -> None:
        self._client = client

    def begin(self, organization: str | None, reason: str) -> tuple[StopRecord, bool]:
        before = {each.id for each in self.in_force(organization)}
        body = {"reason": reason, "everybody": organization is None}
        reply = self._client.send("POST", "stops", body=body, organization=organization)
        stop = documents.record(StopRecord, reply.body)
        return stop, stop.id not in before

    def end(self, organization: str | None, reason: str) -> StopRecord | None:
        for each in self.in_force(organization):
            if each.organization == organization:
                body = {"reason": reason}
                reply = self._client.send("POST", "stops", each.id, "resume", body=body, organization=organization)
                return documents.record(StopRecord, reply.body)
        return None

    def in_force(self, organization: str | None = None) -> list[StopRecord]:
        found = documents.records(StopRecord, self._client.items("stops", organization=organization))
        return sorted(found, key=lambda each: each.organization or "")


def _team(document: dict[str, object]) -> TeamRecord:
    return documents.record(TeamRecord, document | {"agents": [], "bundles": []})
