"""Errors of upstreams: what they are about, and who is told. Their status alone says neither.

A 403 is read before anything is decided: it is mostly about the gateway's own key, and then the client gets 502 and
nothing of it. An error that is about the client's request for certain, by the provider's rules
(`providers/rejections.py`), reaches the client, put together anew. Other errors reach the client as they are; what
they say of the account is for the log.

Some answers are no provider's: a page for people, or a path that the server does not have. Mostly the base URL is
wrong, or a portal or a proxy answers in the provider's place. The call has failed then, whatever the status says:
another upstream may answer it, and a breaker counts it. A provider that does not know a model says so in its own form,
and that is an answer.

The operator is told in log lines, since only that person can help, and the client nothing about the gateway's
credential.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any

import orjson

from gateway.errors import Denied
from gateway.outbound.connection import Answer
from gateway.upstream import answer_headers
from gateway.upstream.providers import rejections
from gateway.upstream.providers.base import Sent
from gateway.upstream.providers.http.provider import NAME as HTTP
from gateway.upstream.providers.mcp.provider import NAME as MCP
from gateway.upstream.providers.rejections import Rejection, Why
from gateway.upstream.routing import Destination

logger = logging.getLogger("gateway.dataplane.upstream_errors")

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
    if found is None and status == 402 and destination.provider.name not in (HTTP, MCP):
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


REMEDY = "check its base URL: `gateway upstreams check {name}` tries it"

_PAGES = frozenset({b"text/html", b"application/xhtml+xml"})
_NOT_THERE = frozenset({404, 405})
# The texts of servers that have no such path. Others name what they do not have: a model, a file.
_NO_PATH = ("not found", "method not allowed", "resource not found", "page not found", "no route matched")


class WrongServerError(Denied):
    """The upstream's server is not the provider's API."""

    def __init__(self, why: str, name: str) -> None:
        super().__init__("upstream_error", why)
        self.hint = REMEDY.format(name=name)


async def wrong_server(answer: Answer, destination: Destination, sent: Sent) -> WrongServerError | None:
    """The sign that this is no answer of the provider's API; None if nothing does."""
    if destination.provider.name in (HTTP, MCP) or not (answer.status < 300 or answer.status in _NOT_THERE):
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
    with suppress(TimeoutError):
        async with asyncio.timeout(_SECONDS):
            while len(body) <= rejections.MAX_BYTES and (piece := await answer.read()):
                body += piece
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


SECONDS = 60.0  # between two lines of a kind about one upstream


class Complaints:
    """The lines of one worker; used from its event loop's thread only."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], float] = {}

    def unavailable(self, upstream: str, name: str, detail: str, remedy: str = "") -> None:
        """Say that no call to this upstream (its id and its name) can succeed before somebody acts."""
        if self._due(upstream, "unavailable"):
            remedy = remedy or f"`gateway upstreams add {name} --key-env VARIABLE --replace` gives it another key"
            logger.error("no call to the upstream `%s` can succeed: %s; %s", name, detail, remedy)

    def refused(self, upstream: str, name: str, detail: str, remedy: str) -> None:
        """Say that this upstream refuses calls, perhaps not all of them, until somebody acts."""
        if self._due(upstream, "refused"):
            logger.error("the upstream `%s` refuses calls: %s; %s", name, detail, remedy)

    def _due(self, upstream: str, kind: str) -> bool:
        now = time.monotonic()
        if now - self._last.get((upstream, kind), -SECONDS) < SECONDS:
            return False
        self._last[upstream, kind] = now
        return True
