"""Changes of an agent that exists: its members, and whether it may do anything for now.

Each function is one transaction with a new version of the agent and its audit entry, in force from the next request on.
The state of an agent at any time stays known.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sqlmodel import Session

from gateway.audit import redaction
from gateway.errors import GatewayError, Hint, UnknownError, did_you_mean
from gateway.registry import adoptions, names, outbox
from gateway.registry.agents import content_keys, reviews
from gateway.registry.agents import fields as agent_fields
from gateway.registry.agents import states as agent_states
from gateway.registry.agents import versions as agent_versions
from gateway.registry.agents.versions import Predecessor, add_version
from gateway.registry.database import Registry
from gateway.registry.models import Agent, Organization
from gateway.registry.organizations import teams
from gateway.registry.queries import find_agent, find_living, live_keys, writing
from gateway.registry.records import AgentRecord
from gateway.registry.row_records import agent_record
from gateway.secrets.vault import Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentUpdate:
    """The members to change of an agent; None leaves a member as it is, and an empty text clears it.

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
    # True if its content is kept from now on, for how long, and what is redacted before.
    keep_content: bool | None = None
    retention_days: int | None = None
    redact: Collection[str] | None = None
    # Some of `agent_fields.TEXTS`, by their names.
    texts: Mapping[str, str] = field(default_factory=dict)
    # The name or id of another agent.
    parent: str | None = None
    # 0: never.
    expires_ns: int | None = None
    # 0: as often as its organization says.
    review_days: int | None = None
    # True if its new name may be that of an agent that was revoked.
    replace_revoked: bool = False


def update_agent(
    registry: Registry,
    *,
    actor: str,
    organization: str,
    agent: str,
    update: AgentUpdate,
    vault: Vault | None = None,
    reason: str = "",
) -> AgentRecord | None:
    """Change an agent: a new version of it, for its next request. None if it is like that already.

    The vault is needed if content is to be kept.
    """
    with writing(registry, organization) as (session, tenant):
        row = find_living(session, tenant, agent)
        reviews.settle(session, tenant, row, time.time_ns())
        before = agent_record(tenant, row)
        replaced = _rename(session, tenant, row, update)
        _apply(row, update)
        _apply_register(session, tenant, row, update)
        _apply_content(tenant, row, update, vault)
        if agent_record(tenant, row) == before:
            return None
        # An agent of a revoked team must not come back by leaving it.
        teams.check_alive(session, tenant, before.team, row.team)
        teams.ensure(session, tenant, row.team, actor)
        add_version(session, tenant, row, actor, "agent.updated", reason, replaced)
        return agent_record(tenant, row)


def _rename(session: Session, tenant: Organization, row: Agent, update: AgentUpdate) -> Predecessor | None:
    """Give the agent its new name, if any; returns the agent that had it before."""
    if update.name is None or update.name == row.name:
        return None
    agent_versions.check_free(session, tenant, names.check_name("agent", update.name))
    before = agent_versions.predecessors(session, tenant, [update.name]).get(update.name)
    agent_versions.check_return(before, meant=update.replace_revoked)
    row.name = update.name
    return before


def _apply(row: Agent, update: AgentUpdate) -> None:
    read = {"owner": update.owner, "team": update.team, "environment": update.environment}
    given = {name: text for name, text in read.items() if text is not None}
    for name, text in agent_fields.checked({**given, **update.texts}).items():
        setattr(row, name, text)
    check_there(row.name, update, row.capabilities, row.labels)
    kept = set(row.capabilities) - set(update.remove_capabilities)
    row.capabilities = names.check_capabilities(kept | set(update.add_capabilities))
    labels = {name: value for name, value in row.labels.items() if name not in update.remove_labels}
    row.labels = names.check_labels(labels | dict(update.set_labels))


def check_there(name: str, update: AgentUpdate, capabilities: Collection[str], labels: Collection[str]) -> None:
    """Raise if something is to be removed that the agent of this name does not have."""
    for what, unwanted, there in (
        ("capability", update.remove_capabilities, capabilities),
        ("label", update.remove_labels, labels),
    ):
        for each in unwanted:
            if each not in there:
                hint = did_you_mean(each, there, f"it has: {', '.join(there) or 'none'}")
                raise UnknownError(what, f"agent `{name}` has no {what} `{each}`", hint=hint)


def _apply_register(session: Session, tenant: Organization, row: Agent, update: AgentUpdate) -> None:
    """Its parent, its end and its reviews."""
    if update.parent is not None:
        row.parent = agent_versions.parent_of(session, tenant, update.parent, row) if update.parent else None
    if update.expires_ns is not None:
        row.expires_ns = agent_versions.check_expiry(update.expires_ns or None, time.time_ns())
    if update.review_days is not None:
        row.review_days = agent_versions.check_review_days(update.review_days or None)


