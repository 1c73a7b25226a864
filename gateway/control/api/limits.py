"""Limits that operators set.

An operator of one organization sees those that operators of the whole gateway have set for it, and changes its own.
"""

from __future__ import annotations

from typing import Literal, TypedDict

from pydantic import Field

from gateway.control import shapes
from gateway.control.api.bindings import check_subject
from gateway.control.api.times import Seconds
from gateway.control.operation import Answer, Ask, Operation, Page, PageQuery, Reasoned, cut, paged, position
from gateway.control.problems import Problem
from gateway.registry.limits import states as limit_states
from gateway.registry.limits import usage_limits
from gateway.registry.limits.states import LimitState
from gateway.registry.records import LimitRecord, SubjectKind
from gateway.usage.limits import Part

LIMIT = shapes.record(LimitRecord)


_VALUE = Field(json_schema_extra={"minimum": 0, "maximum": 2**53 - 1})  # `usage_limits` checks it


class Named(Reasoned):
    """Which limit is meant, by whose it is and what it is of."""

    subject_kind: Literal["agent", "team", "organization"]
    subject: str = Field(description="The name or id of an agent, the name of a team, or that of the organization.")
    limit: str = Field(description="Its name, such as requests_per_minute or spend_microusd_per_day.")
    upstream: str = Field("", description="Only for calls to this upstream.")
    model: str = Field("", description="Only for calls of this model; `gpt-4o*` for all that begin so.")
    counterparty: str = Field(
        "",
        description="Only for calls to agents of an organization (`to:ORGANIZATION`, `to:ORGANIZATION/AGENT`), or for "
        "calls that they make (`from:ORGANIZATION`, `from:ORGANIZATION/AGENT`, `from:*`).",
    )
    tool: str = Field("", description="Only for calls of this tool of MCP servers; `create_*` for all that begin so.")


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


@Operation("GET /limits")
def listed(ask: Ask[None, PageQuery]) -> Answer[Page[LimitRecord]]:
    """List the limits in force."""
    found, more = usage_limits.page(ask.registry, ask.tenant, after=position(ask, "limits"), limit=ask.query.limit)
    return paged(ask, found, found[-1].id if more else None, "limits")


@Operation("POST /limits", status=201)
def set_limit(ask: Ask[NewLimit]) -> Answer[LimitRecord]:
    """Set a limit, or give it another value; its id is a new one each time."""
    given = ask.body
    made = usage_limits.set_limit(
        ask.change(),
        value=given.value,
        mode=given.mode,
        without_members=given.without_members,
        **_named(ask, given),
    )
    return Answer(body=made, location=f"/limits/{made.id}")


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


def _named(ask: Ask, given: Named) -> _Which:
    """The limit that a body names."""
    check_subject(ask, given.subject_kind, given.subject)
    return _which(ask, given, None, given.reason)


def _which(ask: Ask, found: LimitRecord | Named, by_gateway: bool | None, reason: str = "") -> _Which:
    return _Which(
        **ask.by,
        kind=found.subject_kind,
        subject=found.subject,
        name=found.limit,
        part=Part.of(found),
        by_gateway=by_gateway,
        reason=reason,
    )


@Operation("GET /limits/states", question="Which agents are near their limits, and what is left?")
def states(ask: Ask[None, StateQuery]) -> Answer[Page[LimitState]]:
    """List what is spent, reserved and left of the limits that hold an agent, a team or the organization back."""
    given = ask.query
    check_subject(ask, given.subject_kind, given.subject)
    found = limit_states.applying(ask.registry, ask.tenant, given.subject_kind, given.subject)
    shown = limit_states.states(ask.context.data, found)
    return cut(ask, shown, lambda each: each.id, "limit states", given.subject_kind, given.subject)


@Operation("POST /limits/raise", tool="raise_named_limit")
def raise_named(ask: Ask[NamedRaise]) -> Answer[LimitRecord]:
    """Raise the limit of this name for a while; it falls back by itself."""
    return _raised(ask, ask.body, _named(ask, ask.body))


@Operation("POST /limits/remove", tool="remove_named_limit")
def remove_named(ask: Ask[Named]) -> Answer[LimitRecord]:
    """End the limit of this name."""
    return Answer(body=usage_limits.remove_limit(ask.change(), **_named(ask, ask.body)))


@Operation("GET /limits/{limit}")
def show(ask: Ask) -> Answer[LimitRecord]:
    """A limit in force."""
    return Answer(body=_one(ask))


@Operation("POST /limits/{limit}/raise")
def raise_limit(ask: Ask[Raise]) -> Answer[LimitRecord]:
    """Raise a limit for a while; it falls back by itself, and its id is a new one."""
    found = _one(ask)
    return _raised(ask, ask.body, _which(ask, found, found.by_gateway, ask.body.reason))


def _raised(ask: Ask, given: Raise, which: _Which) -> Answer:
    for_ns = given.for_seconds * 10**9
    return Answer(body=usage_limits.raise_limit(ask.change(), value=given.value, for_ns=for_ns, **which))


@Operation("DELETE /limits/{limit}")
def remove(ask: Ask) -> Answer[LimitRecord]:
    """End a limit."""
    found = _one(ask)
    return Answer(body=usage_limits.remove_limit(ask.change(), **_which(ask, found, found.by_gateway)))


def _one(ask: Ask) -> LimitRecord:
    found = usage_limits.in_force(ask.registry, ask.tenant, ask.path["limit"])
    if found is None:
        raise Problem(404, "unknown_limit", "no such limit is in force", hint="GET /api/v1/limits lists them")
    return found
