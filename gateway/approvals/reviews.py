"""The acts of people on requests for approval: list, look at the call, approve, deny, revoke.

As in the registry's own changes each function is one transaction with its audit entries. The control API checks roles
and scopes. This file checks that a person counts for a requirement, when a review is made and again when the quorum is
counted. Any doubt leaves a request as it is, and then it expires, which denies.
Specification: docs/explanation/approvals.md.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlmodel import Session, col, select

from gateway.approvals import calls, escalation
from gateway.approvals.records import RequestRecord, ReviewRecord
from gateway.audit import grants
from gateway.audit.intents import Fields
from gateway.errors import ConflictError, ForbiddenError, Hint, UnknownError
from gateway.identity import operator_roles
from gateway.registry import approvals, names, outbox
from gateway.registry.agents.states import ENDED
from gateway.registry.database import Registry
from gateway.registry.models import (
    Agent,
    AgentVersion,
    ApiKey,
    ApprovalRequest,
    ApprovalReview,
    EmergencyStop,
    Operator,
    Organization,
    Team,
)
from gateway.registry.queries import find_agent, find_organization
from gateway.secrets.vault import Vault

NOUN: Final = "approvals"
GRANT_SECONDS: Final = 3600
"""The time for which an approval can be used."""


@dataclass(frozen=True, slots=True)
class Reviewer:
    """The person who acts: an operator, or a user of the gateway's machine, whose `id` is the actor."""

    actor: str
    id: str
    name: str


def listed(
    registry: Registry,
    organization: str,
    *,
    states: Sequence[str] = (),
    agent: str | None = None,
    owner: str | None = None,
    after: str | None = None,
    limit: int = 100,
) -> tuple[list[RequestRecord], bool]:
    """The next requests, the newest first; and whether there are more."""
    with registry.read() as session:
        tenant = find_organization(session, organization)
        mine = select(ApprovalRequest).where(ApprovalRequest.organization_id == tenant.id)
        if states:
            mine = mine.where(col(ApprovalRequest.state).in_(states))
        if agent is not None:
            mine = mine.where(ApprovalRequest.agent_id == find_agent(session, tenant, agent).id)
        if owner is not None:
            owned = select(Agent.id).where(Agent.organization_id == tenant.id, Agent.owner == owner)
            mine = mine.where(col(ApprovalRequest.agent_id).in_(owned))
        if after is not None:
            mine = mine.where(col(ApprovalRequest.id) < after)
        rows = session.exec(mine.order_by(col(ApprovalRequest.id).desc()).limit(limit + 1)).all()
        return [_record(session, tenant, each) for each in rows[:limit]], len(rows) > limit


def one(registry: Registry, organization: str, request: str) -> RequestRecord:
    with registry.read() as session:
        tenant = find_organization(session, organization)
        return _record(session, tenant, _find(session, tenant, request))


def look(registry: Registry, vault: Vault, reviewer: Reviewer, organization: str, request: str) -> dict[str, Any]:
    """The whole call, for somebody who may review it. Each look is an entry."""
    with registry.write() as session:
        tenant = find_organization(session, organization)
        row = _find(session, tenant, request)
        _check_may_review(session, tenant, row, reviewer)
        if row.sealed is None:
            raise ConflictError("approval_settled", "the call is not kept any more", subject=row.id)
        found = calls.opened(vault.open(row.sealed, approvals.place(tenant.name, row.id)))
        outbox.add_change(session, tenant, reviewer.actor, grants.VIEWED, fields_of(session, row))
        return found


