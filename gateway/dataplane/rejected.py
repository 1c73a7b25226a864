"""Errors of providers whose status does not say whose matter they are: read, and told to the one who can act.

A 403 is read before anything is decided: it is mostly about the gateway's own key, and then the client gets 502 and
nothing of it. What the provider's rules (`providers/rejections.py`) know for certain to be about the client's request
reaches the client, put together anew. Other errors reach the client as they are; what they say of the account is for
the log.
"""

from __future__ import annotations

import asyncio

import orjson

from gateway.errors import Denied
from gateway.outbound.connection import Answer
from gateway.upstream import answer_headers
from gateway.upstream.providers import rejections
from gateway.upstream.providers.http.provider import NAME as HTTP
from gateway.upstream.providers.rejections import Rejection, Why
from gateway.upstream.routing import Destination

# A provider that has refused a call has its reason at hand.
_SECONDS = 5.0
_TELLING = frozenset({400, 402, 403, 412, 429})
"""Statuses of errors about the account, at some provider."""


def telling(status: int) -> bool:
    """True if an error with this status may be about the account."""
    return status in _TELLING


def read(destination: Destination, status: int, body: bytes) -> Rejection | None:
    """The subject of an error; None if it is not known for certain."""
    parsed = rejections.parse(body) if len(body) <= rejections.MAX_BYTES else None
    found = None if parsed is None else destination.provider.reject(status, parsed[0])
    if found is None and status == 402 and destination.provider.name != HTTP:
        # All providers of models mean this by it. Other APIs mean their own matters, such as a card that was declined.
        return Rejection(Why.CREDIT)
    if found is None or not found.of_client:
        return found
    said = [each.decode("utf-8", "replace") for each in answer_headers.said_of_account(destination)]
    if any(secret in each for each in rejections.strings(found.document) for secret in said):
        return None
    assert parsed is not None
    return Rejection(found.why, [found.document] if parsed[1] else found.document)


async def of_forbidden(answer: Answer, destination: Destination) -> Rejection | None:
    """The subject of a 403. If that is the client's request, the answer holds from now on what the client is told."""
    if answer.header(b"content-encoding").lower() not in (b"", b"identity"):
        return None
    body = b""
    try:
        async with asyncio.timeout(_SECONDS):
            while piece := await answer.read():
                body += piece
                if len(body) > rejections.MAX_BYTES:
                    return None
    except (Denied, TimeoutError):
        return None
    found = read(destination, answer.status, body)
    if found is not None and found.of_client:
        told = orjson.dumps(found.document)
        others = [each for each in answer.headers if each[0] not in answer_headers.OF_ALL_BYTES | {b"content-type"}]
        length = (b"content-length", b"%d" % len(told))
        answer.replace(told, [(b"content-type", b"application/json"), length, *others])
    return found


def refusal(status: int, found: Rejection | None, *, credential: bool) -> Denied:
    """The client's answer for a 401 or 403 that is the operator's matter.

    `credential` says whether the request had one of the gateway's.
    """
    if found is not None:
        denied = Denied("upstream_unavailable", detail(found.why, status))
        denied.hint = rejections.REMEDIES[found.why]
        return denied
    # It is about the gateway's own credential; an SDK would take it for its own key being wrong.
    what = "it refuses the gateway's key" if credential else "it demands a key, and the gateway has none for it"
    return Denied("upstream_unavailable", f"{what} (status {status})")


def detail(why: Why, status: int) -> str:
    """The log's text about an error."""
    return f"{why.value} (status {status})"
