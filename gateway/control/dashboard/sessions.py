"""Sessions of browsers: a cookie that holds an operator's token, sealed, and when it was last used.

A session is a token of kind "browser": it is listed and revoked as any other, and it is worth what its operator is
worth at each request. The browser sees neither the token nor the time, so the cookie opens nothing but pages, and a
copy of an old one ends by itself. A cookie that was used is sealed again, at most once a minute.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.types import Scope

from gateway.control.callers import Caller
from gateway.control.problems import Problem
from gateway.control.sealing import Sealer
from gateway.http import origins

IDLE_SECONDS: Final = 3600
"""A session that was not used for so long has ended."""
LINK_SECONDS: Final = 300
"""The life of a link that `gateway dashboard` prints."""
LINK_SESSION_SECONDS: Final = 12 * 3600
"""The life of a session that such a link has begun. One of a login lasts as long as its provider's rows say."""
_RENEW_SECONDS: Final = 60
_LONGEST: Final = 4096
_SESSION: Final = "aig_session"
_LOGIN: Final = "aig_login"


@dataclass(frozen=True, slots=True)
class BrowserOrigin:
    """The origin that the browser sees. Over plain HTTP that can only be this machine."""

    origin: str

    @property
    def secure(self) -> bool:
        return self.origin.startswith("https://")

    @classmethod
    def of(cls, scope: Scope, control_url: str) -> BrowserOrigin:
        """Raises `Problem` unless the request names this gateway: by `control_url`, or as this machine."""
        hosts = [value.decode("latin-1").lower() for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1:
            raise Problem(400, "bad_request", "the request must have one Host header", hint="send one")
        if (origin := origins.own(hosts[0], control_url)) is not None:
            return cls(origin)
        raise Problem(
            421,
            "unknown_host",
            "the dashboard is not served under this name: without TLS it is for this machine alone",
            hint="open it there as http://127.0.0.1, or set control_url to the address of a proxy with TLS",
        )

    def check_same_origin(self, scope: Scope) -> None:
        """Raise `Problem` if a browser says that another site's page makes this request."""
        if origins.is_foreign(dict(scope["headers"]), self.origin):
            raise Problem(
                403, "cross_site", "the request comes from another site's page", hint="use the dashboard itself"
            )


class Cookies:
    """The contents of the cookies of this gateway's pages."""

    def __init__(self, secret: bytes) -> None:
        self._sealer = Sealer(secret, "sessions of browsers", _LONGEST)
        self._csrf = hmac.digest(secret, b"forms of the dashboard", "sha256")

    def csrf(self, caller: Caller) -> str:
        """The token that the forms of a session carry."""
        return hmac.new(self._csrf, caller.token.id.encode(), "sha256").hexdigest()

    def session(self, scope: Scope, place: BrowserOrigin) -> tuple[str, int] | None:
        """The token of the session that a request belongs to, and when it was used before; None if there is none."""
        found = self._opened(scope, place, _SESSION)
        if found is None:
            return None
        token, used = found
        return (token, used) if left(used) >= 0 else None

    def begin(self, place: BrowserOrigin, token: str) -> str:
        return _cookie(place, _SESSION, self._sealer.seal([token, int(time.time())], _SESSION, place.origin))

    def renewed(self, place: BrowserOrigin, token: str, used: int) -> str | None:
        return self.begin(place, token) if time.time() - used >= _RENEW_SECONDS else None

    def end(self, place: BrowserOrigin) -> str:
        return _cookie(place, _SESSION, "", 0)

    def begin_login(self, place: BrowserOrigin, login: Mapping[str, Any], seconds: int) -> str:
        return _cookie(place, _LOGIN, self._sealer.seal(dict(login), _LOGIN, place.origin), seconds)

    def login(self, scope: Scope, place: BrowserOrigin) -> Mapping[str, Any] | None:
        """The login that this browser has begun."""
        found: Mapping[str, Any] | None = self._opened(scope, place, _LOGIN)
        return found

    def end_login(self, place: BrowserOrigin) -> str:
        return _cookie(place, _LOGIN, "", 0)

    def _opened(self, scope: Scope, place: BrowserOrigin, name: str) -> Any:
        text = b"; ".join(value for name, value in scope["headers"] if name == b"cookie").decode("latin-1")
        # Not `SimpleCookie`: it gives up at the first cookie that it does not like, and all programs of this machine,
        # whatever their ports, put theirs on the same host.
        for part in text.split(";"):
            given, _, value = part.strip(" \t").partition("=")
            if given == _named(place, name):
                try:
                    return self._sealer.open(value, name, place.origin)
                except ValueError:
                    continue
        return None


def left(used: int) -> float:
    """The seconds for which a session goes on that was used at this time and is not again."""
    return used + IDLE_SECONDS - time.time()


class Links:
    """The contents of a link of `gateway dashboard`: made in the command's process, opened in the one that serves."""

    def __init__(self, secret: bytes) -> None:
        self._sealer = Sealer(secret, "links to the dashboard", 1024)

    def make(self, login: str, operator: str) -> str:
        return self._sealer.seal([login, operator, int(time.time()) + LINK_SECONDS])

    def open(self, text: str) -> tuple[str, str] | None:
        """The login's id and the operator's; None if the link is none of this gateway's, or too old."""
        try:
            login, operator, expires = self._sealer.open(text)
        except ValueError:
            return None
        return None if expires <= time.time() else (login, operator)


def _named(place: BrowserOrigin, name: str) -> str:
    """Browsers take a name with this prefix only over TLS, for the whole of one host and from nowhere else."""
    return f"__Host-{name}" if place.secure else name


def _cookie(place: BrowserOrigin, name: str, value: str, seconds: int | None = None) -> str:
    """Lax: a link in a message must find the person logged in, and no page changes anything when it is only read."""
    parts = [f"{_named(place, name)}={value}", "Path=/", "HttpOnly", "SameSite=Lax"]
    parts += ["Secure"] if place.secure else []
    parts += [] if seconds is None else [f"Max-Age={seconds}"]
    return "; ".join(parts)
