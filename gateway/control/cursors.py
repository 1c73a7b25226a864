"""Cursors: where a list goes on, sealed.

A client must not read them, because a position in the order of all logs would tell how much other organizations do; nor
make them. A cursor is for one list of one organization. Its key comes from a pepper, so it survives a restart.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import os
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.control.problems import Problem

_NONCE = 12
_LONGEST = 1024


class Cursors:
    def __init__(self, secret: bytes) -> None:
        self._key = AESGCM(hmac.digest(secret, b"cursors of the control API", "sha256"))

    def seal(self, position: Any, *place: str) -> str:
        """The cursor for a position, which is JSON, in the list that `place` names."""
        nonce = os.urandom(_NONCE)
        sealed = self._key.encrypt(nonce, json.dumps(position).encode(), _bound(place))
        return base64.urlsafe_b64encode(nonce + sealed).decode().rstrip("=")

    def open(self, cursor: str, *place: str) -> Any:
        try:
            if len(cursor) > _LONGEST:
                raise ValueError
            sealed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            return json.loads(self._key.decrypt(sealed[:_NONCE], sealed[_NONCE:], _bound(place)))
        except (InvalidTag, ValueError, binascii.Error):
            error = {"parameter": "cursor", "message": "not a cursor of this list"}
            hint = "send the `next` of the page before as it was, or leave the cursor out to begin anew"
            raise Problem(
                400, "invalid_cursor", "the cursor is not one of this list", hint=hint, errors=[error]
            ) from None


def _bound(place: tuple[str, ...]) -> bytes:
    return json.dumps(place).encode()
