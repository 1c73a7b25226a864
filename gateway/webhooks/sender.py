"""One delivery: a POST that was accepted, or why not; or a trial, outside of the deliveries (webhooks.md).

No body of an answer is read (`outbound/fetch.py`).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from yarl import URL

from gateway.errors import Denied
from gateway.identifiers import new_id
from gateway.outbound import addresses
from gateway.outbound.client import NotConnectedError, Outgoing
from gateway.outbound.fetch import fetch
from gateway.registry.database import Registry
from gateway.registry.webhooks import followed
from gateway.secrets.vault import Vault
from gateway.webhooks import events, signature

SECONDS: Final = 10.0


async def send(url: str, reach: str, secret: str, event_id: str, body: bytes) -> str:
    """Deliver once, signed if there is a secret. Returns why the receiver has not accepted it; empty if it has."""
    host = urlsplit(url).hostname or ""
    if addresses.literal(host) is not None and (why := addresses.refusal(host, reach)):
        return why
    headers = signature.headers(secret, event_id, int(time.time()), body) if secret else signature.UNSIGNED
    try:
        status, _ = await fetch(Outgoing("POST", URL(url), headers, body), reach, seconds=SECONDS, most=0)
    except TimeoutError:
        return f"no answer within {SECONDS:.0f} s"
    except NotConnectedError as error:
        options = "; --allow-private and --insecure let a webhook go elsewhere" if reach == addresses.PUBLIC else ""
        return error.why + (options if error.refused else "")
    except Denied as error:
        return error.detail
    except ValueError as error:
        return str(error)
    if 200 <= status < 300:
        return ""
    return f"it answered with status {status}" + (", and redirects are not followed" if 300 <= status < 400 else "")


@dataclass(frozen=True, slots=True)
class DeliveryTrial:
    """The outcome: `error` says why the receiver has not accepted it, and is empty if it has."""

    webhook: str
    url: str
    event: str
    accepted: bool
    error: str
    milliseconds: int


def try_out(registry: Registry, vault: Vault, organization: str, webhook: str) -> DeliveryTrial:
    """Send it and wait for the answer, at most as long as a delivery waits. Call it from a thread without a loop."""
    [found] = followed(registry, organization, webhook)
    url, secret = found.target(vault.open(found.sealed, found.place))
    event_id, began = new_id("evt"), time.time_ns()
    data = {"organization": found.organization, "webhook": found.id}
    body = events.shaped(found.shape, events.TEST, began, data)
    error = asyncio.run(send(url, found.reach, secret, event_id, body))
    milliseconds = (time.time_ns() - began) // 1_000_000
    return DeliveryTrial(found.id, found.url, event_id, not error, error, milliseconds)
