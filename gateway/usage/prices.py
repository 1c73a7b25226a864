"""Prices of models, and what a call costs: integers all the way, in nano-dollars.

A rate is nano-dollars for a million tokens, so that every published price is a whole number. The parts of a call are
added up exactly and the sum is rounded once, up to the next nano-dollar: a cost is never too low. A price knows the
counts in `gateway.call.Usage`, what the provider's own tools cost by the use, and by how much a place makes a call
dearer. Nothing here reads a file: `price_files.py` does. Format: schemas/prices.schema.json.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from gateway.call import Usage
from gateway.usage.rates import ONCE, Rates

MOST: Final = 2**53 - 1
"""The most that one call can cost, some nine million dollars: the largest integer that the log can hold."""

_MILLION: Final = 10**6
_HOUR: Final = 3600
_DAY_NS: Final = 86_400 * 10**9
_MAX_FOUND: Final = 4096  # names of models that are remembered; clients choose them
_MAX_NAME: Final = 256  # longer names are of no model


@dataclass(frozen=True, slots=True)
class Price:
    """The price of one model at one time.

    `above` holds other rates for the whole of a call whose input is larger than a number of tokens, the largest number
    first. `service_tiers` are the prices of the provider's ways to serve a call faster or cheaper, by their names.
    `regions` are the places that make tokens dearer, by how much: thousandths. `tools` are the provider's own tools
    that cost something by the use: nano-dollars.
    """

    id: str
    """The entry of the table: a provider and a model, as in `openai/gpt-4o`."""
    version: str
    """The version of the table that the entry is from."""
    rates: Rates
    above: tuple[tuple[int, Rates], ...] = ()
    service_tiers: Mapping[str, Price] = field(default_factory=dict)
    regions: Mapping[str, int] = field(default_factory=dict)
    tools: Mapping[str, int] = field(default_factory=dict)
    name: str = field(init=False, repr=False, compare=False)
    """The price as the log names it: `openai/gpt-4o@VERSION`."""
    factor: int = field(init=False, repr=False, compare=False)
    """By how much the dearest place makes tokens dearer, in thousandths."""
    # The answers of `_steps`.
    _dearest: dict[tuple[str | None, tuple[str, ...] | None], tuple[tuple[int, int, int, Rates], ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.id}@{self.version}")
        object.__setattr__(self, "factor", max(ONCE, *self.regions.values()) if self.regions else ONCE)

    def cost(
        self,
        usage: Usage | None,
        *,
        seconds: int = 0,
        images: int = 0,
        requests: int = 1,
        service_tier: str = "",
        region: str = "",
    ) -> int:
        """The cost of a call in nano-dollars: the exact sum, rounded up once. At most `MOST`.

        `usage` is None where only seconds, images or requests were reported. `service_tier` and `region` are what the
        answer names; one without a price of its own is served at the usual price, so ask `knows` first.
        """
        price = self.service_tiers.get(service_tier, self) if service_tier else self
        rates = price._rates(0 if usage is None else usage.input) if price.above else price.rates
        tokens = 0 if usage is None else rates.tokens(usage)
        if region and (factor := self.regions.get(region, ONCE)) != ONCE:
            tokens = -(-tokens * factor // ONCE)
        if seconds:
            exact = tokens * _HOUR + max(seconds, rates.minimum_seconds) * rates.hour * _MILLION
            whole = -(-exact // (_MILLION * _HOUR))
        else:
            whole = -(-tokens // _MILLION)
        whole += requests * rates.request + images * rates.image
        return whole if 0 <= whole <= MOST else min(max(whole, 0), MOST)

    def times(self, factor: int) -> Price:
        """The price with all rates as many thousandths of these, rounded up; what tools cost stays as it is."""
        return replace(
            self,
            version=f"{self.version}*{factor / ONCE:g}",
            rates=self.rates.times(factor),
            above=tuple((start, rates.times(factor)) for start, rates in self.above),
            service_tiers={name: each.times(factor) for name, each in self.service_tiers.items()},
        )

    def knows(self, service_tier: str, region: str) -> bool:
        """True if it says what a call costs in this way and place, of which the usual ones are empty."""
        return (not service_tier or service_tier in self.service_tiers) and (not region or region in self.regions)

    def ceiling(
        self,
        input_tokens: int,
        output_tokens: int,
        service_tier: str | None = "",
        modalities: tuple[str, ...] | None = None,
        *,
        seconds: int = 0,
        images: int = 0,
    ) -> int:
        """The most that a call with no more than this can cost in nano-dollars, however the tokens are counted.

        Every token counts as the dearest kind: cached or written to the cache, sound, image or thought; `modalities`
        leaves out kinds that the call cannot have. Rates by the length of the input are those of any length up to
        `input_tokens`. `service_tier` is the one that the call asks for; None means any. The place is the dearest: a
        call that names none is served where the provider's account says.
        """
        steps = self._dearest.get((service_tier, modalities))
        if steps is None:
            steps = self._steps(service_tier, modalities)
            # Clients choose the tier, so only those that exist are remembered.
            if not service_tier or service_tier in self.service_tiers:
                self._dearest[service_tier, modalities] = steps
        most = 0
        for start, into, out, rates in steps:
            if input_tokens > start:
                exact = input_tokens * into + output_tokens * out
                if seconds and rates.hour:
                    billed = max(seconds, rates.minimum_seconds) * rates.hour * _MILLION
                    whole = -(-(exact * _HOUR + billed) // (_MILLION * _HOUR))
                else:
                    whole = -(-exact // _MILLION)
                whole += rates.request + images * rates.image
                if whole > most:
                    most = whole
        return most if most <= MOST else MOST

    def _steps(
        self, service_tier: str | None, modalities: tuple[str, ...] | None
    ) -> tuple[tuple[int, int, int, Rates], ...]:
        """The rates by which a call may be charged: from a number of input tokens on, the dearest of each kind."""
        if service_tier is None:
            prices = [self, *self.service_tiers.values()]
        else:
            # A provider may serve a call that asks for a tier in the usual way.
            tier = self.service_tiers.get(service_tier)
            prices = [self] if tier is None else [self, tier]
        return tuple(
            (start, *self._dear(rates.highest(modalities)), rates)
            for price in prices
            for start, rates in ((-1, price.rates), *price.above)
        )

    def dearest(self) -> tuple[int, int]:
        """The most that an input and an output token can cost by the usual rates, whatever they are and wherever."""
        return self._dear(self.rates.highest(None))

    def _dear(self, rates: tuple[int, int]) -> tuple[int, int]:
        into, out = rates
        factor = self.factor
        return rates if factor == ONCE else (-(-into * factor // ONCE), -(-out * factor // ONCE))

    @property
    def counts_tokens(self) -> bool:
        """True if tokens cost anything by this price."""
        every = (self, *self.service_tiers.values())
        return any(
            rates.highest(None) != (0, 0) for each in every for rates in (each.rates, *(r for _, r in each.above))
        )

    def _rates(self, input_tokens: int) -> Rates:
        for start, rates in self.above:
            if input_tokens > start:
                return rates
        return self.rates


@dataclass(frozen=True, slots=True)
class Period:
    """A price and when it applies: from a time on, perhaps only between two times of each day (UTC, nanoseconds)."""

    price: Price
    from_ns: int = 0
    hours: tuple[int, int] | None = None

    def applies(self, at_ns: int) -> bool:
        if at_ns < self.from_ns:
            return False
        if self.hours is None:
            return True
        begin, end = self.hours
        now = at_ns % _DAY_NS
        return begin <= now < end if begin <= end else now >= begin or now < end


@dataclass(frozen=True, slots=True)
class Model:
    """One entry of a table: the names it goes by, and its prices in the order of their times.

    In a name `*` stands for any characters and `#` for a digit. `excluded` are names that it does not go by.
    """

    id: str
    names: tuple[str, ...]
    periods: tuple[Period, ...]
    excluded: tuple[str, ...] = ()


class ModelList:
    """The models of one provider, found by the names that requests use. Capital letters count as small ones.

    `also` are other lists to look in afterwards: a provider that serves other makers' models at their prices. `tools`
    is what the provider's own tools cost by the use with any model, also one of another list: nano-dollars. `factor` is
    how much dearer or cheaper the rates of the table are here, in thousandths; None says nothing of that.
    """

    def __init__(
        self,
        models: Sequence[Model],
        also: Sequence[str] = (),
        tools: Mapping[str, int] | None = None,
        factor: int | None = None,
    ) -> None:
        self.models = tuple(models)
        self.also = tuple(also)
        self.tools = tools or {}
        self.factor = factor
        self._exact: dict[str, Model] = {}
        self._patterns: list[tuple[re.Pattern[str], re.Pattern[str] | None, Model]] = []
        for each in models:
            wild = [name for name in each.names if "*" in name or "#" in name]
            for name in each.names:
                if name not in wild:
                    self._exact.setdefault(name.lower(), each)
            if wild:
                self._patterns.append((_pattern(wild), _pattern(each.excluded) if each.excluded else None, each))

    def find(self, name: str) -> Model | None:
        """The model of this name: one that has exactly it, or the first with a pattern for it."""
        name = name.lower()
        for spelled in dict.fromkeys((name, _COMPACT.sub(r"-\1-\2-\3", name))):
            if (exact := self._exact.get(spelled)) is not None:
                return exact
            for pattern, excluded, model in self._patterns:
                if pattern.fullmatch(spelled) and not (excluded and excluded.fullmatch(spelled)):
                    return model
        return None


# Some clients write `-20251211` where the provider writes `-2025-12-11`.
_COMPACT = re.compile(r"-(20[0-9]{2})(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])(?=-|:|$)", re.ASCII)


def _pattern(names: Sequence[str]) -> re.Pattern[str]:
    parts = (re.escape(name.lower()).replace(r"\*", ".*").replace(r"\#", "[0-9]") for name in names)
    return re.compile("|".join(f"(?:{part})" for part in parts), re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class OwnPrices:
    """Prices that an operator has agreed on, by the upstream's name or by the provider."""

    upstreams: Mapping[str, ModelList] = field(default_factory=dict)
    providers: Mapping[str, ModelList] = field(default_factory=dict)

    def lists(self, provider: str, upstream: str) -> list[ModelList]:
        found = self.upstreams.get(upstream), self.providers.get(provider)
        return [each for each in found if each is not None]


