"""Signatures of deliveries, as Standard Webhooks has them (https://www.standardwebhooks.com), and their secrets (pure).

A secret is `whsec_` and 24 to 64 bytes in base64. The signed text is `ID.TIMESTAMP.BODY`, with HMAC-SHA-256.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from typing import Final

from gateway.errors import GatewayError, Hint

_PREFIX: Final = "whsec_"
_LEAST, _MOST, _USUAL = 24, 64, 32

UNSIGNED: Final = {"content-type": "application/json", "user-agent": "agent-identity-gateway"}
"""The headers of every delivery."""


def new_secret() -> str:
    return _PREFIX + base64.b64encode(os.urandom(_USUAL)).decode()


def key_of(secret: str) -> bytes:
    """The bytes of a secret. Raises `GatewayError`, which never quotes it."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_PREFIX) or not _LEAST <= len(key) <= _MOST:
        raise GatewayError(
            "invalid_secret",
            "the secret of a webhook must be `whsec_` and 24 to 64 bytes in base64",
            hint=Hint("leave --secret-file out to have one made", api="leave the secret out to have one made"),
        )
    return key


def headers(secret: str, event_id: str, seconds: int, body: bytes) -> dict[str, str]:
    """The headers by which a receiver knows the delivery and its sender."""
    signed = f"{event_id}.{seconds}.".encode() + body
    digest = base64.b64encode(hmac.digest(key_of(secret), signed, hashlib.sha256)).decode()
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": f"v1,{digest}",
        **UNSIGNED,
    }
