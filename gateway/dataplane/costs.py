"""What an exchange has cost, by the prices in force and what the provider reported. Never asked before the answer ends.

The log keeps it with the price that was used, so that the sum can be checked later. Where the provider did not report
what it charges for, there is no cost: an amount would be a guess.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from gateway.dataplane.exchange import Exchange
from gateway.usage.price_book import PriceBook
from gateway.usage.prices import Price


class Cost(NamedTuple):
    """An amount and the price it was reckoned with."""

    nanousd: int
    price: str
    """The entry of the table and its version, `Price.name`."""


class Costs:
    """Costs of exchanges by the prices that a book holds."""

    def __init__(self, book: PriceBook) -> None:
        self._book = book

    def of(self, exchange: Exchange) -> Cost | None:
        """The cost of this exchange; None if no price is known, or not what was used."""
        report = exchange.report
        usage = report.usage
        if usage is None and report.seconds is None and report.images is None:
            answered = exchange.upstream_status is not None and exchange.upstream_status < 300
            if not answered:
                return None
        price = self._price(exchange)
        if price is None:
            return None
        if usage is None and (
            price.counts_tokens
            or (price.rates.hour and report.seconds is None)
            or (price.rates.image and report.images is None)
        ):
            return None
        nanousd = price.cost(
            usage,
            seconds=report.seconds or 0,
            images=report.images or 0,
            service_tier=report.service_tier or "",
        )
        return Cost(nanousd, price.name)

    def _price(self, exchange: Exchange) -> Price | None:
        """The price of the model that has answered, or else of the one that was asked: an alias, or a deployment."""
        principal, match, report = exchange.principal, exchange.match, exchange.report
        if principal is None or match is None:
            return None
        upstream, find, organization = match.destination, self._book.table.find, principal.organization
        began_ns = time.time_ns() - (time.monotonic_ns() - exchange.started_monotonic_ns)
        price = None
        if report.model is not None:
            price = find(upstream.preset, upstream.name, report.model, began_ns, organization)
        if price is None:
            price = find(upstream.preset, upstream.name, exchange.model or "", began_ns, organization)
        return price
