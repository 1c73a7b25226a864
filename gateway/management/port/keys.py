"""What commands ask about keys of agents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.dataplane.key_uses import Uses
    from gateway.identity.key_scope import KeyScope
    from gateway.identity.message_signatures import PublicKey
    from gateway.registry.key_rotation import Rotated, Skipped, Terms
    from gateway.registry.records import KeyRecord, NewKey


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCredential:
    """Whose a new key is, how long it works, and what it is for; None: for ever, and for everything.

    `prove` makes the proof that a public key needs, for the deployment with this name.
    """

    agent: str
    lifetime_ns: int | None = None
    scope: KeyScope | None = None
    prove: Callable[[str], str] | None = None


class Keys(Protocol):
    """Keys of agents: secrets, public keys and SPIFFE IDs. One is named by its id or the beginning of its text."""

    def create(self, organization: str, new: NewCredential, reason: str) -> NewKey: ...

    def add_public(self, organization: str, key: PublicKey, new: NewCredential, reason: str) -> KeyRecord: ...

    def add_spiffe(self, organization: str, spiffe_id: str, new: NewCredential, reason: str) -> KeyRecord: ...

    def listed(self, organization: str, agent: str | None) -> tuple[list[KeyRecord], Uses]: ...

    def rotate(
        self,
        organization: str,
        key: str | None,
        agent: str | None,
        terms: Terms,
        deliver: Callable[[Sequence[Rotated]], None],
    ) -> Rotated:
        """Replace this key, or the one that this agent has. `deliver` takes the new key to where it is kept."""

    def rotate_many(
        self, organization: str, team: str | None, terms: Terms, deliver: Callable[[Sequence[Rotated]], None]
    ) -> tuple[list[Rotated], list[Skipped]]:
        """Replace the keys of a team's agents, or of all (None); and those that cannot be replaced, with the reason.

        `deliver` takes new keys to where they are kept, once or several times.
        """

    def revoke(self, organization: str, key: str, reason: str) -> KeyRecord | None: ...
