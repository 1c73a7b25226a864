"""Organizations. An operator of one organization sees that one and no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field
from sqlmodel import Session

from gateway.control import tenants
from gateway.control.operation import Answer, Ask, Operation, Page, PageQuery, Reasoned, ReasonQuery, cut, tag
from gateway.registry import queries
from gateway.registry.database import Step
from gateway.registry.organizations import given_names
from gateway.registry.organizations import queries as records
from gateway.registry.organizations.changes import (
    create_organization,
    resume_organization,
    revoke_organization,
    suspend_organization,
    update_organization,
)
from gateway.registry.organizations.given_names import GivenNameRecord
from gateway.registry.organizations.queries import organization_records
from gateway.registry.records import OrganizationRecord, OrganizationVersionRecord
from gateway.usage import zones


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


@Operation("GET /organizations", about="nothing")
def listed(ask: Ask[None, PageQuery]) -> Answer[Page[OrganizationRecord]]:
    """List the organizations that you may see."""
    return cut(ask, _visible(ask), lambda each: each.name, "organizations")


@Operation("POST /organizations", about="gateway", status=201, tagged=True)
def create(ask: Ask[NewOrganization]) -> Answer[OrganizationRecord]:
    """Create an organization."""
    name = ask.body.name
    create_organization(ask.change(), actor=ask.actor, name=name, reason=ask.body.reason)
    return _shown(_one(ask, name))


def _shown(record: OrganizationRecord) -> Answer[OrganizationRecord]:
    return Answer(body=record, tag=tag(record.version), location=f"/organizations/{record.name}")


@Operation("GET /organizations/{organization}", about="nothing", tagged=True)
def show(ask: Ask) -> Answer[OrganizationRecord]:
    """An organization."""
    return _shown(_one(ask, ask.path["organization"]))


@Operation("GET /organizations/{organization}/versions", about="nothing")
def versions(ask: Ask[None, PageQuery]) -> Answer[Page[OrganizationVersionRecord]]:
    """All versions of an organization, with who made them and why."""
    found = _one(ask, ask.path["organization"])
    return cut(ask, records.versions(ask.registry, found.name), lambda each: each.version, "versions", found.id)


@Operation("GET /organizations/{organization}/names", about="nothing")
def names_of(ask: Ask[None, PageQuery]) -> Answer[Page[GivenNameRecord]]:
    """List the trust domains and issuers that an organization was given."""
    found = _one(ask, ask.path["organization"])
    return cut(ask, given_names.given(ask.registry, found.name), lambda each: each.id, "names", found.id)


def _transition(change: Callable[..., OrganizationRecord | None], ask: Ask[Reasoned], *conditions: Step) -> Answer:
    name = ask.path["organization"]
    found = _one(ask, name)
    changed = change(ask.change(*conditions), actor=ask.actor, organization=name, reason=ask.body.reason)
    return _shown(changed or found)


@Operation("POST /organizations/{organization}/names", about="nothing", status=201)
def give(ask: Ask[NewName]) -> Answer[GivenNameRecord]:
    """Give an organization a trust domain, or an issuer with an audience."""
    name = _one(ask, ask.path["organization"]).name
    made = given_names.give(ask.change(), actor=ask.actor, organization=name, **ask.body.model_dump())
    return Answer(body=made)


@Operation("DELETE /organizations/{organization}/names/{name}", about="nothing", restricts=True)
def take(ask: Ask[None, ReasonQuery]) -> Answer[GivenNameRecord]:
    """Take a name back from an organization; what was made with it stays."""
    name = _one(ask, ask.path["organization"]).name
    given, reason = ask.path["name"], ask.query.reason
    taken = given_names.take(ask.change(), actor=ask.actor, organization=name, given=given, reason=reason)
    return Answer(body=taken)


@Operation("PATCH /organizations/{organization}", about="nothing", if_match="required", tagged=True)
def update(ask: Ask[OrganizationPatch]) -> Answer[OrganizationRecord]:
    """Change an organization's time zone, and how often its agents must be confirmed or are suspended."""
    name = ask.path["organization"]
    found = _one(ask, name)
    ask.check_tag(tag(found.version))
    sent = ask.body.model_fields_set
    if not sent & {"review_days", "suspend_after_days", "zone"}:
        return _shown(found)
    changed = update_organization(
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


@Operation("POST /organizations/{organization}/suspend", about="nothing", restricts=True, tagged=True)
def suspend(ask: Ask[Reasoned]) -> Answer[OrganizationRecord]:
    """Refuse the requests of all its agents until it is resumed."""
    return _transition(suspend_organization, ask)


@Operation("POST /organizations/{organization}/resume", about="nothing", tagged=True)
def resume(ask: Ask[Reasoned]) -> Answer[OrganizationRecord]:
    """Let the agents of a suspended organization go on."""

    def check(session: Session) -> None:
        actor = records.suspended_by(session, ask.path["organization"])
        if actor is not None:
            tenants.check_may_undo(session, ask.caller, actor, "suspended")

    return _transition(resume_organization, ask, check)


@Operation("POST /organizations/{organization}/revoke", about="nothing", restricts=True, tagged=True)
def revoke(ask: Ask[Reasoned]) -> Answer[OrganizationRecord]:
    """End an organization and all that its agents may do, for good."""
    return _transition(revoke_organization, ask)
