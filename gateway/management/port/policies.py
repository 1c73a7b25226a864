"""What commands ask about policies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.policy.rollout.state import PolicyState


class Policies(Protocol):
    """Which policies are in force. They come from git only."""

    def state(self, limit: int) -> PolicyState:
        """With at most so many of the last attempts to bring a commit into force."""
