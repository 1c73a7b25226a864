"""Webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import GatewayError
from gateway.management import documents
from gateway.management.client import Client
from gateway.registry import webhooks
from gateway.registry.records import WebhookRecord
from gateway.webhooks.deliveries import State
from gateway.webhooks.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWebhook:
    """A webhook whose URL and events were checked. Without a secret one is made."""

    url: str
    events: Sequence[str]
    secret: str | None = field(default=None, repr=False)
    insecure: bool = False
    allow_private: bool = False


class Webhooks:
    def __init__(self, client: Client) -> None:
        self._client = client

    def add(self, organization: str, new: NewWebhook) -> tuple[WebhookRecord, str | None]:
        body = {
            "url": new.url,
            "events": sorted(set(new.events)),
            "secret": new.secret,
            "insecure": new.insecure,
            "allow_private": new.allow_private,
        }
        reply = self._client.send("POST", "webhooks", body=body, organization=organization)
        made, secret = documents.record(WebhookRecord, reply.body), reply.body["secret"]
        if secret is None and new.secret is None:  # the first answer was lost, and secrets are not kept for the second
            message = f"webhook {made.id} was added, but its secret was lost on the way"
            raise GatewayError("answer_lost", message, hint=f"type `gateway webhooks remove {made.id}` and add it anew")
        return made, secret

    def listed(self, organization: str) -> list[tuple[WebhookRecord, State]]:
        found = self._client.items("webhooks", organization=organization)
        return [(documents.record(WebhookRecord, each), _state(each["state"])) for each in found]

    def remove(self, organization: str, webhook: str) -> WebhookRecord:
        reply = self._client.send("DELETE", "webhooks", self._id(organization, webhook), organization=organization)
        return documents.record(WebhookRecord, reply.body)

    def try_out(self, organization: str, webhook: str) -> Trial:
        path = ("webhooks", self._id(organization, webhook), "test")
        return documents.record(Trial, self._client.send("POST", *path, organization=organization).body)

    def _id(self, organization: str, webhook: str) -> str:
        return webhooks.chosen([each for each, _ in self.listed(organization)], webhook).id


def _state(document: dict[str, Any]) -> State:
    success, failure = document["success"], document["failure"]
    return State(
        failures=document["failures"],
        success_ns=0 if success is None else documents.nanoseconds(success),
        error_ns=0 if failure is None else documents.nanoseconds(failure),
        error=document["error"],
        given_up=document["given_up"],
        waiting=document["waiting"],
    )
