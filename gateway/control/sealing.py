"""Values that a client keeps for the control API, such as cursors: sealed, so that it can neither read nor make them.

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

from gateway.control.problems import Problem

_NONCE: Final = 12


class Sealer:
    """Seals values for one purpose. A value sealed for one place opens in no other."""

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


_LONGEST = 1024


class Cursors:
    """Cursors: each is the position at which one list of one organization goes on.

    A client must not read them, because a position in the order of all logs would tell how much other organizations do.
    """

    def __init__(self, secret: bytes) -> None:
        self._sealer = Sealer(secret, "cursors of the control API", _LONGEST)

    def seal(self, position: Any, *place: str) -> str:
        """The cursor for a position, which is JSON, in the list that `place` names."""
        return self._sealer.seal(position, *place)

    def open(self, cursor: str, *place: str) -> Any:
        try:
            return self._sealer.open(cursor, *place)
        except ValueError:
            error = {"parameter": "cursor", "message": "not a cursor of this list"}
            hint = "send the `next` of the page before as it was, or leave the cursor out to begin anew"
            raise Problem(
                400, "invalid_cursor", "the cursor is not one of this list", hint=hint, errors=[error]
            ) from None
