"""A trial: the event `webhook.test` sent to one webhook at once, outside of its deliveries (webhooks.md)."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from gateway.identifiers import new_id
from gateway.registry.database import Registry
from gateway.registry.webhooks import followed
from gateway.secrets.vault import Vault
from gateway.webhooks import events, sender


@dataclass(frozen=True, slots=True)
class Trial:
    """The outcome: `error` says why the receiver has not accepted it, and is empty if it has."""

    webhook: str
    url: str
    event: str
    accepted: bool
    error: str
    milliseconds: int


def carry_out(registry: Registry, vault: Vault, organization: str, webhook: str) -> Trial:
    """Send it and wait for the answer, at most as long as a delivery waits. Call it from a thread without a loop."""
    [found] = followed(registry, organization, webhook)
    secret = vault.open(found.sealed, found.place)
    event_id, began = new_id("evt"), time.time_ns()
    body = events.body(events.TEST, began, {"organization": found.organization, "webhook": found.id})
    error = asyncio.run(sender.send(found.url, found.reach, secret, event_id, body))
    milliseconds = (time.time_ns() - began) // 1_000_000
    return Trial(found.id, found.url, event_id, not error, error, milliseconds)