def _apply_content(tenant: Organization, row: Agent, update: AgentUpdate, vault: Vault | None) -> None:
    asked = update.retention_days is not None or update.redact is not None
    if update.keep_content is False:
        if asked:
            raise GatewayError("invalid_content", "content that is not kept has no retention and no redaction")
        row.content = None
    elif update.keep_content or asked:
        before = row.content or {}
        if not before and not update.keep_content:
            raise GatewayError(
                "invalid_content", f"the content of agent `{row.name}` is not kept", hint=Hint("add --keep-content")
            )
        days = before.get("days") if update.retention_days is None else update.retention_days
        if days is None:
            hint = Hint("add --retention-days, such as --retention-days 30")
            raise GatewayError("invalid_content", "--keep-content needs a number of days", hint=hint)
        if not 1 <= days <= MAX_DAYS:
            raise GatewayError("invalid_content", f"content is kept for 1 to {MAX_DAYS} days")
        redact = before.get("redact", []) if update.redact is None else redaction.check(list(update.redact))
        row.content = {"days": days, "redact": redact}
        if row.content_key is None:
            assert vault is not None
            row.content_key = content_keys.new(vault, tenant.name, row.id)


def erase_content(registry: Registry, *, actor: str, organization: str, agent: str, vault: Vault) -> AgentRecord:
    """Destroy the key under which an agent's content is kept. If it is still to be kept, a new key begins.

    An agent that has ended can be named by its id. No row of the log is deleted here.
    """
    with writing(registry, organization) as (session, tenant):
        row = find_agent(session, tenant, agent)
        row.content_key = content_keys.new(vault, tenant.name, row.id) if row.content else None
        session.add(row)
        fields = {"agent": row.id, "agent_name": row.name}
        outbox.add_change(session, tenant, actor, "content.key_destroyed", fields)
        return agent_record(tenant, row)


def read_content(registry: Registry, *, actor: str, organization: str, agent: str, decision: str) -> bytes | None:
    """The sealed key of an agent, for reading what is kept of one decision; the reading is recorded.

    None if the key was destroyed. Publish the entry before anything is shown.
    """
    with writing(registry, organization) as (session, tenant):
        row = find_agent(session, tenant, agent)
        fields = {"agent": row.id, "agent_name": row.name, "content_of": decision}
        outbox.add_change(session, tenant, actor, "content.read", fields)
        return row.content_key


MAX_DAYS = 3650


def review_agent(registry: Registry, *, actor: str, organization: str, agent: str, reason: str = "") -> AgentRecord:
    """Put on record that an agent is still wanted as it is: a new version, with the time of the review.

    One that is suspended stays so, also if that was because nobody had confirmed it.
    """
    with writing(registry, organization) as (session, tenant):
        row = find_living(session, tenant, agent)
        reviews.settle(session, tenant, row, time.time_ns())
        row.reviewed_ns = time.time_ns()
        add_version(session, tenant, row, actor, "agent.reviewed", reason)
        return agent_record(tenant, row)


def _become(
    registry: Registry, *, actor: str, organization: str, agent: str, status: str, reason: str = ""
) -> AgentRecord | None:
    with writing(registry, organization) as (session, tenant):
        row = find_agent(session, tenant, agent)
        now_ns = time.time_ns()
        ends = status in agent_states.ENDED
        if not ends:
            reviews.settle(session, tenant, row, now_ns)
        if row.status == status:
            return None
        if status == "active":
            reviews.check_confirmed(tenant, row, now_ns)
        agent_states.check_transition(row.name, row.id, row.status, status)
        if ends:
            for key in live_keys(session, row, now_ns):
                key.revoked_ns = now_ns
            adoptions.end_with(session, row, now_ns)
        row.status = status
        add_version(session, tenant, row, actor, f"agent.{agent_states.VERBS.get(status, status)}", reason)
        return agent_record(tenant, row)


# Each answers None, and changes nothing, if the agent is so already.
suspend_agent = functools.partial(_become, status="suspended")
"""Refuse an agent's requests from the next one on, until it is resumed."""
resume_agent = functools.partial(_become, status="active")
"""Let a suspended agent go on, as it was. Raises `review_overdue` if it must be reviewed first."""
revoke_agent = functools.partial(_become, status="revoked")
"""End an agent and all its keys, for good."""
retire_agent = functools.partial(_become, status="retired")
"""End an agent whose work is done, and all its keys, for good."""
