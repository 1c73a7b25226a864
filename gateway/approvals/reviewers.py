"""Who may review a request for approval, and who has: people, whatever operators they have.

It is asked when a review is made and again when the quorum is counted.
Specification: docs/explanation/approvals.md.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlmodel import Session, col, select

from gateway.approvals import escalation
from gateway.approvals.calls import committed_person
from gateway.errors import ForbiddenError
from gateway.identity import operator_roles
from gateway.registry.models import (
    Agent,
    AgentVersion,
    ApiKey,
    ApprovalLook,
    ApprovalRequest,
    ApprovalReview,
    Operator,
    Organization,
    Team,
)

NOUN: Final = "approvals"


@dataclass(frozen=True, slots=True)
class Reviewer:
    """The person who acts: an operator, or a user of the gateway's machine, whose `id` is the actor."""

    actor: str
    id: str
    name: str


def check_may_review(session: Session, tenant: Organization, row: ApprovalRequest, reviewer: Reviewer) -> list[int]:
    if not (meets := met(session, tenant, row, reviewer)):
        hint = "`approvers` and `four_eyes` of the policy say who may"
        raise ForbiddenError("not_an_approver", "you may not review this request", subject=row.id, hint=hint)
    return meets


def met(session: Session, tenant: Organization, row: ApprovalRequest, reviewer: Reviewer) -> list[int]:
    """The numbers of the requirements for which a person's word counts by now."""
    return [
        number
        for number in range(len(row.requirements))
        if counts(session, tenant, row, escalation.widened(row, number), reviewer)
    ]


def counts(
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
    """True if the agent acts for the person, or the person owns the agent, or did when it asked, has registered it, or
    has made the key that it used.
    """
    agent, key = session.get(Agent, row.agent_id), session.get(ApiKey, row.key_id)
    first = session.get(AgentVersion, (row.agent_id, 1))
    asked = session.get(AgentVersion, (row.agent_id, row.call.get("agent_version", 1)))
    if agent is None or first is None:
        return True
    owners = {agent.owner, *([] if asked is None else [asked.owner])}
    actors = {first.actor, *([] if key is None or key.actor is None else [key.actor])}
    mine = person(session, reviewer.actor)
    if row.person_commitment and row.person_commitment == committed_person(row.salt, mine):
        return True
    people = [person(session, f"operator:{each.id}") for each in _named(session, owners)]
    return reviewer.name in owners or mine in [*people, *(person(session, each) for each in actors)]


def _named(session: Session, names: set[str]) -> Sequence[Operator]:
    return session.exec(select(Operator).where(col(Operator.name).in_(names))).all()


def reviews_of(session: Session, row: ApprovalRequest) -> Sequence[ApprovalReview]:
    return session.exec(select(ApprovalReview).where(ApprovalReview.request_id == row.id)).all()


def reviewed(session: Session, requests: Collection[str], reviewer: Reviewer) -> set[str]:
    """Those of these requests that the person has reviewed, by whichever operator."""
    made = select(ApprovalReview.request_id, ApprovalReview.actor).where(col(ApprovalReview.request_id).in_(requests))
    return _of_person(session, session.exec(made).all(), reviewer)


def looked_at(session: Session, requests: Collection[str], reviewer: Reviewer) -> set[str]:
    """Those of these requests whose whole call the person has seen, by whichever operator."""
    made = select(ApprovalLook.request_id, ApprovalLook.actor).where(col(ApprovalLook.request_id).in_(requests))
    return _of_person(session, session.exec(made).all(), reviewer)


def _of_person(session: Session, acts: Sequence[tuple[str, str]], reviewer: Reviewer) -> set[str]:
    mine = person(session, reviewer.actor)
    actors = {actor for actor in {actor for _, actor in acts} if person(session, actor) == mine}
    return {request for request, actor in acts if actor in actors}


def person(session: Session, actor: str) -> tuple[str, ...]:
    """The person who acts, who may have several actors: a login gives an operator for each organization and one for
    all, and `gateway dashboard` one for a user of the gateway's machine.
    """
    row = session.get(Operator, actor.removeprefix("operator:"))
    if row is not None and row.issuer is not None and row.subject is not None:
        return row.issuer, row.subject
    here = row is not None and row.organization_id is None and re.fullmatch(r"local-\d+", row.name)
    return (row.name.replace("-", ":") if row is not None and here else actor,)


def missing(session: Session, tenant: Organization, row: ApprovalRequest) -> list[int]:
    """The number of people that each requirement still needs, without those who may not review any more."""
    given = [each for each in reviews_of(session, row) if each.verdict == "approved"]
    reviews = [each for each in given if _still_may(session, tenant, each.actor)]
    found: list[int] = []
    for number, each in enumerate(row.requirements):
        wanted = escalation.widened(row, number)
        people = sum(
            number in review.meets and counts(session, tenant, row, wanted, _reviewer(session, review))
            for review in reviews
        )
        found.append(max(0, int(each["quorum"]) - people))
    return found


def is_denied(session: Session, row: ApprovalRequest) -> bool:
    """True if enough people have denied one of the requirements. That also counts who may not review any more."""
    denials = [each for each in reviews_of(session, row) if each.verdict == "denied"]
    return any(
        sum(number in each.meets for each in denials) >= int(wanted.get("denials", 1))
        for number, wanted in enumerate(row.requirements)
    )


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
