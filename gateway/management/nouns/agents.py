"""Agents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import GatewayError
from gateway.management import documents
from gateway.management.client import Client
from gateway.registry.records import (
    AgentRecord,
    AgentVersionRecord,
    BindingRecord,
    BundleRecord,
    KeyRecord,
    LimitRecord,
)

if TYPE_CHECKING:
    from gateway.dataplane.key_uses import Uses
    from gateway.registry.agent_updates import AgentUpdate
    from gateway.registry.as_of import AgentAt

_AS_THEY_ARE: Final = (
    "name",
    "owner",
    "team",
    "environment",
    "description",
    "purpose",
    "model_family",
    "parent",
    "keep_content",
    "retention_days",
)
"""The members of a change that a body has under the same names."""

_ATTEMPTS: Final = 5
"""How often a change is tried while others change the same agent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAgent:
    """An agent to register."""

    name: str
    owner: str = ""
    team: str = ""
    environment: str = "dev"
    capabilities: Sequence[str] = ()
    labels: dict[str, str] = field(default_factory=dict)
    description: str = ""
    purpose: str = ""
    model_family: str = ""
    parent: str | None = None
    expires_ns: int | None = None
    review_days: int | None = None
    replace_revoked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """An agent with all that belonged to it at a time. `uses` is known of now only."""

    found: AgentAt
    versions: list[AgentVersionRecord]
    parent_name: str
    activation: InForce | None
    uses: Uses


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """The activation that was in force at a time."""

    id: str
    commit: str


class Agents:
    def __init__(self, client: Client) -> None:
        self._client = client

    def register(self, organization: str, new: NewAgent, reason: str) -> AgentRecord:
        body = {
            "name": new.name,
            "owner": new.owner,
            "team": new.team,
            "environment": new.environment,
            "capabilities": list(new.capabilities),
            "labels": new.labels,
            "description": new.description,
            "purpose": new.purpose,
            "model_family": new.model_family,
            "parent": new.parent,
            "expires": documents.time_text(new.expires_ns),
            "review_days": new.review_days,
            "reason": reason,
            **({"replace_revoked": True} if new.replace_revoked else {}),
        }
        reply = self._client.send("POST", "agents", body=body, organization=organization)
        return documents.record(AgentRecord, reply.body)

    def listed(
        self, organization: str, at_ns: int | None, limit: int | None, after: str | None
    ) -> tuple[Sequence[AgentRecord], bool]:
        paged = limit is not None or after is not None
        kind = AgentRecord if at_ns is None else AgentVersionRecord
        at = documents.time_text(at_ns)
        found: list[AgentRecord] = []
        following = None
        for page in self._client.pages("agents", most=limit, organization=organization, at=at, after=after):
            found += documents.records(kind, page["items"])
            following = page["next"]
        return found if paged else sorted(found, key=lambda each: (each.name, each.id)), following is not None

    def overview(self, organization: str, agent: str, at_ns: int | None) -> Overview:
        from gateway.dataplane.key_uses import Uses
        from gateway.identity.standing import Standing
        from gateway.registry.as_of import AgentAt, BindingAt

        at = documents.time_text(at_ns)
        body = self._client.get("agents", agent, "overview", organization=organization, at=at).body
        bindings = [
            BindingAt(
                binding=documents.record(BindingRecord, each["binding"]),
                revision=None if each["revision"] is None else documents.record(BundleRecord, each["revision"]),
            )
            for each in body["bindings"]
        ]
        found = AgentAt(
            agent=documents.record(AgentVersionRecord, body["agent"]),
            team_owner=body["team_owner"],
            standing=documents.record(Standing, body["standing"]),
            keys=documents.records(KeyRecord, body["keys"]),
            bindings=bindings,
            limits=documents.records(LimitRecord, body["limits"]),
        )
        uses = Uses()
        for each in body["keys"]:
            if each["last_used"] is not None:
                uses[each["id"]] = documents.nanoseconds(each["last_used"])
        return Overview(
            found=found,
            versions=self.versions(organization, found.agent.id),
            parent_name=body["parent_name"],
            activation=None if body["activation"] is None else documents.record(InForce, body["activation"]),
            uses=uses,
        )

    def versions(self, organization: str, agent: str) -> list[AgentVersionRecord]:
        found = self._client.items("agents", agent, "versions", organization=organization)
        return documents.records(AgentVersionRecord, found)

    def update(self, organization: str, agent: str, update: AgentUpdate, reason: str) -> AgentRecord | None:
        for attempt in range(1, _ATTEMPTS + 1):
            seen = self._client.get("agents", agent, organization=organization)
            before = documents.record(AgentRecord, seen.body)
            try:
                reply = self._client.send(
                    "PATCH",
                    "agents",
                    before.id,
                    body=_patch(update, before) | {"reason": reason},
                    match=seen.tag,
                    organization=organization,
                )
            except GatewayError as error:
                # What is added and removed is meant of whatever the agent has.
                if error.code != "changed_meanwhile" or attempt == _ATTEMPTS:
                    raise
                continue
            after = documents.record(AgentRecord, reply.body)
            return None if after.version == before.version else after
        raise AssertionError("the last attempt returns or raises")

    def review(self, organization: str, agent: str, reason: str) -> AgentRecord:
        reply = self._client.send("POST", "agents", agent, "review", body={"reason": reason}, organization=organization)
        return documents.record(AgentRecord, reply.body)

    def suspend(self, organization: str, agent: str, reason: str) -> AgentRecord | None:
        return self._transition("suspend", organization, agent, reason)

    def resume(self, organization: str, agent: str, reason: str) -> AgentRecord | None:
        return self._transition("resume", organization, agent, reason)

    def revoke(self, organization: str, agent: str, reason: str) -> AgentRecord | None:
        return self._transition("revoke", organization, agent, reason)

    def retire(self, organization: str, agent: str, reason: str) -> AgentRecord | None:
        return self._transition("retire", organization, agent, reason)

    def _transition(self, verb: str, organization: str, agent: str, reason: str) -> AgentRecord | None:
        before = self._client.get("agents", agent, organization=organization).body
        reply = self._client.send(
            "POST", "agents", before["id"], verb, body={"reason": reason}, organization=organization
        )
        return None if reply.body["version"] == before["version"] else documents.record(AgentRecord, reply.body)


def _patch(update: AgentUpdate, before: AgentRecord) -> dict[str, Any]:
    """The body that makes an agent, as it was seen, what the update says."""
    from gateway.registry.agent_updates import check_there

    check_there(before.name, update, before.capabilities, before.labels)
    body: dict[str, Any] = {name: value for name in _AS_THEY_ARE if (value := getattr(update, name)) is not None}
    if update.add_capabilities or update.remove_capabilities:
        kept = set(before.capabilities) - set(update.remove_capabilities)
        body["capabilities"] = sorted(kept | set(update.add_capabilities))
    if update.set_labels or update.remove_labels:
        body["labels"] = dict.fromkeys(update.remove_labels) | dict(update.set_labels)
    if update.redact is not None:
        body["redact"] = list(update.redact)
    if update.expires_ns is not None:
        body["expires"] = documents.time_text(update.expires_ns or None)
    if update.replace_revoked:
        body["replace_revoked"] = True
    if update.review_days is not None:
        body["review_days"] = update.review_days or None
    return body
