"""The signatures that were used, so that none opens the gateway twice, whichever worker it comes to.

A row is written before the request goes on. If it cannot be, the answer is 503: a replay could not be told from the
request that it repeats. Rows are forgotten some time after their signature has expired; the control process sees to
that. Specification: architecture.md, section 13.
"""

from __future__ import annotations

from typing import Final

from gateway.errors import GatewayError
from gateway.runtime.store import RuntimeStore, denied

KEEP_SECONDS: Final = 300
"""For how long after its end a signature is remembered: a clock may be set back."""

_ADD: Final = "INSERT INTO nonce VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_FORGET: Final = """
DELETE FROM nonce WHERE (key, nonce) IN (SELECT key, nonce FROM nonce WHERE expires < ? ORDER BY expires LIMIT ?)
"""


class UsedNonces:
    def __init__(self, store: RuntimeStore) -> None:
        self._store = store

    async def use(self, key: str, nonce: str, expires: int) -> bool:
        """Remember that a key (its row's id) has used this nonce; false if it had before.

        `expires` is in seconds since 1970. Raises `Denied` if it cannot be remembered.
        """
        try:
            return await self._store.note(self._store.run, _ADD, (key, nonce, expires)) == 1
        except GatewayError as error:
            raise denied("nonces", error) from error

    def forget_old(self, now: float) -> int:
        """Forget signatures that cannot be used any more; returns how many. Blocks; raises `GatewayError`."""
        return self._store.forget(_FORGET, (int(now) - KEEP_SECONDS,))
