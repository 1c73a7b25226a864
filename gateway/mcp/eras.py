"""The same exchange in the words of the other era, for a client and a server that speak different ones.

Until 2025-11-25 a client begins with `initialize`, and has a session in which the server may ask it, too. Since
2026-07-28 each request stands alone and says in `_meta` how it is asked. What only one era has is left out where that
harms nobody, and refused otherwise. A tool stays as its server describes it: its digest is over every member.
Specification: modelcontextprotocol.io, revision 2026-07-28, "Versioning" and "Changelog"; 2025-11-25, "Lifecycle".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.mcp.exchange import (
    CAPABILITIES_KEY,
    CLIENT_KEY,
    CURRENT,
    NAMED_BY,
    OLDER,
    ONLY_CURRENT,
    SERVER_KEY,
    VERSION_KEY,
    encoded,
)
from gateway.mcp.messages import INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, Id

CLIENT: Final = {"name": "agent-identity-gateway", "version": "1"}
"""How the gateway calls itself where it speaks for a client."""
FIRST: Final = "2025-03-26"
"""The oldest revision over Streamable HTTP, whose clients name it in no header."""
OLD: Final = (*OLDER, FIRST)

NOT_IN_NEWER: Final[Mapping[str, str]] = {
    "logging/setLevel": "the server keeps no level of messages",
    "resources/subscribe": "the server keeps no subscriptions",
    "resources/unsubscribe": "the server keeps no subscriptions",
    "tasks/get": "the server's tasks are others than this client's",
    "tasks/result": "the server's tasks are others than this client's",
    "tasks/update": "the server's tasks are others than this client's",
    "tasks/cancel": "the server's tasks are others than this client's",
    "subscriptions/listen": "only newer clients can ask for it",
}
"""Methods of older clients that a server of the newer era cannot be asked, each with the reason."""

IN_BOTH: Final = frozenset(
    {"server/discover", "tools/list", "tools/call", "resources/list", "resources/templates/list", "resources/read"}
    | {"prompts/list", "prompts/get", "completion/complete"}
)
"""Methods of newer clients that an older server can be asked, or the gateway in its place."""

_LISTS: Final = frozenset(
    {"server/discover", "tools/list", "resources/list", "resources/templates/list", "resources/read", "prompts/list"}
)
"""Those whose results say how long they hold."""
_RESERVED: Final = "io.modelcontextprotocol/"
_LEVEL_KEY: Final = f"{_RESERVED}logLevel"
_LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
_NO_RESOURCE, _OPEN_A_PAGE = -32002, -32042
_RESERVED_CODES: Final = range(-32099, -32019)  # since 2026-07-28, of the protocol alone
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}")
_MOST_HEADERS: Final = 32
# Subscriptions, notices of changed lists, levels of messages and tasks differ, so neither is offered the other's.
_SAME_CAPABILITIES: Final = ("tools", "prompts", "resources", "completions", "experimental")
_WITHOUT: Final = ("listChanged", "subscribe")
_OF_RETRIES: Final = ("requestState", "inputResponses")


def era(revision: str) -> str:
    """The era of a revision: `newer` has no `initialize`."""
    return "newer" if revision in CURRENT else "older"


def of_servers(protocol: str | None) -> frozenset[str]:
    """The eras that a server speaks whose revisions are these, with commas; none if nobody has found out."""
    return frozenset(era(each) for each in (protocol or "").split(", ") if each)


def refused(of: Id | None, code: int, text: str) -> dict[str, Any]:
    """An error of the gateway, where one era has no words for what the other one says."""
    error = {"code": code, "message": text, "data": {"reason": "upstream_error"}}
    return {"jsonrpc": "2.0", "id": of, "error": error}


def not_in_newer(method: str, of: Id | None) -> dict[str, Any]:
    """The answer to an older client's request that the newer era does not have."""
    text = f"`{method}` cannot be passed on: {NOT_IN_NEWER[method]}, because it speaks only revision {CURRENT[0]}"
    return refused(of, METHOD_NOT_FOUND, text)


