"""Reviews of many requests at once: approve those that somebody has looked at, deny some, or deny all that wait.

Each request is reviewed as one alone is (`reviews.py`), with entries of its own, and the answer says what became of
each. One transaction has at most `MOST` of them: a request that cannot be reviewed leaves the others as they are.
What a request asks for never changes, since a call with one other byte makes another request. So somebody who has
looked at a request has seen what it would run.
Specification: docs/explanation/approvals.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import load_only
from sqlmodel import Session, col, select

from gateway.approvals import reviewers, reviews
from gateway.approvals.records import Refusal, ReviewedRecord
from gateway.approvals.reviewers import Reviewer
from gateway.errors import ConflictError, GatewayError
from gateway.registry import names, outbox
from gateway.registry.approvals import UNSETTLED
from gateway.registry.database import Registry
from gateway.registry.models import Agent, ApprovalRequest, Organization
from gateway.registry.queries import find_agent, find_organization

MOST: Final = 100
"""Requests of one transaction, which others that change the registry wait for."""
_SCANNED: Final = 1000
_READ: Final = 500

_Act = Callable[[Session, Organization, ApprovalRequest], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which of the requests that wait: of an agent, of a team's agents, or whose demand has this in its words."""

    agent: str | None = None
    team: str | None = None
    matching: str | None = None


