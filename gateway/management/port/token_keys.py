"""What commands ask about the keys of the gateway's own tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.identity.token_keys import TokenKeyState
    from gateway.registry.token_keys import Rotation


class TokenKeys(Protocol):
    """The keys that sign the gateway's own tokens."""

    def listed(self) -> Sequence[TokenKeyState]:
        """Newest first."""

    def rotate(self, at_once: bool, reason: str) -> Rotation: ...
