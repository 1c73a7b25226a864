"""A new table of prices, made from the facts in the `genai-prices` package (the extra `prices`).

The package resolves what a model costs at a time, in a service tier; its dates, tiers and names become those of our
format (schemas/prices.schema.json). Left out are prices for what the gateway does not count or serve: characters,
pages, pixels, batches. Prices that the package leaves out of a provider's list are added here. A price that this
version of the gateway does not understand (a new sort of condition, say) is left out
as well and counted, so that a model has no price rather than a wrong one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_CEILING, Decimal
from importlib import metadata
from typing import Any, Final

from gateway.errors import GatewayError
from gateway.usage.price_files import FORMAT

PACKAGE: Final = "genai-prices"

_RATES: Final = {
    "input_mtok": "input",
    "cache_read_mtok": "cached",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "audio_input",
    "input_image_mtok": "image_input",
    "input_video_mtok": "video_input",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
    "output_audio_mtok": "audio_output",
    "output_image_mtok": "image_output",
    "output_video_mtok": "video_output",
    "audio_hours": "hour",
    "requests_kcount": "request",
}
"""The package's names of prices, and ours. Its price of requests is for a thousand of them."""

_TOOLS: Final = {"web_searches_kcount": "web_search", "storage_searches_kcount": "file_search"}
"""The same for tools that the provider runs; for a thousand uses."""

_PROVIDERS: Final = {
    "openai": "openai",
    "anthropic": "anthropic",
    "google": "gemini",
    "azure": "azure",
    "aws": "bedrock-compatible",
    "cerebras": "cerebras",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "fireworks": "fireworks",
    "groq": "groq",
    "minimax": "minimax",
    "mistral": "mistral",
    "moonshotai": "moonshotai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "together": "together",
    "voyageai": "voyageai",
    "x-ai": "xai",
    "zai": "zai",
}
"""The package's providers whose prices are taken over, and the names under which upstreams are added."""

_SAME: Final = {"vertex": "gemini", "gemini-compatible": "gemini"}
"""Providers with the prices of another one."""

# The package has this rule in its code: Groq charges ten seconds for anything shorter.
_MINIMUM_SECONDS: Final = {("groq", "whisper-large-v3"): 10, ("groq", "whisper-large-v3-turbo"): 10}

# Nor has it what Anthropic charges for inference in one place alone: a tenth more, from Claude Opus 4.6 on
# (https://platform.claude.com/docs/en/about-claude/pricing#data-residency-pricing). Older models do not offer it.
_REGIONS: Final = {"anthropic": {"us": "1.1"}}
_WITHOUT_REGIONS = re.compile(r"claude-(?:[v123]|(?:opus|sonnet|haiku)-4-[015]$)")

# Nor OpenAI's older tool for searches, which is dearer with models that do not reason: there it brings its results for
# free (https://developers.openai.com/api/docs/pricing#built-in-tools).
_PREVIEW_SEARCH = "web_search_preview"
_PREVIEW_COSTS: Final = {False: "0.01", True: "0.025"}
_DOES_NOT_REASON = re.compile(r"gpt-(?:3|4|audio)|ft:gpt-(?:3|4)")

_TIERS = ("service_tier", "speed")
_NINE_DECIMALS = Decimal(1).scaleb(-9)
_NO_SPEECH = r"^(?!.*-[tT][tT][sS](?:$|-))"


class _UnknownError(Exception):
    """Something that this version does not understand."""


def table() -> tuple[dict[str, Any], list[str]]:
    """The table as a document, and what was left out, a line for each model."""
    try:
        from genai_prices.data import providers
    except ImportError as error:
        raise GatewayError(
            "prices_missing",
            "the package `genai-prices`, from which the prices come, is not installed",
            hint="install the extra `prices` (in a clone `pip install '.[prices]'`), or write your own prices.json",
        ) from error
    left_out: list[str] = []
    found: dict[str, Any] = {}
    for provider in providers:
        name = _PROVIDERS.get(provider.id)
        if name is not None:
            also = [_PROVIDERS[each] for each in provider.fallback_model_providers or () if each in _PROVIDERS]
            found[name] = {**({"also": also} if also else {}), "models": dict(_models(provider, left_out))}
    for name, same in _SAME.items():
        found[name] = {"also": [same, *found.get(same, {}).get("also", [])], "models": {}}
    found = dict(sorted(found.items()))
    version = metadata.version(PACKAGE)
    digest = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:8]
    return {
        "$schema": f"urn:agent-identity-gateway:prices:{FORMAT}",
        "v": FORMAT,
        "version": f"{version}-{digest}",
        "source": f"{PACKAGE} {version}, MIT, https://github.com/pydantic/genai-prices",
        "date": datetime.now(UTC).date().isoformat(),
        "providers": found,
    }, left_out


