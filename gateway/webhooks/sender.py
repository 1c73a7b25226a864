"""One delivery: a POST that was accepted, or why not. No body of an answer is read (`outbound/fetch.py`)."""

from __future__ import annotations

import time
from typing import Final
from urllib.parse import urlsplit

from yarl import URL

from gateway.errors import Denied
from gateway.outbound import addresses
from gateway.outbound.client import NotConnectedError, Outgoing
from gateway.outbound.fetch import fetch
from gateway.webhooks import signature

SECONDS: Final = 10.0


async def send(url: str, reach: str, secret: str, event_id: str, body: bytes) -> str:
    """Deliver once. Returns why the receiver has not accepted it; empty if it has."""
    host = urlsplit(url).hostname or ""
    if addresses.literal(host) is not None and (why := addresses.refusal(host, reach)):
        return why
    headers = signature.headers(secret, event_id, int(time.time()), body)
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
