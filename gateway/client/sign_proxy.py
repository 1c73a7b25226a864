"""A proxy on this machine that signs requests for programs that cannot (`gateway sign-proxy`).

It takes a request from this machine, signs it with the agent's key, and passes it to the gateway; the answer comes back
as it is, in the pieces in which it arrives. A body is read to its end before it is signed, and is kept in memory for
that. Every program that can connect to it is the agent: so it listens on the loopback address alone, and turns web
pages away, which can reach that address through a person's browser.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import ssl
from typing import Final

import httpx
from starlette.types import Receive, Scope, Send
from yarl import URL

from gateway.client.signing import REPLACED, Signer
from gateway.errors import GatewayError
from gateway.identity.message_signatures import content_digest

logger = logging.getLogger("gateway.client.sign_proxy")

MAX_BODY: Final = 256 * 1024 * 1024
_TIMEOUT: Final = httpx.Timeout(None, connect=10.0)

# Headers of one connection, which are not passed on (RFC 9110, section 7.6.1).
_HOP_BY_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"),
        *("transfer-encoding", "upgrade"),
    }
)
# Set anew: they are about the connection to the gateway, or are the signature's.
_SET_HERE = _HOP_BY_HOP | REPLACED | {"host", "content-length", "expect"}
_LOOPBACK = re.compile(rb"(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE)
# Browsers send these, and nothing else does.
_OF_BROWSERS = (b"origin", b"sec-fetch-site")


class SignProxy:
    """An ASGI application. Call `close` in its loop when it is not used any more."""

    def __init__(self, signer: Signer, gateway: str) -> None:
        url = _address(gateway)
        self._signer = signer
        self._origin = str(url.origin())
        self._authority = url.authority if url.explicit_port is not None else str(url.host_subcomponent)
        self._http: httpx.AsyncClient | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if not _is_local(headers):
            await _refuse(send, 403, "this proxy signs for programs on this machine, and for no web page")
            return
        body = await _body(receive)
        if body is None:
            return
        if len(body) > MAX_BODY:
            await _refuse(send, 413, f"a body may have at most {MAX_BODY} bytes")
            return
        # The gateway ends a call whose client has gone, and so must this proxy.
        passing = asyncio.create_task(self._pass_on(scope, headers, body, send))
        leaving = asyncio.create_task(_departure(receive))
        try:
            await asyncio.wait({passing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if passing.done():
                passing.result()
        finally:
            for task in (passing, leaving):
                task.cancel()
            await asyncio.gather(passing, leaving, return_exceptions=True)

    async def _pass_on(self, scope: Scope, headers: list[tuple[bytes, bytes]], body: bytes, send: Send) -> None:
        target = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        named = _named(headers)
        sent = [(name, value) for name, value in _decoded(headers) if name not in _SET_HERE | named]
        signed = self._signer.headers(scope["method"], self._authority, target, content_digest(body), dict(sent))
        request = httpx.Request(
            scope["method"],
            self._origin,
            headers=[
                (name.encode("latin-1"), value.encode("latin-1"))
                for name, value in (*sent, *signed.items(), ("host", self._authority))
            ],
            content=body or None,
            extensions={"target": target.encode("latin-1"), "timeout": _TIMEOUT.as_dict()},  # byte by byte, as signed
        )
        begun = False
        try:
            answer = await self._opened().send(request, stream=True)
            try:
                raw = [(name.lower(), value) for name, value in answer.headers.raw]
                named = _named(raw)
                passed = [each for each in raw if each[0].decode("latin-1") not in _HOP_BY_HOP | named]
                await send({"type": "http.response.start", "status": answer.status_code, "headers": passed})
                begun = True
                async for piece in answer.aiter_raw():
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            finally:
                await answer.aclose()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except httpx.HTTPError as error:
            logger.warning("%s %s: %s", scope["method"], target, str(error) or type(error).__name__)
            if begun:
                raise  # the connection is broken off, and the program sees that the answer is not whole
            await _refuse(send, 502, f"the gateway at {self._origin} cannot be reached")

    def _opened(self) -> httpx.AsyncClient:
        if self._http is None:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
            trusted = ssl.create_default_context()
            self._http = httpx.AsyncClient(verify=trusted, limits=limits, trust_env=False, follow_redirects=False)
        return self._http

    async def close(self) -> None:
        if self._http is not None:
            await self._http.aclose()


def _address(gateway: str) -> URL:
    try:
        url = URL(gateway)
        if url.scheme in ("http", "https") and url.host and url.path in ("", "/") and not url.query_string:
            return url
    except ValueError:
        pass
    hint = "write it like http://127.0.0.1:8080 or https://gateway.example"
    raise GatewayError("invalid_url", f"`{gateway}` is not the address of a gateway", subject=gateway, hint=hint)


def _is_local(headers: list[tuple[bytes, bytes]]) -> bool:
    """True if a program on this machine asks. A web page has an origin, or a host that is not this machine's name."""
    hosts = [value for name, value in headers if name == b"host"]
    if any(name in _OF_BROWSERS for name, _ in headers):
        return False
    return len(hosts) == 1 and _LOOPBACK.fullmatch(hosts[0]) is not None


async def _body(receive: Receive) -> bytes | None:
    """The body, or its beginning if it is too large; None if the program has gone."""
    pieces, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > MAX_BODY or not message.get("more_body", False):
            return b"".join(pieces)


async def _departure(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _decoded(headers: list[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]


def _named(headers: list[tuple[bytes, bytes]]) -> frozenset[str]:
    """The headers that `Connection` names, which are of one connection as well."""
    found = [value.decode("latin-1") for name, value in headers if name.lower() == b"connection"]
    return frozenset(name.strip().lower() for name in ",".join(found).split(","))


async def _refuse(send: Send, status: int, message: str) -> None:
    error = {"message": message, "type": "sign_proxy_error", "code": "sign_proxy"}
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
