"""What commands ask about prices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.usage.price_documents import NamedPrice, PricedProvider


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderPrices:
    """The models of a provider with their prices, by a version of the table; it has those of others (`also`), too."""

    version: str
    also: Sequence[str]
    prices: list[NamedPrice]


class Prices(Protocol):
    """What models cost."""

    def providers(self) -> tuple[str, list[PricedProvider]]:
        """The version of the table, and its providers by name."""

    def of_provider(self, provider: str) -> ProviderPrices: ...

    def of_model(self, organization: str, model: str, upstream: str | None, at_ns: int | None) -> list[NamedPrice]:
        """At each upstream of an organization, or at one; now (None) or at a time."""