def approve(registry: Registry, reviewer: Reviewer, organization: str, request: str, reason: str = "") -> RequestRecord:
    """Say yes. The request is approved once everything that is required has enough people."""
    with registry.write() as session:
        tenant = find_organization(session, organization)
        row = _find(session, tenant, request)
        meets = _review(session, tenant, row, reviewer, "approved", reason)
        _tell_review(session, tenant, row, reviewer, "approved", meets, reason)
        if not any(_missing(session, tenant, row)):
            now = time.time_ns()
            row.state, row.settled_ns, row.settled_by = "approved", now, reviewer.actor
            row.expires_ns, row.reason = now + GRANT_SECONDS * 10**9, reason
            session.add(row)
            settled(session, tenant, row, reviewer.actor, grants.GRANTED, reason, grants.grant_id(row.id))
        return _record(session, tenant, row)


def deny(registry: Registry, reviewer: Reviewer, organization: str, request: str, reason: str = "") -> RequestRecord:
    """Say no. It stands for the same call until the time of the request is over."""
    with registry.write() as session:
        tenant = find_organization(session, organization)
        row = _find(session, tenant, request)
        meets = _review(session, tenant, row, reviewer, "denied", reason)
        _tell_review(session, tenant, row, reviewer, "denied", meets, reason)
        row.state, row.settled_ns, row.settled_by = "denied", time.time_ns(), reviewer.actor
        row.sealed, row.reason = None, reason
        session.add(row)
        settled(session, tenant, row, reviewer.actor, "denied", reason)
        return _record(session, tenant, row)


def revoke(registry: Registry, reviewer: Reviewer, organization: str, request: str, reason: str = "") -> RequestRecord:
    """Take back an approval that was not used yet."""
    with registry.write() as session:
        tenant = find_organization(session, organization)
        row = _find(session, tenant, request)
        if row.state != "approved":
            raise ConflictError("approval_settled", f"it is {row.state}, and not approved", subject=row.id)
        end(row, "revoked", reviewer.actor, names.check_text("reason", reason))
        session.add(row)
        take_back(session, tenant, row, reviewer.actor, reason)
        return _record(session, tenant, row)


# --- within one transaction -------------------------------------------------------------------------------------------


def end(row: ApprovalRequest, state: str, by: str, reason: str) -> None:
    """The request says nothing about any call from now on, and what was sealed is gone."""
    row.state, row.settled_ns, row.settled_by, row.reason = state, time.time_ns(), by, reason
    row.digest = row.sealed = None


def settled(
    session: Session,
    tenant: Organization,
    row: ApprovalRequest,
    actor: str,
    outcome: str,
    reason: str,
    event_id: str | None = None,
) -> None:
    """The entry of what became of a request."""
    fields = {**fields_of(session, row), "outcome": outcome, "expires_ns": str(row.expires_ns)}
    outbox.add_change(session, tenant, actor, grants.DECIDED, fields, reason, event_id=event_id)


def take_back(session: Session, tenant: Organization, row: ApprovalRequest, actor: str, reason: str) -> None:
    """The entry by which the log refuses an approval from now on."""
    outbox.add_change(
        session, tenant, actor, grants.REVOKED, fields_of(session, row), reason, event_id=grants.revocation_id(row.id)
    )


def why_closed(session: Session, tenant: Organization, row: ApprovalRequest, now_ns: int) -> str:
    """The reason why nobody can make this call any more; empty if somebody can."""
    agent = session.get(Agent, row.agent_id)
    if agent is None or agent.status in ENDED or agent.status == "suspended":
        return "its agent is not active"
    if agent.expires_ns is not None and agent.expires_ns <= now_ns:
        return "its agent has expired"
    if tenant.status != "active":
        return "its organization is not active"
    team = select(Team).where(Team.organization_id == tenant.id, Team.name == agent.team)
    if (found := session.exec(team).first()) is not None and found.status != "active":
        return "its agent's team is not active"
    stops = select(EmergencyStop).where(col(EmergencyStop.ended_ns).is_(None))
    if any(each.organization_id in (None, tenant.id) for each in session.exec(stops)):
        return "its agent was stopped"
    key = session.get(ApiKey, row.key_id)
    if key is not None and (key.revoked_ns is not None or (key.expires_ns is not None and key.expires_ns <= now_ns)):
        return "its agent's key has ended"
    return ""


