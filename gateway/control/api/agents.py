"""Agents: who they are, what they were, and whether they may do anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import AwareDatetime, Field, create_model
from sqlmodel import Session

from gateway.control import shapes
from gateway.control.api.times import nanoseconds
from gateway.control.operation import (
    Answer,
    Ask,
    Body,
    Operation,
    Page,
    PageQuery,
    Query,
    Reasoned,
    cut,
    paged,
    position,
    tag,
)
from gateway.control.problems import Problem
from gateway.registry import pages, queries
from gateway.registry.agents import fields as agent_fields
from gateway.registry.agents.changes import (
    AgentUpdate,
    erase_content,
    resume_agent,
    retire_agent,
    review_agent,
    revoke_agent,
    suspend_agent,
    update_agent,
)
from gateway.registry.agents.registration import register_agent
from gateway.registry.history import as_of
from gateway.registry.organizations import queries as tenants
from gateway.registry.records import AgentRecord, AgentVersionRecord

T = TypeVar("T", bound=Body)

_AGENT = shapes.record(AgentRecord)
_VERSION = shapes.record(AgentVersionRecord)
_ABOVE: dict[str, Any] = {
    "organization": {"type": "string"},
    "team": {"type": ["string", "null"]},
    "stopped": {"type": ["string", "null"]},
}
STANDING = shapes.closed(_ABOVE) | {"description": "What decides over agents beside their own states."}


def _with_texts(kind: Any, default: str | None) -> Callable[[type[T]], type[T]]:
    """Adds a member for each text of an agent."""

    def added(body: type[T]) -> type[T]:
        members: dict[str, Any] = dict.fromkeys(agent_fields.NAMES, (kind, default))
        return create_model(body.__name__, __base__=body, __doc__=body.__doc__, **members)

    return added


@_with_texts(str, "")
class AgentRegistration(Reasoned):
    """An agent to register."""

    name: str
    owner: str = Field("", description="Who is responsible for it, such as an e-mail address.")
    team: str = ""
    environment: str = "dev"
    capabilities: list[str] = Field(default_factory=list)
    labels: dict[str, str] = Field(default_factory=dict)
    parent: str | None = Field(None, description="The name or id of the agent that it works for.")
    expires: AwareDatetime | None = None
    review_days: int | None = None
    replace_revoked: bool = Field(False, description="Also if an agent of this name was revoked.")


@_with_texts(str | None, None)
class AgentPatch(Body):
    """What to change of an agent (RFC 7396): what is left out stays, null clears it."""

    name: str | None = None
    owner: str | None = None
    team: str | None = None
    environment: str | None = None
    capabilities: list[str] | None = Field(None, description="All of them.")
    add_capabilities: list[str] = Field([], description="To those that it has, whatever these are.")
    remove_capabilities: list[str] = Field([], description="From those that it has; each must be there.")
    labels: dict[str, str | None] | None = Field(None, description="Those to set; null removes one.")
    remove_labels: list[str] = Field([], description="Those to remove; each must be there.")
    parent: str | None = None
    expires: AwareDatetime | None = None
    review_days: int | None = None
    keep_content: bool | None = Field(None, description="Whether what it says and is answered is kept, sealed.")
    retention_days: int | None = Field(None, description="For how many days content is kept.")
    redact: list[str] | None = Field(None, description="What matches one of these (RE2) is removed first.")
    replace_revoked: bool = Field(False, description="Also if an agent of the new name was revoked.")
    reason: str = Field("", description="Why; it stays in the audit log.")


class AgentQuery(PageQuery):
    """Which agents are wanted."""

    status: str | None = Field(None, description="Only those of this status.")
    team: str | None = Field(None, description="Only those of this team.")
    owner: str | None = Field(None, max_length=200, description="Only those of this owner.")
    search: str | None = Field(
        None,
        max_length=200,
        description="Only those with this in their name or owner, or whose id begins so; not with `at`. The one that "
        "has just this name comes first. Of very many agents a page may have fewer items, and a `next`.",
    )
    after: str | None = Field(None, description="Begin after the agent of this name or id.", min_length=1)
    at: AwareDatetime | None = Field(None, description="As they were then; a page may have fewer items, and a `next`.")


class AtQuery(Query):
    """As of when."""

    at: AwareDatetime | None = Field(None, description="As of this time, such as 2026-11-25T14:00:00Z.")


def _shown(record: AgentRecord) -> Answer[AgentRecord]:
    return Answer(body=record, tag=tag(record.version), location=f"/agents/{record.id}")


@Operation("GET /standing", noun="agents", answer=STANDING)
def standing(ask: Ask[None, StandingQuery]) -> Answer:
    """Show what decides over the agents of an organization and a team, beside their own states."""
    return Answer(body=tenants.standing(ask.registry, ask.tenant, ask.query.team)._asdict())


@Operation(
    "GET /agents",
    answer=shapes.page({"anyOf": [_AGENT, _VERSION]}),
    question="Which agents are there, and whose are they?",
)
def listed(ask: Ask[None, AgentQuery]) -> Answer:
    """List agents, also those that have ended, now or as they were at a time."""
    given = ask.query
    place = ("agents", given.status or "", given.team or "", str(given.at or ""), given.search or "", given.owner or "")
    after = position(ask, *place)
    if after is None and given.after is not None:
        after = queries.agent(ask.registry, ask.tenant, given.after).id
    at_ns = nanoseconds(given.at)
    if at_ns is not None:
        then, last = as_of.page_at(ask.registry, ask.tenant, at_ns, after=after, limit=given.limit)
        wanted = [
            each.agent
            for each in then.agents
            if given.status in (None, each.agent.status)
            and given.team in (None, each.agent.team)
            and given.owner in (None, each.agent.owner)
        ]
        return paged(ask, wanted, last, *place)
    found, last = pages.agents(
        *(ask.registry, ask.tenant),
        after=after,
        limit=given.limit,
        status=given.status,
        team=given.team,
        owner=given.owner,
        search=given.search,
    )
    return paged(ask, found, last, *place)


@Operation("POST /agents", status=201, tagged=True)
def register(ask: Ask[AgentRegistration]) -> Answer[AgentRecord]:
    """Register an agent, which can do nothing until it has a key and a binding."""
    given = ask.body
    members = given.model_dump(exclude={"expires"})
    expires_ns = nanoseconds(given.expires)
    registry = ask.change()
    made = register_agent(registry, **ask.by, expires_ns=expires_ns, **members)
    return _shown(made)


@Operation("GET /agents/{agent}", answer={"anyOf": [_AGENT, _VERSION]}, tagged=True)
def show(ask: Ask[None, AtQuery]) -> Answer:
    """An agent, now or as it was at a time; then with who made it so and why."""
    at_ns = nanoseconds(ask.query.at)
    if at_ns is not None:
        return Answer(body=as_of.agent_at(ask.registry, ask.tenant, ask.path["agent"], at_ns).agents[0].agent)
    return _shown(queries.agent(ask.registry, ask.tenant, ask.path["agent"]))


@Operation("PATCH /agents/{agent}", if_match="required", tagged=True)
def update(ask: Ask[AgentPatch]) -> Answer[AgentRecord]:
    """Change an agent, from its next request on."""
    before = queries.agent(ask.registry, ask.tenant, ask.path["agent"])
    ask.check_tag(tag(before.version))
    given = ask.body
    conditions = [ask.as_seen(queries.find_agent, ask.path["agent"])]
    clears_labels = "labels" in given.model_fields_set and None in (given.labels or {"": None}).values()
    if "capabilities" in given.model_fields_set or clears_labels:
        # They are changed by what differs from the version that was read, so it must still be that one.
        conditions.append(_unchanged(ask, before))
    changed = update_agent(
        ask.change(*conditions),
        **ask.by,
        agent=before.id,
        update=_update(given, before),
        vault=ask.context.vault if given.keep_content else None,
        reason=given.reason,
    )
    return _shown(changed or before)


def _update(given: AgentPatch, before: AgentRecord) -> AgentUpdate:
    sent = given.model_fields_set
    if "name" in sent and given.name is None:
        error = {"pointer": "/name", "message": "an agent must have a name"}
        raise Problem(422, "invalid_body", "/name: an agent must have a name", errors=[error])
    members: dict[str, Any] = {
        name: getattr(given, name) or "" for name in ("owner", "team", "environment", "parent") if name in sent
    }
    had = set(before.capabilities)
    capabilities = set(given.capabilities or ()) if "capabilities" in sent else had
    labels = dict(given.labels or {})
    removed = [name for name, value in labels.items() if value is None and name in before.labels]
    if "labels" in sent and given.labels is None:
        removed = list(before.labels)
    return AgentUpdate(
        name=given.name,
        add_capabilities=(capabilities - had) | set(given.add_capabilities),
        remove_capabilities=(had - capabilities) | set(given.remove_capabilities),
        set_labels={name: value for name, value in labels.items() if value is not None},
        remove_labels=[*removed, *given.remove_labels],
        expires_ns=(nanoseconds(given.expires) or 0) if "expires" in sent else None,
        review_days=(given.review_days or 0) if "review_days" in sent else None,
        keep_content=given.keep_content,
        retention_days=given.retention_days,
        redact=given.redact,
        replace_revoked=given.replace_revoked,
        texts={name: getattr(given, name) or "" for name in agent_fields.NAMES if name in sent},
        **members,
    )


def _unchanged(ask: Ask, before: AgentRecord) -> Callable[[Session], None]:
    def check(session: Session) -> None:
        tenant = queries.find_organization(session, ask.tenant)
        if queries.find_agent(session, tenant, before.id).version != before.version:
            raise Problem(412, "changed_meanwhile", "it has been changed since it was read", hint="read it again")

    return check


class StandingQuery(Query):
    """Of which agents."""

    team: str = Field("", description="Those of this team; otherwise of none.")


@Operation("GET /agents/{agent}/versions")
def versions(ask: Ask[None, PageQuery]) -> Answer[Page[AgentVersionRecord]]:
    """All versions of an agent, with who made them and why."""
    found = queries.agent_versions(ask.registry, ask.tenant, ask.path["agent"])
    return cut(ask, found, lambda each: each.version, "versions", found[0].id)


@Operation(
    "POST /agents/{agent}/erase-content",
    tool="erase_agent_content",
    noun="content",
    answer=shapes.closed({"agent": _AGENT, "decisions": {"type": "integer", "description": "Of how many calls."}}),
    heavy=True,
)
def erase(ask: Ask) -> Answer:
    """Destroy the key of what is kept of an agent, and delete it from the log.

    Its key is destroyed, and what is kept in the log is deleted.
    """
    from gateway.audit import content_erasure

    erased = erase_content(ask.change(), **ask.by, agent=ask.path["agent"], vault=ask.context.vault)
    with ask.context.writing() as writer:
        count = content_erasure.of_agent(writer, erased.id, ask.actor)
    return Answer(body={"agent": erased, "decisions": count})


def _transition(change: Callable[..., AgentRecord | None], ask: Ask[Reasoned]) -> Answer:
    reference, reason = ask.path["agent"], ask.body.reason
    registry = ask.change(ask.as_seen(queries.find_agent, ask.path["agent"]))
    changed = change(registry, **ask.by, agent=reference, reason=reason)
    return _shown(changed or queries.agent(ask.registry, ask.tenant, reference))


@Operation("POST /agents/{agent}/suspend", restricts=True, if_match="accepted", tagged=True)
def suspend(ask: Ask[Reasoned]) -> Answer[AgentRecord]:
    """Refuse the agent's requests until it is resumed."""
    return _transition(suspend_agent, ask)


@Operation("POST /agents/{agent}/resume", if_match="accepted", tagged=True)
def resume(ask: Ask[Reasoned]) -> Answer[AgentRecord]:
    """Let a suspended agent go on."""
    return _transition(resume_agent, ask)


@Operation("POST /agents/{agent}/review", if_match="accepted", tagged=True)
def review(ask: Ask[Reasoned]) -> Answer[AgentRecord]:
    """Confirm that an agent is still wanted as it is."""
    return _transition(review_agent, ask)


@Operation("POST /agents/{agent}/revoke", restricts=True, if_match="accepted", tagged=True)
def revoke(ask: Ask[Reasoned]) -> Answer[AgentRecord]:
    """End an agent and its keys, for good."""
    return _transition(revoke_agent, ask)


@Operation("POST /agents/{agent}/retire", restricts=True, if_match="accepted", tagged=True)
def retire(ask: Ask[Reasoned]) -> Answer[AgentRecord]:
    """End an agent whose work is done, for good."""
    return _transition(retire_agent, ask)
