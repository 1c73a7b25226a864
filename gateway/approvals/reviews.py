"""The acts of people on requests for approval: list, look at the call, approve, deny, revoke.

As in the registry's own changes each function is one transaction with its audit entries. The control API checks roles
and scopes. This file checks that a person counts for a requirement, when a review is made and again when the quorum is
counted. Any doubt leaves a request as it is, and then it expires, which denies.
Specification: docs/explanation/approvals.md.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sqlmodel import Session, col, select

from gateway.approvals import calls, reviewers
from gateway.approvals.records import Offer, RequestRecord, ReviewRecord
from gateway.approvals.reviewers import Reviewer
from gateway.approvals.terms import ONCE, Terms, chosen, granted_words, named_limits, offered_words, over_limit_words
from gateway.audit import grants
from gateway.audit.approval_scope import Scope, widest
from gateway.audit.intents import Fields
from gateway.errors import ConflictError, Hint, UnknownError
from gateway.registry import approvals, names, outbox
from gateway.registry.agents.states import ENDED
from gateway.registry.database import Registry
from gateway.registry.models import (
    Agent,
    ApiKey,
    ApprovalLook,
    ApprovalRequest,
    ApprovalReview,
    EmergencyStop,
    Organization,
    Team,
)
from gateway.registry.queries import find_agent, find_organization
from gateway.secrets.vault import Vault


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
        return [record(session, tenant, each) for each in rows[:limit]], len(rows) > limit


def one(registry: Registry, organization: str, request: str) -> RequestRecord:
    with registry.read() as session:
        tenant = find_organization(session, organization)
        return record(session, tenant, find(session, tenant, request))


def look(registry: Registry, vault: Vault, reviewer: Reviewer, organization: str, request: str) -> dict[str, Any]:
    """The whole call, for somebody who may review it. Each look is an entry."""
    with registry.write() as session:
        tenant = find_organization(session, organization)
        row = find(session, tenant, request)
        reviewers.check_may_review(session, tenant, row, reviewer)
        if row.sealed is None:
            raise ConflictError("approval_settled", "the call is not kept any more", subject=row.id)
        found = calls.opened(vault.open(row.sealed, approvals.place(tenant.name, row.id)))
        if session.get(ApprovalLook, (row.id, reviewer.actor)) is None:
            session.add(ApprovalLook(request_id=row.id, actor=reviewer.actor, created_ns=time.time_ns()))
        outbox.add_change(session, tenant, reviewer.actor, grants.VIEWED, fields_of(session, row))
        return found


def approve(
    registry: Registry,
    reviewer: Reviewer,
    organization: str,
    request: str,
    reason: str = "",
    terms: Terms = ONCE,
) -> RequestRecord:
    """Say yes. The request is approved once everything that is required has enough people."""
    with registry.write() as session:
        tenant = find_organization(session, organization)
        row = find(session, tenant, request)
        add_approval(session, tenant, row, reviewer, reason, terms)
        return record(session, tenant, row)


def deny(registry: Registry, reviewer: Reviewer, organization: str, request: str, reason: str = "") -> RequestRecord:
    """Say no. When enough people have, that stands for the same call until the time of the request is over."""
    with registry.write() as session:
        tenant = find_organization(session, organization)
        row = find(session, tenant, request)
        add_denial(session, tenant, row, reviewer, reason)
        return record(session, tenant, row)


def revoke(registry: Registry, reviewer: Reviewer, organization: str, request: str, reason: str = "") -> RequestRecord:
    """Take back an approval, or what is left of it."""
    with registry.write() as session:
        tenant = find_organization(session, organization)
        row = find(session, tenant, request)
        if row.state != "approved":
            raise ConflictError("approval_settled", f"it is {row.state}, and not approved", subject=row.id)
        end(row, "revoked", reviewer.actor, names.check_text("reason", reason))
        session.add(row)
        take_back(session, tenant, row, reviewer.actor, reason)
        return record(session, tenant, row)


# --- within one transaction -------------------------------------------------------------------------------------------


def add_approval(
    session: Session, tenant: Organization, row: ApprovalRequest, reviewer: Reviewer, reason: str, terms: Terms = ONCE
) -> None:
    scope = chosen(terms, row.requirements)
    meets = _review(session, tenant, row, reviewer, "approved", reason, scope)
    more = {"uses": scope.uses, "seconds": scope.seconds, "for_pattern": bool(scope.pattern)}
    _tell_review(session, tenant, row, reviewer, "approved", meets, reason, more)
    if any(reviewers.missing(session, tenant, row)):
        return
    # Of several people's terms the narrowest hold, also if somebody is no reviewer any more.
    given = [each for each in reviewers.reviews_of(session, row) if each.verdict == "approved"]
    now = time.time_ns()
    row.state, row.settled_ns, row.settled_by, row.reason = "approved", now, reviewer.actor, reason
    row.expires_ns = now + min(each.seconds for each in given) * 10**9
    row.uses, row.for_pattern = min(each.uses for each in given), all(each.for_pattern for each in given)
    session.add(row)
    granted: dict[str, str | int] = {"uses": row.uses}
    if row.for_pattern:
        granted["pattern_commitment"] = row.pattern_commitment
    settled(session, tenant, row, reviewer.actor, grants.GRANTED, reason, grants.grant_id(row.id), granted)
    if row.for_pattern:
        _close_alike(session, tenant, row, reviewer.actor)


def add_denial(session: Session, tenant: Organization, row: ApprovalRequest, reviewer: Reviewer, reason: str) -> None:
    meets = _review(session, tenant, row, reviewer, "denied", reason)
    _tell_review(session, tenant, row, reviewer, "denied", meets, reason)
    if not reviewers.is_denied(session, row):
        return
    row.state, row.settled_ns, row.settled_by = "denied", time.time_ns(), reviewer.actor
    row.sealed, row.reason = None, reason
    session.add(row)
    settled(session, tenant, row, reviewer.actor, "denied", reason)


def _close_alike(session: Session, tenant: Organization, row: ApprovalRequest, actor: str) -> None:
    """An approval is for other calls that wait, too: nobody has to decide about them any more."""
    alike = select(ApprovalRequest).where(
        ApprovalRequest.agent_id == row.agent_id,
        ApprovalRequest.pattern == row.pattern,
        ApprovalRequest.state == "waiting",
    )
    why = f"{row.id} is approved for it, too"
    for each in session.exec(alike).all():
        end(each, "closed", actor, why)
        session.add(each)
        settled(session, tenant, each, actor, "closed", why)


def end(row: ApprovalRequest, state: str, by: str, reason: str) -> None:
    """The request says nothing about any call from now on, and what was sealed is gone."""
    row.state, row.settled_ns, row.settled_by, row.reason = state, time.time_ns(), by, reason
    row.digest = row.pattern = row.sealed = None


def settled(
    session: Session,
    tenant: Organization,
    row: ApprovalRequest,
    actor: str,
    outcome: str,
    reason: str,
    event_id: str | None = None,
    more: Fields | None = None,
) -> None:
    """The entry of what became of a request."""
    fields = {**fields_of(session, row), "outcome": outcome, "expires_ns": str(row.expires_ns), **(more or {})}
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


def find(session: Session, tenant: Organization, request: str) -> ApprovalRequest:
    row = session.get(ApprovalRequest, request)
    if row is None or row.organization_id != tenant.id:
        hint = Hint("type `gateway approvals list` to see their ids")
        raise UnknownError(
            "approval", f"unknown request for approval `{request[:64]}`", subject=request[:64], hint=hint
        )
    return row


def check_reviewable(session: Session, tenant: Organization, row: ApprovalRequest, reviewer: Reviewer) -> list[int]:
    """The numbers of the requirements that a review would count for. Raises `GatewayError` if it cannot be made."""
    now = time.time_ns()
    if row.state != "waiting":
        raise ConflictError("approval_settled", f"it is {row.state} already", subject=row.id)
    if now >= row.expires_ns:
        raise ConflictError("approval_settled", "its time is over", subject=row.id)
    if why := why_closed(session, tenant, row, now):
        raise ConflictError("approval_settled", why, subject=row.id)
    meets = reviewers.check_may_review(session, tenant, row, reviewer)
    if reviewers.reviewed(session, [row.id], reviewer):
        raise ConflictError("reviewed_before", "you have reviewed it already", subject=row.id)
    return meets


def _review(
    session: Session,
    tenant: Organization,
    row: ApprovalRequest,
    reviewer: Reviewer,
    verdict: str,
    reason: str,
    scope: Scope | None = None,
) -> list[int]:
    """Add somebody's review; the numbers of the requirements that it counts for."""
    names.check_text("reason", reason)
    meets = check_reviewable(session, tenant, row, reviewer)
    session.add(
        ApprovalReview(
            request_id=row.id,
            actor=reviewer.actor,
            name=reviewer.name,
            verdict=verdict,
            reason=reason,
            meets=meets,
            created_ns=time.time_ns(),
            **({} if scope is None else {"uses": scope.uses, "seconds": scope.seconds}),
            for_pattern=scope is not None and scope.pattern != "",
        )
    )
    session.flush()
    return meets


