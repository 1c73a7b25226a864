"""The dashboard as an ASGI application: from a browser's request to its page, and back (dashboard.md).

A request has a place (`sessions.py`), a session or none, and a page (`pages/`). Static files and ways in, which need
no session, are here. A change is a POST that carries the session's own token in its form and comes from one of our own
pages. Pages ask through `door.py` alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.control import requests
from gateway.control.callers import Caller
from gateway.control.dashboard import entrance, pages, rendering, sessions
from gateway.control.dashboard.door import ROOT, Asked, View
from gateway.control.dashboard.entrance import Entrance
from gateway.control.dashboard.sessions import BrowserOrigin, Cookies
from gateway.control.dashboard.shown import Download, Redirect, Shown, ShownPage
from gateway.control.logins import Logins
from gateway.control.operation import Context
from gateway.control.operations import PREFIX
from gateway.control.places import held
from gateway.control.problems import Problem
from gateway.errors import GatewayError
from gateway.shares import Shares, address_of

logger = logging.getLogger("gateway.control.dashboard.app")

MAX_VISITS: Final = 64
"""Requests without a session."""
FORM_BYTES: Final = 64 * 1024
_FIELDS: Final = 200
_STATIC: Final = Path(__file__).parent / "static"
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_OWN_PATH: Final = re.compile(r"/dashboard/[!-\[\]-~]*")
"""A login leads nowhere else: to no other site, and to no `//`, which would be one."""

HEADERS: Final = (
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    # Not `no-referrer`: browsers would send `Origin: null` with our own forms.
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
)


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    body: bytes = b""
    media_type: str = "text/html; charset=utf-8"
    headers: Sequence[tuple[str, str]] = ()


class Dashboard:
    """Owned by the event loop's thread."""

    def __init__(
        self,
        context: Context,
        logins: Logins,
        api: ASGIApp,
        arrived: Callable[[str, Scope], Awaitable[Caller]],
        asked: Asked,
    ) -> None:
        """`arrived` looks at a session's token, `asked` carries out an operation, `api` has the stream of events."""
        self._control_url = context.settings.control_url
        self._api = api
        self._arrived = arrived
        self._asked = asked
        self._cookies = Cookies(context.peppers.current)
        self._entrance = Entrance(context, logins, self._cookies)
        self._visits = Shares("visits without a session", MAX_VISITS)
        self._static = {f"{ROOT}/static/{each.name}": _static(each) for each in _STATIC.iterdir()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._answer(scope, receive, send)
        except Problem as problem:
            response = _failed(problem)
        except GatewayError as error:
            logger.warning("a visit of the dashboard failed: %s", error)
            response = _failed(Problem(503, error.code, error.message, hint="try again"))
        except Exception:
            logger.exception("a page of the dashboard failed")
            response = _failed(Problem(500, "internal_error", "the gateway failed", hint="see its log"))
        if response is not None:
            await _send(send, response)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> _Response | None:
        """The answer; None if it was sent."""
        method, target = (
            scope["method"],
            (scope.get("raw_path") or scope["path"].encode()).split(b"?")[0].decode("latin-1"),
        )
        if method in ("GET", "HEAD") and (static := self._static.get(target)) is not None:
            return static
        place = BrowserOrigin.of(scope, self._control_url)
        if method not in ("GET", "HEAD", "POST"):
            raise Problem(405, "wrong_method", "pages take GET and POST", headers=[("allow", "GET, HEAD, POST")])
        changes = method == "POST"
        if changes:
            place.check_same_origin(scope)
        if target == ROOT:
            return _Response(307, headers=[("location", f"{ROOT}/")])
        if (way := entrance.WAYS.get((target, changes))) is not None:
            return await self._entered(way, scope, receive, place)
        session = self._cookies.session(scope, place)
        if session is None:
            return self._to_login(scope, target, changes)
        token, used = session
        try:
            caller = await self._arrived(token, scope)
        except Problem as problem:
            if problem.status != 401:
                raise
            return self._to_login(scope, target, changes, [("set-cookie", self._cookies.end(place))])
        if re.fullmatch(rf"{ROOT}/o/[^/]+/events", target) and not changes:
            place.check_same_origin(scope)
            await self._events(token, target, scope, _until(sessions.left(used), receive), send)
            return None
        response = await self._page(caller, place, scope, receive, target, changes)
        renewed = self._cookies.renewed(place, token, used)
        if renewed is not None and not any(name == "set-cookie" for name, _ in response.headers):
            response = _Response(
                response.status, response.body, response.media_type, [*response.headers, ("set-cookie", renewed)]
            )
        return response

    async def _page(
        self, caller: Caller, place: BrowserOrigin, scope: Scope, receive: Receive, target: str, changes: bool
    ) -> _Response:
        csrf = self._cookies.csrf(caller)
        page, path = pages.find(target, changes)
        form = await _form(scope, receive, page.most_bytes) if changes else {}
        if changes and not hmac.compare_digest(form.pop("csrf", "").encode(), csrf.encode()):
            raise Problem(
                403, "csrf", "the form was not made in this session", hint="load the page again, then send it"
            )
        organization = path.pop("organization", caller.organization or "default")
        view = View(
            caller=caller,
            organization=organization,
            path=path,
            query=requests.parameters(scope["query_string"]),
            form=form,
            address=target,
            csrf=csrf,
            door=self._asked,
        )
        try:
            found = await self._shown(page, view, place)
        except Problem as problem:
            shown = Shown("error.html", problem.code, {"problem": _document(problem)})
            return _Response(problem.status, rendering.page(view, shown))
        return found

    async def _shown(self, page: ShownPage, view: View, place: BrowserOrigin) -> _Response:
        if view.caller.organization not in (None, view.organization):
            detail = f"unknown organization `{requests.shown(view.organization)}`"
            raise Problem(404, "unknown_organization", detail, hint="you are an operator of another one")
        found = await page.function(view)
        if isinstance(found, Redirect):
            headers = [("location", found.to)]
            if found.logs_out:
                headers.append(("set-cookie", self._cookies.end(place)))
                headers.append(("clear-site-data", '"cache", "storage"'))
            return _Response(303, headers=headers)
        if isinstance(found, Download):
            headers = [("content-disposition", f'attachment; filename="{found.name}"')]
            return _Response(200, found.body, found.media_type, headers)
        return _Response(found.status, rendering.page(view, found))

    async def _entered(self, way: entrance.Way, scope: Scope, receive: Receive, place: BrowserOrigin) -> _Response:
        """A visit without a session. The ways in are few at a time, and their requests small."""
        address = address_of(scope["client"][0] if scope.get("client") else "")
        # Read before a place is taken: else clients that send slowly kept all others out, who may share their proxy.
        form = await _form(scope, receive) if scope["method"] == "POST" else {}
        with held(self._visits, address):
            visit = entrance.PageVisit(
                place=place,
                scope=scope,
                address=address.id,
                query=requests.parameters(scope["query_string"]),
                form=form,
            )
            found = await way(self._entrance, visit)
        if found.session is not None and (before := self._cookies.session(scope, place)) is not None:
            await self._end_session(before[0], scope)
        headers = [("set-cookie", each) for each in found.cookies]
        if found.to is not None:
            return _Response(303, headers=[*headers, ("location", own_path(found.to))])
        return _Response(found.status, rendering.alone(found.template, found.values), headers=headers)

    async def _end_session(self, token: str, scope: Scope) -> None:
        """A browser that logs in anew leaves no other session behind."""
        try:
            caller = await self._arrived(token, scope)
            await self._asked(caller, "POST", "/api/v1/logout", b"", {}, b"")
        except Problem:
            pass

    def _to_login(self, scope: Scope, target: str, changes: bool, headers: Sequence[tuple[str, str]] = ()) -> _Response:
        if changes or dict(scope["headers"]).get(b"accept") == b"text/event-stream":
            problem = Problem(401, "session_ended", "you are not logged in any more", hint="log in again")
            return _failed(problem, headers, after=target)
        string = scope["query_string"].decode("latin-1")
        wanted = own_path(target + (f"?{string}" if string else ""))
        query = "" if wanted == f"{ROOT}/" else f"?{urlencode({'next': wanted})}"
        return _Response(303, headers=[*headers, ("location", f"{ROOT}/login{query}")])

    async def _events(self, token: str, target: str, scope: Scope, receive: Receive, send: Send) -> None:
        """The stream of the API's events, for this session's operator."""
        organization = target.split("/")[3]
        query = (
            scope["query_string"] + (b"&" if scope["query_string"] else b"") + f"organization={organization}".encode()
        )
        kept = [each for each in scope["headers"] if each[0] in (b"host", b"last-event-id")]
        path = "/api/v1/events"
        await self._api(
            {
                **scope,
                "path": path,
                "raw_path": path.encode(),
                "query_string": query,
                "headers": [*kept, (b"authorization", b"Bearer " + token.encode())],
            },
            receive,
            send,
        )


def _until(seconds: float, receive: Receive) -> Receive:
    """A stream is no visit: it ends with the session that has begun it, and the browser asks again."""
    end = asyncio.get_running_loop().time() + seconds

    async def received() -> Message:
        try:
            async with asyncio.timeout_at(end):
                return await receive()
        except TimeoutError:
            return {"type": "http.disconnect"}

    return received


def own_path(text: str) -> str:
    """A path of our own pages, or else the first page."""
    return text if _OWN_PATH.fullmatch(text) and "//" not in text.split("?")[0] else f"{ROOT}/"


async def _form(scope: Scope, receive: Receive, most: int = FORM_BYTES) -> dict[str, str]:
    """The fields of a form. A field that is there several times has its values with commas."""
    headers = requests.single_headers(scope["headers"])
    if not headers.get(b"content-type", b"").lower().startswith(b"application/x-www-form-urlencoded"):
        raise Problem(415, "unsupported_media_type", "a form is sent as application/x-www-form-urlencoded")
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length[:18]) > most:
        raise Problem(413, "too_large", f"the form is longer than {most} bytes")
    raw = await requests.read(receive, headers, most)
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_FIELDS)
    except ValueError:
        raise Problem(400, "bad_request", "the form cannot be read") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


