"""Requests for approval: what people see of them, and what they may do (docs/explanation/approvals.md).

Owners and admins review, if the policy that demands the approval counts them. Nobody else sees the call itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.approvals import batches, reviews
from gateway.approvals.batches import Choice, Span
from gateway.approvals.records import RequestRecord, ReviewedRecord, WaitingRecord
from gateway.approvals.reviewers import Reviewer
from gateway.approvals.terms import Terms
from gateway.control import shapes
from gateway.control.callers import may
from gateway.control.operation import Answer, Ask, Body, Operation, Page, PageQuery, Query, Reasoned, paged, position
from gateway.registry.documents import plain
from gateway.webhooks import notices
from gateway.webhooks.notices import NoticeRecord, Told

_TEXT = {"type": ["string", "null"]}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_STATE = {"type": "string", "enum": list(notices.STATES)}
_APPROVAL = shapes.record(
    RequestRecord,
    notices={"type": "array", "items": shapes.record(NoticeRecord, state=_STATE)},
    looked={"type": "boolean", "description": "You have looked at the whole call."},
)
_REVIEWED = shapes.closed({"items": {"type": "array", "items": shapes.record(ReviewedRecord)}})
_CALL = shapes.closed(
    {
        "delegation": {"type": "array", "description": "The agents that have handed their rights on to the caller."},
        "on_behalf_of": shapes.or_null(shapes.closed({"issuer": {"type": "string"}, "subject": {"type": "string"}})),
        "method": {"type": "string"},
        "path": {"type": "string"},
        "query": _TEXTS,
        "headers": _TEXTS | {"description": "Those that go upstream and by which calls differ."},
        "content_type": {"type": "string"},
        "body": _TEXT | {"description": "The exact body that will run, before policies change it."},
        "body_base64": _TEXT | {"description": "The body instead, if it is no text."},
    }
)

_Ids = Annotated[list[str], Field(description="The ids of the requests.", min_length=1, max_length=batches.MOST)]
_OfAgent = Annotated[str | None, Field(description="Only those of this agent.")]
_OfTeam = Annotated[str | None, Field(max_length=200, description="Only those of agents of this team.")]
_Matching = Annotated[
    str | None,
    Field(min_length=1, max_length=200, description="Only those with these words in a policy's reason or pattern."),
]


class RequestQuery(PageQuery):
    """A choice of requests."""

    state: Literal["waiting", "approved", "denied", "expired", "closed", "used", "revoked"] | None = Field(
        None, description="Only those in this state."
    )
    agent: str | None = Field(None, description="Only those of this agent.")
    owner: str | None = Field(None, max_length=200, description="Only those of agents of this owner.")


class Several(Reasoned):
    """Requests that are reviewed at once, and why."""

    approvals: _Ids


class WaitingQuery(Query):
    """A choice of the requests that wait."""

    agent: _OfAgent = None
    team: _OfTeam = None
    matching: _Matching = None
    cursor: str | None = Field(None, description="Only those that the denial with this cursor has left.")


class Approval(Reasoned):
    """An approval, and what it is for: this very call once, if nothing else is said."""

    uses: int = Field(1, description="How often it may be used, within what the policies allow.", ge=1)
    seconds: int | None = Field(
        None, description="For how long, within what the policies allow; an hour at most if it is left out.", ge=1
    )
    for_pattern: bool = Field(False, description="For all calls that the policies call by the same words, too.")


class DenialReason(Body):
    """The reason of a denial."""

    reason: str = Field(description="Why; it stays in the audit log.", min_length=1)


class SeveralDenied(DenialReason):
    """Requests that are denied at once, and why."""

    approvals: _Ids


class AllDenied(DenialReason):
    """A choice of the requests that wait, and why they are denied."""

    agent: _OfAgent = None
    team: _OfTeam = None
    matching: _Matching = None
    cursor: str | None = Field(
        None,
        description="The `cursor` of the count, or the `next` of the denial before; without it, all that wait now.",
    )


def _reviewer(ask: Ask) -> Reviewer:
    return Reviewer(ask.actor, ask.caller.operator.id, ask.caller.operator.name)


def _shown(ask: Ask[Any, Any], found: Sequence[RequestRecord]) -> list[dict[str, Any]]:
    """Requests with what became of telling people of them."""
    ids = [each.id for each in found]
    told = notices.of_requests(ask.registry, ask.context.data, ask.tenant, ids)
    looked = batches.looked_at(ask.registry, _reviewer(ask), ids)
    return [
        {**plain(each), "notices": plain(told.get(each.id, Told()).notices), "looked": each.id in looked}
        for each in found
    ]


def _span(ask: Ask[Any, Any], given: WaitingQuery | AllDenied) -> tuple[Choice, Span | None, list[str]]:
    """The choice, how far a denial of it has come, and the place that its cursors are for."""
    choice = Choice(agent=given.agent, team=given.team, matching=given.matching)
    place = ["approvals waiting", given.agent or "", given.team or "", given.matching or ""]
    if given.cursor is None:
        return choice, None, place
    return choice, Span(*ask.context.cursors.open(given.cursor, ask.tenant, *place)), place


@Operation("GET /approvals", answer=shapes.page(_APPROVAL), question="Which calls wait for somebody to approve them?")
def listed(ask: Ask[None, RequestQuery]) -> Answer:
    """List requests for approval, the newest first."""
    given = ask.query
    place = ("approvals", given.state or "", given.agent or "", given.owner or "")
    after = position(ask, *place)
    states = () if given.state is None else (given.state,)
    chosen = {"agent": given.agent, "owner": given.owner}
    found, more = reviews.listed(ask.registry, ask.tenant, states=states, **chosen, after=after, limit=given.limit)
    return paged(ask, _shown(ask, found), found[-1].id if more else None, *place)


@Operation("GET /approvals/waiting", heavy=True, tool="count_waiting_approvals")
def waiting(ask: Ask[None, WaitingQuery]) -> Answer[WaitingRecord]:
    """How many calls wait that you may still review: what a denial of all would deny."""
    choice, span, place = _span(ask, ask.query)
    found = batches.Waiting(count=0, agents=0, span=None)
    if may(ask.caller, "approvals", write=True):
        found = batches.waiting(ask.registry, _reviewer(ask), ask.tenant, choice, span)
    cursor = None if found.span is None else ask.context.cursors.seal(found.span, ask.tenant, *place)
    return Answer(body=WaitingRecord(count=found.count, agents=found.agents, cursor=cursor))


@Operation("GET /approvals/{approval}", answer=_APPROVAL)
def show(ask: Ask) -> Answer:
    """A request for approval: what the policies demand, who has said what, and who was told of it."""
    [found] = _shown(ask, [reviews.one(ask.registry, ask.tenant, ask.path["approval"])])
    return Answer(body=found)


@Operation("POST /approvals/approve", answer=_REVIEWED, by_people=True)
def approve_several(ask: Ask[Several]) -> Answer:
    """Approve several calls that you have looked at: each may run once. The answer says what became of each."""
    given = ask.body
    made = batches.approve(ask.change(), _reviewer(ask), ask.tenant, given.approvals, given.reason)
    return Answer(body={"items": made})


@Operation("POST /approvals/deny", answer=_REVIEWED, restricts=True, tool="deny_approvals")
def deny_several(ask: Ask[SeveralDenied]) -> Answer:
    """Deny several calls. The answer says what became of each."""
    given = ask.body
    made = batches.deny(ask.change(), _reviewer(ask), ask.tenant, given.approvals, given.reason)
    return Answer(body={"items": made})


@Operation("POST /approvals/deny-all", restricts=True, by_people=True)
def deny_all(ask: Ask[AllDenied]) -> Answer[Page[ReviewedRecord]]:
    """Deny the next of all calls that wait and that you may review, the oldest first; `next` goes on with the others.

    Calls that begin to wait after the first request are left out.
    """
    given = ask.body
    choice, span, place = _span(ask, given)
    ids, left = batches.next_waiting(ask.registry, _reviewer(ask), ask.tenant, choice, span)
    made = batches.deny(ask.change(), _reviewer(ask), ask.tenant, ids, given.reason)
    following = None if left is None else ask.context.cursors.seal(left, ask.tenant, *place)
    return Answer(body={"items": made, "next": following})


@Operation("POST /approvals/{approval}/look", answer=_CALL, reveals=True)
def look(ask: Ask) -> Answer:
    """The whole call that waits, for somebody who may review it; the log has it that they looked."""
    registry, vault = ask.change(), ask.context.vault
    found: dict[str, Any] = reviews.look(registry, vault, _reviewer(ask), ask.tenant, ask.path["approval"])
    return Answer(body=found)


@Operation("POST /approvals/{approval}/approve", by_people=True)
def approve(ask: Ask[Approval]) -> Answer[RequestRecord]:
    """Approve a call: it may run once, or as often as the approvals say, when enough people have approved it."""
    given = ask.body
    terms = Terms(given.uses, given.seconds, given.for_pattern)
    where = ask.tenant, ask.path["approval"]
    return Answer(body=reviews.approve(ask.change(), _reviewer(ask), *where, given.reason, terms))


@Operation("POST /approvals/{approval}/deny", restricts=True)
def deny(ask: Ask[DenialReason]) -> Answer[RequestRecord]:
    """Deny a call; when enough people have, that stands for the same call until the time of the request is over."""
    where = ask.tenant, ask.path["approval"]
    return Answer(body=reviews.deny(ask.change(), _reviewer(ask), *where, ask.body.reason))


@Operation("POST /approvals/{approval}/revoke", restricts=True)
def revoke(ask: Ask[Reasoned]) -> Answer[RequestRecord]:
    """Take back an approval, or what is left of it."""
    where = ask.tenant, ask.path["approval"]
    return Answer(body=reviews.revoke(ask.change(), _reviewer(ask), *where, ask.body.reason))
