"""Charges besides the plain tokens of one model are in the cost, or no cost of the call is known.

And before a call: what its price says nothing of is refused where a limit holds money. The cases are in charges.yaml.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from tests.rigs.dataplane.limits import limit
from tests.rigs.dataplane.obligations import put_into_force

from .conftest import ORG, Gateway, answer, stream

CASES = yaml.safe_load((Path(__file__).parent / "charges.yaml").read_text("utf-8"))
SAID = [{"role": "user", "content": "hello"}]
APIS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "messages": (
        "/v1/messages",
        {"model": "one", "max_tokens": 10, "messages": SAID},
        {"type": "message", "role": "assistant", "model": "one", "content": []},
    ),
    "chat": (
        "/v1/chat/completions",
        {"model": "one", "max_tokens": 10, "messages": SAID},
        {"model": "one", "choices": [{"index": 0, "message": {"role": "assistant"}, "finish_reason": "stop"}]},
    ),
    "responses": (
        "/v1/responses",
        {"model": "one", "max_output_tokens": 10, "input": "hello"},
        {"model": "one", "status": "completed", "output": []},
    ),
    "generate": (
        "/v1beta/models/one:generateContent",
        {"contents": [{"parts": [{"text": "hello"}]}], "generationConfig": {"maxOutputTokens": 10}},
        {"modelVersion": "one", "candidates": [{"finishReason": "STOP"}]},
    ),
}
"""By API: a path, a plain request, and a plain answer."""
FAMILIES = {"anthropic": "messages", "gemini": "generate", "vertex": "generate"}

ONE = {
    "names": ["one", "one-search-preview", "gemini-2.5-one"],
    "prices": [
        {
            "input": 1,
            "output": 2,
            "cache_write": "1.25",
            "cache_write_1h": 2,
            "video_input": 12,
            "regions": {"us": "1.1"},
            "service_tiers": {"fast": {"input": 3, "output": 6, "cache_write": 3}},
            "tools": {"web_search": "0.01", "web_search_preview": "0.025", "file_search": "0.0025"},
        }
    ],
}
TWO = {"prices": [{"input": 10, "output": 20, "regions": {"us": "1.1"}}]}
PAINTER = {"prices": [{"input": 1, "output": 2, "image_output": 40}]}
ANY_MODEL = """package bot.authz

default allow := true
"""
KEEPER = {"prices": [{"input": 10, "output": 20, "cached": 1, "cache_write": 12}]}
PRICES = {"models": {"one": ONE, "two": TWO, "painter": PAINTER, "keeper": KEEPER}}


def prepare(gateway: Gateway) -> None:
    """Upstreams of all providers that the cases name, with the same prices."""
    put_into_force(gateway, ANY_MODEL)
    providers = {case["provider"] for kind in ("answers", "requests") for case in CASES[kind]}
    for each in providers:
        base = {"anthropic": "/v1", "gemini": "", "vertex": ""}.get(each, "/v1")
        gateway.add_upstream(f"the-{each}", each, base, secret=f"secret of {each}")
    upstreams = {f"the-{each}": PRICES for each in providers}
    own = {"v": 1, "version": "ours", "organizations": {ORG: {"upstreams": upstreams}}}
    gateway.data.prices.write_text(json.dumps(own), "utf-8")
    gateway.prices.refresh()


async def send(gateway: Gateway, case: dict[str, Any]) -> tuple[int, str]:
    """Status and text of the answer to the case's request."""
    path, asked, answered = APIS[case.get("api") or FAMILIES.get(case["provider"], "chat")]
    asked = {**asked, **case.get("ask", {}), **({"model": case["model"]} if "model" in case else {})}
    if "stream" in case:
        asked["stream"] = True
        events = [
            b"event: %s\ndata: %s\n\n" % (each.get("type", "message").encode(), orjson.dumps(each))
            for each in case["stream"]
        ]
        gateway.upstream.handler = stream(*events)
    else:
        gateway.upstream.handler = answer({**answered, **case.get("answer", {})})
    reply = await gateway.send(gateway.request(asked, path=f"/the-{case['provider']}{path}"))
    return reply.status, reply.body.decode()


async def test_what_an_answer_names_is_in_the_cost_or_there_is_none(gateway: Gateway) -> None:
    prepare(gateway)
    for case in CASES["answers"]:
        assert (await send(gateway, case))[0] == 200, case["note"]
    completed = await gateway.entries("completed")
    for case, entry in zip(CASES["answers"], completed, strict=True):
        assert [entry["input_tokens"], entry["output_tokens"]] == case["tokens"], case["note"]
        assert entry.get("cost_nanousd") == case["cost"], case["note"]
        assert {name: entry.get(name) for name in case.get("log", {})} == case.get("log", {}), case["note"]


@pytest.mark.parametrize("kind", ["spend", "tokens"])
async def test_what_a_price_says_nothing_of_is_refused_under_a_limit(gateway: Gateway, kind: str) -> None:
    prepare(gateway)
    name = {"spend": "spend_microusd_per_month", "tokens": "tokens_per_month"}[kind]
    limit(gateway, name, 10**9, mode="hard")
    for case in CASES["requests"]:
        if case.get("limit", kind) != kind:
            continue
        status, text = await send(gateway, case)
        if "refused" in case:
            assert status in (400, 403), case["note"]
            assert case["refused"] in text, (case["note"], text)
        else:
            assert status == 200, (case["note"], text)


async def test_without_a_limit_nothing_of_that_is_refused(gateway: Gateway) -> None:
    prepare(gateway)
    for case in CASES["requests"]:
        if case.get("refused") != "must be spelled":
            status, text = await send(gateway, case)
            assert status == 200, (case["note"], text)


async def test_a_call_without_a_known_cost_is_settled_in_full(gateway: Gateway) -> None:
    """Its answer names a tier that was not asked for: what that costs may be more than any price says."""
    prepare(gateway)
    limit(gateway, "spend_microusd_per_month", 10**9)
    answered = {"service_tier": "ultrafast", "usage": {"prompt_tokens": 10, "completion_tokens": 5}}
    assert (await send(gateway, {"provider": "openai", "answer": answered}))[0] == 200
    [decided] = await gateway.entries("decided")
    [completed] = await gateway.entries("completed")
    reserved = json.loads(decided["reservation_json"])
    assert "cost_nanousd" not in completed
    assert (completed["settled_tokens"], completed["settled_nanousd"]) == (15, reserved["spend_nanousd"])
    assert reserved["spend_nanousd"] > 20_000
