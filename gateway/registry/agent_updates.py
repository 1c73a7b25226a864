"""Changes of an agent that exists: its members, and whether it may do anything for now.

As in `changes.py`, each function is one transaction with a new version of the agent and its audit entry, in force from
the next request on. What an agent was at any time stays known.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sqlmodel import Session

from gateway.errors import GatewayError, did_you_mean
from gateway.registry import names
from gateway.registry.changes import add_version, check_free, revoked_agent
from gateway.registry.database import Registry
from gateway.registry.models import Agent, Organization
from gateway.registry.queries import agent_record, find_agent, find_organization
from gateway.registry.records import AgentRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentUpdate:
    """What is to change of an agent; None leaves a member as it is, and an empty text clears it.

    `set_labels` and `add_capabilities` leave the others alone.
    """

    name: str | None = None
    owner: str | None = None
    team: str | None = None
    environment: str | None = None
    add_capabilities: Collection[str] = ()
    remove_capabilities: Collection[str] = ()
    set_labels: Mapping[str, str] = field(default_factory=dict)
    remove_labels: Collection[str] = ()


def update_agent(
    registry: Registry, *, actor: str, organization: str, agent: str, update: AgentUpdate
) -> AgentRecord | None:
    """Change an agent: a new version of it, for its next request. None if it is like that already."""
    with registry.write() as session:
        tenant = find_organization(session, organization)
        row = find_agent(session, tenant, agent)
        if row.status == "revoked":
            raise revoked_agent(row)
        before = agent_record(tenant, row)
        _apply(session, tenant, row, update)
        if agent_record(tenant, row) == before:
            return None
        add_version(session, tenant, row, actor, "agent.updated")
        return agent_record(tenant, row)


def _apply(session: Session, tenant: Organization, row: Agent, update: AgentUpdate) -> None:
    if update.name is not None and update.name != row.name:
        check_free(session, tenant, names.check_name("agent", update.name))
        row.name = update.name
    if update.owner is not None:
        row.owner = names.check_text("owner", update.owner)
    if update.team is not None:
        row.team = names.check_name("team", update.team) if update.team else ""
    if update.environment is not None:
        row.environment = names.check_name("environment", update.environment) if update.environment else ""
    for what, unwanted, there in (
        ("capability", update.remove_capabilities, row.capabilities),
        ("label", update.remove_labels, row.labels),
    ):
        for each in unwanted:
            if each not in there:
                hint = did_you_mean(each, there, f"it has: {', '.join(there) or 'none'}")
                raise GatewayError(f"unknown_{what}", f"agent `{row.name}` has no {what} `{each}`", hint=hint)
    kept = set(row.capabilities) - set(update.remove_capabilities)
    row.capabilities = names.check_capabilities(kept | set(update.add_capabilities))
    labels = {name: value for name, value in row.labels.items() if name not in update.remove_labels}
    row.labels = names.check_labels(labels | dict(update.set_labels))


def suspend_agent(registry: Registry, *, actor: str, organization: str, agent: str) -> AgentRecord | None:
    """Refuse an agent's requests from the next one on, until it is resumed. None if it is suspended already."""
    return _set_status(registry, actor, organization, agent, "suspended")


def resume_agent(registry: Registry, *, actor: str, organization: str, agent: str) -> AgentRecord | None:
    """Let a suspended agent go on, with the same keys and bindings. None if it is not suspended."""
    return _set_status(registry, actor, organization, agent, "active")


def _set_status(registry: Registry, actor: str, organization: str, agent: str, status: str) -> AgentRecord | None:
    with registry.write() as session:
        tenant = find_organization(session, organization)
        row = find_agent(session, tenant, agent)
        if row.status == "revoked":
            raise revoked_agent(row)
        if row.status == status:
            return None
        row.status = status
        add_version(session, tenant, row, actor, "agent.suspended" if status == "suspended" else "agent.resumed")
        return agent_record(tenant, row)
