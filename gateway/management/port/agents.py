"""What commands ask about agents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.dataplane.key_uses import Uses
    from gateway.management.port.activation import InForce
    from gateway.registry.agent_updates import AgentUpdate
    from gateway.registry.as_of import AgentAt
    from gateway.registry.records import AgentRecord, AgentVersionRecord


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


class Agents(Protocol):
    """Agents of an organization, each named by its name or id."""

    def register(self, organization: str, new: NewAgent, reason: str) -> AgentRecord: ...

    def listed(
        self, organization: str, at_ns: int | None, limit: int | None, after: str | None
    ) -> tuple[Sequence[AgentRecord], bool]:
        """All by name; or with `limit` or `after` a page, the oldest first. And whether there are more."""

    def overview(self, organization: str, agent: str, at_ns: int | None) -> Overview: ...

    def versions(self, organization: str, agent: str) -> list[AgentVersionRecord]: ...

    def update(self, organization: str, agent: str, update: AgentUpdate, reason: str) -> AgentRecord | None: ...

    def review(self, organization: str, agent: str, reason: str) -> AgentRecord: ...

    def suspend(self, organization: str, agent: str, reason: str) -> AgentRecord | None: ...

    def resume(self, organization: str, agent: str, reason: str) -> AgentRecord | None: ...

    def revoke(self, organization: str, agent: str, reason: str) -> AgentRecord | None: ...

    def retire(self, organization: str, agent: str, reason: str) -> AgentRecord | None: ...