def dump(document: dict[str, Any]) -> bytes:
    """The document with one model a line, so that two versions can be compared."""
    lines = ["{"]
    for name, value in document.items():
        if name != "providers":
            lines.append(f"{_text(name)}: {_text(value)},")
    lines.append('"providers": {')
    providers = list(document["providers"].items())
    for at, (name, node) in enumerate(providers):
        also = f'"also": {_text(node["also"])}, ' if "also" in node else ""
        lines.append(f'{_text(name)}: {{{also}"models": {{')
        models = [f"{_text(model)}: {_text(each)}" for model, each in node["models"].items()]
        lines += [line + "," for line in models[:-1]] + models[-1:]
        lines.append("}}" if at == len(providers) - 1 else "}},")
    return "\n".join([*lines, "}", "}", ""]).encode()


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _models(provider: Any, left_out: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for model in provider.models:
        try:
            names, excluded = _names(model.match)
            prices = list(_prices(provider, model))
        except _UnknownError as error:
            left_out.append(f"{provider.id}/{model.id}: {error}")
            continue
        if not any(each.keys() - {"from", "hours"} for each in prices):
            left_out.append(f"{provider.id}/{model.id}: it has no price for anything that is counted")
            continue
        entry: dict[str, Any] = {} if names == [model.id] else {"names": names}
        if excluded:
            entry["except"] = excluded
        yield model.id, {**entry, "prices": prices}


# ---- names


def _names(clause: Any) -> tuple[list[str], list[str]]:
    """The names that a clause means, with `*` and `#`, and those that it does not mean."""
    kind = type(clause).__name__
    if kind == "ClauseOr":
        found = [_names(each) for each in clause.or_]
        names = list(dict.fromkeys(name for each, _ in found for name in each))
        excluded = next((each for _, each in found if each), [])
        # Exceptions count for all patterns of a model; exact names have none.
        if excluded and any(not each and any("*" in name or "#" in name for name in one) for one, each in found):
            raise _UnknownError("an exception that belongs to some of its names")
        return names, excluded
    if kind == "ClauseAnd" and len(clause.and_) == 2 and getattr(clause.and_[1], "regex", "") == _NO_SPEECH:
        return _names(clause.and_[0])[0], ["*-tts", "*-tts-*"]
    if kind == "ClauseEquals":
        return [_plain(clause.equals)], []
    if kind == "ClauseStartsWith":
        return [_plain(clause.starts_with) + "*"], []
    if kind == "ClauseEndsWith":
        return ["*" + _plain(clause.ends_with)], []
    if kind == "ClauseContains":
        return [f"*{_plain(clause.contains)}*"], []
    if kind == "ClauseRegex":
        return _of_regex(clause.regex), []
    raise _UnknownError(f"names by {kind}")


def _plain(name: str) -> str:
    if "*" in name or "#" in name:
        raise _UnknownError(f"the name {name}")
    return name


_PIECE = re.compile(
    r"\\d\{(?P<count>\d)\}|(?P<digit>\\d)|\[(?P<either>[-@.:]+)\]|\\(?P<escaped>[.\[\]/-])|(?P<plain>[\w/=-])"
)


def _of_regex(regex: str) -> list[str]:
    """The names that a regular expression of plain characters and digits means."""
    if not regex.startswith("^"):
        raise _UnknownError(f"the expression {regex}")
    names, at, end = [""], 1, len(regex) - regex.endswith("$")
    while at < end:
        piece = _PIECE.match(regex, at, end)
        if piece is None:
            raise _UnknownError(f"the expression {regex}")
        if piece["either"]:
            names = [name + each for name in names for each in piece["either"]]
        else:
            text = piece["plain"] or piece["escaped"] or "#" * int(piece["count"] or 1)
            names = [name + text for name in names]
        at = piece.end()
    return names if regex.endswith("$") else [name + "*" for name in names]


# ---- prices


def _prices(provider: Any, model: Any) -> Iterator[dict[str, Any]]:
    """The prices of a model in the order of their dates, each for some time of the day if there are such."""
    days: set[date] = set()
    times: set[time] = set()
    listed = model.prices if isinstance(model.prices, list) else []
    for each in [*listed, *(model.price_variants or ())]:
        condition = each.constraint
        kind = type(condition).__name__
        if kind == "StartDateConstraint":
            days.add(condition.start_date)
        elif kind == "TimeOfDateConstraint":
            times |= {_utc(condition.start_time), _utc(condition.end_time)}
        elif condition is not None:
            raise _UnknownError(f"a condition of the kind {kind}")
    before: list[dict[str, Any]] = []
    for day in [None, *sorted(days)]:
        found = list(
            _day(provider, model, day or min(days, default=date(2020, 1, 2)) - timedelta(days=1), sorted(times))
        )
        if found != before:
            before = found
            for each in found:
                yield {**({} if day is None else {"from": day.isoformat()}), **each}


def _day(provider: Any, model: Any, day: date, times: list[time]) -> Iterator[dict[str, Any]]:
    """The prices of a model on a day: the usual price, and others between two times of the day."""
    starts = sorted({time(0), *times})
    whole = [_resolved(provider, model, datetime.combine(day, each, UTC)) for each in starts]
    # The first price of a day has no hours: those after it count where they apply.
    yield whole[0]
    for at in range(1, len(starts)):
        if whole[at] != whole[0]:
            end = starts[at + 1] if at + 1 < len(starts) else time(0)
            yield {"hours": [starts[at].strftime("%H:%M"), end.strftime("%H:%M")], **whole[at]}


def _utc(value: time) -> time:
    """A time of the day in UTC, without its zone."""
    if value.tzinfo is None:
        return value
    return datetime.combine(date(2020, 1, 2), value).astimezone(UTC).time()


def _resolved(provider: Any, model: Any, when: datetime) -> dict[str, Any]:
    """The rates of a model at a time, with those of each service tier."""
    price = _rates(provider, model, model.get_prices(when))
    tiers: dict[str, Any] = {}
    for variant in model.price_variants or ():
        ((name, value), *more) = variant.when.items()
        if name in _TIERS and not more:
            tier = _rates(provider, model, model.get_prices(when, {name: value}))
            if value != "default" or tier != price:
                # The cost of tools in a tier is the usual one if it does not say.
                tiers[value] = {name: each for name, each in tier.items() if name != "tools" or each != price.get(name)}
    found = {**price, **({"service_tiers": dict(sorted(tiers.items()))} if tiers else {})}
    regions = _REGIONS.get(provider.id)
    if regions is not None and not _WITHOUT_REGIONS.match(model.id):
        found["regions"] = regions
    return found


def _tools(provider: Any, model: Any, price: Any) -> dict[str, Any]:
    """The cost of the provider's own tools by the use."""
    held = {ours: getattr(price, theirs, None) for theirs, ours in _TOOLS.items()}
    tools: dict[str, Any] = {name: _amount(name, value / 1000) for name, value in held.items() if value is not None}
    if provider.id == "openai" and "web_search" in tools:
        tools[_PREVIEW_SEARCH] = _PREVIEW_COSTS[bool(_DOES_NOT_REASON.match(model.id))]
    return {"tools": tools} if tools else {}


def _rates(provider: Any, model: Any, price: Any) -> dict[str, Any]:
    held = {ours: getattr(price, theirs, None) for theirs, ours in _RATES.items()}
    given = {name: value for name, value in held.items() if value is not None}
    if not any(value is not None for value in vars(price).values()):
        return {"input": 0, "output": 0}  # it is free
    starts = sorted({tier.start for value in given.values() for tier in getattr(value, "tiers", ())})
    rates: dict[str, Any] = {name: _amount(name, getattr(value, "base", value)) for name, value in given.items()}
    minimum = _MINIMUM_SECONDS.get((provider.id, model.id))
    if minimum is not None:
        rates["minimum_seconds"] = minimum
    if starts:
        steps = [
            {"input_tokens": start, **{n: _amount(n, _at(v, start)) for n, v in given.items()}} for start in starts
        ]
        rates["above"] = steps
    return {**rates, **_tools(provider, model, price)} if rates else {}


def _at(value: Any, start: int) -> Decimal:
    """The rate of a call whose input is larger than `start`."""
    found: Decimal = getattr(value, "base", value)
    for tier in getattr(value, "tiers", ()):
        if tier.start <= start:
            found = tier.price
    return found


def _amount(name: str, value: Decimal) -> int | float | str:
    """A rate as it stands in the document, with nine decimals at most; more are rounded up."""
    exact = value / 1000 if name == "request" else value
    text = format(exact.quantize(_NINE_DECIMALS, ROUND_CEILING).normalize(), "f")
    return int(text) if text.isdecimal() else text
