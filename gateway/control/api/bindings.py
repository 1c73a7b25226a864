"""Bindings: which policy bundles judge whom."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime, Field

from gateway.control import shapes
from gateway.control.api.times import nanoseconds
from gateway.control.operation import Answer, Ask, Operation, PageQuery, Query, Reasoned, cut, paged, position
from gateway.control.problems import Problem
from gateway.errors import GatewayError, UnknownError
from gateway.registry import pages, queries
from gateway.registry.documents import plain
from gateway.registry.history import as_of
from gateway.registry.policies import bindings
from gateway.registry.records import BindingRecord

_BINDING = shapes.record(BindingRecord, "agents")
_WITH_MEMBERS = shapes.with_lists(_BINDING, "agents")

_MEMBERS = Field(False, description="Name the agents that each applies to now and that have not ended.")


class NewBinding(Reasoned):
    """A bundle and whom it judges from the next request on. One of the same two is replaced."""

    subject_kind: Literal["agent", "team", "organization"]
    subject: str = Field(description="The name or id of an agent, the name of a team, or that of the organization.")
    bundle: str
    effect: Literal["grant", "guard", "receive"] = "grant"
    pinned: str | None = Field(None, description="Stay at this commit.")
    shadow: bool = Field(False, description="Ask it and record what it would decide, but do not let that count.")
    without_members: bool = Field(False, description="Also if it applies to no agent yet.")
    other_effect: bool = Field(False, description="Also if a grant becomes a guard by it, or the other way round.")


class BindingQuery(PageQuery):
    """Which bindings are wanted."""

    agent: str | None = Field(None, description="Only those that apply to this agent.")
    at: AwareDatetime | None = Field(None, description="Those in force at this time.")
    members: bool = _MEMBERS


class OneBindingQuery(Query):
    """What is to be told of a binding."""

    members: bool = _MEMBERS


class Unbinding(Reasoned):
    """Which binding is meant, by what it binds."""

    subject_kind: Literal["agent", "team", "organization"]
    subject: str = Field(description="The name or id of an agent, the name of a team, or that of the organization.")
    bundle: str
    shadow: bool = Field(False, description="The one that is asked and does not count.")


def shown(record: BindingRecord) -> dict[str, Any]:
    return {name: value for name, value in plain(record).items() if name != "agents"}


@Operation("GET /bindings", answer=shapes.page(_WITH_MEMBERS), question="Which policies judge which agents?")
def listed(ask: Ask[None, BindingQuery]) -> Answer:
    """List the bindings in force, now or at a time."""
    given = ask.query
    at_ns = nanoseconds(given.at)
    if given.members and at_ns is not None:
        error = {"parameter": "members", "message": "they are known of now only"}
        raise Problem(400, "invalid_parameter", "parameter `members`: they are known of now only", errors=[error])
    place = ("bindings", given.agent or "", str(given.at or ""), "members" if given.members else "")
    if given.members:
        ask.check_also_reads("agents")
        with_members = queries.bindings(ask.registry, ask.tenant, given.agent)
        return cut(ask, [plain(each) for each in with_members], lambda each: each["id"], *place)
    if at_ns is not None:
        then = as_of.bindings_at(ask.registry, ask.tenant, at_ns, given.agent)
        return cut(ask, [shown(each) for each in then], lambda each: each["id"], *place)
    found, more = pages.bindings(
        ask.registry, ask.tenant, after=position(ask, *place), limit=given.limit, agent=given.agent
    )
    return paged(ask, [shown(each) for each in found], found[-1].id if more else None, *place)


@Operation("POST /bindings", status=201, answer=_BINDING)
def bind(ask: Ask[NewBinding]) -> Answer:
    """Let a bundle judge an agent, a team or the organization."""
    given = ask.body
    check_subject(ask, given.subject_kind, given.subject)
    what = given.model_dump(exclude={"subject_kind"})
    try:
        made = bindings.bind(ask.change(), **ask.by, kind=given.subject_kind, **what)
    except GatewayError as error:
        raise _explained(ask, error) from error
    return Answer(body=shown(made), location=f"/bindings/{made.id}")


def _explained(ask: Ask[NewBinding], error: GatewayError) -> GatewayError:
    """The error, with the missing step if the bundle is not in force and that step is known.

    It stands in the gateway's settings and repository, of which an operator of one organization is told nothing.
    """
    if error.code not in ("unknown_bundle", "bundle_not_in_force") or error.subject is None:
        return error
    if ask.caller.organization is not None:
        return error
    from gateway.policy.rollout.whereabouts import missing_step

    step = missing_step(ask.context.settings, ask.registry, error.subject)
    if not step:
        return error
    hint = f"{step}; {error.hint}" if error.hint else step
    if error.code == "unknown_bundle":
        return UnknownError("bundle", f"bundle `{error.subject}` is not in force yet", subject=error.subject, hint=hint)
    return GatewayError(error.code, error.message, subject=error.subject, hint=hint, kind=error.kind)


@Operation("GET /bindings/{binding}", answer=_WITH_MEMBERS)
def show(ask: Ask[None, OneBindingQuery]) -> Answer:
    """A binding in force."""
    found = _one(ask, members=ask.query.members)
    return Answer(body=plain(found) if ask.query.members else shown(found))


@Operation("POST /bindings/unbind", answer=_BINDING, tool="unbind")
def unbind_named(ask: Ask[Unbinding]) -> Answer:
    """End the binding of a bundle and whom it judges."""
    check_subject(ask, ask.body.subject_kind, ask.body.subject)
    return _unbound(ask, ask.body, ask.body.reason)


@Operation("DELETE /bindings/{binding}", answer=_BINDING)
def unbind(ask: Ask) -> Answer:
    """End a binding."""
    return _unbound(ask, _one(ask))


def _unbound(ask: Ask, found: BindingRecord | Unbinding, reason: str = "") -> Answer:
    removed = bindings.unbind(
        ask.change(),
        **ask.by,
        kind=found.subject_kind,
        subject=found.subject,
        bundle=found.bundle,
        shadow=found.shadow,
        reason=reason,
    )
    return Answer(body=shown(removed))


def check_subject(ask: Ask, kind: str, subject: str) -> None:
    """Raise if an organization is meant that is not the one that the request is about."""
    if kind == "organization" and subject != ask.tenant:
        error = {"pointer": "/subject", "message": "it must be the organization that the request is about"}
        raise Problem(422, "invalid_subject", f"/subject: {error['message']}", errors=[error])


def _one(ask: Ask, *, members: bool = False) -> BindingRecord:
    wanted = ask.path["binding"]
    if members:
        ask.check_also_reads("agents")
        every = queries.bindings(ask.registry, ask.tenant)
        found = next((each for each in every if each.id == wanted), None)
    else:
        found = pages.binding(ask.registry, ask.tenant, wanted)
    if found is None:
        raise Problem(404, "unknown_binding", "no such binding is in force", hint="GET /api/v1/bindings lists them")
    return found
