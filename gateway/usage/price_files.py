"""Files of prices: the table that ships with the package or was updated since, and an operator's own prices.

Both have one format (schemas/prices.schema.json). Amounts are dollars, written as decimal numbers or texts, and are
read exactly. Every error is a `GatewayError` that names the place in the document.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, NoReturn

from gateway.errors import GatewayError, Hint, did_you_mean
from gateway.settings import Settings
from gateway.storage import durable
from gateway.usage.prices import Model, ModelList, OwnPrices, Period, Price, PriceTable
from gateway.usage.rates import INPUT_PARTS, NANO, ONCE, OUTPUT_PARTS, Rates

FORMAT: Final = 1
SHIPPED: Final = "prices.json"
"""The table beside this file. `gateway prices update` writes a newer one into the data directory."""

_MAX_BYTES = 16 * 1024 * 1024
_MAX_RATE = 10**6 * NANO  # a million dollars
_MAX_FACTOR = 100
_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)

_AMOUNTS = ("input", "output", *INPUT_PARTS, "cache_write_1h", *OUTPUT_PARTS, "hour", "request", "image")
_RATES = frozenset((*_AMOUNTS, "minimum_seconds"))
_TIER = _RATES | {"above", "tools"}
_PRICE = _TIER | {"service_tiers", "regions"}
_DOCUMENT = frozenset({"$schema", "v", "version", "source", "date", "providers", "upstreams", "organizations"})


@dataclass(frozen=True, slots=True)
class PriceFile:
    """One file, read. `organizations` and `upstreams` are empty in the table itself."""

    version: str
    date: str
    source: str
    providers: Mapping[str, ModelList]
    upstreams: Mapping[str, ModelList]
    organizations: Mapping[str, OwnPrices]


def load(settings: Settings) -> PriceTable:
    """The prices in force, as the files have them now."""
    table = newest(settings.data.price_table)
    path = settings.own_prices
    if not path.exists():
        if settings.prices_file is not None:
            raise _unreadable(path, "it does not exist")
        return PriceTable(table.version, table.providers)
    own = own_prices(path, table)
    return PriceTable(
        table.version,
        table.providers,
        own=OwnPrices(own.upstreams, own.providers),
        organizations=own.organizations,
    )


def newest(updated: Path) -> PriceFile:
    """The table that was updated, or the one that ships with the package if that is newer or the only one."""
    own = shipped()
    if not updated.exists():
        return own
    found = read(_bytes_of(updated), str(updated))
    return found if found.date >= own.date else own


@functools.cache
def shipped() -> PriceFile:
    """The table that comes with the package."""
    return read(importlib.resources.files(__package__).joinpath(SHIPPED).read_bytes(), SHIPPED)


def own_prices(path: Path, table: PriceFile) -> PriceFile:
    """An operator's own prices. The version has the digest of the file, so that no two contents share one."""
    raw = _bytes_of(path)
    found = read(raw, str(path), own=hashlib.sha256(raw).hexdigest()[:12])
    lists = [*found.providers.items(), *found.upstreams.items()]
    for one in found.organizations.values():
        lists += [*one.providers.items(), *one.upstreams.items()]
    for name, models in lists:
        for also in models.also:
            if also not in table.providers:
                hint = did_you_mean(
                    also, table.providers, Hint("`gateway prices list` names the providers of the table")
                )
                raise GatewayError(
                    "invalid_prices", f"{path}: {name}: also: there is no provider `{also}`", subject=also, hint=hint
                )
    return found


def read(raw: bytes, source: str, own: str = "") -> PriceFile:
    """The document in these bytes. `own` is the digest of an operator's file; `source` names the file in errors."""
    try:
        document = json.loads(raw, parse_float=Decimal, object_pairs_hook=_unique)
    except (ValueError, RecursionError, InvalidOperation) as error:
        raise GatewayError("invalid_prices", f"{source} is not JSON: {error}", subject=source) from error
    reader = _Reader(source)
    reader.members(document, "", _DOCUMENT)
    if document.get("v") != FORMAT or isinstance(document.get("v"), bool):
        reader.refuse("v", f"must be {FORMAT}, the format that this gateway reads")
    version = reader.text(document, "", "version", default="own" if own else None)
    reader.version = f"{version}+{own}" if own else version
    if not own and (document.keys() & {"upstreams", "organizations"}):
        reader.refuse("", "a table has no upstreams and no organizations: they belong into your own prices")
    organizations = {}
    for name, node in reader.member(document, "", "organizations").items():
        where = f"organizations.{name}"
        reader.members(node, where, frozenset({"providers", "upstreams"}))
        organizations[name] = OwnPrices(
            reader.lists(node, where, "upstreams", name), reader.lists(node, where, "providers", name)
        )
    return PriceFile(
        version=reader.version,
        date=reader.text(document, "", "date", default=""),
        source=reader.text(document, "", "source", default=""),
        providers=reader.lists(document, "", "providers"),
        upstreams=reader.lists(document, "", "upstreams"),
        organizations=organizations,
    )


