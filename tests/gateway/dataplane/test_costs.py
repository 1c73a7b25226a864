"""The cost of a call is in its record, if it is known."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.rigs.dataplane.limits import limit

from .conftest import COMPLETION, ORG, Gateway, answer, chat


async def cost_of(gateway: Gateway, **answered: Any) -> dict[str, Any]:
    """The `completed` entry of one call to gpt-4o that is answered like this."""
    gateway.upstream.handler = answer({**COMPLETION, **answered})
    await gateway.send(gateway.request(chat()))
    return (await gateway.entries())[-1]


async def test_the_cost_is_in_the_record_with_its_price(gateway: Gateway) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 400}}
    completed = await cost_of(gateway, usage=usage)
    # `gpt-4o-2024`, which answers, is no name of OpenAI's: the model that was asked counts.
    assert completed["cost_nanousd"] == 600 * 2500 + 400 * 1250 + 10 * 10_000
    assert completed["price"].startswith("openai/gpt-4o@")


async def test_the_model_that_answers_and_its_tier_decide_about_the_price(gateway: Gateway) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 0}
    completed = await cost_of(gateway, usage=usage, model="gpt-4o-mini-2024-07-18")
    assert (completed["cost_nanousd"], completed["price"].split("@")[0]) == (150_000, "openai/gpt-4o-mini")
    completed = await cost_of(gateway, usage=usage, model="gpt-4o-mini-2024-07-18", service_tier="priority")
    assert (completed["cost_nanousd"], completed["service_tier"]) == (250_000, "priority")


@pytest.mark.slow
async def test_without_a_price_or_without_usage_there_is_no_cost(gateway: Gateway) -> None:
    for answered in ({"usage": None}, {"usage": {"prompt_tokens": None}}):
        assert "cost_nanousd" not in await cost_of(gateway, **answered)


@pytest.mark.slow
async def test_an_organizations_own_price_counts(gateway: Gateway) -> None:
    models = {"mine": {"names": ["gpt-4o*"], "prices": [{"input": 1, "output": 2, "request": "0.01"}]}}
    own = {"v": 1, "version": "ours", "organizations": {ORG: {"upstreams": {"openai": {"models": models}}}}}
    gateway.data.prices.write_text(json.dumps(own), "utf-8")
    gateway.prices.refresh()
    completed = await cost_of(gateway, usage={"prompt_tokens": 10, "completion_tokens": 1})
    assert completed["cost_nanousd"] == 10 * 1000 + 2000 + 10_000_000
    assert completed["price"].startswith(f"{ORG}/openai/mine@ours+")


MESSAGE = {"id": "msg_1", "type": "message", "model": "gpt-x", "role": "assistant", "content": []}
GENERATED = {"modelVersion": "gpt-x", "candidates": [{"finishReason": "STOP"}]}
FAST = {"speed": "fast"}
SAID = [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize(
    ("provider", "path", "asked", "answered"),
    [
        (
            "anthropic",
            "/v1/messages",
            {"model": "gpt-x", "max_tokens": 10, "messages": SAID, "speed": "fast"},
            {
                **MESSAGE,
                "usage": {"input_tokens": 10, "output_tokens": 10, "service_tier": "standard", "speed": "fast"},
            },
        ),
        (
            "gemini",
            "/v1beta/models/gpt-x:generateContent",
            {
                "contents": [{"parts": [{"text": "hello"}]}],
                "generationConfig": {"maxOutputTokens": 10},
                "serviceTier": "FAST",
            },
            {
                **GENERATED,
                "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 10, "serviceTier": "fast"},
            },
        ),
    ],
)
async def test_what_is_served_faster_is_reserved_and_charged_at_its_price(
    gateway: Gateway, provider: str, path: str, asked: dict[str, Any], answered: dict[str, Any]
) -> None:
    """Each provider has a name of its own for it. By the usual price, a limit would let through a multiple of it."""
    fast = {"input": 3, "output": 3}
    models = {"x": {"names": ["gpt-x"], "prices": [{"input": 1, "output": 1, "service_tiers": {"fast": fast}}]}}
    own = {"v": 1, "version": "ours", "organizations": {ORG: {"upstreams": {"quick": {"models": models}}}}}
    gateway.data.prices.write_text(json.dumps(own), "utf-8")
    gateway.prices.refresh()
    gateway.add_upstream("quick", provider, "/v1" if provider == "anthropic" else "", secret="another secret")
    limit(gateway, "spend_microusd_per_month", 1000)
    gateway.upstream.handler = answer(answered)
    reply = await gateway.send(gateway.request(asked, path=f"/quick{path}"))
    assert reply.status == 200, reply.body
    [decided] = await gateway.entries("decided")
    [completed] = await gateway.entries("completed")
    reserved = json.loads(decided["reservation_json"])
    assert reserved["spend_nanousd"] == 3000 * reserved["tokens"] > 3000 * 20
    assert (completed["settled_nanousd"], completed["service_tier"]) == (3000 * 20, "fast")


async def test_a_call_of_gemini_without_an_output_limit_gets_what_is_left(gateway: Gateway) -> None:
    """Its limit stands in an object of settings, which counted as input: what was left never had room for the call."""
    gateway.add_upstream("google", "gemini", secret="another secret")
    limit(gateway, "tokens_per_month", 1000)
    gateway.upstream.handler = answer({**GENERATED, "usageMetadata": {"promptTokenCount": 10}})
    asked = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
    path = "/google/v1beta/models/gpt-x:generateContent"
    reply = await gateway.send(gateway.request(asked, path=path))
    assert reply.status == 200, reply.body
    [decided] = await gateway.entries("decided")
    assert json.loads(decided["reservation_json"])["tokens"] == 1000
    assert 900 < gateway.upstream.seen[-1].json["generationConfig"]["maxOutputTokens"] < 1000