class Span(NamedTuple):
    """The requests after one id up to another one: those that come in meanwhile are beyond its end."""

    after: str
    until: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How many requests somebody may review, of how many agents, and the span that has them; None if there are none."""

    count: int
    agents: int
    span: Span | None


def looked_at(registry: Registry, reviewer: Reviewer, requests: Sequence[str]) -> set[str]:
    """Those of these requests whose whole call the person has seen."""
    with registry.read() as session:
        return reviewers.looked_at(session, requests, reviewer)


def approve(
    registry: Registry, reviewer: Reviewer, organization: str, requests: Sequence[str], reason: str = ""
) -> list[ReviewedRecord]:
    """Say yes to each very call, once, that this person has looked at."""

    def act(session: Session, tenant: Organization, row: ApprovalRequest) -> None:
        if not reviewers.looked_at(session, [row.id], reviewer):
            reviews.check_reviewable(session, tenant, row, reviewer)  # else looking would not help
            show = f"`gateway approvals show {row.id} --call`"
            hint = f"look at it first: {show}, its page, or POST /approvals/{row.id}/look"
            raise ConflictError("not_looked_at", "you have not looked at its call", subject=row.id, hint=hint)
        reviews.add_approval(session, tenant, row, reviewer, reason)

    return _each(registry, organization, requests, reason, act)


def deny(
    registry: Registry, reviewer: Reviewer, organization: str, requests: Sequence[str], reason: str
) -> list[ReviewedRecord]:
    """Say no to each; nobody has to look for that."""

    def act(session: Session, tenant: Organization, row: ApprovalRequest) -> None:
        reviews.add_denial(session, tenant, row, reviewer, reason)

    return _each(registry, organization, requests, reason, act)


def waiting(
    registry: Registry, reviewer: Reviewer, organization: str, choice: Choice, span: Span | None = None
) -> Waiting:
    """What a denial of all would be about: the requests that wait and that the person may still review."""
    with registry.read() as session:
        tenant = find_organization(session, organization)
        ids = _ids(session, tenant, choice, span)
        count, agents = 0, set()
        for row in _rows(session, tenant, reviewer, choice, ids):
            count += 1
            agents.add(row.agent_id)
        after = "" if span is None else span.after
        return Waiting(count=count, agents=len(agents), span=Span(after, ids[-1]) if count else None)


def next_waiting(
    registry: Registry, reviewer: Reviewer, organization: str, choice: Choice, span: Span | None
) -> tuple[list[str], Span | None]:
    """The ids of the next of these requests, the oldest first, and the span of those that are left."""
    with registry.read() as session:
        tenant = find_organization(session, organization)
        ids = _ids(session, tenant, choice, span)
        part = ids[:_SCANNED]
        found: list[str] = []
        for row in _rows(session, tenant, reviewer, choice, part):
            found.append(row.id)
            if len(found) == MOST:
                break
        last = found[-1] if len(found) == MOST else part[-1] if part else ""
        return found, Span(last, ids[-1]) if ids and last < ids[-1] else None


# --- within one transaction -------------------------------------------------------------------------------------------


def _each(
    registry: Registry, organization: str, requests: Sequence[str], reason: str, act: _Act
) -> list[ReviewedRecord]:
    names.check_text("reason", reason)  # else each one would be refused for it
    with registry.write() as session:
        tenant = find_organization(session, organization)
        return [_reviewed(session, tenant, each, act) for each in dict.fromkeys(requests)]


def _reviewed(session: Session, tenant: Organization, request: str, act: _Act) -> ReviewedRecord:
    try:
        with session.begin_nested():
            row = reviews.find(session, tenant, request)
            act(session, tenant, row)
            session.flush()
    except GatewayError as error:
        if error.kind == "unavailable":
            raise
        return ReviewedRecord(id=request, state=None, missing=[], refused=Refusal.of(error))
    missing = reviewers.missing(session, tenant, row) if row.state == "waiting" else []
    return ReviewedRecord(id=row.id, state=row.state, missing=missing, refused=None)


def _ids(session: Session, tenant: Organization, choice: Choice, span: Span | None) -> list[str]:
    """The requests of the choice that wait, whoever may review them, the oldest first.

    They are sorted here: an index in their order has all that were ever made.
    """
    row = ApprovalRequest
    mine = select(row.id).where(
        text(f"approval_request.{UNSETTLED}"),
        row.organization_id == tenant.id,
        row.state == "waiting",
        row.expires_ns > time.time_ns(),
    )
    if choice.agent is not None:
        mine = mine.where(row.agent_id == find_agent(session, tenant, choice.agent).id)
    if choice.team is not None:
        members = select(Agent.id).where(Agent.organization_id == tenant.id, Agent.team == choice.team)
        mine = mine.where(col(row.agent_id).in_(members))
    if span is not None:
        mine = mine.where(col(row.id) > span.after, col(row.id) <= span.until)
    return sorted(session.exec(mine).all())


def _rows(
    session: Session, tenant: Organization, reviewer: Reviewer, choice: Choice, ids: Sequence[str]
) -> Iterator[ApprovalRequest]:
    """Those of them that the person may review and has not."""
    row = ApprovalRequest
    # Not the sealed calls, which may be a megabyte each.
    needed = load_only(
        *(row.agent_id, row.key_id, row.requirements, row.call, row.escalated, row.salt, row.person_commitment)  # type: ignore[arg-type]
    )
    known: dict[str, bool] = {}
    for start in range(0, len(ids), _READ):
        part = ids[start : start + _READ]
        before = reviewers.reviewed(session, part, reviewer)
        for each in session.exec(select(row).where(col(row.id).in_(part)).order_by(col(row.id)).options(needed)):
            if each.id in before or not _matches(each.requirements, choice.matching):
                continue
            alike = _alike(each)
            if alike not in known:
                known[alike] = bool(reviewers.met(session, tenant, each, reviewer))
            if known[alike]:
                yield each


def _alike(row: ApprovalRequest) -> str:
    """The same text for requests that the same people may review: asking that for each of them would take seconds."""
    if row.person_commitment:
        return row.id  # only the row itself can tell if that person is the reviewer
    version = row.call.get("agent_version")
    return outbox.document([row.agent_id, row.key_id, version, row.requirements, row.escalated])


def _matches(requirements: Sequence[dict[str, Any]], wanted: str | None) -> bool:
    """True if a policy's reason or pattern has these words in it, whatever their case."""
    if wanted is None:
        return True
    said = (words for each in requirements for words in (each["reason"], each.get("scope", {}).get("pattern", "")))
    return any(wanted.casefold() in words.casefold() for words in said)