def _tell_review(
    session: Session,
    tenant: Organization,
    row: ApprovalRequest,
    reviewer: Reviewer,
    verdict: str,
    meets: list[int],
    reason: str,
    more: Fields | None = None,
) -> None:
    fields = {**fields_of(session, row), "verdict": verdict, "meets_json": outbox.document(meets), **(more or {})}
    later = [each for each in meets if not reviewers.counts(session, tenant, row, row.requirements[each], reviewer)]
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


def record(session: Session, tenant: Organization, row: ApprovalRequest) -> RequestRecord:
    agent = session.get(Agent, row.agent_id)
    agent_name = "" if agent is None else agent.name
    offered = widest(row.requirements)
    made = select(ApprovalReview).where(ApprovalReview.request_id == row.id).order_by(col(ApprovalReview.created_ns))
    return RequestRecord(
        id=row.id,
        organization=tenant.name,
        agent=row.agent_id,
        agent_name=agent_name,
        state=row.state if row.state not in ("waiting", "approved") or time.time_ns() < row.expires_ns else "expired",
        requirements=row.requirements,
        call={name: each for name, each in row.call.items() if name != "limits_json"},
        over_limit=[each | {"words": over_limit_words(each, row.requirements)} for each in named_limits(row.call)],
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
                uses=each.uses if each.verdict == "approved" else None,
                for_pattern=each.for_pattern,
            )
            for each in session.exec(made)
        ],
        escalated=row.escalated,
        missing=reviewers.missing(session, tenant, row) if row.state == "waiting" else [],
        offer=Offer(
            uses=offered.uses,
            seconds=offered.seconds,
            pattern=offered.pattern or None,
            words=offered_words(row.requirements, agent_name, row.call),
        ),
        uses=row.uses,
        used=row.used,
        for_pattern=row.for_pattern,
        words=granted_words(row.uses, offered.pattern if row.for_pattern else "", agent_name, row.call),
    )
