"""Mandates: an agent lets another one act for it, to an amount and until a time (mandates.md)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from gateway.a2a import cards
from gateway.control import shapes
from gateway.control.api.times import Seconds
from gateway.control.operation import Answer, Ask, Operation, Page, PageQuery, Reasoned, cut
from gateway.identity import organization_keys
from gateway.registry import mandates
from gateway.registry.limits import mandate_states
from gateway.registry.records import MandateRecord, MandateState

_SIGNED = shapes.closed(
    {"document": {"type": "object", "description": "What was granted, signed by the organization that granted it."}}
)


class NewMandate(Reasoned):
    """Who may act for whom, for what, to which amount and for how long."""

    agent: str = Field(description="The agent that is acted for, by its name or id.")
    to: str = Field(description="The agent that may act: its id, or ORGANIZATION/AGENT of a published one.")
    actions: list[str] = Field(description="For these actions: whole names, or beginnings that end in `*`.")
    models: list[str] = Field([], description="For these models, written in the same way; none: for all.")
    amount_microusd: int = Field(
        description="What may be spent under it in all, in millionths of a dollar.", json_schema_extra={"minimum": 0}
    )
    requests: int | None = Field(None, description="How many requests may be made under it; null: any number.")
    for_seconds: Seconds
    purpose: str = Field(description="What it is for: agents, policies and both sides' logs see it.")


@Operation("GET /mandates", question="Which agents may act for which others, and to which amount?")
def listed(ask: Ask[None, PageQuery]) -> Answer[Page[MandateRecord]]:
    """List the mandates that the organization has granted, or that its agents were given."""
    return cut(ask, mandates.mandates(ask.registry, ask.tenant), lambda each: each.id, "mandates")


@Operation("POST /mandates", status=201)
def grant(ask: Ask[NewMandate]) -> Answer[MandateRecord]:
    """Let another agent act for one of the organization's."""
    given = ask.body
    organization_keys.create(ask.context.data.keys)
    made = mandates.grant(
        ask.change(),
        **ask.by,
        for_ns=given.for_seconds * 10**9,
        **given.model_dump(exclude={"for_seconds"}),
    )
    return Answer(body=made, location=f"/mandates/{made.id}")


@Operation("GET /mandates/{mandate}")
def show(ask: Ask) -> Answer[MandateState]:
    """A mandate that the organization has granted or was given, with what is left of its amount."""
    return Answer(body=mandate_states.state(ask.context.data, _one(ask)))


@Operation("GET /mandates/{mandate}/document", answer=_SIGNED)
def document(ask: Ask) -> Answer:
    """The document of a mandate, signed by the organization that granted it: others verify it without the gateway."""
    found = _one(ask)
    [key, *_] = organization_keys.keys_of(ask.context.data.keys, found.organization)
    body: dict[str, Any] = {"document": cards.sign(mandates.document(found), key)}
    return Answer(body=body)


@Operation("POST /mandates/{mandate}/revoke", restricts=True)
def revoke(ask: Ask[Reasoned]) -> Answer[MandateRecord]:
    """End a mandate of the organization: no call under it is let through any more."""
    return Answer(body=mandates.revoke(ask.change(), **ask.by, mandate=ask.path["mandate"], reason=ask.body.reason))


def _one(ask: Ask) -> MandateRecord:
    return mandates.mandate(ask.registry, ask.tenant, ask.path["mandate"])
