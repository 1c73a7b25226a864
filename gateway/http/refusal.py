"""Refusals for which no provider speaks: of a connection, of a path that leads nowhere, of a fault of ours.

The document has the shape in which most providers' SDKs find a message and a code.
"""

from __future__ import annotations

import orjson

from gateway.errors import Denied


def body(denied: Denied) -> bytes:
    """The body of a refusal."""
    return document(denied.text, denied.code)


def document(message: str, code: str | None) -> bytes:
    return orjson.dumps({"error": {"message": message, "type": "gateway_error", "code": code}})
