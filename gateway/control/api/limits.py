"""Limits that operators set.

An operator of one organization sees those that operators of the whole gateway have set for it, and changes its own.
"""

from __future__ import annotations

from typing import Literal, TypedDict

from pydantic import Field

from gateway.control import shapes
from gateway.control.api.bindings import check_subject
from gateway.control.api.times import Seconds
from gateway.control.operation import Answer, Ask, Operation, PageQuery, Reasoned, cut
from gateway.control.problems import Problem
from gateway.registry import limit_states, usage_limits
from gateway.registry.limit_states import LimitState
from gateway.registry.records import LimitRecord, SubjectKind
from gateway.registry.usage_limits import Part

LIMIT = shapes.record(LimitRecord)
_STATE = shapes.record(LimitState)


_VALUE = Field(json_schema_extra={"minimum": 0, "maximum": 2**53 - 1})  # `usage_limits` checks it


class Named(Reasoned):
    """Which limit is meant, by whose it is and what it is of."""

    subject_kind: Literal["agent", "team", "organization"]
    subject: str = Field(description="The name or id of an agent, the name of a team, or that of the organization.")
    limit: str = Field(description="Its name, such as requests_per_minute or spend_microusd_per_day.")
    upstream: str = Field("", description="Only for calls to this upstream.")
    model: str = Field("", description="Only for calls of this model; `gpt-4o*` for all that begin so.")


class NewLimit(Named):
    """A limit, or another value for one that is set."""

    value: int = _VALUE
    mode: str | None = Field(
        None,
        json_schema_extra={"anyOf": [{"type": "string", "enum": ["hard", "estimate"]}, {"type": "null"}]},
        description="Of tokens and money: whether a call without a bound is refused (`hard`), or an estimate is "
        "reserved for it. Without it, a limit that is set keeps its mode, and a new one has `estimate`.",
    )
    without_members: bool = Field(False, description="Also if it applies to no agent yet.")


class StateQuery(PageQuery):
    """Whose limits are meant."""

    subject_kind: Literal["agent", "team", "organization"]
    subject: str = Field(description="The name or id of an agent, the name of a team, or that of the organization.")


class Raise(Reasoned):
    """Another value for a while."""

    value: int = _VALUE
    for_seconds: Seconds


class NamedRaise(Raise, Named):
    """The same, with whose limit it is."""


def listed(ask: Ask) -> Answer:
    return cut(ask, usage_limits.limits(ask.registry, ask.tenant), lambda each: each.id, "limits")


def states(ask: Ask) -> Answer:
    given: StateQuery = ask.query
    check_subject(ask, given.subject_kind, given.subject)
    found = limit_states.applying(ask.registry, ask.tenant, given.subject_kind, given.subject)
    shown = limit_states.states(ask.context.data, found)
    return cut(ask, shown, lambda each: each.id, "limit states", given.subject_kind, given.subject)


class _Which(TypedDict):
    """Which limit a change is about, with who makes it and why."""

    actor: str
    organization: str
    kind: SubjectKind
    subject: str
    name: str
    part: Part
    by_gateway: bool | None
    reason: str


def _which(ask: Ask) -> _Which:
    """The limit in the path of a request, or else the one that its body names."""
    found: LimitRecord | Named
    if "limit" in ask.path:
        found = _one(ask)
    else:
        found = ask.body
        check_subject(ask, found.subject_kind, found.subject)
    return _Which(
        actor=ask.actor,
        organization=ask.tenant,
        kind=found.subject_kind,
        subject=found.subject,
        name=found.limit,
        part=Part(found.upstream, found.model),
        by_gateway=found.by_gateway if isinstance(found, LimitRecord) else None,
        reason="" if ask.body is None else ask.body.reason,
    )


def set_limit(ask: Ask) -> Answer:
    given: NewLimit = ask.body
    which = _which(ask)
    made = usage_limits.set_limit(
        ask.change(), value=given.value, mode=given.mode, without_members=given.without_members, **which
    )
    return Answer(body=made, status=201, location=f"/limits/{made.id}")


def show(ask: Ask) -> Answer:
    return Answer(body=_one(ask))


def raise_limit(ask: Ask) -> Answer:
    given: Raise = ask.body
    for_ns = given.for_seconds * 10**9
    return Answer(body=usage_limits.raise_limit(ask.change(), value=given.value, for_ns=for_ns, **_which(ask)))


def remove(ask: Ask) -> Answer:
    return Answer(body=usage_limits.remove_limit(ask.change(), **_which(ask)))


def _one(ask: Ask) -> LimitRecord:
    for each in usage_limits.limits(ask.registry, ask.tenant):
        if each.id == ask.path["limit"]:
            return each
    raise Problem(404, "unknown_limit", "no such limit is in force", hint="GET /api/v1/limits lists them")


OPERATIONS = [
    Operation(
        method="GET",
        path="/limits",
        noun="limits",
        summary="List the limits in force",
        function=listed,
        query=PageQuery,
        answer=shapes.page(LIMIT),
    ),
    Operation(
        method="POST",
        path="/limits",
        noun="limits",
        summary="Set a limit, or give it another value; its id is a new one each time",
        function=set_limit,
        body=NewLimit,
        status=201,
        answer=LIMIT,
    ),
    Operation(
        method="GET",
        path="/limits/states",
        noun="limits",
        summary="What is spent, reserved and left of the limits that hold an agent, a team or the organization back",
        function=states,
        query=StateQuery,
        answer=shapes.page(_STATE),
    ),
    Operation(
        method="POST",
        path="/limits/raise",
        noun="limits",
        summary="Raise the limit of this name for a while; it falls back by itself",
        function=raise_limit,
        body=NamedRaise,
        answer=LIMIT,
    ),
    Operation(
        method="POST",
        path="/limits/remove",
        noun="limits",
        summary="End the limit of this name",
        function=remove,
        body=Named,
        answer=LIMIT,
    ),
    Operation(
        method="GET",
        path="/limits/{limit}",
        noun="limits",
        summary="A limit in force",
        function=show,
        answer=LIMIT,
    ),
    Operation(
        method="POST",
        path="/limits/{limit}/raise",
        noun="limits",
        summary="Raise a limit for a while; it falls back by itself, and its id is a new one",
        function=raise_limit,
        body=Raise,
        answer=LIMIT,
    ),
    Operation(
        method="DELETE",
        path="/limits/{limit}",
        noun="limits",
        summary="End a limit",
        function=remove,
        answer=LIMIT,
    ),
]
