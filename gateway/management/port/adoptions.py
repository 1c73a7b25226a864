"""What commands ask about old keys of providers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.dataplane.legacy_clients import Client
    from gateway.registry.adoptions import AdoptionRecord, Started


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAdoption:
    """Old keys that are to pass until a time. `owner` is of the agent that the first one registers."""

    upstream: str
    keys: Sequence[str] = field(repr=False)
    expires_ns: int
    owner: str = ""
    replace_revoked: bool = False


class Adoptions(Protocol):
    """Old keys of providers that pass for a while, and the programs that still use them."""

    def start(self, organization: str, new: NewAdoption, reason: str) -> Started: ...

    def listed(self, organization: str) -> list[AdoptionRecord]:
        """Also those that have ended, the oldest first."""

    def clients(self, organization: str, address: str | None) -> Sequence[Client]:
        """All that were seen, or those at an address, also those that have moved."""

    def stop(self, organization: str, upstream: str | None, reason: str) -> list[AdoptionRecord]:
        """Of one upstream, or all (None)."""