class PriceTable:
    """All prices as of one reading of the files: an operator's own, and those of the table. Immutable.

    An organization's own prices come first, then those of all organizations, then the table's; of own prices, those of
    the upstream come before those of its provider.
    """

    def __init__(
        self,
        version: str,
        providers: Mapping[str, ModelList],
        *,
        own: OwnPrices | None = None,
        organizations: Mapping[str, OwnPrices] | None = None,
    ) -> None:
        self.version = version
        self.providers = providers
        self.own = own or OwnPrices()
        self.organizations = organizations or {}
        # The findings, so that a request costs one look into a dictionary.
        self._found: dict[tuple[str, str, str, str], tuple[Period, ...]] = {}
        self._plain: dict[tuple[str, str, str, str], _Plain] = {}

    def find(self, provider: str, upstream: str, model: str, at_ns: int, organization: str) -> Price | None:
        """The price of a model at a time; None if nobody has given one.

        `provider` is what the upstream was added as (`openai`, `groq`, `azure`, …), not the family of its API.
        `upstream` is its name.
        """
        key = (provider, upstream, model, organization)
        periods = self._found.get(key)
        if periods is None:
            periods = self._periods(*key)
            if len(self._found) >= _MAX_FOUND:
                self._found.clear()
            self._found[key] = periods
        # The last one that applies counts.
        for period in periods:
            if period.hours is None:
                if at_ns >= period.from_ns:
                    return period.price
            elif period.applies(at_ns):
                return period.price
        return None

    def ceiling(
        self, provider: str, upstream: str, model: str, at_ns: int, organization: str, into: int, out: int
    ) -> int:
        """The most that a call of a model with so many tokens can cost at a time: `find`, then `Price.ceiling`.

        0 if it has no price. Nearly every call asks for this, and of most prices four numbers are all that it takes.
        """
        plain = self._plain.get((provider, upstream, model, organization))
        if plain is not None:
            begin, end, dearest_input, dearest_output, request = plain
            if begin <= at_ns < end:
                most = -(-(into * dearest_input + out * dearest_output) // _MILLION) + request
                return most if most <= MOST else MOST
        price = self.find(provider, upstream, model, at_ns, organization)
        if price is None:
            return 0
        key = (provider, upstream, model, organization)
        if (found := _plain(price, self._found[key], at_ns)) is not None:
            if len(self._plain) >= _MAX_FOUND:
                self._plain.clear()
            self._plain[key] = found
        return price.ceiling(into, out)

    def model(self, provider: str, upstream: str, model: str, organization: str) -> Model | None:
        """The entry by which a model is priced."""
        if len(model) > _MAX_NAME:
            return None
        for each in self._lists(provider, upstream, organization):
            if (found := each.find(model)) is not None:
                return found
            for name in each.also:
                other = self.providers.get(name)
                if other is not None and (found := other.find(model)) is not None:
                    return found
        return None

    def fee(self, provider: str, upstream: str, organization: str, price: Price, tool: str) -> int | None:
        """The cost of one use of a provider's own tool, in nano-dollars; None if nobody has given one.

        A cost for all models of an upstream or provider comes before the one in a model's price.
        """
        lists = self._lists(provider, upstream, organization)
        said = [each.tools for each in lists if tool in each.tools]
        return said[0][tool] if said else price.tools.get(tool)

    def _lists(self, provider: str, upstream: str, organization: str) -> list[ModelList]:
        """The lists to look in, the most special one first."""
        lists = []
        for own in (self.organizations.get(organization), self.own):
            lists += own.lists(provider, upstream) if own is not None else []
        if (table := self.providers.get(provider)) is not None:
            lists.append(table)
        return lists

    def _periods(self, provider: str, upstream: str, model: str, organization: str) -> tuple[Period, ...]:
        found = self.model(provider, upstream, model, organization)
        if found is None:
            return ()
        periods = found.periods[::-1]
        said = (each.factor for each in self._lists(provider, upstream, organization) if each.factor is not None)
        factor = next(said, ONCE)
        # Prices of one's own are what they are.
        if factor == ONCE or periods[0].price.version != self.version:
            return periods
        return tuple(replace(each, price=each.price.times(factor)) for each in periods)


_Plain: TypeAlias = tuple[int, int, int, int, int]
"""When a price begins and ends to apply, its dearest rates of an input and an output token, and that of a request."""


def _plain(price: Price, periods: Sequence[Period], at_ns: int) -> _Plain | None:
    """The part of a price that the ceiling of a usual call takes, and until when; None if it takes more than this."""
    if price.above or any(period.hours is not None for period in periods):
        return None
    begin = max(period.from_ns for period in periods if period.from_ns <= at_ns)
    end = min((period.from_ns for period in periods if period.from_ns > at_ns), default=2**63)
    return begin, end, *price.dearest(), price.rates.request


def dollars(nanousd: int) -> str:
    """An amount for people: dollars to the micro-dollar, rounded up. `$0.0123`, `$12.00`."""
    micro = -(-nanousd // 1000)
    text = f"{micro // 10**6:,}.{micro % 10**6:06d}"
    while text.endswith("0") and text[-3] != ".":
        text = text[:-1]
    return f"${text}"
