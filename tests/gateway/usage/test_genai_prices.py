"""Our costs beside those of `genai-prices`, from whose facts the table is made.

The package must be installed in the version that the shipped table was made from (the extra `prices`).
"""

from __future__ import annotations

import random
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.call import Usage
from gateway.data_directory import DataDirectory
from gateway.settings import Settings
from gateway.usage import price_files, refresh
from gateway.usage.prices import PriceTable

genai = pytest.importorskip("genai_prices", reason="needs the extra `prices`: pip install -e '.[prices]'")
data = pytest.importorskip("genai_prices.data")

pytestmark = pytest.mark.slow

PROVIDERS = {each.id: each for each in data.providers}
MODELS = {
    "openai": (
        "gpt-4o gpt-4o-mini gpt-4.1 gpt-4.1-mini gpt-4.1-nano o1 o3 o3-mini o4-mini gpt-5 gpt-5-mini gpt-5.4 gpt-audio "
        "gpt-4o-2024-05-13 ft:gpt-4o-mini-2024-07-18:acme::1 gpt-3.5-turbo"
    ),
    "anthropic": (
        "claude-opus-4-1-20250805 claude-sonnet-4-5-20250929 claude-sonnet-4-20250514 claude-haiku-4-5-20251001 "
        "claude-3-5-haiku-latest claude-3-7-sonnet-20250219 claude-3-opus-20240229"
    ),
    "google": "gemini-2.5-pro gemini-2.5-flash gemini-2.5-flash-lite gemini-2.0-flash gemini-3.1-flash-lite",
    "groq": "llama-3.3-70b-versatile llama-3.1-8b-instant openai/gpt-oss-120b",
    "deepseek": "deepseek-chat deepseek-reasoner",
    "x-ai": "grok-4.3 grok-4.5",
}
PAIRS = [(provider, model) for provider, names in MODELS.items() for model in names.split()]
OURS = {"google": "gemini", "x-ai": "xai"}


@pytest.fixture(scope="module")
def table() -> PriceTable:
    return price_files.load(Settings(data=DataDirectory(Path("/nonexistent"))))


def random_usage(dice: random.Random) -> Usage:
    large = dice.choice((100, 10_000, 150_000, 400_000))
    fresh, cached, written, heard = (dice.randint(0, large) for _ in range(4))
    text, thoughts, said = (dice.randint(0, large) for _ in range(3))
    heard, said = (heard, said) if dice.random() < 0.3 else (0, 0)
    return Usage(
        input=fresh + cached + written + heard,
        output=text + thoughts + said,
        cached=cached,
        cache_write=written,
        reasoning=thoughts,
        audio_input=heard,
        audio_output=said,
        cache_write_1h=dice.randint(0, written) if dice.random() < 0.3 else 0,
    )


def theirs(usage: Usage) -> Any:
    return genai.Usage(
        input_tokens=usage.input,
        output_tokens=usage.output,
        cache_read_tokens=usage.cached,
        cache_write_tokens=usage.cache_write,
        cache_write_1h_tokens=usage.cache_write_1h,
        output_reasoning_tokens=usage.reasoning,
        input_audio_tokens=usage.audio_input,
        output_audio_tokens=usage.audio_output,
        cache_audio_read_tokens=0,
    )


@pytest.mark.parametrize(("provider", "model"), PAIRS)
def test_a_thousand_usages_cost_the_same_to_the_micro_dollar(table: PriceTable, provider: str, model: str) -> None:
    dice = random.Random(f"{provider}/{model}")
    for _ in range(1000):
        when = datetime.fromtimestamp(dice.randint(1_735_700_000, 1_798_700_000), UTC)  # 2025 and 2026
        usage = random_usage(dice)
        tier = dice.choice(("", "", "flex", "priority"))
        context = {"service_tier": tier} if tier else None
        known = PROVIDERS[provider].find_model(model, all_providers=data.providers)
        expected = known.calc_price(
            theirs(usage), PROVIDERS[provider], genai_request_timestamp=when, price_context=context
        )
        price = table.find(OURS.get(provider, provider), "", model, int(when.timestamp()) * 10**9, "default")
        assert price is not None
        cost = price.cost(usage, service_tier=tier)
        # Ours is the exact sum, rounded up to a nano-dollar.
        assert 0 <= Decimal(cost) - expected.total_price * 10**9 < 1, (when, usage, tier)


@pytest.mark.parametrize(
    ("provider", "model"), [pair for pair in PAIRS if pair[0] in ("openai", "anthropic", "google")]
)
def test_searches_cost_what_the_package_says(table: PriceTable, provider: str, model: str) -> None:
    when = datetime.fromtimestamp(1_796_000_000, UTC)
    known = PROVIDERS[provider].find_model(model, all_providers=data.providers)
    price = table.find(OURS.get(provider, provider), "", model, int(when.timestamp()) * 10**9, "default")
    assert known is not None
    assert price is not None
    theirs = known.get_prices(when)
    names = {"web_search": "web_searches_kcount", "file_search": "storage_searches_kcount"}
    wanted = {ours: getattr(theirs, name) for ours, name in names.items() if getattr(theirs, name) is not None}
    assert {name: Decimal(price.tools[name]) / 10**6 for name in names if name in price.tools} == wanted


def test_every_name_in_the_package_means_the_same_model_here(table: PriceTable) -> None:
    """If an exact name of one model fits a pattern of an earlier one, the exact name counts here."""
    differ, seen = [], 0
    for id_, ours in refresh._PROVIDERS.items():
        for each in table.providers[ours].models:
            for name in each.names:
                sample = name.replace("#", "1").replace("*", "")
                expected = PROVIDERS[id_].find_model(sample)
                found = table.providers[ours].find(sample)
                seen += 1
                if expected is None or found is None or found.id != f"{ours}/{expected.id}":
                    differ.append((id_, name, expected and expected.id, found and found.id))
    assert seen > 1000
    assert differ == []


def test_the_table_that_ships_is_what_the_package_says(table: PriceTable) -> None:
    document, _ = refresh.table()
    shipped = (Path(price_files.__file__).parent / price_files.SHIPPED).read_bytes()
    package = document["source"].split(",")[0]
    if package.encode() not in shipped:
        pytest.skip(f"the table was made from another version than {package}")
    assert document["version"] == table.version
    assert price_files.read(refresh.dump(document), "new").version == table.version
