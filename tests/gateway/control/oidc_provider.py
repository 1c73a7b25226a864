"""An OpenID Connect provider for tests: a small HTTP server that logs everybody in at once, as `person`.

It is strict where a real one is: a code is good once, for one client, one redirect address and one verifier. A test
can bend what it signs. `python -m tests.gateway.control.oidc_provider PORT CLAIMS` runs it as a process.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

from tests.gateway.dataplane.issuer import new_key, signed

CLIENT = "gateway-cli"
OLGA = {"sub": "00u1a2b3c4", "email": "Olga@acme.example", "email_verified": True, "groups": ["staff", "platform"]}


@dataclass
class Token:
    """The parts of an id_token, for tests that make a wrong one."""

    header: dict[str, Any]
    claims: dict[str, Any]
    key: Any

    def text(self) -> str:
        claims = {name: value for name, value in self.claims.items() if value is not None}
        return signed(self.header, claims, self.key)


@dataclass
class Provider:
    """Runs on a port of this machine. `asked` counts requests by path."""

    person: dict[str, Any] = field(default_factory=lambda: dict(OLGA))
    secret: str | None = None
    bend: Callable[[Token], str] = Token.text
    codes_last: bool = False
    checks_pkce: bool = True
    down: bool = False
    answer: tuple[int, dict[str, Any]] | None = None
    """The answer of the token endpoint, whatever it is asked."""
    asked: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    key: Any = field(default_factory=lambda: new_key("ES256", "first"))
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def start(self, port: int = 0) -> None:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider._get(self)

            def do_POST(self) -> None:
                provider._post(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as in the base class
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def _get(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        self.asked[parts.path] = self.asked.get(parts.path, 0) + 1
        if self.down:
            request.close_connection = True
        elif parts.path == "/.well-known/openid-configuration":
            known = {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": True,
            }
            _send(request, 200, known | self.metadata)
        elif parts.path == "/keys":
            _send(request, 200, {"keys": [{**self.key.as_dict(private=False), "use": "sig"}]})
        elif parts.path == "/authorize":
            self._authorize(request, {name: values[0] for name, values in parse_qs(parts.query).items()})
        else:
            _send(request, 404, {})

    def _authorize(self, request: BaseHTTPRequestHandler, given: dict[str, str]) -> None:
        good = (
            given["response_type"] == "code"
            and given["client_id"].startswith(CLIENT)
            and re.fullmatch(r"http://127\.0\.0\.1:\d+(/dashboard)?/callback", given["redirect_uri"])
            and "openid" in given["scope"].split()
            and given["code_challenge_method"] == "S256"
        )
        if not good:
            _send(request, 400, {"error": "invalid_request"})
            return
        code = secrets.token_urlsafe(16)
        self.codes[code] = given
        back = {"code": code, "state": given["state"], "iss": self.url}
        request.send_response(302)
        request.send_header("location", f"{given['redirect_uri']}?{urlencode(back)}")
        request.send_header("content-length", "0")
        request.end_headers()

    def _post(self, request: BaseHTTPRequestHandler) -> None:
        self.asked[request.path] = self.asked.get(request.path, 0) + 1
        body = request.rfile.read(int(request.headers["content-length"])).decode()
        if self.down:
            request.close_connection = True
            return
        if self.answer is not None:
            _send(request, *self.answer)
            return
        form = {name: values[0] for name, values in parse_qs(body, strict_parsing=True).items()}
        if not self._is_client(request, form):
            _send(request, 401, {"error": "invalid_client"})
            return
        code = form["code"]
        begun = self.codes.get(code) if self.codes_last else self.codes.pop(code, None)
        digest = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).decode().rstrip("=")
        if (
            begun is None
            or form["grant_type"] != "authorization_code"
            or begun["redirect_uri"] != form["redirect_uri"]
            or begun["client_id"] != CLIENT
            or (self.checks_pkce and begun["code_challenge"] != digest)
        ):
            _send(request, 400, {"error": "invalid_grant"})
            return
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": begun["nonce"], **self.person}
        token = Token({"alg": "ES256", "kid": "first", "typ": "JWT"}, claims, self.key)
        _send(request, 200, {"id_token": self.bend(token), "access_token": "unused", "token_type": "Bearer"})

    def _is_client(self, request: BaseHTTPRequestHandler, form: dict[str, str]) -> bool:
        if self.secret is None:
            return form.get("client_id") == CLIENT
        scheme, _, text = (request.headers["authorization"] or "").partition(" ")
        name, _, secret = base64.b64decode(text).decode().partition(":")
        return scheme == "Basic" and (unquote_plus(name), unquote_plus(secret)) == (CLIENT, self.secret)


def _send(request: BaseHTTPRequestHandler, status: int, document: dict[str, Any]) -> None:
    body = json.dumps(document).encode()
    request.send_response(status)
    request.send_header("content-type", "application/json")
    request.send_header("content-length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


if __name__ == "__main__":
    running = Provider(person=OLGA | json.loads(sys.argv[2] if len(sys.argv) > 2 else "{}"))
    running.start(int(sys.argv[1]))
    print(running.url, flush=True)
    threading.Event().wait()
