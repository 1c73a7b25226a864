"""Values that a client keeps for the control API: sealed, so that it can neither read nor make them.

The key comes from a pepper, so what was sealed can be opened after a restart.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE: Final = 12


class Sealer:
    """For one purpose. What is sealed for one place opens in no other."""

    def __init__(self, secret: bytes, purpose: str, most: int) -> None:
        self._key = AESGCM(hmac.digest(secret, purpose.encode(), "sha256"))
        self._most = most

    def seal(self, value: Any, *place: str) -> str:
        """A value, which is JSON, as text for URLs."""
        nonce = os.urandom(_NONCE)
        sealed = self._key.encrypt(nonce, json.dumps(value).encode(), _bound(place))
        return base64.urlsafe_b64encode(nonce + sealed).decode().rstrip("=")

    def open(self, text: str, *place: str) -> Any:
        """The value; raises `ValueError` for text that was not sealed for this place."""
        if len(text) > self._most:
            raise ValueError("too long")
        sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        try:
            return json.loads(self._key.decrypt(sealed[:_NONCE], sealed[_NONCE:], _bound(place)))
        except InvalidTag:
            raise ValueError("not sealed here") from None


def _bound(place: tuple[str, ...]) -> bytes:
    return json.dumps(place).encode()
