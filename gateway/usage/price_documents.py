"""Prices as documents in the format of the files, and the questions about them of commands and the control API."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.errors import Hint, UnknownError, did_you_mean
from gateway.usage import price_files
from gateway.usage.prices import Price, PriceTable
from gateway.usage.rates import Rates


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedProvider:
    """A provider of the table: how many models it has, and whose models it has besides."""

    provider: str
    models: int
    also: list[str]


@dataclass(frozen=True, slots=True)
class NamedPrice:
    """A price and what it is of: a model of a provider, or a place where one model can be called."""

    name: str
    price: Price


def providers(table: PriceTable) -> list[PricedProvider]:
    """By name."""
    return [
        PricedProvider(provider=name, models=len(each.models), also=list(each.also))
        for name, each in sorted(table.providers.items())
    ]


def of_provider(table: PriceTable, provider: str, at_ns: int) -> list[NamedPrice]:
    """The models of a provider that have a price at a time. Raises `unknown_provider`."""
    if (models := table.providers.get(provider)) is None:
        hint = did_you_mean(provider, table.providers, Hint("type `gateway prices list` to see the providers"))
        shown = provider[:80]
        raise UnknownError("provider", f"no prices of provider `{shown}`", subject=shown, hint=hint)
    found = []
    for each in models.models:
        price = table.find(provider, "", _sample(each.names), at_ns, "")
        if price is not None:
            found.append(NamedPrice(each.id.partition("/")[2], price))
    return found


def of_model(
    table: PriceTable, model: str, places: Sequence[tuple[str, str]], at_ns: int, organization: str, upstream: str
) -> list[NamedPrice]:
    """The prices of a model at each of some places, of a provider and the name of an upstream; without any, at
    providers.

    Raises `unknown_model` if it has no price; `upstream` is that of the question, for the error.
    """
    places = places or [(name, "") for name in sorted(table.providers)]
    found = [
        NamedPrice(name or provider, price)
        for provider, name in places
        if (price := table.find(provider, name, model, at_ns, organization)) is not None
    ]
    if not found:
        where = f" at upstream `{upstream}`" if upstream else ""
        known = {name for provider, _ in places if provider in table.providers for name in _names(table, provider)}
        rule = (
            "say what it costs in your own prices (docs/how-to/operate/usage.md): "
            "`gateway prices check` names their file"
        )
        shown, hint = model[:256], did_you_mean(model, known, rule)
        raise UnknownError("model", f"model `{shown}` has no price{where}", subject=shown, hint=hint)
    return found


def document(price: Price) -> dict[str, Any]:
    """A price for programs, in the format of the files (schemas/prices.schema.json)."""
    rates = _rates(price.rates)
    if price.above:
        rates["above"] = [{"input_tokens": start, **_rates(each)} for start, each in reversed(price.above)]
    if price.service_tiers:
        rates["service_tiers"] = {name: document(each)["rates"] for name, each in price.service_tiers.items()}
        for each in rates["service_tiers"].values():
            each.pop("regions", None)  # those of the usual price
    if price.regions:
        rates["regions"] = {name: factor(each) for name, each in price.regions.items()}
    if price.tools:
        rates["tools"] = {name: amount(each) for name, each in price.tools.items()}
    return {"entry": price.id, "version": price.version, "rates": rates}


def price(found: dict[str, Any]) -> Price:
    """The way back from a document. Raises `GatewayError` if it is none."""
    models = {"one": {"models": {"one": {"prices": [found["rates"]]}}}}
    whole = {"v": price_files.FORMAT, "version": found["version"], "providers": models}
    read = price_files.read(json.dumps(whole).encode(), "the gateway's answer")
    return replace(read.providers["one"].models[0].periods[0].price, id=found["entry"])


def amount(nano: int) -> str:
    """Dollars for a million tokens, exactly."""
    whole, rest = divmod(nano, 10**9)
    text = f"{rest:09d}".rstrip("0")
    return f"{whole}.{text.ljust(2, '0')}"


def factor(thousandths: int) -> str:
    """A factor exactly: `1.1`."""
    return amount(thousandths * 10**6)


def pieces(rates: Rates) -> dict[str, int]:
    """Charges that are not by tokens."""
    found = {"hour": rates.hour, "request": rates.request, "image": rates.image}
    return {name: rate for name, rate in found.items() if rate}


def _rates(rates: Rates) -> dict[str, Any]:
    amounts = {"input": rates.input, "output": rates.output, **dict(rates.input_parts), **dict(rates.output_parts)}
    if rates.cache_write_1h is not None:
        amounts["cache_write_1h"] = rates.cache_write_1h
    amounts |= pieces(rates)
    return {name: amount(rate) for name, rate in amounts.items()}


def _names(table: PriceTable, provider: str) -> set[str]:
    models = table.providers[provider]
    lists = [models, *(table.providers[each] for each in models.also if each in table.providers)]
    return {_sample(model.names) for each in lists for model in each.models}


def _sample(names: tuple[str, ...]) -> str:
    """One name that these mean."""
    plain = [name for name in names if "*" not in name and "#" not in name]
    return (plain or [names[0].replace("*", "").replace("#", "0")])[0]
