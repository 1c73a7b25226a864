"""The `anthropic` package, unmodified but for its base URL and its key."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.gateway.dataplane.processes import Live

# Real processes, which take their time.
pytestmark = pytest.mark.slow

HELLO: Any = [{"role": "user", "content": "hello there"}]
MODEL = "claude-mock-large"  # the names of real ones are deprecated some day, and then the package warns
TOOL: Any = {
    "name": "get_order",
    "input_schema": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
}


@pytest.fixture
def client(live: Live, anthropic_url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=anthropic_url, api_key=live.key, max_retries=0, timeout=300) as made:
        yield made


def test_a_message(client: anthropic.Anthropic) -> None:
    answer = client.messages.create(model=MODEL, max_tokens=100, system="Be kind.", messages=HELLO)
    [block] = answer.content
    assert block.type == "text"
    assert (block.text, answer.stop_reason) == ("You said: hello there", "end_turn")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (4, 4)
    short = client.messages.create(model=MODEL, max_tokens=2, messages=HELLO)
    assert (short.stop_reason, short.usage.output_tokens) == ("max_tokens", 2)


def test_a_stream(client: anthropic.Anthropic) -> None:
    with client.messages.stream(model=MODEL, max_tokens=100, messages=HELLO) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == "You said: hello there"
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 4)


@pytest.mark.parametrize("streaming", [False, True])
def test_tools(client: anthropic.Anthropic, live: Live, streaming: bool) -> None:
    asked: Any = [{"role": "user", "content": "please get_order"}]
    tools: Any = [TOOL, {"type": "web_search_20250305", "name": "web_search"}]
    if streaming:
        with client.messages.stream(model=MODEL, max_tokens=100, messages=asked, tools=tools) as stream:
            answer = stream.get_final_message()
    else:
        answer = client.messages.create(model=MODEL, max_tokens=100, messages=asked, tools=tools)
    [block] = answer.content
    assert block.type == "tool_use"
    assert (block.name, block.input, answer.stop_reason) == ("get_order", {"id": "mock"}, "tool_use")
    asked += [
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": block.id, "content": "shipped"}]},
    ]
    [final] = client.messages.create(model=MODEL, max_tokens=100, messages=asked, tools=[TOOL]).content
    assert final.type == "text"
    assert final.text == "The tool said: shipped"


def test_it_is_asynchronous(live: Live, anthropic_url: str) -> None:
    async def ask() -> tuple[str, str]:
        async with anthropic.AsyncAnthropic(base_url=anthropic_url, api_key=live.key, timeout=300) as client:
            answer = await client.messages.create(model=MODEL, max_tokens=100, messages=HELLO)
            async with client.messages.stream(model=MODEL, max_tokens=100, messages=HELLO) as stream:
                text = "".join([piece async for piece in stream.text_stream])
            [block] = answer.content
            assert block.type == "text"
            return block.text, text

    assert asyncio.run(ask()) == ("You said: hello there",) * 2


def test_asynchronous_tools(live: Live, anthropic_url: str) -> None:
    async def ask(streaming: bool) -> str:
        asked: Any = [{"role": "user", "content": "please get_order"}]
        async with anthropic.AsyncAnthropic(base_url=anthropic_url, api_key=live.key, timeout=300) as client:
            if streaming:
                async with client.messages.stream(model=MODEL, max_tokens=100, messages=asked, tools=[TOOL]) as stream:
                    answer = await stream.get_final_message()
            else:
                answer = await client.messages.create(model=MODEL, max_tokens=100, messages=asked, tools=[TOOL])
            [block] = answer.content
            assert block.type == "tool_use"
            result = {"type": "tool_result", "tool_use_id": block.id, "content": "shipped"}
            asked += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
            [final] = (await client.messages.create(model=MODEL, max_tokens=100, messages=asked, tools=[TOOL])).content
            assert final.type == "text"
            return final.text

    assert [asyncio.run(ask(streaming)) for streaming in (False, True)] == ["The tool said: shipped"] * 2


def test_beta_features_models_and_counting(client: anthropic.Anthropic) -> None:
    answer = client.beta.messages.create(model=MODEL, max_tokens=100, messages=HELLO, betas=["context-1m-2025-08-07"])
    assert answer.stop_reason == "end_turn"
    assert client.messages.count_tokens(model=MODEL, messages=HELLO).input_tokens == 2
    assert MODEL in [each.id for each in client.models.list()]
    assert client.models.retrieve(MODEL).id == MODEL


def test_refusals(client: anthropic.Anthropic) -> None:
    tools: Any = [{**TOOL, "name": "delete_everything"}]
    with pytest.raises(anthropic.PermissionDeniedError, match="this tool is not for agents"):
        client.messages.create(model=MODEL, max_tokens=100, messages=HELLO, tools=tools)
