"""Bindings: which policy bundles judge whom."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime, Field

from gateway.control import shapes
from gateway.control.api.times import nanoseconds
from gateway.control.operation import Answer, Ask, Operation, PageQuery, Reasoned, cut
from gateway.control.problems import Problem
from gateway.registry import as_of, changes, pages
from gateway.registry.documents import plain
from gateway.registry.records import BindingRecord

_BINDING = shapes.record(BindingRecord, "agents")


class NewBinding(Reasoned):
    """A bundle and whom it judges from the next request on. One of the same two is replaced."""

    subject_kind: Literal["agent", "team", "organization"]
    subject: str = Field(description="The name or id of an agent, the name of a team, or that of the organization.")
    bundle: str
    effect: Literal["grant", "guard"] = "grant"
    pinned: str | None = Field(None, description="Stay at this commit.")
    shadow: bool = Field(False, description="Ask it and record what it would decide, but do not let that count.")
    without_members: bool = Field(False, description="Also if it applies to no agent yet.")
    other_effect: bool = Field(False, description="Also if a grant becomes a guard by it, or the other way round.")


class BindingQuery(PageQuery):
    """Which bindings are wanted."""

    agent: str | None = Field(None, description="Only those that apply to this agent.")
    at: AwareDatetime | None = Field(None, description="Those in force at this time.")


class Unbinding(Reasoned):
    """Which binding is meant, by what it binds."""

    subject_kind: Literal["agent", "team", "organization"]
    subject: str = Field(description="The name or id of an agent, the name of a team, or that of the organization.")
    bundle: str
    shadow: bool = Field(False, description="The one that is asked and does not count.")


def shown(record: BindingRecord) -> dict[str, Any]:
    return {name: value for name, value in plain(record).items() if name != "agents"}


def listed(ask: Ask) -> Answer:
    at_ns = nanoseconds(ask.query.at)
    if at_ns is None:
        found = pages.bindings(ask.registry, ask.tenant, ask.query.agent)
    else:
        found = as_of.bindings_at(ask.registry, ask.tenant, at_ns, ask.query.agent)
    place = ("bindings", ask.query.agent or "", str(ask.query.at or ""))
    return cut(ask, [shown(each) for each in found], lambda each: each["id"], *place)


def bind(ask: Ask) -> Answer:
    given: NewBinding = ask.body
    check_subject(ask, given.subject_kind, given.subject)
    made = changes.bind(
        ask.change(),
        actor=ask.actor,
        organization=ask.tenant,
        kind=given.subject_kind,
        **given.model_dump(exclude={"subject_kind"}),
    )
    return Answer(body=shown(made), status=201, location=f"/bindings/{made.id}")


def show(ask: Ask) -> Answer:
    return Answer(body=shown(_one(ask)))


def unbind(ask: Ask) -> Answer:
    found = _one(ask)
    removed = changes.unbind(
        ask.change(),
        actor=ask.actor,
        organization=ask.tenant,
        kind=found.subject_kind,
        subject=found.subject,
        bundle=found.bundle,
        shadow=found.shadow,
    )
    return Answer(body=shown(removed))


def unbind_named(ask: Ask) -> Answer:
    given: Unbinding = ask.body
    check_subject(ask, given.subject_kind, given.subject)
    removed = changes.unbind(
        ask.change(),
        actor=ask.actor,
        organization=ask.tenant,
        kind=given.subject_kind,
        **given.model_dump(exclude={"subject_kind"}),
    )
    return Answer(body=shown(removed))


def check_subject(ask: Ask, kind: str, subject: str) -> None:
    """Raise if an organization is meant that is not the one that the request is about."""
    if kind == "organization" and subject != ask.tenant:
        error = {"pointer": "/subject", "message": "it must be the organization that the request is about"}
        raise Problem(422, "invalid_subject", f"/subject: {error['message']}", errors=[error])


def _one(ask: Ask) -> BindingRecord:
    wanted = ask.path["binding"]
    for each in pages.bindings(ask.registry, ask.tenant):
        if each.id == wanted:
            return each
    raise Problem(404, "unknown_binding", "no such binding is in force", hint="GET /api/v1/bindings lists them")


OPERATIONS = [
    Operation(
        method="GET",
        path="/bindings",
        noun="bindings",
        summary="List the bindings in force, now or at a time",
        function=listed,
        query=BindingQuery,
        answer=shapes.page(_BINDING),
    ),
    Operation(
        method="POST",
        path="/bindings",
        noun="bindings",
        summary="Let a bundle judge an agent, a team or the organization",
        function=bind,
        body=NewBinding,
        status=201,
        answer=_BINDING,
    ),
    Operation(
        method="GET",
        path="/bindings/{binding}",
        noun="bindings",
        summary="A binding in force",
        function=show,
        answer=_BINDING,
    ),
    Operation(
        method="POST",
        path="/bindings/unbind",
        noun="bindings",
        summary="End the binding of a bundle and whom it judges",
        function=unbind_named,
        body=Unbinding,
        answer=_BINDING,
    ),
    Operation(
        method="DELETE",
        path="/bindings/{binding}",
        noun="bindings",
        summary="End a binding",
        function=unbind,
        answer=_BINDING,
    ),
]
