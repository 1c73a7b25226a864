"""The ways in: a link that was printed on the gateway's machine, and the provider where operators log in (login.md).

No password is asked for. A link is shown before it is used, so that a program that looks at links in messages does not
use it up. A login in a browser is that of `gateway login`, only that the gateway itself keeps the verifier: sealed in a
cookie, beside the state by which the browser that comes back is known.
"""

from __future__ import annotations

import hmac
import secrets
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from starlette.types import Scope

from gateway.control.dashboard.door import ROOT
from gateway.control.dashboard.sessions import LINK_SESSION_SECONDS, BrowserOrigin, Cookies, Links
from gateway.control.logins import TICKET_SECONDS, Logins
from gateway.control.operation import Context
from gateway.control.problems import Problem
from gateway.identity import logins as login_rules
from gateway.registry import publication
from gateway.registry.operators import logins as operator_logins
from gateway.registry.operators.logins import LoginRefusal
from gateway.registry.records import NewToken

_LONGEST_NEXT: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class PageVisit:
    """A request without a session."""

    place: BrowserOrigin
    scope: Scope
    address: str
    query: Mapping[str, str]
    form: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """The outcome: a page, or another address for the browser; `session` is the token of a session that has begun."""

    template: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200
    to: str | None = None
    cookies: Sequence[str] = ()
    session: str | None = None


class Entrance:
    """Owned by the event loop's thread."""

    def __init__(self, context: Context, logins: Logins, cookies: Cookies) -> None:
        self._context = context
        self._logins = logins
        self._cookies = cookies
        self._links = Links(context.peppers.current)

    async def choose(self, visit: PageVisit) -> Entered:
        """The page with the ways in."""
        wanted = visit.query.get("next", "")[:_LONGEST_NEXT]
        command = shlex.join(["gateway", "dashboard", *([wanted] if wanted else [])])
        values = {"providers": await self._logins.providers(), "next": wanted, "command": command}
        return Entered(template="login.html", values=values)

    async def begin(self, visit: PageVisit) -> Entered:
        """To the provider."""
        verifier = secrets.token_urlsafe(48)
        begun = await self._logins.begin(
            visit.address,
            challenge=login_rules.challenge(verifier),
            redirect_uri=f"{visit.place.origin}{ROOT}/callback",
            provider=visit.form.get("provider") or None,
            wanted=visit.form.get("organization") or None,
            kind="brw",
        )
        login = {
            "login": begun.login,
            "verifier": verifier,
            "state": begun.state,
            "next": visit.form.get("next", "")[:_LONGEST_NEXT],
        }
        cookie = self._cookies.begin_login(visit.place, login, TICKET_SECONDS)
        # Not a redirect: the policy of our pages lets forms lead nowhere else.
        values = {"to": begun.authorization_url, "provider": begun.provider}
        return Entered(template="leave.html", values=values, cookies=[cookie])

    async def finish(self, visit: PageVisit) -> Entered:
        """Back from the provider, with a code."""
        begun = self._cookies.login(visit.scope, visit.place)
        given = visit.query
        if begun is None or not hmac.compare_digest(str(begun["state"]).encode(), given.get("state", "").encode()):
            hint = "log in from the page of this gateway, in the browser in which you began, within ten minutes"
            raise Problem(403, "login_unknown", "this browser has begun no such login", hint=hint)
        if "code" not in given:
            raise Problem(401, "login_refused", "the login provider has let nobody in", hint="log in again")
        made = await self._logins.finish(
            visit.address,
            login=begun["login"],
            code=given["code"][:4096],
            verifier=begun["verifier"],
            issuer=given.get("iss"),
        )
        return self._entered(visit, made, begun["next"])

    async def show_link(self, visit: PageVisit) -> Entered:
        """A link, which is used by the button of this page alone."""
        link = visit.query.get("link", "")
        if self._links.open(link) is None:
            raise _bad_link()
        return Entered(
            template="enter.html", values={"link": link, "next": visit.query.get("next", "")[:_LONGEST_NEXT]}
        )

    async def use_link(self, visit: PageVisit) -> Entered:
        opened = self._links.open(visit.form.get("link", ""))
        if opened is None:
            raise _bad_link()
        made = await self._logins.in_thread(lambda: self._use(*opened))
        if isinstance(made, LoginRefusal):
            raise _bad_link()
        return self._entered(visit, made, visit.form.get("next", "")[:_LONGEST_NEXT])

    def _use(self, login: str, operator: str) -> NewToken | LoginRefusal:
        context = self._context
        with publication.changing(context.registry, context.data, writer=context.writer, warn=lambda *_: None):
            return operator_logins.enter_by_link(
                context.registry,
                context.peppers,
                login=login,
                operator=operator,
                lifetime_ns=LINK_SESSION_SECONDS * 10**9,
            )

    def _entered(self, visit: PageVisit, made: NewToken, wanted: str) -> Entered:
        cookies = [self._cookies.begin(visit.place, made.text), self._cookies.end_login(visit.place)]
        return Entered(to=wanted or f"{ROOT}/", cookies=cookies, session=made.text)


Way: TypeAlias = Callable[[Entrance, PageVisit], Awaitable[Entered]]

WAYS: Final[dict[tuple[str, bool], Way]] = {
    (f"{ROOT}/login", False): Entrance.choose,
    (f"{ROOT}/login", True): Entrance.begin,
    (f"{ROOT}/callback", False): Entrance.finish,
    (f"{ROOT}/enter", False): Entrance.show_link,
    (f"{ROOT}/enter", True): Entrance.use_link,
}
"""By path, and whether it is a POST."""


def _bad_link() -> Problem:
    hint = "type `gateway dashboard` on the gateway's machine for a new one: each is good once, for five minutes"
    return Problem(403, "bad_link", "this link is used, too old, or not of this gateway", hint=hint)