def _failed(problem: Problem, headers: Sequence[tuple[str, str]] = (), after: str = "") -> _Response:
    """A page for what fails before it is known who looks. A login leads to the page `after`, if it is one."""
    values = {"problem": _document(problem), "title": problem.code, "next": own_path(after) if _is_page(after) else ""}
    return _Response(problem.status, rendering.alone("error.html", values), headers=[*problem.headers, *headers])


def _is_page(target: str) -> bool:
    try:
        pages.find(target, False)
    except Problem:
        return False
    return True


def _document(problem: Problem) -> dict[str, Any]:
    """The problem for a person: a hint that names a path of the API is for programs."""
    found = problem.document()
    if PREFIX in found.get("hint", ""):
        del found["hint"]
    return found


def _static(path: Path) -> _Response:
    body = path.read_bytes()
    etag = hashlib.sha256(body).hexdigest()[:16]
    # Pages name a file with its digest (`rendering.py`), so a new one has another address.
    headers = [("cache-control", "private, max-age=86400"), ("etag", f'"{etag}"')]
    return _Response(200, body, f"{_TYPES[path.suffix]}; charset=utf-8", headers)


async def _send(send: Send, response: _Response) -> None:
    headers = [("content-type", response.media_type), ("content-length", str(len(response.body))), *HEADERS]
    if not any(name == "cache-control" for name, _ in response.headers):
        headers.append(("cache-control", "no-store"))
    encoded = [(name.encode(), value.encode("latin-1", "replace")) for name, value in [*headers, *response.headers]]
    await send({"type": "http.response.start", "status": response.status, "headers": encoded})
    await send({"type": "http.response.body", "body": response.body})
