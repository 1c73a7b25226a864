"""The parts that providers of JSON-RPC share: bodies, and refusals as its errors."""

from __future__ import annotations

from typing import Any, Final

from gateway.body import Body
from gateway.errors import Denied
from gateway.mcp.messages import INVALID_REQUEST, METHOD_NOT_FOUND, PARSE_ERROR, ProtocolError
from gateway.upstream import json_body

REFUSED: Final = -32010
"""The code of a refusal by the gateway, of those that JSON-RPC leaves to implementations."""


class ProtocolDenied(Denied):
    """A refusal that the protocol has a code for."""

    def __init__(self, error: ProtocolError) -> None:
        code = "unknown_route" if error.code == METHOD_NOT_FOUND else "bad_request"
        super().__init__(code, reasons=[error.message])
        self.error = error
        self.message_id = error.of


def error(denied: Denied, of: str | int | None) -> dict[str, Any]:
    """A refusal of the message with this id."""
    data: dict[str, Any] = {"reason": denied.code}
    if decision := denied.decision or denied.counted:
        data["decision"] = decision
    if denied.facts is not None:
        data["details"] = denied.facts
    code = REFUSED
    if isinstance(denied, ProtocolDenied):
        code = denied.error.code
        if isinstance(denied.error.data, dict):
            data = {**denied.error.data, **data}
    elif denied.code in ("bad_request", "duplicate_key"):
        code = INVALID_REQUEST
    return {"jsonrpc": "2.0", "id": of, "error": {"code": code, "message": denied.text, "data": data}}


def parsed(raw: Body) -> Any:
    """The document in a body. Raises `ProtocolError` if it is none, and `Denied` if it can be read in two ways."""
    try:
        return json_body.parse(raw)
    except Denied as denied:
        if denied.code == "bad_request":
            raise ProtocolError(PARSE_ERROR, "; ".join(denied.reasons)) from None
        raise
