"""A login in the person's browser, as the command line sees it (login.md; RFC 8252, sections 6 to 8).

The browser goes to the provider and comes back to a port of 127.0.0.1 with a code. Others who learn the code can do
nothing with it: the verifier leaves this process only for the gateway. A visit with another `state` is none of this
login, and the wait goes on.
"""

from __future__ import annotations

import hmac
import http.server
import queue
import secrets
import socketserver
import sys
import threading
import time
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from gateway.errors import GatewayError
from gateway.identity import logins
from gateway.management import gateways
from gateway.management.client import ManagementClient
from gateway.management.servers import ServerAccess

_LONGEST: Final = 8192
_VISIT_SECONDS: Final = 10
_PATH: Final = "/callback"

_PAGE: Final = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Agent Identity Gateway</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">
<style>:root{{color-scheme:light dark}}
body{{font:16px system-ui,sans-serif;margin:20vh auto;max-width:32em;padding:0 1em}}</style></head>
<body><h1>{title}</h1><p>{text}</p></body></html>
"""
_BACK: Final = ("Almost done", "Go back to the terminal. You can close this page.")
_OTHER: Final = (
    "Nothing to do",
    "This page is for <code>gateway login</code>, and not for this address.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The person's choice of a provider, of its organization, and of a port; 0 is any that is free."""

    provider: str | None = None
    organization: str | None = None
    port: int = 0
    opens_browser: bool = True


@dataclass(frozen=True, slots=True)
class _Visit:
    """The answer that the browser has brought from the provider."""

    code: str = field(default="", repr=False)
    issuer: str | None = None
    error: str = ""


def log_in(
    access: ServerAccess, wanted: Wanted, tell: Callable[[str], None], warn: Callable[[str, str], None] | None = None
) -> dict[str, Any]:
    """The token of a login, as the control API answers it. `tell` gets what the person must know. Blocks.

    Raises `GatewayError`: `no_login` if the gateway has no provider, and what else can go wrong.
    """
    verifier = secrets.token_urlsafe(48)
    with gateways.over_http(access) as transport:
        client = ManagementClient(transport, warn)
        with _Listener(wanted.port) as listener:
            asked = {
                "code_challenge": logins.challenge(verifier),
                "port": listener.port,
                "provider": wanted.provider,
                "organization": wanted.organization,
            }
            begun = client.send("POST", "login", body=asked)
            try:
                url, state = str(begun["authorization_url"]), str(begun["state"])
                login, seconds = str(begun["login"]), float(begun["expires_in"])
            except (KeyError, TypeError, ValueError) as error:
                raise _unexpected() from error
            _check_address(url)
            listener.expect(state)
            _show(url, wanted, listener, tell)
            visit = listener.wait(seconds)
        if visit.error:
            raise GatewayError("login_denied", f"the provider has refused the login: {visit.error}")
        body = {"login": login, "code": visit.code, "code_verifier": verifier, "iss": visit.issuer}
        # Not repeated: the code is good once, so a second attempt would only hide that the answer was lost.
        found = client.send("POST", "login", "finish", body=body, once=True)
    if not isinstance(found.get("token"), str):
        raise _unexpected()
    return found


def _show(url: str, wanted: Wanted, listener: _Listener, tell: Callable[[str], None]) -> None:
    if wanted.opens_browser:
        tell(f"your browser opens the login; if it does not, go to\n\n  {url}\n")
        # Some browsers are programs that run until the page is closed.
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
        return
    tell(f"to log in, go to\n\n  {url}\n")
    if sys.stdin is not None and sys.stdin.isatty():
        tell("if your browser is on another machine, it ends at an address that it cannot open: paste that here")
        threading.Thread(target=_read_pasted, args=(listener,), daemon=True).start()


def _read_pasted(listener: _Listener) -> None:
    for line in sys.stdin:
        if listener.take(line.strip()):
            return


def _check_address(url: str) -> None:
    """Only a page of the web is opened, whatever the gateway says."""
    parts = urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
    if not (parts.scheme == "https" or local) or not url.isascii() or not url.isprintable() or " " in url:
        raise _unexpected()


def _unexpected() -> GatewayError:
    hint = "the gateway may be of another version than this command line"
    return GatewayError("unexpected_answer", "the gateway's answer is none to a login", hint=hint)


class _Listener:
    """The port that the browser comes back to. `take` is called by any thread."""

    def __init__(self, port: int) -> None:
        self._visits: queue.SimpleQueue[_Visit] = queue.SimpleQueue()
        self._state: str | None = None
        try:
            self._server = _Server(("127.0.0.1", port), self)
        except OSError as error:
            why = (error.strerror or type(error).__name__).lower()
            message = f"cannot listen on 127.0.0.1 port {port}: {why}"
            raise GatewayError("port_unusable", message, hint="name another one with --port") from error
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> _Listener:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def expect(self, state: str) -> None:
        self._state = state

    def take(self, address: str) -> bool:
        """An address at which the browser has arrived; whether it belongs to this login."""
        try:
            parts = urlsplit(address)
            found = parse_qs(parts.query, keep_blank_values=True, max_num_fields=32)
        except ValueError:
            return False
        given = {name: values[0] for name, values in found.items() if len(values) == 1}
        state = given.get("state", "")
        if parts.path != _PATH or self._state is None or not hmac.compare_digest(state.encode(), self._state.encode()):
            return False
        if "code" in given and "error" not in given:
            self._visits.put(_Visit(given["code"], given.get("iss")))
        else:
            self._visits.put(_Visit(error=_plain(given.get("error", "no code came back"))))
        return True

    def wait(self, seconds: float) -> _Visit:
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            try:
                return self._visits.get(timeout=min(left, 1.0))
            except queue.Empty:
                continue
        raise GatewayError("login_timed_out", "nobody has logged in in time", hint="type `gateway login` again")


def _plain(text: str) -> str:
    return text[:80] if text.isascii() and text.isprintable() else "it does not say why"


class _Server(socketserver.ThreadingTCPServer):
    """A thread for each visit: browsers open connections that they do not use."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, place: tuple[str, int], listener: _Listener) -> None:
        self.listener = listener
        super().__init__(place, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: whoever visits this port tells no one anything."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    timeout = _VISIT_SECONDS
    server_version = "gateway"
    sys_version = ""

    def do_GET(self) -> None:
        port = self.server.listener.port
        # A page elsewhere must not reach this by a name that it controls.
        expected = self.headers.get("host") == f"127.0.0.1:{port}" and len(self.path) <= _LONGEST
        mine = expected and self.server.listener.take(self.path)
        title, text = _BACK if mine else _OTHER
        body = _PAGE.format(title=title, text=text).encode()
        self.send_response(200 if mine else 404)
        for name, value in (
            ("content-type", "text/html; charset=utf-8"),
            ("content-length", str(len(body))),
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:"),
            ("connection", "close"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as in the base class
        """Nothing: a request's line has the code."""


def end(access: ServerAccess) -> None:
    """End the token of a login at the gateway."""
    with gateways.over_http(access) as transport:
        ManagementClient(transport).send("POST", "logout")
