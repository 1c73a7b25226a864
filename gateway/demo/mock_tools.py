"""The mock provider as an MCP server: an order system with three tools, for clients of every revision.

It keeps no session, so a client of an older revision gets none, and nothing that is called changes anything.
Specification: modelcontextprotocol.io, revision 2026-07-28; 2025-11-25, "Lifecycle".
"""

from __future__ import annotations

from typing import Any, Final

from gateway.demo.mock_answers import Document

PATH: Final = "/mcp"
_STATELESS: Final = "2026-07-28"
_OLDER: Final = "2025-11-25"
_NO_METHOD: Final = -32601
_NO_PARAMS: Final = -32602


def _tool(name: str, description: str, **hints: bool) -> Document:
    properties = {"order": {"type": "string", "description": "The order's number."}}
    schema = {"type": "object", "properties": properties, "required": ["order"]}
    return {"name": name, "description": description, "inputSchema": schema, "annotations": hints}


TOOLS: Final = (
    _tool("get_order", "Say where an order is.", readOnlyHint=True),
    _tool("get_invoice", "Say what an order costs.", readOnlyHint=True),
    _tool("cancel_order", "Cancel an order.", destructiveHint=True),
)
_SAID: Final = {
    "get_order": "order {} is on its way",
    "get_invoice": "order {} costs 42 EUR",
    "cancel_order": "order {} is cancelled",
}


def answer(message: Document) -> tuple[int, Document | None]:
    """The status and the answer to one message; no answer to a notification."""
    method, given = message.get("method"), message.get("params")
    params: dict[str, Any] = given if isinstance(given, dict) else {}
    stateless = "_meta" in params and "io.modelcontextprotocol/protocolVersion" in params["_meta"]
    if "id" not in message:
        return 202, None
    whole = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"} if stateless else {}
    about = {"capabilities": {"tools": {}}, "serverInfo": {"name": "orders", "version": "1"}}
    match method:
        case "server/discover":
            return 200, _result(message, about | whole | {"supportedVersions": [_STATELESS, _OLDER]})
        case "initialize":
            return 200, _result(message, about | {"protocolVersion": _OLDER})
        case "ping":
            return 200, _result(message, whole)
        case "tools/list":
            return 200, _result(message, {"tools": [*TOOLS]} | whole)
        case "tools/call":
            return 200, _called(message, params, stateless=stateless)
    return 404 if stateless else 200, _error(message, _NO_METHOD, f"no method {method}")


def _called(message: Document, params: dict[str, Any], *, stateless: bool) -> Document:
    name, arguments = params.get("name"), params.get("arguments")
    order = arguments.get("order") if isinstance(arguments, dict) else None
    if name not in _SAID or not isinstance(order, str):
        return _error(message, _NO_PARAMS, f"no tool {name} with these arguments")
    text = {"type": "text", "text": _SAID[name].format(order)}
    return _result(message, {"content": [text]} | ({"resultType": "complete"} if stateless else {}))


def _result(message: Document, result: Document) -> Document:
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def _error(message: Document, code: int, text: str) -> Document:
    return {"jsonrpc": "2.0", "id": message["id"], "error": {"code": code, "message": text}}
