"""Cursors: where a list goes on, sealed.

A client must not read them, because a position in the order of all logs would tell how much other organizations do; nor
make them. A cursor is for one list of one organization.
"""

from __future__ import annotations

from typing import Any

from gateway.control.problems import Problem
from gateway.control.sealing import Sealer

_LONGEST = 1024


class Cursors:
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
