"""One request over Streamable HTTP: which revision it speaks, and that its headers and its body say the same.

Revision 2026-07-28 has no sessions. Each request names its revision and the client's capabilities in `_meta`, and
repeats the method, and the name of what it is about, in headers: whoever stands on the way may trust these only if the
reader of the body refuses every other body. Older revisions begin with `initialize`. Nothing is remembered of it: the
next request names the revision in its header, and needs nothing else.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from gateway.frozen import frozen
from gateway.mcp.messages import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    UNSUPPORTED_VERSION,
    Id,
    Message,
    ProtocolError,
    Request,
)

CURRENT: Final = ("2026-07-28",)
"""The revisions without `initialize`."""
OLDER: Final = ("2025-11-25", "2025-06-18")
"""Those with it, the newest first."""

VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY: Final = "io.modelcontextprotocol/clientCapabilities"
CLIENT_KEY: Final = "io.modelcontextprotocol/clientInfo"
SERVER_KEY: Final = "io.modelcontextprotocol/serverInfo"

NAMED_BY: Final[Mapping[str, str]] = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
"""For a method the parameter that its header `Mcp-Name` repeats."""
ONLY_CURRENT: Final = ("resultType", "ttlMs", "cacheScope")
"""Members of results that older revisions do not have."""

_VERSION: Final = "mcp-protocol-version"
_METHOD: Final = "mcp-method"
_NAME: Final = "mcp-name"
_SENTINEL: Final = re.compile(r"=\?base64\?(.*)\?=")
_PLAIN: Final = re.compile(r"[\x20-\x7e]*")


@frozen(kw_only=True)
class Exchange:
    """How a request was asked, so how it is answered. What the client says of itself is not to be trusted."""

    version: str
    capabilities: Mapping[str, Any]
    client: Any = None

    @property
    def is_current(self) -> bool:
        """True if it speaks a revision without `initialize`."""
        return self.version in CURRENT

    def adapted(self, found: Mapping[str, Any]) -> Mapping[str, Any]:
        """A result as the client's revision has it."""
        if self.is_current:
            return found
        return {name: value for name, value in found.items() if name not in ONLY_CURRENT}


def exchange(headers: Iterable[tuple[bytes, bytes]], message: Message) -> Exchange:
    """How a message was asked. Raises `ProtocolError` if its headers and its body differ, or nobody speaks so.

    `headers` are all of the request, their names in lower case.
    """
    of = message.id if isinstance(message, Request) else None
    given = _routing_headers(headers, of)
    version = given.get(_VERSION)
    if not isinstance(message, Request):
        return _of_notification(version)
    meta = message.params.get("_meta")
    meta = meta if isinstance(meta, dict) else {}
    if message.method == "initialize" and VERSION_KEY not in meta and version not in CURRENT:
        return _of_initialize(message)
    if version is None:
        text = "the header MCP-Protocol-Version is missing; clients of older revisions begin with `initialize`"
        raise ProtocolError(HEADER_MISMATCH, text, of=of)
    current = version not in OLDER
    if current and version not in CURRENT and VERSION_KEY not in meta:
        raise _unsupported(version, of)
    if current and (missing := [key for key in (VERSION_KEY, CAPABILITIES_KEY) if key not in meta]):
        raise ProtocolError(INVALID_PARAMS, f"`params._meta` lacks {' and '.join(missing)}", of=of)
    if meta.get(VERSION_KEY, version) != version:
        text = "the header MCP-Protocol-Version differs from the version in `params._meta`"
        raise ProtocolError(HEADER_MISMATCH, text, of=of)
    _check_method(given, message, required=current)
    _check_name(given, message, required=current)
    if current and version not in CURRENT:
        raise _unsupported(version, of)
    capabilities = meta.get(CAPABILITIES_KEY, {})
    if not isinstance(capabilities, dict):
        raise ProtocolError(INVALID_PARAMS, f"`params._meta`: {CAPABILITIES_KEY} must be an object", of=of)
    return Exchange(version=version, capabilities=capabilities, client=meta.get(CLIENT_KEY))


def encoded(text: str) -> str:
    """A value of the body for a header: as it is, or in Base64 if a header could not carry it."""
    if _PLAIN.fullmatch(text) and text == text.strip() and not _SENTINEL.fullmatch(text):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def decoded(value: str) -> str | None:
    """The text that the value of a header stands for; None if it stands for none."""
    if not _PLAIN.fullmatch(value):
        return None
    found = _SENTINEL.fullmatch(value)
    if found is None:
        return value
    try:
        text = base64.b64decode(found[1], validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None
    # Another spelling of the same bytes would be equal for one reader and different for the next.
    return text if base64.b64encode(text.encode()).decode() == found[1] else None


def _routing_headers(headers: Iterable[tuple[bytes, bytes]], of: Id | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for raw, value in headers:
        name = raw.decode("latin-1")
        if name not in (_VERSION, _METHOD, _NAME):
            continue
        if name in found:
            raise ProtocolError(HEADER_MISMATCH, f"the header {name} was sent twice", of=of)
        found[name] = value.decode("latin-1").strip(" \t")
    return found


def _of_notification(version: str | None) -> Exchange:
    """The revision does not say which headers a notification has, but one that is named must be known."""
    if version is not None and version not in CURRENT + OLDER:
        raise _unsupported(version, None)
    return Exchange(version=version or OLDER[0], capabilities={})


def _of_initialize(request: Request) -> Exchange:
    """The revision that the client is offered: its own, or the newest of those that begin so."""
    asked = request.params.get("protocolVersion")
    if not isinstance(asked, str):
        raise ProtocolError(INVALID_PARAMS, "`params.protocolVersion` must be a string", of=request.id)
    capabilities = request.params.get("capabilities", {})
    if not isinstance(capabilities, dict):
        raise ProtocolError(INVALID_PARAMS, "`params.capabilities` must be an object", of=request.id)
    version = asked if asked in OLDER else OLDER[0]
    return Exchange(version=version, capabilities=capabilities, client=request.params.get("clientInfo"))


def _check_method(given: Mapping[str, str], request: Request, *, required: bool) -> None:
    method = given.get(_METHOD)
    if (method is not None or required) and method != request.method:
        text = "is missing" if method is None else "differs from the method in the body"
        raise ProtocolError(HEADER_MISMATCH, f"the header Mcp-Method {text}", of=request.id)


def _check_name(given: Mapping[str, str], request: Request, *, required: bool) -> None:
    """A header must be as the body says, in every revision, and stand for something that the body has."""
    member = NAMED_BY.get(request.method)
    expected = None if member is None else request.params.get(member)
    value = given.get(_NAME)
    if value is None:
        if required and expected is not None:
            raise ProtocolError(HEADER_MISMATCH, "the header Mcp-Name is missing", of=request.id)
    elif expected is None or decoded(value) != expected:
        where = f"`params.{member}`" if member else "the body, which names nothing"
        raise ProtocolError(HEADER_MISMATCH, f"the header Mcp-Name differs from {where}", of=request.id)


def _unsupported(version: str, of: Id | None) -> ProtocolError:
    data = {"supported": list(CURRENT), "requested": version[:64]}
    return ProtocolError(UNSUPPORTED_VERSION, "this version of the protocol is not supported", data=data, of=of)