@contextmanager
def replacing(path: Path, raw: bytes) -> Iterator[None]:
    """Put these bytes in the place of a file, at once, if the block ends well. They are on disk before it begins."""
    try:
        with durable.replacing(path, raw):
            yield
    except OSError as error:
        why = (error.strerror or "").lower()
        raise GatewayError("prices_not_written", f"cannot write `{path}`: {why}", subject=str(path)) from error


class _Reader:
    """Reads the parts of one document, each with the place where it stands for errors."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.version = ""

    def refuse(self, where: str, why: str, hint: str = "") -> NoReturn:
        place = f"{self._source}: {where.lstrip('.')}: " if where else f"{self._source}: "
        raise GatewayError("invalid_prices", place + why, subject=self._source, hint=hint)

    def members(self, node: object, where: str, known: frozenset[str]) -> dict[str, Any]:
        if not isinstance(node, dict):
            self.refuse(where, "must be an object")
        for name in node:
            if name not in known:
                self.refuse(where, f"unknown member `{name}`", did_you_mean(name, known, ""))
        return node

    def member(self, node: dict[str, Any], where: str, name: str) -> dict[str, Any]:
        found = node.get(name, {})
        if not isinstance(found, dict):
            self.refuse(f"{where}.{name}", "must be an object")
        return found

    def text(self, node: dict[str, Any], where: str, name: str, default: str | None) -> str:
        found = node.get(name, default)
        if not isinstance(found, str) or not found.isprintable() or len(found) > 100 or found != found.strip():
            self.refuse(f"{where}.{name}", "must be a short text")
        return found

    def names(self, node: dict[str, Any], where: str, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
        found = node.get(name, list(default))
        if not isinstance(found, list) or not all(isinstance(each, str) and 0 < len(each) <= 256 for each in found):
            self.refuse(f"{where}.{name}", "must be a list of names")
        return tuple(found)

    def lists(self, node: dict[str, Any], where: str, name: str, owner: str = "") -> dict[str, ModelList]:
        """The models of each provider or upstream. `owner` is the organization whose own prices these are."""
        found = {}
        for key, inner in self.member(node, where, name).items():
            place = f"{where}.{name}.{key}"
            self.members(inner, place, frozenset({"models", "also", "tools", "factor"}))
            models = [
                self.model(each, f"{place}.models.{model}", model, "/".join(filter(None, (owner, key, model))))
                for model, each in self.member(inner, place, "models").items()
            ]
            factor = self.factor(inner["factor"], f"{place}.factor", least=1) if "factor" in inner else None
            found[key] = ModelList(models, self.names(inner, place, "also", ()), self.tools(inner, place), factor)
        return found

    def model(self, node: object, where: str, model: str, id_: str) -> Model:
        found = self.members(node, where, frozenset({"names", "except", "prices"}))
        prices = found.get("prices")
        if not isinstance(prices, list) or not prices:
            self.refuse(f"{where}.prices", "must be a list with at least one price")
        periods = tuple(self.period(each, f"{where}.prices[{at}]", id_[:256]) for at, each in enumerate(prices))
        names = self.names(found, where, "names", (model,))
        return Model(id_, names, periods, self.names(found, where, "except", ()))

    def period(self, node: object, where: str, id_: str) -> Period:
        found = self.members(node, where, _PRICE | {"from", "hours"})
        from_ns, hours = 0, None
        if "from" in found:
            try:
                day = datetime.combine(date.fromisoformat(found["from"]), time(), UTC)
            except (ValueError, TypeError):
                self.refuse(f"{where}.from", "must be a date, such as 2026-11-01; it begins at midnight UTC")
            from_ns = int(day.timestamp()) * NANO
        if "hours" in found:
            between = found["hours"]
            listed = between if isinstance(between, list) else []
            times = [_HOURS.fullmatch(each) if isinstance(each, str) else None for each in listed]
            if len(times) != 2 or None in times or listed[0] == listed[1]:
                self.refuse(f"{where}.hours", "must be two times of the day in UTC, such as 00:30 and 16:30")
            begin, end = ((int(each[1]) * 60 + int(each[2])) * 60 * NANO for each in times if each is not None)
            hours = begin, end
        tiers = {
            name: self.tier(self.members(each, f"{where}.service_tiers.{name}", _TIER), where, id_, found)
            for name, each in self.member(found, where, "service_tiers").items()
        }
        return Period(self.price(found, where, id_, tiers), from_ns, hours)

    def tier(self, node: dict[str, Any], where: str, id_: str, usual: dict[str, Any]) -> Price:
        """The price of a tier: its rates are its own, regions and tools those of the usual price."""
        return self.price({**{name: usual[name] for name in ("tools", "regions") if name in usual}, **node}, where, id_)

    def price(self, node: dict[str, Any], where: str, id_: str, tiers: Mapping[str, Price] | None = None) -> Price:
        if not node.keys() & _RATES:
            self.refuse(where, f"has no rate, such as `input`: one of {', '.join(sorted(_RATES))}")
        above: dict[int, Rates] = {}
        listed = node.get("above", [])
        if not isinstance(listed, list):
            self.refuse(f"{where}.above", "must be a list")
        for at, each in enumerate(listed):
            place = f"{where}.above[{at}]"
            self.members(each, place, _RATES | {"input_tokens"})
            above[self.count(each, place, "input_tokens")] = self.rates(each, place)
        steps = tuple(sorted(above.items(), reverse=True))
        regions = {
            name: self.factor(each, f"{where}.regions.{name}")
            for name, each in self.member(node, where, "regions").items()
        }
        rates = self.rates(node, where)
        return Price(id_, self.version, rates, steps, tiers or {}, regions, self.tools(node, where))

    def tools(self, node: dict[str, Any], where: str) -> dict[str, int]:
        """The cost of the provider's own tools by the use."""
        named = self.member(node, where, "tools").items()
        return {name: self.amount(each, f"{where}.tools.{name}") for name, each in named}

    def factor(self, value: object, where: str, least: int = ONCE) -> int:
        """A factor in thousandths."""
        exact = self.decimal(value)
        exact = None if exact is None else exact * ONCE
        if exact is None or not least <= exact <= _MAX_FACTOR * ONCE or exact != exact.to_integral_value():
            lowest = f"{least / ONCE:g}"
            self.refuse(
                where, f"must be a factor from {lowest} to {_MAX_FACTOR}, such as 1.1, with three decimals at most"
            )
        return int(exact)

    def rates(self, node: dict[str, Any], where: str) -> Rates:
        amounts = {name: self.amount(node[name], f"{where}.{name}") for name in _AMOUNTS if name in node}
        return Rates(
            input=amounts.get("input", 0),
            output=amounts.get("output", 0),
            input_parts=tuple((name, amounts[name]) for name in INPUT_PARTS if name in amounts),
            output_parts=tuple((name, amounts[name]) for name in OUTPUT_PARTS if name in amounts),
            cache_write_1h=amounts.get("cache_write_1h"),
            hour=amounts.get("hour", 0),
            minimum_seconds=self.count(node, where, "minimum_seconds") if "minimum_seconds" in node else 0,
            request=amounts.get("request", 0),
            image=amounts.get("image", 0),
        )

    def count(self, node: dict[str, Any], where: str, name: str) -> int:
        found = node.get(name)
        if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < 2**53:
            self.refuse(f"{where}.{name}", "must be a whole number")
        return found

    def amount(self, value: object, where: str) -> int:
        """Nano-dollars from a number of dollars."""
        exact = self.decimal(value)
        exact = None if exact is None else exact * NANO
        if exact is None or not 0 <= exact <= _MAX_RATE or exact != exact.to_integral_value():
            self.refuse(where, "must be an amount in dollars, such as 2.50, with at most nine decimals")
        return int(exact)

    def decimal(self, value: object) -> Decimal | None:
        """A number, or a text that is one; None if it is neither."""
        try:
            exact = Decimal(value) if isinstance(value, (str, int, Decimal)) and value.__class__ is not bool else None
        except InvalidOperation:
            return None
        return exact if exact is not None and exact.is_finite() else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"`{twice}` stands twice in one object")
    return found


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            raw = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, (error.strerror or "").lower()) from error
    if len(raw) > _MAX_BYTES:
        raise _unreadable(path, f"it has more than {_MAX_BYTES} bytes")
    return raw


def _unreadable(path: Path, why: str) -> GatewayError:
    return GatewayError("invalid_prices", f"the prices in `{path}` cannot be read: {why}", subject=str(path))
