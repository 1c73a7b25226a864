"""A small model of the registry, for `machine.py`: what must be told of now, and of every moment before."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gateway.identity.standing import Standing
from gateway.registry.history import as_of

ORGS = ("acme", "other")
ENDED = ("revoked", "retired")
DAY = 24 * 3600 * 10**9
UNCONFIRMED = "nobody has confirmed it"

Subject = tuple[str, str]  # kind; id of an agent, name of a team, or name of the organization


@dataclass
class Key:
    agent: str
    credential_id: str
    expires_ns: int | None
    revoked: bool = False
    method: str = "api_key"  # "signature" for a public key, "mtls" for a SPIFFE ID
    created_ns: int = 0
    replaced_by: str | None = None

    def status(self, now_ns: int) -> str:
        if self.revoked:
            return "revoked"
        if self.expires_ns is not None and self.expires_ns <= now_ns:
            return "expired"
        return "active" if self.replaced_by is None else "retiring"

    def works(self, now_ns: int) -> bool:
        return self.status(now_ns) in ("active", "retiring")


@dataclass
class Agent:
    organization: str
    name: str
    owner: str = ""
    team: str = ""
    status: str = "active"
    version: int = 1
    reason: str = ""
    expires_ns: int | None = None
    confirmed_ns: int = 0  # when it was registered or reviewed


@dataclass
class Model:
    """Everything as it is. Bindings and limits are by organization and subject, teams by organization and name."""

    agents: dict[str, Agent] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    bindings: dict[tuple[str, Subject, str], tuple[str, str | None]] = field(default_factory=dict)
    limits: dict[tuple[str, Subject, str, bool], int] = field(default_factory=dict)  # the last says who set it
    commit: str | None = None
    organizations: dict[str, str] = field(default_factory=lambda: dict.fromkeys(ORGS, "active"))
    teams: dict[tuple[str, str], str] = field(default_factory=dict)
    stops: set[str | None] = field(default_factory=set)  # None is the one of all
    # For each organization the days within which agents must be confirmed, and those after which they are suspended.
    rules: dict[str, tuple[int, int]] = field(default_factory=dict)

    def suspends_ns(self, identifier: str) -> int | None:
        agent = self.agents[identifier]
        days, after = self.rules.get(agent.organization, (0, 0))
        if agent.status in ENDED or not days or not after:
            return None
        return agent.confirmed_ns + (days + after) * DAY

    def unconfirmed(self, identifier: str, now_ns: int) -> bool:
        ends_ns = self.suspends_ns(identifier)
        return ends_ns is not None and ends_ns <= now_ns

    def settle(self, identifier: str, now_ns: int) -> None:
        """The version that a change or the control process writes of a suspension that holds already."""
        agent = self.agents[identifier]
        if agent.status == "active" and self.unconfirmed(identifier, now_ns):
            agent.status, agent.version, agent.reason = "suspended", agent.version + 1, UNCONFIRMED

    def standing(self, organization: str, team: str) -> Standing:
        stopped = "all" if None in self.stops else "organization" if organization in self.stops else None
        return Standing(self.organizations[organization], self.teams.get((organization, team)), stopped)

    def revoked(self, organization: str, *teams: str) -> str | None:
        """The code with which something new is refused in an organization and teams of it; None if it is not."""
        if self.organizations[organization] == "revoked":
            return "organization_revoked"
        return "team_revoked" if any(self.teams.get((organization, each)) == "revoked" for each in teams) else None

    def name_team(self, organization: str, team: str) -> None:
        """Naming a team makes it."""
        if team:
            self.teams.setdefault((organization, team), "active")

    def live_keys(self, agent: str | None, method: str, now_ns: int) -> dict[str, Key]:
        return {
            identifier: each
            for identifier, each in self.keys.items()
            if (each.agent, each.method) == (agent, method) and each.works(now_ns)
        }

    def living(self, organization: str, name: str) -> str | None:
        found = [
            identifier
            for identifier, each in self.agents.items()
            if (each.organization, each.name) == (organization, name) and each.status not in ENDED
        ]
        assert len(found) <= 1
        return found[0] if found else None

    def meant(self, organization: str, name: str) -> str | None:
        """The agent that a name means: the one that has it, or else the one that had it last."""
        had = [i for i, each in self.agents.items() if (each.organization, each.name) == (organization, name)]
        return self.living(organization, name) or (max(had) if had else None)

    def said(self, identifier: str, now_ns: int) -> dict[str, Any]:
        """The facts that must be told of an agent."""
        agent = self.agents[identifier]
        subjects = [("agent", identifier), ("team", agent.team), ("organization", agent.organization)]
        ended = agent.status in ENDED
        return {
            "name": agent.name,
            "owner": agent.owner,
            "team": agent.team,
            "status": "suspended"
            if agent.status == "active" and self.unconfirmed(identifier, now_ns)
            else agent.status,
            "suspends_ns": self.suspends_ns(identifier),
            "version": agent.version,
            "reason": agent.reason,
            "expires_ns": agent.expires_ns,
            "expired": agent.expires_ns is not None and agent.expires_ns <= now_ns,
            "standing": self.standing(agent.organization, agent.team),
            "keys": {
                i: (each.method, each.status(now_ns), each.expires_ns, each.replaced_by)
                for i, each in self.keys.items()
                if each.agent == identifier
            },
            "bindings": {
                (kind, bundle_name, effect, pinned or self.commit)
                for (org, (kind, subject), bundle_name), (effect, pinned) in self.bindings.items()
                if not ended and org == agent.organization and (kind, subject) in subjects
            },
            "limits": {
                (kind, name, value, by_gateway)
                for (org, (kind, subject), name, by_gateway), value in self.limits.items()
                if not ended and org == agent.organization and (kind, subject) in subjects
            },
        }


def told(then: as_of.RegistryAt, now_ns: int) -> dict[str, dict[str, Any]]:
    """The registry's state, in the form of the model."""
    return {
        each.agent.id: {
            "name": each.agent.name,
            "owner": each.agent.owner,
            "team": each.agent.team,
            "status": each.agent.status,
            "suspends_ns": each.agent.suspends_ns,
            "version": each.agent.version,
            "reason": UNCONFIRMED if each.agent.reason.startswith(UNCONFIRMED) else each.agent.reason,
            "expires_ns": each.agent.expires_ns,
            "expired": each.agent.expired(now_ns),
            "standing": each.standing,
            "keys": {key.id: (key.method, key.status(now_ns), key.expires_ns, key.replaced_by) for key in each.keys},
            "bindings": {
                (
                    bound.binding.subject_kind,
                    bound.binding.bundle,
                    bound.binding.effect,
                    bound.revision and bound.revision.commit,
                )
                for bound in each.bindings
            },
            "limits": {(limit.subject_kind, limit.limit, limit.value, limit.by_gateway) for limit in each.limits},
        }
        for each in then.agents
    }
