"""Answers that no provider's API gives: a page for people, or a path that the server does not have.

Mostly the base URL is wrong, or a portal or a proxy answers in the provider's place. The call has failed then, whatever
the status says: another upstream may answer it, a breaker counts it, and the operator is told. A provider that does not
know a model says so in its own form, and that is an answer.
"""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.errors import Denied
from gateway.outbound.connection import Answer
from gateway.upstream.providers import rejections
from gateway.upstream.providers.base import Sent
from gateway.upstream.providers.http.provider import NAME as HTTP
from gateway.upstream.routing import Destination

REMEDY = "check its base URL: `gateway upstreams check {name}` tries it"

_PAGES = frozenset({b"text/html", b"application/xhtml+xml"})
_NOT_THERE = frozenset({404, 405})
# The texts of servers that have no such path. Others name what they do not have: a model, a file.
_NO_PATH = ("not found", "method not allowed", "resource not found", "page not found", "no route matched")
_SECONDS = 5.0


class WrongServerError(Denied):
    """The upstream's server is not the provider's API."""

    def __init__(self, why: str, name: str) -> None:
        super().__init__("upstream_error", why)
        self.hint = REMEDY.format(name=name)


async def check(answer: Answer, destination: Destination, sent: Sent) -> WrongServerError | None:
    """The sign that this is no answer of the provider's API; None if nothing does."""
    if destination.provider.name == HTTP or not (answer.status < 300 or answer.status in _NOT_THERE):
        return None
    kind = answer.header(b"content-type").partition(b";")[0].strip().lower()
    why = ""
    if kind in _PAGES and not sent.action.endswith(".content"):  # a file may be a page
        why = f"it answers with a page (status {answer.status}, {kind.decode()})"
    elif answer.status in _NOT_THERE and sent.endpoint.route.body == "json" and not await _names_something(answer):
        why = f"it has no such path (status {answer.status})"
    return WrongServerError(why, destination.name) if why else None


async def _names_something(answer: Answer) -> bool:
    """True if a 404 is an error of the API, which says what is not there. The body is read all the same afterwards."""
    body = b""
    try:
        async with asyncio.timeout(_SECONDS):
            while len(body) <= rejections.MAX_BYTES and (piece := await answer.read()):
                body += piece
    except TimeoutError:
        pass
    if body:
        answer.pieces.insert(0, body)
    if len(body) > rejections.MAX_BYTES:
        return False
    parsed = rejections.parse(body)
    return parsed is not None and _is_error(parsed[0])


def _is_error(document: dict[str, Any]) -> bool:
    found = document.get("error")
    if document.get("object") != "error" and not found:
        return False
    message = found.get("message") if isinstance(found, dict) else found or document.get("message")
    text = str(message).strip().rstrip(".").lower()
    return text not in _NO_PATH and not text.startswith("invalid url (")
