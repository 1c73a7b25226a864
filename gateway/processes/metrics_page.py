"""`GET /metrics`: the page of `metrics.py`, for operators whose token may read usage.

An operator of the whole gateway sees all rows, one of an organization those of its organization. A request by a name
that is not the gateway's is refused before its token is looked at: a page in a browser can lead its own name to this
address, and ask by that. Specification: observability.md.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.control import problems
from gateway.control.problems import Problem
from gateway.control.server import ControlApi
from gateway.errors import GatewayError

NOUN: Final = "usage"
_PORT: Final = re.compile(r":\d*\Z")

Render: TypeAlias = Callable[[str, str | None], tuple[bytes, str]]
"""The page and its content type, of what `Accept` says and an organization; of all if that is None. Blocks."""


class MetricsPage:
    """The ASGI application in front of another one: it answers `GET /metrics`. Owned by the event loop's thread."""

    def __init__(self, app: ASGIApp, api: ControlApi, page: Render, hosts: Iterable[str]) -> None:
        """`hosts` are the names of the gateway; addresses and `localhost` always are."""
        self._app = app
        self._api = api
        self._page = page
        self._hosts = {"localhost", *(each.lower() for each in hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or scope["path"] != "/metrics":
            await self._app(scope, receive, send)
            return
        try:
            status, headers = 200, []
            body, content_type = await self._read(scope)
        except Problem as problem:
            status, headers = problem.status, list(problem.headers)
            body, content_type = problem.body(), problems.MEDIA_TYPE
        headers += [
            ("content-type", content_type),
            ("content-length", str(len(body))),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
        ]
        encoded = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers]
        await send({"type": "http.response.start", "status": status, "headers": encoded})
        await send({"type": "http.response.body", "body": body})

    async def _read(self, scope: Scope) -> tuple[bytes, str]:
        self._check_host(scope)
        accept = ", ".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"accept")
        try:
            return await self._api.read_beside(scope, NOUN, lambda caller: self._page(accept, caller.organization))
        except GatewayError as error:
            raise problems.of(error, NOUN) from error

    def _check_host(self, scope: Scope) -> None:
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(given) != 1:  # RFC 9112, section 3.2
            raise Problem(400, "bad_request", "the request must have one Host header", hint="send one")
        name = _PORT.sub("", given[0]).strip("[]").lower()
        if name not in self._hosts and not _is_address(name):
            hint = "ask by its address, or add the name to the setting metrics_hosts"
            raise Problem(421, "unknown_host", "the gateway does not have the name that was asked for", hint=hint)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