def newer_request(message: Mapping[str, Any]) -> dict[str, Any]:
    """An older client's request as the newer era has it; `initialize` asks what the server is."""
    method, params = message["method"], dict(message.get("params", {}))
    meta = {name: value for name, value in params.get("_meta", {}).items() if not name.startswith(_RESERVED)}
    if method == "initialize":
        method, params = "server/discover", {}
    params.pop("task", None)  # a server that was offered no tasks of this kind carries the call out at once
    # The client could not answer what the server may ask of others.
    meta |= {VERSION_KEY: CURRENT[0], CAPABILITIES_KEY: {}, CLIENT_KEY: CLIENT}
    return {"jsonrpc": "2.0", "id": message["id"], "method": method, "params": {**params, "_meta": meta}}


def newer_headers(message: Mapping[str, Any], tool: Mapping[str, Any] | None) -> dict[str, str]:
    """The headers that repeat a request of the newer era; `tool` is the definition of the one that it calls."""
    found = {"mcp-protocol-version": CURRENT[0], "mcp-method": message["method"]}
    params, member = message["params"], NAMED_BY.get(message["method"])
    if member is not None and isinstance(params.get(member), str):
        found["mcp-name"] = encoded(params[member])
    if tool is not None and isinstance(schema := tool.get("inputSchema"), dict):
        for path, token in _repeated(schema):
            if (text := _header_text(params.get("arguments"), path)) is not None and len(found) < _MOST_HEADERS:
                found[f"mcp-param-{token.lower()}"] = encoded(text)
    return found


def older_answer(message: Mapping[str, Any], method: str, version: str) -> dict[str, Any]:
    """An answer of a server of the newer era, for an older client that has asked by this method."""
    result = message.get("result")
    if not isinstance(result, dict):
        return dict(message)
    kind = result.get("resultType", "complete")
    if kind != "complete":
        wants = "asks its client for input" if kind == "input_required" else "answers with a task"
        text = f"the server {wants}, which a client of revision {version} cannot be told"
        return refused(message.get("id"), INTERNAL_ERROR, text)
    kept = {name: value for name, value in result.items() if name not in ONLY_CURRENT}
    meta = kept.get("_meta")
    server = meta.get(SERVER_KEY) if isinstance(meta, dict) else None
    if isinstance(meta, dict):
        kept["_meta"] = {name: value for name, value in meta.items() if not name.startswith(_RESERVED)}
        if not kept["_meta"]:
            del kept["_meta"]
    if method == "initialize":
        kept = _initialized(kept, server, version)
    return {**message, "result": kept}


def not_in_older(method: str, of: Id | None) -> dict[str, Any]:
    """The answer to a newer client's request that an older server cannot be asked."""
    text = f"`{method}` cannot be passed on: the server speaks only revisions before {CURRENT[-1]}"
    return refused(of, METHOD_NOT_FOUND, text)


def older_request(message: Mapping[str, Any], number: int) -> dict[str, Any]:
    """A newer client's request as the older era has it, under a number of its own: ids of a session are used once."""
    params = {name: value for name, value in message.get("params", {}).items() if name not in _OF_RETRIES}
    meta = {name: value for name, value in params.pop("_meta", {}).items() if not name.startswith(_RESERVED)}
    if "progressToken" in meta:
        meta["progressToken"] = number
    if meta:
        params["_meta"] = meta
    return {"jsonrpc": "2.0", "id": number, "method": message["method"], "params": params}


