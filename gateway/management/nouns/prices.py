"""What models cost, as a gateway says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.management import documents
from gateway.management.client import Client
from gateway.usage import price_documents
from gateway.usage.price_documents import NamedPrice, PricedProvider


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderPrices:
    """The models of a provider with their prices, by a version of the table; it has those of others (`also`), too."""

    version: str
    also: Sequence[str]
    prices: list[NamedPrice]


class Prices:
    def __init__(self, client: Client) -> None:
        self._client = client

    def providers(self) -> tuple[str, list[PricedProvider]]:
        body = self._client.get("prices", "providers").body
        return body["version"], documents.records(PricedProvider, body["items"])

    def of_provider(self, provider: str) -> ProviderPrices:
        body = self._client.get("prices", "models", provider=provider).body
        found = [_named(each, "model") for each in body["items"]]
        return ProviderPrices(version=body["version"], also=body["also"], prices=found)

    def of_model(self, organization: str, model: str, upstream: str | None, at_ns: int | None) -> list[NamedPrice]:
        at = documents.time_text(at_ns)
        body = self._client.get("prices", organization=organization, model=model, upstream=upstream, at=at).body
        return [_named(each, "at") for each in body["items"]]


def _named(document: dict[str, Any], name: str) -> NamedPrice:
    return NamedPrice(document[name], price_documents.price(document))
