"""What a call has cost is in its record, if that is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import COMPLETION, ORG, Gateway, answer, chat

Run = Callable[..., None]


async def cost_of(gateway: Gateway, **answered: Any) -> dict[str, Any]:
    """The `completed` entry of one call to gpt-4o that is answered like this."""
    gateway.upstream.handler = answer({**COMPLETION, **answered})
    await gateway.send(gateway.request(chat()))
    return (await gateway.entries())[-1]


def test_the_cost_is_in_the_record_with_its_price(run: Run) -> None:
    async def test(gateway: Gateway) -> None:
        usage = {"prompt_tokens": 1000, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 400}}
        completed = await cost_of(gateway, usage=usage)
        # `gpt-4o-2024`, which answers, is no name of OpenAI's: the model that was asked counts.
        assert completed["cost_nanousd"] == 600 * 2500 + 400 * 1250 + 10 * 10_000
        assert completed["price"].startswith("openai/gpt-4o@")

    run(test)


def test_the_model_that_answers_and_its_tier_decide_about_the_price(run: Run) -> None:
    async def test(gateway: Gateway) -> None:
        usage = {"prompt_tokens": 1000, "completion_tokens": 0}
        completed = await cost_of(gateway, usage=usage, model="gpt-4o-mini-2024-07-18")
        assert (completed["cost_nanousd"], completed["price"].split("@")[0]) == (150_000, "openai/gpt-4o-mini")
        completed = await cost_of(gateway, usage=usage, model="gpt-4o-mini-2024-07-18", service_tier="priority")
        assert (completed["cost_nanousd"], completed["service_tier"]) == (250_000, "priority")

    run(test)


@pytest.mark.slow
def test_without_a_price_or_without_usage_there_is_no_cost(run: Run) -> None:
    async def test(gateway: Gateway) -> None:
        for answered in ({"usage": None}, {"usage": {"prompt_tokens": None}}):
            assert "cost_nanousd" not in await cost_of(gateway, **answered)

    run(test)


@pytest.mark.slow
def test_an_organizations_own_price_counts(run: Run) -> None:
    async def test(gateway: Gateway) -> None:
        models = {"mine": {"names": ["gpt-4o*"], "prices": [{"input": 1, "output": 2, "request": "0.01"}]}}
        own = {"v": 1, "version": "ours", "organizations": {ORG: {"upstreams": {"openai": {"models": models}}}}}
        gateway.data.prices.write_text(json.dumps(own), "utf-8")
        gateway.prices.refresh()
        completed = await cost_of(gateway, usage={"prompt_tokens": 10, "completion_tokens": 1})
        assert completed["cost_nanousd"] == 10 * 1000 + 2000 + 10_000_000
        assert completed["price"].startswith(f"{ORG}/openai/mine@ours+")

    run(test)
