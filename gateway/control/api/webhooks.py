"""Webhooks: who is told of what happens (webhooks.md). A secret that is made is shown once, a given one never."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from gateway.audit import search
from gateway.control import shapes
from gateway.control.operation import Answer, Ask, Body, Operation, PageQuery, cut
from gateway.errors import GatewayError, Hint
from gateway.registry import webhooks
from gateway.registry.documents import plain
from gateway.registry.records import WebhookRecord
from gateway.webhooks import deliveries, sender, signature
from gateway.webhooks.sender import DeliveryTrial

_STATE = shapes.closed(
    {
        "waiting": {"type": "integer", "description": "Events to deliver."},
        "failures": {"type": "integer", "description": "In a row."},
        "given_up": {"type": "integer", "description": "Events that were never accepted."},
        "success": shapes.or_null(shapes.TIME),
        "failure": shapes.or_null(shapes.TIME),
        "error": {"type": "string", "description": "Why the last attempt failed that did."},
    }
) | {"description": "How its deliveries go."}
_WEBHOOK = shapes.record(WebhookRecord, state=_STATE)
_SECRET = {
    "type": ["string", "null"],
    "description": "The secret that was made, once; null if it was given, if none is needed, and in a repeated answer.",
}
_NEW = shapes.record(WebhookRecord, state=_STATE, secret=_SECRET)


class NewWebhook(Body):
    """Whom to tell of what."""

    url: str = Field(description="Where to send events, over https.")
    events: list[str] | None = Field(None, description="Only these; null for the usual ones.", min_length=1)
    secret: str | None = Field(
        None, description="What signs deliveries, `whsec_…`; null to have one made. Only of the generic shape."
    )
    shape: webhooks.Shape = Field(
        "generic",
        description="What the receiver takes: the event and a signature, or a message for a webhook of Slack or Teams, "
        "whose URL is a secret and never shown.",
    )
    team: str | None = Field(None, description="Only events that name this team: of its agents, and its own.")
    owner: str | None = Field(
        None, description="Only events that name this owner: of the agents it is responsible for."
    )
    insecure: bool = Field(False, description="Allow a receiver on the gateway's machine, and plain HTTP to it.")
    allow_private: bool = Field(False, description="Allow private addresses: a receiver in the gateway's network.")


@Operation("GET /webhooks", answer=shapes.page(_WEBHOOK))
def listed(ask: Ask[None, PageQuery]) -> Answer:
    """List webhooks without their secrets, and how their deliveries go."""
    found = webhooks.webhooks(ask.registry, ask.tenant)
    states = deliveries.states(ask.context.data.runtime_db)
    return cut(ask, [_shown(each, states) for each in found], lambda each: each["id"], "webhooks")


@Operation("POST /webhooks", status=201, answer=_NEW, once="secret")
def add(ask: Ask[NewWebhook]) -> Answer:
    """Add a webhook, which is told of what happens from now on."""
    given = ask.body
    if given.insecure or given.allow_private:
        ask.caller.check_everywhere("may not have the gateway send into its own network")
    signed = given.shape == webhooks.GENERIC
    if not signed and given.secret is not None:
        hint = Hint("leave --secret-file out", api="leave the secret out")
        raise GatewayError("invalid_secret", f"deliveries in the shape {given.shape} are not signed", hint=hint)
    secret = signature.new_secret() if given.secret is None else given.secret
    signature.key_of(secret)
    with ask.context.log() as db:
        since = search.last_position(db)
    made = webhooks.add_webhook(
        ask.change(),
        ask.context.vault,
        **ask.by,
        url=given.url,
        insecure=given.insecure,
        allow_private=given.allow_private,
        events=given.events,
        secret=secret,
        since=since,
        shape=given.shape,
        team=given.team,
        owner=given.owner,
    )
    body = {**_shown(made, {}), "secret": secret if given.secret is None and signed else None}
    return Answer(body=body, location=f"/webhooks/{made.id}")


def _one(ask: Ask) -> WebhookRecord:
    return webhooks.chosen(webhooks.webhooks(ask.registry, ask.tenant), ask.path["webhook"])


def _shown(record: WebhookRecord, states: dict[str, deliveries.WebhookState]) -> dict[str, Any]:
    state = states.get(record.id, deliveries.WebhookState())
    return {**plain(record), "state": plain(deliveries.state_document(state))}


@Operation("GET /webhooks/{webhook}", answer=_WEBHOOK)
def show(ask: Ask) -> Answer:
    """A webhook, and how its deliveries go."""
    return Answer(body=_shown(_one(ask), deliveries.states(ask.context.data.runtime_db)))


@Operation("POST /webhooks/{webhook}/test", waits_for_others=True)
def try_out(ask: Ask) -> Answer[DeliveryTrial]:
    """Send the event `webhook.test` to a webhook now, and say what became of it."""
    done = sender.try_out(ask.registry, ask.context.vault, ask.tenant, _one(ask).id)
    return Answer(body=done)


@Operation("DELETE /webhooks/{webhook}", answer=_WEBHOOK)
def remove(ask: Ask) -> Answer:
    """Remove a webhook; what it has not got yet is not delivered."""
    identifier = _one(ask).id
    removed = webhooks.remove_webhook(ask.change(), **ask.by, webhook=identifier)
    return Answer(body=_shown(removed, {}))