def _find(session: Session, tenant: Organization, request: str) -> ApprovalRequest:
    row = session.get(ApprovalRequest, request)
    if row is None or row.organization_id != tenant.id:
        hint = Hint("type `gateway approvals list` to see their ids")
        raise UnknownError(
            "approval", f"unknown request for approval `{request[:64]}`", subject=request[:64], hint=hint
        )
    return row


def _review(
    session: Session, tenant: Organization, row: ApprovalRequest, reviewer: Reviewer, verdict: str, reason: str
) -> list[int]:
    """Add somebody's review; the numbers of the requirements that it counts for."""
    names.check_text("reason", reason)
    now = time.time_ns()
    if row.state != "waiting":
        raise ConflictError("approval_settled", f"it is {row.state} already", subject=row.id)
    if now >= row.expires_ns:
        raise ConflictError("approval_settled", "its time is over", subject=row.id)
    if why := why_closed(session, tenant, row, now):
        raise ConflictError("approval_settled", why, subject=row.id)
    meets = _check_may_review(session, tenant, row, reviewer)
    if _person(session, reviewer.actor) in {_person(session, each.actor) for each in _reviews(session, row)}:
        raise ConflictError("reviewed_before", "you have reviewed it already", subject=row.id)
    session.add(
        ApprovalReview(
            request_id=row.id,
            actor=reviewer.actor,
            name=reviewer.name,
            verdict=verdict,
            reason=reason,
            meets=meets,
            created_ns=now,
        )
    )
    session.flush()
    return meets


def _check_may_review(session: Session, tenant: Organization, row: ApprovalRequest, reviewer: Reviewer) -> list[int]:
    meets = [
        number
        for number in range(len(row.requirements))
        if _counts(session, tenant, row, escalation.widened(row, number), reviewer)
    ]
    if not meets:
        hint = "`approvers` and `four_eyes` of the policy say who may"
        raise ForbiddenError("not_an_approver", "you may not review this request", subject=row.id, hint=hint)
    return meets


def _counts(
    session: Session, tenant: Organization, row: ApprovalRequest, requirement: dict[str, Any], reviewer: Reviewer
) -> bool:
    """True if a person's word counts for a requirement."""
    if requirement["four_eyes"] and _is_responsible(session, row, reviewer):
        return False
    operators, teams = requirement["operators"], requirement["teams"]
    if not operators and not teams:
        return True
    if reviewer.name in operators or reviewer.id in operators:
        return True
    owned = select(Team).where(Team.organization_id == tenant.id, col(Team.name).in_(teams), Team.status == "active")
    return any(each.owner == reviewer.name for each in session.exec(owned))


def _is_responsible(session: Session, row: ApprovalRequest, reviewer: Reviewer) -> bool:
    """True if the person owns the agent, or did when it asked, has registered it, or has made the key that it used."""
    agent, key = session.get(Agent, row.agent_id), session.get(ApiKey, row.key_id)
    first = session.get(AgentVersion, (row.agent_id, 1))
    asked = session.get(AgentVersion, (row.agent_id, row.call.get("agent_version", 1)))
    if agent is None or first is None:
        return True
    owners = {agent.owner, *([] if asked is None else [asked.owner])}
    actors = {first.actor, *([] if key is None or key.actor is None else [key.actor])}
    mine = _person(session, reviewer.actor)
    people = [_person(session, f"operator:{each.id}") for each in _named(session, owners)]
    return reviewer.name in owners or mine in [*people, *(_person(session, each) for each in actors)]


def _named(session: Session, names: set[str]) -> Sequence[Operator]:
    return session.exec(select(Operator).where(col(Operator.name).in_(names))).all()


def _reviews(session: Session, row: ApprovalRequest) -> Sequence[ApprovalReview]:
    return session.exec(select(ApprovalReview).where(ApprovalReview.request_id == row.id)).all()


