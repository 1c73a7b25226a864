"""Organizations and teams of a gateway elsewhere, and emergency stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

from gateway.errors import GatewayError
from gateway.identity.standing import Standing
from gateway.management.remote import documents
from gateway.management.remote.client import Client
from gateway.management.remote.members import Members
from gateway.registry.records import OrganizationRecord, OrganizationVersionRecord, StopRecord, TeamRecord

T = TypeVar("T")

_NOT_FOR_THIS_TOKEN: Final = ("token_scope", "forbidden")


class RemoteTeams:
    """`Teams` of `port.py`. The API names no agents and bundles of teams, so they are put together here."""

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
        members = Members(self._client, organization)
        return [self._with(each, members) for each in self._items(organization)]

    def briefly(self, organization: str) -> list[TeamRecord]:
        return _or(lambda: [_team(each) for each in self._items(organization)], [])

    def show(self, organization: str, team: str) -> TeamRecord:
        return self._whole(organization, self._client.get("teams", team, organization=organization).body)

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

    def _items(self, organization: str) -> list[dict[str, object]]:
        return self._client.items("teams", organization=organization)

    def _whole(self, organization: str, document: dict[str, object]) -> TeamRecord:
        return self._with(document, Members(self._client, organization, team=str(document["name"])))

    def _with(self, document: dict[str, object], members: Members) -> TeamRecord:
        found = _team(document)
        return replace(found, agents=members.of_team(found.name), bundles=members.bundles(found.name))


class RemoteOrganizations:
    """`Organizations` of `port.py`."""

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
        status = _or(lambda: self.show(organization).status, "active")
        nobody: set[str | None] = set()
        whose = _or(lambda: self._stopped(organization), nobody)
        stopped = "all" if None in whose else "organization" if organization in whose else None
        state = None if not team else _or(lambda: self._team_status(organization, team), None)
        return Standing(status, state, stopped)

    def suspend(self, name: str, reason: str) -> OrganizationRecord | None:
        return self._transition("suspend", name, reason)

    def resume(self, name: str, reason: str) -> OrganizationRecord | None:
        return self._transition("resume", name, reason)

    def revoke(self, name: str, reason: str) -> OrganizationRecord | None:
        return self._transition("revoke", name, reason)

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


class RemoteStops:
    """`Stops` of `port.py`."""

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


def _or(ask: Callable[[], T], otherwise: T) -> T:
    """What a question answers, or this if the token may not ask it."""
    try:
        return ask()
    except GatewayError as error:
        if error.code not in _NOT_FOR_THIS_TOKEN:
            raise
        return otherwise
