"""Organizations. An operator of one organization sees that one and no other."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

from pydantic import Field
from sqlmodel import Session

from gateway.control import shapes, tenants
from gateway.control.api.agents import tag
from gateway.control.operation import Answer, Ask, Operation, PageQuery, Reasoned, ReasonQuery, cut
from gateway.control.problems import Problem
from gateway.registry import changes, given_names, queries, tenant_changes
from gateway.registry import tenants as records
from gateway.registry.given_names import GivenNameRecord
from gateway.registry.guarded import Step
from gateway.registry.records import OrganizationRecord, OrganizationVersionRecord
from gateway.registry.tenants import organization_records
from gateway.usage import zones

_ORGANIZATION = shapes.record(OrganizationRecord)
_NAME = shapes.record(GivenNameRecord)
_VERSION = shapes.record(OrganizationVersionRecord)


class NewOrganization(Reasoned):
    """An organization to create."""

    name: str


class OrganizationPatch(Reasoned):
    """What to change of an organization."""

    review_days: int | None = Field(None, description="Within how many days owners must confirm agents; null: never.")
    suspend_after_days: int | None = Field(
        None,
        description="How many days after its review was due an agent is suspended; null: never. Without `review_days` "
        "this is for agents only that have days of their own.",
    )
    suspend_now: bool = Field(False, description="Also if agents would be suspended at once.")
    zone: str | None = Field(None, description="Where days and months begin, such as `Europe/Zurich`; null: UTC.")


class NewName(Reasoned):
    """A name of the world that its operators may use."""

    kind: Literal["trust_domain", "issuer"]
    name: str = Field(description="A trust domain, also with the beginning of a path; or the `iss` of tokens, exactly.")
    audience: str = Field("", description="Of an issuer: the `aud` of its tokens.")


def _visible(ask: Ask) -> list[OrganizationRecord]:
    return organization_records(ask.registry, ask.caller.organization)


def _one(ask: Ask, name: str) -> OrganizationRecord:
    tenants.check_visible(ask.caller, name)
    for each in organization_records(ask.registry, name):
        return each
    raise tenants.unknown(name, [each.name for each in _visible(ask)])


def listed(ask: Ask) -> Answer:
    return cut(ask, _visible(ask), lambda each: each.name, "organizations")


def show(ask: Ask) -> Answer:
    return _shown(_one(ask, ask.path["organization"]))


def _shown(record: OrganizationRecord, status: int = 200) -> Answer:
    location = f"/organizations/{record.name}" if status == 201 else None
    return Answer(body=record, status=status, tag=tag(record.version), location=location)


def versions(ask: Ask) -> Answer:
    found = _one(ask, ask.path["organization"])
    return cut(ask, records.versions(ask.registry, found.name), lambda each: each.version, "versions", found.id)


def update(ask: Ask) -> Answer:
    name = ask.path["organization"]
    found = _one(ask, name)
    ask.check_tag(tag(found.version))
    sent = ask.body.model_fields_set
    if not sent & {"review_days", "suspend_after_days", "zone"}:
        return _shown(found)
    changed = tenant_changes.update_organization(
        ask.change(ask.if_match(lambda session: tag(queries.find_organization(session, name).version))),
        actor=ask.actor,
        organization=name,
        review_days=(ask.body.review_days or 0) if "review_days" in sent else None,
        suspend_after_days=(ask.body.suspend_after_days or 0) if "suspend_after_days" in sent else None,
        zone=(zones.DEFAULT if ask.body.zone is None else ask.body.zone) if "zone" in sent else None,
        suspend_now=ask.body.suspend_now,
        reason=ask.body.reason,
    )
    return _shown(changed or found)


def create(ask: Ask) -> Answer:
    if ask.caller.organization is not None:
        detail = "an operator of one organization may not create others"
        raise Problem(403, "forbidden", detail, hint="an owner of the whole gateway can")
    name = ask.body.name
    changes.create_organization(ask.change(), actor=ask.actor, name=name, reason=ask.body.reason)
    return _shown(_one(ask, name), 201)


def _transition(change: Callable[..., OrganizationRecord | None], ask: Ask, *conditions: Step) -> Answer:
    name = ask.path["organization"]
    found = _one(ask, name)
    changed = change(ask.change(*conditions), actor=ask.actor, organization=name, reason=ask.body.reason)
    return _shown(changed or found)


def resume(ask: Ask) -> Answer:
    def check(session: Session) -> None:
        actor = records.suspended_by(session, ask.path["organization"])
        if actor is not None:
            tenants.check_may_undo(session, ask.caller, actor, "suspended")

    return _transition(tenant_changes.resume_organization, ask, check)


_TRANSITIONS: list[tuple[str, str, Callable[[Ask], Answer]]] = [
    (
        "suspend",
        "Refuse the requests of all its agents until it is resumed",
        functools.partial(_transition, tenant_changes.suspend_organization),
    ),
    ("resume", "Let the agents of a suspended organization go on", resume),
    (
        "revoke",
        "End an organization and all that its agents may do, for good",
        functools.partial(_transition, tenant_changes.revoke_organization),
    ),
]


def names_of(ask: Ask) -> Answer:
    found = _one(ask, ask.path["organization"])
    return cut(ask, given_names.given(ask.registry, found.name), lambda each: each.id, "names", found.id)


def give(ask: Ask) -> Answer:
    name = _one(ask, ask.path["organization"]).name
    made = given_names.give(ask.change(), actor=ask.actor, organization=name, **ask.body.model_dump())
    return Answer(body=made, status=201)


def take(ask: Ask) -> Answer:
    name = _one(ask, ask.path["organization"]).name
    given, reason = ask.path["name"], ask.query.reason
    taken = given_names.take(ask.change(), actor=ask.actor, organization=name, given=given, reason=reason)
    return Answer(body=taken)


OPERATIONS = [
    Operation(
        method="GET",
        path="/organizations",
        noun="organizations",
        summary="List the organizations that you may see",
        function=listed,
        query=PageQuery,
        about="nothing",
        answer=shapes.page(_ORGANIZATION),
    ),
    Operation(
        method="POST",
        path="/organizations",
        noun="organizations",
        summary="Create an organization",
        function=create,
        body=NewOrganization,
        about="nothing",
        status=201,
        answer=_ORGANIZATION,
        tagged=True,
    ),
    Operation(
        method="GET",
        path="/organizations/{organization}",
        noun="organizations",
        summary="An organization",
        function=show,
        about="nothing",
        answer=_ORGANIZATION,
        tagged=True,
    ),
    Operation(
        method="GET",
        path="/organizations/{organization}/versions",
        noun="organizations",
        summary="All versions of an organization, with who made them and why",
        function=versions,
        query=PageQuery,
        about="nothing",
        answer=shapes.page(_VERSION),
    ),
    Operation(
        method="GET",
        path="/organizations/{organization}/names",
        noun="organizations",
        summary="List the trust domains and issuers that an organization was given",
        function=names_of,
        query=PageQuery,
        about="nothing",
        answer=shapes.page(_NAME),
    ),
    Operation(
        method="POST",
        path="/organizations/{organization}/names",
        noun="organizations",
        summary="Give an organization a trust domain, or an issuer with an audience",
        function=give,
        body=NewName,
        about="nothing",
        status=201,
        answer=_NAME,
    ),
    Operation(
        method="DELETE",
        path="/organizations/{organization}/names/{name}",
        noun="organizations",
        summary="Take a name back from an organization; what was made with it stays",
        function=take,
        query=ReasonQuery,
        about="nothing",
        answer=_NAME,
        restricts=True,
    ),
    Operation(
        method="PATCH",
        path="/organizations/{organization}",
        noun="organizations",
        summary="Change an organization's time zone, and how often its agents must be confirmed or are suspended",
        function=update,
        body=OrganizationPatch,
        about="nothing",
        answer=_ORGANIZATION,
        if_match="required",
        tagged=True,
    ),
    *(
        Operation(
            method="POST",
            path=f"/organizations/{{organization}}/{name}",
            noun="organizations",
            summary=summary,
            function=function,
            body=Reasoned,
            about="nothing",
            answer=_ORGANIZATION,
            restricts=name != "resume",
            tagged=True,
        )
        for name, summary, function in _TRANSITIONS
    ),
]