def newer_answer(message: Mapping[str, Any], method: str, server: object) -> dict[str, Any]:
    """An answer of an older server, for a newer client that has asked by this method."""
    result, error = message.get("result"), message.get("error")
    if isinstance(error, dict):
        return {**message, "error": _newer_error(error)}
    if not isinstance(result, dict):
        return dict(message)
    if method == "tools/call" and isinstance(result.get("task"), dict):
        text = "the server answers with a task of an older revision, which a newer client cannot be told"
        return refused(message.get("id"), INTERNAL_ERROR, text)
    meta = result.get("_meta")
    meta = dict(meta) if isinstance(meta, dict) else {}
    if isinstance(server, dict):
        meta[SERVER_KEY] = server
    about: dict[str, Any] = {"_meta": meta} if meta else {}
    about["resultType"] = "complete"
    if method in _LISTS:
        about |= {"ttlMs": 0, "cacheScope": "private"}
    return {**message, "result": {**result, **about}}


def discovered(begun: Mapping[str, Any]) -> dict[str, Any]:
    """What a server has answered to `initialize`, as the answer to `server/discover`."""
    found: dict[str, Any] = {
        "supportedVersions": [*CURRENT, begun.get("protocolVersion")],
        "capabilities": capabilities(begun.get("capabilities")),
    }
    if isinstance(text := begun.get("instructions"), str):
        found["instructions"] = text
    return found


def wanted(meta: Mapping[str, Any]) -> tuple[Any, Any]:
    """The token by which a newer client knows the progress of its request, and the level of messages; or None each."""
    return meta.get("progressToken"), meta.get(_LEVEL_KEY)


def newer_notification(found: Mapping[str, Any], number: int, token: Any, level: Any) -> Mapping[str, Any] | None:
    """A notification of an older server in the answer to a newer client's request; None if it does not belong there."""
    method, params = found.get("method"), found.get("params")
    if not isinstance(params, dict):
        return None
    if method == "notifications/progress" and token is not None and params.get("progressToken") == number:
        return {**found, "params": {**params, "progressToken": token}}
    if method != "notifications/message" or level not in _LEVELS or params.get("level") not in _LEVELS:
        return None
    return found if _LEVELS.index(params["level"]) >= _LEVELS.index(level) else None


def capabilities(found: object) -> dict[str, Any]:
    """What a server can do in both eras."""
    said = found if isinstance(found, dict) else {}
    return {
        name: {each: value for each, value in said[name].items() if each not in _WITHOUT}
        for name in _SAME_CAPABILITIES
        if isinstance(said.get(name), dict)
    }


def _initialized(discovered: Mapping[str, Any], server: object, version: str) -> dict[str, Any]:
    server = server if server is not None else discovered.get("serverInfo")
    found: dict[str, Any] = {
        "protocolVersion": version if version in OLD else OLD[0],
        "capabilities": capabilities(discovered.get("capabilities")),
        "serverInfo": server if isinstance(server, dict) else {"name": "unknown", "version": ""},
    }
    if isinstance(text := discovered.get("instructions"), str):
        found["instructions"] = text
    return found


def _newer_error(error: Mapping[str, Any]) -> dict[str, Any]:
    """An error with a code that newer clients know."""
    code = error.get("code")
    if code == _NO_RESOURCE:
        return {**error, "code": INVALID_PARAMS}
    if code == _OPEN_A_PAGE:
        text = "the server asks its client to open a page, which a newer client cannot be told by an older server"
        return {"code": INTERNAL_ERROR, "message": text, "data": {"reason": "upstream_error"}}
    if isinstance(code, int) and code in _RESERVED_CODES:
        return {**error, "code": INTERNAL_ERROR}
    return dict(error)


def _repeated(schema: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """The arguments that headers repeat, and these headers' names: only those that properties alone lead to."""
    properties = schema.get("properties")
    if not isinstance(properties, dict) or len(path) > 8:
        return
    for name, inner in properties.items():
        if isinstance(inner, dict):
            token = inner.get("x-mcp-header")
            if isinstance(token, str) and _TOKEN.fullmatch(token):
                yield (*path, name), token
            yield from _repeated(inner, (*path, name))


def _header_text(value: Any, path: tuple[str, ...]) -> str | None:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None
