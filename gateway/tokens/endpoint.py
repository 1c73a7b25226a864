"""`POST /oauth/token`, the public keys and the metadata of OAuth, in front of the data plane (tokens.md).

Requests for anything else are passed on. Answers and refusals have the shapes of RFC 6749, section 5, since OAuth
clients ask here, and not a provider's SDK.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Mapping
from typing import Any
from urllib.parse import unquote_plus

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.dataplane import preconditions
from gateway.dataplane.patience import Patience
from gateway.dataplane.receiving import ClientGoneError
from gateway.dataplane.refusal_answers import challenge
from gateway.dataplane.refusals import Refusals
from gateway.errors import Denied
from gateway.http.departure import Departure
from gateway.identity import authentication, signatures
from gateway.identity.certificates import Certificate
from gateway.identity.principals import Presented
from gateway.identity.token_keys import TokenKeys
from gateway.tokens import form as token_form
from gateway.tokens.form import Refusal, TokenRequest
from gateway.tokens.grants import Grants
from gateway.tokens.metadata import AUTHORIZE_PATH, KEYS_PATH, NO_LOGIN, TOKEN_PATH, Metadata

_CARDS = b"/a2a/"
_KNOWN = b"/.well-known/"


class TokenEndpoint:
    """The ASGI application in front of another one. Owned by the event loop's thread."""

    def __init__(
        self,
        app: ASGIApp,
        grants: Grants,
        keys: TokenKeys,
        refusals: Refusals,
        metadata: Metadata,
        cards: ASGIApp | None = None,
    ) -> None:
        """`cards` is the application in front of the same one that shows cards of agents (`a2a/cards.py`)."""
        self._app = app
        self._cards = app if cards is None else cards
        self._grants = grants
        self._keys = keys
        self._refusals = refusals
        self._metadata = metadata
        self._patience = Patience()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        path = scope["raw_path"]
        if path == TOKEN_PATH:
            return self._token(scope, receive, send)
        if path[:13] == _KNOWN and scope["method"] == "GET":
            body = self._keys.public() if path == KEYS_PATH else self._metadata.document(path)
            if body is not None:
                return _answer(send, 200, body, [(b"cache-control", b"public, max-age=300")])
        if path == AUTHORIZE_PATH:
            return _answer(send, 400, NO_LOGIN, [(b"cache-control", b"no-store")])
        if path[:5] == _CARDS and scope["method"] == "GET":
            return self._cards(scope, receive, send)
        return self._app(scope, receive, send)

    async def _token(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            try:
                issued = await self._grant(scope, receive)
            except Denied as denied:
                raise Refusal.of(denied) from None
        except Refusal as refusal:
            entry = self._refusals.add(refusal.denied)
            headers = [(b"cache-control", b"no-store"), *refusal.denied.headers]
            if refusal.status == 401:
                headers += [(b"www-authenticate", challenge(refusal.denied)), (b"x-refusal-id", entry.encode())]
            if refusal.status == 503:
                headers.append((b"retry-after", b"1"))
            peer = scope["client"][0] if scope["client"] else None
            await self._patience.wait(scope[Departure.KEY], refusal.denied.principal_hint, peer)
            document = {"error": refusal.error, "error_description": refusal.why}
            await _answer(send, refusal.status, orjson.dumps(document), headers)
        except ClientGoneError:
            pass  # there is no client to answer
        else:
            await _answer(send, 200, orjson.dumps(issued), [(b"cache-control", b"no-store"), (b"pragma", b"no-cache")])

    async def _grant(self, scope: Scope, receive: Receive) -> dict[str, Any]:
        headers = preconditions.head(scope)
        if scope["method"] != "POST":
            raise Denied("wrong_method", reasons=["tokens are requested by POST"], headers=[(b"allow", b"POST")])
        if scope["query_string"]:
            raise Refusal("invalid_request", "parameters belong in the body: what is in a URL ends up in logs")
        body = await _body(receive, headers)
        request = token_form.parse(headers, body)
        credential, client = _credential(scope, headers, request)
        peer = scope["client"][0] if scope["client"] else None
        return (await self._grants.give(request, credential, client, peer)).document()


def _credential(scope: Scope, headers: Mapping[bytes, bytes], request: TokenRequest) -> tuple[Presented | None, str]:
    """The one credential of a request, and the client that it says it is (a name, an id, or nothing).

    It is in a header as on any other path, or where OAuth clients present a secret: in HTTP Basic or in the form
    (RFC 6749, section 2.3.1), with the agent's key as the secret.
    """
    client, secret = request.get("client_id"), request.get("client_secret")
    headers_of_one = authentication.CREDENTIAL_HEADERS | signatures.HEADERS
    given = [name for name, _ in scope["headers"] if name in headers_of_one]
    certificate: Certificate | None = scope.get(Certificate.KEY)
    if bool(given) + bool(secret) + (certificate is not None) > 1:
        raise Refusal("invalid_request", "the request has several credentials")
    if secret:
        return authentication.of_text(secret), client
    if certificate is not None:
        return certificate.presented(), client
    if not given:
        return None, client
    basic = headers.get(b"authorization", b"")
    if len(given) == 1 and basic[:6].lower() == b"basic ":
        user, password = _basic(basic[6:])
        if client not in ("", user):
            raise Refusal("invalid_request", "the client_id is not the one in the header")
        return authentication.of_text(password), user
    presented = authentication.presented(scope["headers"], b"", scope["method"], scope["raw_path"])
    return presented, client


def _basic(encoded: bytes) -> tuple[str, str]:
    try:
        user, colon, password = base64.b64decode(encoded.strip(b" \t"), validate=True).decode("ascii").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise Denied("bad_credentials", "malformed") from None
    if not colon:
        raise Denied("bad_credentials", "malformed")
    return unquote_plus(user), unquote_plus(password)


async def _body(receive: Receive, headers: Mapping[bytes, bytes]) -> bytes:
    too_large = Denied("too_large", reasons=[f"the form may have at most {token_form.MAX_BYTES} bytes"])
    if int(headers.get(b"content-length", b"0")) > token_form.MAX_BYTES:
        raise too_large
    found = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        found += message.get("body", b"")
        if len(found) > token_form.MAX_BYTES:
            raise too_large
        if not message.get("more_body", False):
            return bytes(found)


async def _answer(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    own = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": body})
