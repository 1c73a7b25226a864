"""Checks of a request's head and of an upstream's answer. All of them are pure.

They refuse everything that two parties could read differently, so that the gateway and the upstream see one request.
`gateway/dataplane/proxy.py` calls them in steps 1, 4 and 7; `gateway/http/connection.py` checks a connection before a
head is complete. Specification: architecture.md, section 7.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

from starlette.types import Scope

from gateway.errors import Denied
from gateway.http import origins
from gateway.outbound.connection import Answer
from gateway.upstream import wrong_route
from gateway.upstream.providers import forms
from gateway.upstream.strict_json import shown

_JSON = re.compile(rb"application/json(?:\s*;\s*charset\s*=\s*\"?utf-8\"?)?\s*", re.IGNORECASE)
_HOST = re.compile(rb"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
# Segments of plain characters: no escapes, no empty segment, no parameters, no dots alone. No route needs any other.
_PATH = re.compile(rb"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._:-]{1,128})+")
# A plus is no plain character: some servers read a space.
_QUERY_VALUE = re.compile(r"(?:[A-Za-z0-9._~:@,*-]|%[0-9A-Fa-f]{2}){0,1024}")
_LIST, _LISTED = re.compile(r"([a-z_]{1,64})(?:\[\]|%5[Bb]%5[Dd])"), re.compile(r"[A-Za-z0-9_.]{1,128}")
# If one of these came twice, two readers of the request could see different things.
_SINGLE = frozenset({b"host", b"content-length", b"transfer-encoding", b"content-type", b"content-encoding", b"accept"})

# These repeat what a body says.
_SINGLE_BEGINS = b"mcp-"


def head(scope: Scope) -> dict[bytes, bytes]:
    """The headers by name; `Denied` if this head could be read in two ways.

    A header that comes several times is one list (RFC 9110, section 5.3): so some SDKs send several features.
    """
    headers: dict[bytes, bytes] = dict(scope["headers"])
    if len(headers) != len(scope["headers"]):
        headers = _joined(scope["headers"])
    if not _HOST.fullmatch(headers.get(b"host", b"")):
        raise Denied("bad_request", reasons=["there must be one valid Host header"])
    if b"transfer-encoding" in headers:
        if b"content-length" in headers:
            raise Denied("bad_request", reasons=["Content-Length and Transfer-Encoding exclude each other"])
        if headers[b"transfer-encoding"].lower() != b"chunked":
            raise Denied("unsupported_encoding", reasons=["the only transfer encoding is chunked"])
    if b"upgrade" in headers:
        if headers[b"upgrade"].strip().lower() == b"websocket":
            # The status demands the protocol that is spoken (RFC 9110, sections 15.5.22 and 7.8).
            raise Denied("websocket_refused", headers=[(b"upgrade", b"HTTP/1.1"), (b"connection", b"upgrade")])
        # Java's own client offers HTTP/2 unless it is told not to.
        what = "no other protocol is spoken here: the client must use HTTP/1.1 and offer no upgrade"
        raise Denied("bad_request", reasons=[what + " (in Java `HttpClient.Version.HTTP_1_1`)"])
    path: bytes = scope["raw_path"]
    if not _PATH.fullmatch(path):
        raise wrong_route.unknown(scope["method"], path.decode("latin-1"))
    return headers


def _joined(fields: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers by name, of which some come several times."""
    headers: dict[bytes, bytes] = {}
    for name, value in fields:
        if name in headers:
            if name in _SINGLE or name.startswith(_SINGLE_BEGINS):
                raise Denied("bad_request", reasons=[f"the header {name.decode('ascii')} appears twice"])
            value = headers[name] + b", " + value
        headers[name] = value
    return headers


def query(text: bytes, allowed: frozenset[str]) -> dict[str, str]:
    """The query by name; `Denied` for names that the route does not know, above all a key.

    A key in a URL ends up in many logs. A list, which clients of OpenAI write as `include[]=a&include[]=b`, is its
    values with commas.
    """
    found: dict[str, str] = {}
    for part in text.decode("latin-1").split("&") if text else ():
        name, _, value = part.partition("=")
        listed = _LIST.fullmatch(name)
        name = name if listed is None else f"{listed[1]}[]"
        if name not in allowed:
            raise Denied("bad_request", reasons=[f"the query parameter {shown(name)} is not known here"])
        if listed is not None:
            if not _LISTED.fullmatch(value):
                raise Denied("bad_request", reasons=[f"the query parameter {name} must be a plain name"])
            found[name] = f"{found[name]},{value}" if name in found else value
            continue
        if name in found:
            raise Denied("bad_request", reasons=[f"the query parameter {name} appears twice"])
        if not _QUERY_VALUE.fullmatch(value):
            raise Denied("bad_request", reasons=[f"the query parameter {name} needs escapes"])
        try:
            found[name] = unquote(value, errors="strict")
        except UnicodeDecodeError:
            raise Denied("bad_request", reasons=[f"the query parameter {name} is not UTF-8"]) from None
        if not found[name].isprintable():
            raise Denied("bad_request", reasons=[f"the query parameter {name} holds control characters"])
    return found


def no_foreign_page(headers: Mapping[bytes, bytes], url: str) -> None:
    """Refuse a browser's request for a page that is not of this server; `url` is its address as others know it."""
    if origins.is_foreign(headers, origins.own(headers[b"host"].decode("latin-1").lower(), url)):
        raise Denied("cross_site", reasons=["call the tools from a program, or through a proxy on the page's server"])


def no_body(headers: Mapping[bytes, bytes]) -> None:
    if headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers:
        raise Denied("bad_request", reasons=["this route takes no body"])


def json_body(headers: Mapping[bytes, bytes]) -> None:
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Denied("unsupported_encoding")
    if not _JSON.fullmatch(headers.get(b"content-type", b"")):
        raise Denied("unsupported_encoding", reasons=["the content type must be application/json"])


def multipart_body(headers: Mapping[bytes, bytes]) -> None:
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Denied("unsupported_encoding")
    if forms.boundary(headers.get(b"content-type", b"").decode("latin-1")) is None:
        raise Denied("unsupported_encoding", reasons=["the content type must be multipart/form-data with a boundary"])


def answer(found: Answer) -> None:
    """Refuse an answer that the gateway cannot read, or that is none."""
    if not (200 <= found.status < 300 or 400 <= found.status < 600):
        raise Denied("upstream_error", f"the upstream answered with status {found.status}")
    if found.header(b"content-encoding").lower() not in (b"", b"identity"):
        raise Denied("upstream_error", "the upstream compresses although it was told not to")
