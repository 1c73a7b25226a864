"""The `openai` package, unmodified but for its base URL and its key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.gateway.dataplane.processes import Live

HELLO: Any = [{"role": "user", "content": "hello there"}]
PARAMETERS = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
TOOL: Any = {"type": "function", "function": {"name": "get_order", "parameters": PARAMETERS}}
FLAT_TOOL: Any = {"type": "function", "name": "get_order", "parameters": PARAMETERS}


@pytest.fixture
def client(live: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=live.base_url, api_key=live.key, max_retries=0, timeout=300) as made:
        yield made


def asynchronous(live: Live) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=live.base_url, api_key=live.key, max_retries=0, timeout=300)


# --- chat completions


def test_a_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert answer.choices[0].message.content == "You said: hello there"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 4)
    asked = client.chat.completions.create(
        model="gpt-4o", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(asked)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "You said: hello there"
    assert chunks[-1].usage is not None
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], 4)


def test_tools_of_a_chat(client: openai.OpenAI) -> None:
    asked: Any = [{"role": "user", "content": "please get_order"}]
    answer = client.chat.completions.create(model="gpt-4o", messages=asked, tools=[TOOL])
    [call] = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_order", {"id": "mock"})
    asked += [answer.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "shipped"}]
    final = client.chat.completions.create(model="gpt-4o", messages=asked, tools=[TOOL])
    assert final.choices[0].message.content == "The tool said: shipped"


def test_a_stream_of_tools(client: openai.OpenAI) -> None:
    asked: Any = [{"role": "user", "content": "please get_order"}]
    with client.chat.completions.stream(model="gpt-4o", messages=asked, tools=[TOOL]) as stream:
        final = stream.get_final_completion()
    [call] = final.choices[0].message.tool_calls or []
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_order", {"id": "mock"})


def test_asynchronous_chats(live: Live) -> None:
    async def ask() -> tuple[str | None, str]:
        async with asynchronous(live) as client:
            answer = await client.chat.completions.create(model="gpt-4o", messages=HELLO)
            stream = await client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
            return answer.choices[0].message.content, "".join(pieces)

    assert asyncio.run(ask()) == ("You said: hello there",) * 2


def test_tools_of_asynchronous_chats(live: Live) -> None:
    async def ask(streaming: bool) -> str | None:
        asked: Any = [{"role": "user", "content": "please get_order"}]
        async with asynchronous(live) as client:
            chats = client.chat.completions
            if streaming:
                async with chats.stream(model="gpt-4o", messages=asked, tools=[TOOL]) as stream:
                    message = (await stream.get_final_completion()).choices[0].message
            else:
                message = (await chats.create(model="gpt-4o", messages=asked, tools=[TOOL])).choices[0].message
            [call] = message.tool_calls or []
            asked += [message, {"role": "tool", "tool_call_id": call.id, "content": "shipped"}]
            final = await chats.create(model="gpt-4o", messages=asked, tools=[TOOL])
            return final.choices[0].message.content

    assert [asyncio.run(ask(streaming)) for streaming in (False, True)] == ["The tool said: shipped"] * 2


# --- responses


def test_a_response(client: openai.OpenAI) -> None:
    answer = client.responses.create(model="gpt-4o", instructions="Be kind.", input="hello there")
    assert (answer.output_text, answer.status) == ("You said: hello there", "completed")
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (4, 4)
    more = client.responses.create(model="gpt-4o", input="and you", previous_response_id=answer.id)
    assert more.output_text == "You said: and you"
    with pytest.raises(openai.PermissionDeniedError) as denied:
        client.responses.create(model="gpt-4o", input="and you", previous_response_id="resp_of_somebody")
    assert denied.value.code == "foreign_reference"


def test_a_conversation_is_compacted(client: openai.OpenAI) -> None:
    short = client.responses.compact(model="gpt-4o", input="hello there", instructions="Be brief.")
    assert (short.object, short.output[0].type, short.usage.input_tokens) == ("response.compaction", "compaction", 4)
    given: Any = [*(item.model_dump() for item in short.output), {"role": "user", "content": "and you"}]
    assert client.responses.create(model="gpt-4o", input=given).output_text == "You said: and you"


def test_the_beta_client_of_responses(client: openai.OpenAI) -> None:
    answer = client.beta.responses.create(model="gpt-4o", input="hello there")
    assert answer.status == "completed"


def test_a_stream_of_a_response(client: openai.OpenAI) -> None:
    with client.responses.stream(model="gpt-4o", input="hello there") as stream:
        pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(pieces) == final.output_text == "You said: hello there"


def test_tools_of_a_response(client: openai.OpenAI, live: Live) -> None:
    tools = [FLAT_TOOL, {"type": "web_search"}]
    answer = client.responses.create(model="gpt-4o", input="please get_order", tools=tools)
    [call] = answer.output
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments)) == ("get_order", {"id": "mock"})
    # The policy takes hosted search out of every request.
    assert [tool.type for tool in answer.tools] == ["function"]
    given: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "shipped"}]
    final = client.responses.create(model="gpt-4o", input=given, tools=[FLAT_TOOL], previous_response_id=answer.id)
    assert final.output_text == "The tool said: shipped"
    decided = [entry for entry in live.entries() if entry["kind"] == "decided" and entry["action"] == "responses"]
    assert any(entry.get("edits_json") == '["strip_tools"]' for entry in decided)


def test_a_stream_of_a_tool(client: openai.OpenAI) -> None:
    with client.responses.stream(model="gpt-4o", input="please get_order", tools=[FLAT_TOOL]) as stream:
        [call] = stream.get_final_response().output
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"id": "mock"}


def test_asynchronous_responses(live: Live) -> None:
    async def ask() -> tuple[str, str]:
        async with asynchronous(live) as client:
            answer = await client.responses.create(model="gpt-4o", input="hello there")
            stream = await client.responses.create(model="gpt-4o", input="hello there", stream=True)
            pieces = [event.delta async for event in stream if event.type == "response.output_text.delta"]
            return answer.output_text, "".join(pieces)

    assert asyncio.run(ask()) == ("You said: hello there",) * 2


def test_tools_of_asynchronous_responses(live: Live) -> None:
    async def ask(streaming: bool) -> str:
        asked: Any = [{"role": "user", "content": "please get_order"}]
        async with asynchronous(live) as client:
            if streaming:
                async with client.responses.stream(model="gpt-4o", input=asked, tools=[FLAT_TOOL]) as stream:
                    output = (await stream.get_final_response()).output
            else:
                output = (await client.responses.create(model="gpt-4o", input=asked, tools=[FLAT_TOOL])).output
            [call] = output
            assert call.type == "function_call"
            # Without a response to go on from, the whole conversation is sent again.
            asked += [
                {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments},
                {"type": "function_call_output", "call_id": call.call_id, "output": "shipped"},
            ]
            final = await client.responses.create(model="gpt-4o", input=asked, tools=[FLAT_TOOL], store=False)
            return final.output_text

    assert [asyncio.run(ask(streaming)) for streaming in (False, True)] == ["The tool said: shipped"] * 2


# --- embeddings, and refusals


def test_embeddings(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model="text-embedding-3-small", input=["one", "two"], dimensions=8)
    assert [len(each.embedding) for each in answer.data] == [8, 8]


def test_refusals(client: openai.OpenAI) -> None:
    with pytest.raises(openai.PermissionDeniedError, match="this tool is not for agents"):
        client.responses.create(model="gpt-4o", input="hello", tools=[{**FLAT_TOOL, "name": "delete_everything"}])
    with pytest.raises(openai.NotFoundError):
        client.batches.list()