def _person(session: Session, actor: str) -> tuple[str, ...]:
    """The person who acts, who may have several actors: a login gives an operator for each organization and one for
    all, and `gateway dashboard` one for a user of the gateway's machine.
    """
    row = session.get(Operator, actor.removeprefix("operator:"))
    if row is not None and row.issuer is not None and row.subject is not None:
        return row.issuer, row.subject
    here = row is not None and row.organization_id is None and re.fullmatch(r"local-\d+", row.name)
    return (row.name.replace("-", ":") if row is not None and here else actor,)


def _missing(session: Session, tenant: Organization, row: ApprovalRequest) -> list[int]:
    """The number of people that each requirement still needs, without those who may not review any more."""
    given = [each for each in _reviews(session, row) if each.verdict == "approved"]
    reviews = [each for each in given if _still_may(session, tenant, each.actor)]
    found: list[int] = []
    for number, each in enumerate(row.requirements):
        wanted = escalation.widened(row, number)
        people = sum(
            number in review.meets and _counts(session, tenant, row, wanted, _reviewer(session, review))
            for review in reviews
        )
        found.append(max(0, int(each["quorum"]) - people))
    return found


def _still_may(session: Session, tenant: Organization, actor: str) -> bool:
    kind, _, identifier = actor.partition(":")
    if kind == "local":
        return True
    row = session.get(Operator, identifier) if kind == "operator" else None
    if row is None or row.status != "active" or row.organization_id not in (None, tenant.id):
        return False
    return operator_roles.may(row.role, NOUN, write=True)


def _reviewer(session: Session, review: ApprovalReview) -> Reviewer:
    row = session.get(Operator, review.actor.partition(":")[2])
    return (
        Reviewer(review.actor, review.actor, review.name) if row is None else Reviewer(review.actor, row.id, row.name)
    )


def _tell_review(
    session: Session,
    tenant: Organization,
    row: ApprovalRequest,
    reviewer: Reviewer,
    verdict: str,
    meets: list[int],
    reason: str,
) -> None:
    fields = {**fields_of(session, row), "verdict": verdict, "meets_json": outbox.document(meets)}
    later = [each for each in meets if not _counts(session, tenant, row, row.requirements[each], reviewer)]
    if later:
        fields["escalated_json"] = outbox.document(later)
    outbox.add_change(session, tenant, reviewer.actor, grants.REVIEWED, fields, reason)


def fields_of(session: Session, row: ApprovalRequest) -> Fields:
    agent = session.get(Agent, row.agent_id)
    return {
        "agent": row.agent_id,
        "agent_name": "" if agent is None else agent.name,
        # Those who must know what becomes of it.
        **({} if agent is None else {"owner": agent.owner, "team": agent.team}),
        "approval": row.id,
        "approval_commitment": row.commitment,
    }


def _record(session: Session, tenant: Organization, row: ApprovalRequest) -> RequestRecord:
    agent = session.get(Agent, row.agent_id)
    made = select(ApprovalReview).where(ApprovalReview.request_id == row.id).order_by(col(ApprovalReview.created_ns))
    return RequestRecord(
        id=row.id,
        organization=tenant.name,
        agent=row.agent_id,
        agent_name="" if agent is None else agent.name,
        state=row.state if row.state not in ("waiting", "approved") or time.time_ns() < row.expires_ns else "expired",
        requirements=row.requirements,
        call=row.call,
        decision=row.decision_id,
        created_ns=row.created_ns,
        expires_ns=row.expires_ns,
        settled_ns=row.settled_ns,
        settled_by=row.settled_by,
        reason=row.reason,
        reviews=[
            ReviewRecord(
                actor=each.actor,
                name=each.name,
                verdict=each.verdict,
                reason=each.reason,
                meets=each.meets,
                created_ns=each.created_ns,
            )
            for each in session.exec(made)
        ],
        escalated=row.escalated,
        missing=_missing(session, tenant, row) if row.state == "waiting" else [],
    )
