"""What models cost, by the files of a data directory."""

from __future__ import annotations

import time

from gateway.data_directory import DataDirectory
from gateway.management.port.prices import ProviderPrices
from gateway.registry.database import Registry
from gateway.registry.price_places import price_places
from gateway.settings import load_settings
from gateway.usage import price_documents, price_files
from gateway.usage.price_documents import NamedPrice, PricedProvider
from gateway.usage.prices import PriceTable


class DirectoryPrices:
    """`Prices` of `port/prices.py`."""

    def __init__(self, registry: Registry, data: DataDirectory) -> None:
        self._registry = registry
        self._data = data

    def providers(self) -> tuple[str, list[PricedProvider]]:
        table = self._table()
        return table.version, price_documents.providers(table)

    def of_provider(self, provider: str) -> ProviderPrices:
        table = self._table()
        found = price_documents.of_provider(table, provider, time.time_ns())
        return ProviderPrices(version=table.version, also=table.providers[provider].also, prices=found)

    def of_model(self, organization: str, model: str, upstream: str | None, at_ns: int | None) -> list[NamedPrice]:
        places = price_places(self._registry, organization, upstream)
        when = time.time_ns() if at_ns is None else at_ns
        return price_documents.of_model(self._table(), model, places, when, organization, upstream or "")

    def _table(self) -> PriceTable:
        return price_files.load(load_settings({"data": self._data.path}))
