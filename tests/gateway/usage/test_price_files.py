"""Files of prices: what is read, and what is refused with which words."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gateway.call import Usage
from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.settings import Settings
from gateway.usage import price_documents, price_files
from gateway.usage.price_book import PriceBook
from gateway.usage.prices import Price

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE: dict[str, Any] = json.loads((ROOT / "schemas" / "examples" / "prices.own.json").read_text("utf-8"))
NOVEMBER = 1_764_331_200 * 10**9  # 2025-11-28, at noon


def own(price: object) -> dict[str, Any]:
    return {"v": 1, "providers": {"openai": {"models": {"gpt-4o": {"prices": [price]}}}}}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=DataDirectory(tmp_path))


def write(settings: Settings, document: object) -> None:
    settings.own_prices.write_text(json.dumps(document), "utf-8")


def test_the_table_that_ships_is_valid_and_knows_the_usual_models(settings: Settings) -> None:
    table = price_files.load(settings)
    known = {
        ("openai", "gpt-4o-mini"): 150 + 600,
        ("openai", "gpt-4o-mini-2024-07-18"): 150 + 600,
        ("azure", "gpt-4o-mini"): 150 + 600,
        ("anthropic", "claude-sonnet-4-5-20250929"): 3000 + 15000,
        ("gemini", "gemini-2.5-pro"): 1250 + 10000,
        ("vertex", "claude-sonnet-4-5"): 3000 + 15000,
    }
    for (provider, model), cost in known.items():
        price = table.find(provider, provider, model, NOVEMBER, "default")
        assert price is not None, model
        assert price.cost(Usage(1, 1)) == cost, model
        assert price.version == table.version
    assert table.find("openai", "openai", "no-such-model", NOVEMBER, "default") is None


@pytest.mark.slow
def test_the_table_that_ships_matches_the_schema() -> None:
    schema = json.loads((ROOT / "schemas" / "prices.schema.json").read_text("utf-8"))
    table = json.loads((ROOT / "gateway" / "usage" / "prices.json").read_text("utf-8"))
    jsonschema.Draft202012Validator(schema).validate(table)
    assert {"version", "source", "date"} <= table.keys()


def test_own_prices_come_first_and_name_their_contents(settings: Settings) -> None:
    write(settings, own({"input": 1, "output": "0.1"}))
    table = price_files.load(settings)
    price = table.find("openai", "openai", "gpt-4o", NOVEMBER, "default")
    assert price is not None
    assert price.cost(Usage(10, 10)) == 11_000
    assert price.name.startswith("openai/gpt-4o@own+")
    write(settings, own({"input": 2}))
    after = price_files.load(settings).find("openai", "openai", "gpt-4o", NOVEMBER, "default")
    assert after is not None
    assert after.version != price.version


def test_the_example_is_read_as_it_says(settings: Settings) -> None:
    write(settings, EXAMPLE)
    table = price_files.load(settings)
    free = table.find("openai-compatible", "our-vllm", "llama", NOVEMBER, "default")
    assert free is not None
    assert free.cost(Usage(10**6, 10**6)) == 100_000
    sonnet = table.find("anthropic", "anthropic", "claude-sonnet-4-5", NOVEMBER, "acme")
    assert sonnet is not None
    assert sonnet.id == "acme/anthropic/sonnet"
    assert sonnet.cost(Usage(1, 0), service_tier="priority") == 6000
    assert sonnet.cost(Usage(10, 0), service_tier="priority", region="us") == 66_000
    assert (sonnet.regions, sonnet.tools) == ({"us": 1100}, {"web_search": 10_000_000})
    assert sonnet.service_tiers["priority"].tools == sonnet.tools
    # `also` names providers of the table.
    write(settings, {"v": 1, "upstreams": {"u": {"also": ["groq"]}}})
    assert price_files.load(settings).find("openai-compatible", "u", "whisper-large-v3", NOVEMBER, "default")


def test_a_tool_has_the_price_that_is_said_of_all_models_or_that_of_its_model(settings: Settings) -> None:
    """So that an operator need not repeat the prices of all models to say what a tool costs."""
    write(settings, {"v": 1, "providers": {"openai": {"tools": {"code_interpreter": "0.03", "file_search": 1}}}})
    table = price_files.load(settings)
    price = table.find("openai", "openai", "gpt-4o", NOVEMBER, "default")
    assert price is not None
    names = ("code_interpreter", "file_search", "web_search", "quantum")
    fees = [table.fee("openai", "openai", "default", price, each) for each in names]
    assert fees == [30_000_000, 10**9, 10_000_000, None]
    assert table.fee("azure", "azure", "default", price, "code_interpreter") is None


def test_the_rates_of_the_table_can_be_dearer_or_cheaper_at_an_upstream(settings: Settings) -> None:
    models = {"gpt-4o": {"prices": [{"input": 7}]}}
    acme = {"organizations": {"acme": {"providers": {"openai": {"factor": "0.9"}}}}}
    write(settings, {"v": 1, "upstreams": {"eu": {"factor": 1.1}}, "providers": {"openai": {"models": models}}, **acme})
    table = price_files.load(settings)

    def found(upstream: str, model: str, organization: str = "default") -> Price:
        price = table.find("openai", upstream, model, NOVEMBER, organization)
        assert price is not None
        return price

    usual, dearer = found("openai", "gpt-4o-mini"), found("eu", "gpt-4o-mini")
    assert (usual.cost(Usage(10, 10)), dearer.cost(Usage(10, 10))) == (7500, 8250)
    assert dearer.tools == usual.tools
    assert dearer.name == f"{usual.name}*1.1"
    assert dearer.ceiling(10, 10) == table.ceiling("openai", "eu", "gpt-4o-mini", NOVEMBER, "default", 10, 10) == 8250
    tiers = table.find("openai", "eu", "gpt-4o-mini", 1_796_000_000 * 10**9, "default")
    assert tiers is not None
    assert tiers.cost(Usage(10, 0), service_tier="priority") == 2750
    # Prices of one's own are what they are; an organization's own word comes first.
    assert found("eu", "gpt-4o").cost(Usage(10, 0)) == 70_000
    assert found("openai", "gpt-4o-mini", "acme").cost(Usage(10, 10)) == 6750


def test_the_table_knows_what_providers_charge_besides_tokens(settings: Settings) -> None:
    table = price_files.load(settings)

    def price(provider: str, model: str) -> Price:
        found = table.find(provider, provider, model, 1_796_000_000 * 10**9, "default")
        assert found is not None, model
        return found

    for new in ("claude-opus-4-6", "claude-sonnet-4-6", "claude-haiku-5-5", "claude-fable-5", "claude-opus-5-5"):
        assert price("anthropic", new).regions == {"us": 1100}, new
        assert price("anthropic", new).tools == {"web_search": 10_000_000}
    for old in ("claude-3-5-haiku-latest", "claude-opus-4-5", "claude-sonnet-4-20250514", "claude-haiku-4-5"):
        assert price("anthropic", old).regions == {}, old
    assert price("openai", "gpt-4o").tools["web_search_preview"] == 25_000_000
    assert price("openai", "gpt-5").tools["web_search_preview"] == 10_000_000
    assert price("openai", "gpt-5").tools["file_search"] == 2_500_000
    assert price("gemini", "gemini-2.5-flash").tools == {"web_search": 35_000_000}
    assert dict(price("gemini", "gemini-omni-1.1-flash").rates.output_parts) == {"video_output": 17_500_000_000}


def test_a_price_is_read_again_from_what_programs_get(settings: Settings) -> None:
    write(settings, EXAMPLE)
    price = price_files.load(settings).find("anthropic", "anthropic", "claude-sonnet-4-5", NOVEMBER, "acme")
    assert price is not None
    document = price_documents.document(price)
    assert {"regions", "tools", "above", "service_tiers"} <= document["rates"].keys()
    assert price_documents.document(price_documents.price(document)) == document


REFUSED: list[tuple[object, str]] = [
    ([], "must be an object"),
    ({}, "v: must be 1"),
    ({"v": 2}, "v: must be 1"),
    ({"v": True}, "v: must be 1"),
    ({"v": 1, "provider": {}}, "unknown member `provider`"),
    ({"v": 1, "providers": []}, "providers: must be an object"),
    ({"v": 1, "version": "a\nb"}, "version: must be a short text"),
    ({"v": 1, "upstreams": {"u": {"also": ["opnai"]}}}, "there is no provider `opnai`"),
    (own({}), "providers.openai.models.gpt-4o.prices[0]: has no rate"),
    (own({"input": -1}), "prices[0].input: must be an amount"),
    (own({"input": True}), "prices[0].input: must be an amount"),
    (own({"input": "1e400"}), "prices[0].input: must be an amount"),
    (own({"input": "NaN"}), "prices[0].input: must be an amount"),
    (own({"input": "0.0000000001"}), "prices[0].input: must be an amount"),
    (own({"input": 1, "from": "2026-02-30"}), "prices[0].from: must be a date"),
    (own({"input": 1, "hours": 5}), "prices[0].hours: must be two times"),
    (own({"input": 1, "hours": ["10:00", "10:00"]}), "prices[0].hours: must be two times"),
    (own({"input": 1, "above": [{"input": 2}]}), "above[0].input_tokens: must be a whole number"),
    (own({"input": 1, "regions": {"us": "0.9"}}), "prices[0].regions.us: must be a factor"),
    (own({"input": 1, "regions": {"us": True}}), "prices[0].regions.us: must be a factor"),
    (own({"input": 1, "regions": {"us": "1.0001"}}), "prices[0].regions.us: must be a factor"),
    (own({"input": 1, "regions": ["us"]}), "prices[0].regions: must be an object"),
    (own({"input": 1, "tools": {"web_search": -1}}), "prices[0].tools.web_search: must be an amount"),
    (own({"tools": {"web_search": 1}}), "prices[0]: has no rate"),
    (own({"input": 1, "service_tiers": {"flex": {"input": 1, "regions": {}}}}), "unknown member `regions`"),
    ({"v": 1, "upstreams": {"u": {"factor": 0}}}, "upstreams.u.factor: must be a factor from 0.001 to 100"),
    ({"v": 1, "upstreams": {"u": {"tools": {"x": "much"}}}}, "upstreams.u.tools.x: must be an amount"),
    (own({"input": 1, "service_tiers": {"flex": {"from": "2026-01-01"}}}), "unknown member `from`"),
    ({"v": 1, "providers": {"openai": {"models": {"x": {"prices": []}}}}}, "must be a list with at least one"),
    ({"v": 1, "providers": {"openai": {"models": {"x": {"names": [""], "prices": [{"input": 1}]}}}}}, "list of names"),
    ({"v": 1, "organizations": {"acme": {"models": {}}}}, "organizations.acme: unknown member `models`"),
]


@pytest.mark.parametrize(("document", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_is_no_price_is_refused_with_its_place(settings: Settings, document: object, message: str) -> None:
    write(settings, document)
    with pytest.raises(GatewayError) as caught:
        price_files.load(settings)
    assert message in caught.value.message
    assert str(settings.own_prices) in caught.value.message


@pytest.mark.parametrize("raw", [b"", b"{", b'{"v": 1, "v": 1}', b'{"v": 1e999999999999}', b"[" * 100_000])
def test_what_is_no_json_is_refused(settings: Settings, raw: bytes) -> None:
    settings.own_prices.write_bytes(raw)
    with pytest.raises(GatewayError):
        price_files.load(settings)


def test_a_file_that_is_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match="does not exist"):
        price_files.load(Settings(data=DataDirectory(tmp_path), prices_file=tmp_path / "missing.json"))


def test_a_newer_table_counts_and_an_older_one_does_not(settings: Settings) -> None:
    shipped = price_files.newest(settings.data.price_table)
    model = {"x": {"prices": [{"input": 1}]}}
    for date, version in (("2020-01-01", shipped.version), ("2999-01-01", "new")):
        table = {"v": 1, "version": "new", "date": date, "providers": {"openai": {"models": model}}}
        settings.data.price_table.write_text(json.dumps(table), "utf-8")
        assert price_files.load(settings).version == version


def test_a_running_process_takes_new_prices_and_keeps_them_when_the_file_breaks(settings: Settings) -> None:
    book = PriceBook(settings)

    def cost() -> int:
        price = book.table.find("openai", "openai", "gpt-4o", NOVEMBER, "default")
        assert price is not None
        return price.cost(Usage(1, 0))

    before = book.table
    book.refresh()
    assert book.table is before
    assert cost() == 2500
    write(settings, own({"input": 7}))
    book.refresh()
    assert cost() == 7000
    settings.own_prices.write_text("{")
    book.refresh()
    assert cost() == 7000
    os.unlink(settings.own_prices)
    book.refresh()
    assert cost() == 2500
