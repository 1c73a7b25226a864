"""What models cost (usage.md). The table and an operator's own prices are files, changed on the machine only."""

from __future__ import annotations

import time
from typing import Any

from pydantic import AwareDatetime, Field

from gateway.control import shapes
from gateway.control.api.times import nanoseconds
from gateway.control.operation import Answer, Ask, Operation, Query
from gateway.registry.documents import plain
from gateway.registry.prices import price_places
from gateway.settings import load_settings
from gateway.usage import price_documents, price_files
from gateway.usage.price_documents import NamedPrice, PricedProvider
from gateway.usage.prices import PriceTable

_TEXT = {"type": "string"}


def _list(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of}


_PRICE = {
    "entry": {"type": "string", "description": "Which entry of a table it is."},
    "version": {"type": "string", "description": "Of that table."},
    "rates": {"type": "object", "description": "As in files of prices (schemas/prices.schema.json)."},
}
_PROVIDERS = shapes.closed({"version": _TEXT, "items": _list(shapes.record(PricedProvider))})
_MODELS = shapes.closed(
    {"version": _TEXT, "also": _list(_TEXT), "items": _list(shapes.closed({"model": _TEXT, **_PRICE}))}
)
_PLACES = shapes.closed(
    {"items": _list(shapes.closed({"at": {**_TEXT, "description": "An upstream or a provider."}, **_PRICE}))}
)


class ModelsQuery(Query):
    """Whose models are wanted."""

    provider: str = Field(description="A provider of the table.")


class PricesQuery(Query):
    """Which price is wanted."""

    model: str = Field(description="A model's name, as requests or answers have it.")
    upstream: str | None = Field(None, description="Only at this upstream; otherwise at all of the organization.")
    at: AwareDatetime | None = Field(None, description="At this time; otherwise now.")


def _table(ask: Ask) -> PriceTable:
    return price_files.load(load_settings({"data": ask.context.data.path}))


@Operation("GET /prices", noun="usage", answer=_PLACES)
def prices(ask: Ask[None, PricesQuery]) -> Answer:
    """Show what a model costs at each upstream of an organization."""
    given = ask.query
    at_ns = time.time_ns() if given.at is None else nanoseconds(given.at)
    assert at_ns is not None
    places = price_places(ask.registry, ask.tenant, given.upstream)
    found = price_documents.of_model(_table(ask), given.model, places, at_ns, ask.tenant, given.upstream or "")
    return Answer(body={"items": [_shown("at", each) for each in found]})


@Operation("GET /prices/providers", noun="usage", about="nothing", answer=_PROVIDERS)
def providers(ask: Ask) -> Answer:
    """List the providers whose models have prices."""
    table = _table(ask)
    return Answer(body={"version": table.version, "items": [plain(each) for each in price_documents.providers(table)]})


@Operation("GET /prices/models", noun="usage", about="nothing", answer=_MODELS)
def models(ask: Ask[None, ModelsQuery]) -> Answer:
    """List the models of a provider with their prices."""
    table, provider = _table(ask), ask.query.provider
    found = price_documents.of_provider(table, provider, time.time_ns())
    also = list(table.providers[provider].also)
    return Answer(body={"version": table.version, "also": also, "items": [_shown("model", each) for each in found]})


def _shown(what: str, found: NamedPrice) -> dict[str, Any]:
    return {what: found.name, **price_documents.document(found.price)}
