"""The mock provider as the `openai` package sees it: tools, JSON, several answers, limits, stops, usage, embeddings."""

from __future__ import annotations

import enum
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from gateway.demo import mock_answers
from gateway.demo.mock_documents import instance
from tests.gateway.conftest import environment

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                "days": {"type": "integer", "minimum": 1},
            },
            "required": ["city"],
        },
    },
}
ORDER: Any = {"type": "function", "function": {"name": "get_order", "parameters": {"type": "object"}}}
GIVEN = {"city": "mock", "unit": "celsius", "days": 1}


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    command = [sys.executable, "-c", "from gateway.cli import main; main(['mock-provider', '--port', '0'])"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(PYTHONUNBUFFERED="1")) as process:
        try:
            assert process.stdout is not None
            base_url = process.stdout.readline().split()[-1]
            with openai.OpenAI(base_url=base_url, api_key="none", max_retries=0) as made:
                yield made
        finally:
            process.terminate()


def ask(client: openai.OpenAI, text: str = "one two three", **members: Any) -> Any:
    messages = members.pop("messages", [{"role": "user", "content": text}])
    return client.chat.completions.create(model="gpt-4o", messages=messages, **members)


def test_the_answers_of_one_conversation_have_different_ids(client: openai.OpenAI) -> None:
    """Frameworks such as LangGraph take a message with the id of an older one for a newer version of that one."""
    turn: list[Any] = [{"role": "user", "content": "one"}]
    first = ask(client, messages=turn)
    turn += [{"role": "assistant", "content": "two"}, {"role": "user", "content": "three"}]
    assert ask(client, messages=turn).id != first.id == ask(client, "one").id
    streamed = {chunk.id for chunk in ask(client, messages=turn, stream=True)}
    assert streamed == {ask(client, messages=turn).id}


# Tools


def test_a_tool_is_called_where_it_is_demanded(client: openai.OpenAI) -> None:
    for choice in ("required", "any", {"type": "function", "function": {"name": "get_weather"}}):
        answer = ask(client, tools=[WEATHER, ORDER], tool_choice=choice)
        (only,) = answer.choices
        assert (only.finish_reason, only.message.content) == ("tool_calls", None)
        (call,) = only.message.tool_calls
        assert (call.type, call.function.name, json.loads(call.function.arguments)) == (
            "function",
            "get_weather",
            GIVEN,
        )
        assert answer.usage.completion_tokens == 1 + len(call.function.arguments.split())


def test_a_tool_is_called_where_the_user_names_it(client: openai.OpenAI) -> None:
    def called(text: str, **members: Any) -> list[str]:
        message = ask(client, text, tools=[WEATHER, ORDER], **members).choices[0].message
        return [call.function.name for call in message.tool_calls or ()]

    assert called("call get_weather, please") == ["get_weather"]
    assert called("Get order 7 and then get weather") == ["get_weather", "get_order"]
    assert called("get_order and get_weather", parallel_tool_calls=False) == ["get_weather"]
    assert called("get_order", tool_choice="none") == []
    assert called("hello") == []
    assert called("forget_orders") == []


def test_a_conversation_with_a_tool_comes_to_an_end(client: openai.OpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": "get_weather in Oslo"}]
    message = ask(client, messages=messages, tools=[WEATHER]).choices[0].message
    messages += [message, {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "it rains"}]
    last = ask(client, messages=messages, tools=[WEATHER]).choices[0]
    assert (last.message.content, last.finish_reason) == ("The tool said: it rains", "stop")


def test_calls_in_a_stream_add_up_to_the_same(client: openai.OpenAI) -> None:
    tools = [WEATHER, ORDER, {"type": "custom", "custom": {"name": "note"}}]
    text = "get_weather, get_order, and a note"
    whole = ask(client, text, tools=tools).choices[0]
    with client.chat.completions.stream(
        model="gpt-4o",
        messages=[{"role": "user", "content": "get_weather and get_order"}],
        tools=[WEATHER, ORDER],
    ) as stream:
        found = stream.get_final_completion().choices[0]
    assert found.finish_reason == whole.finish_reason == "tool_calls"
    streamed = [(call.id, call.function.name, call.function.arguments) for call in found.message.tool_calls or ()]
    functions = [call for call in whole.message.tool_calls if call.type == "function"]
    assert streamed == [(call.id, call.function.name, call.function.arguments) for call in functions]
    assert [call.custom.name for call in whole.message.tool_calls if call.type == "custom"] == ["note"]


def test_a_call_that_is_cut_off_says_so(client: openai.OpenAI) -> None:
    answer = ask(client, tools=[WEATHER], tool_choice="required", max_tokens=3)
    only = answer.choices[0]
    assert (only.finish_reason, answer.usage.completion_tokens) == ("length", 3)
    with pytest.raises(json.JSONDecodeError):
        json.loads(only.message.tool_calls[0].function.arguments)


# JSON


class Mood(enum.Enum):
    CALM = "calm"
    WILD = "wild"


class Step(BaseModel):
    text: str = Field(min_length=8, max_length=9)
    minutes: int = Field(ge=5, le=60)
    then: Step | None


class Plan(BaseModel):
    title: str
    mood: Mood
    share: float = Field(gt=0, lt=10)
    steps: list[Step] = Field(min_length=2)
    note: str | None


def test_an_answer_follows_its_schema(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(
        model="gpt-4o", messages=[{"role": "user", "content": "a plan"}], response_format=Plan
    )
    plan = answer.choices[0].message.parsed
    assert plan is not None
    assert (plan.mood, len(plan.steps), plan.steps[0].minutes) == (Mood.CALM, 2, 5)
    assert answer.choices[0].finish_reason == "stop"


def test_json_mode(client: openai.OpenAI) -> None:
    answer = ask(client, 'say "hi" in JSON', response_format={"type": "json_object"})
    assert json.loads(answer.choices[0].message.content) == {"you_said": 'say "hi" in JSON'}
    with pytest.raises(openai.BadRequestError, match="must contain the word `json`") as caught:
        ask(client, "say hi", response_format={"type": "json_object"})
    assert caught.value.param == "messages"


def test_json_that_is_cut_off_says_so(client: openai.OpenAI) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(
            model="gpt-4o", messages=[{"role": "user", "content": "x"}], response_format=Plan, max_tokens=4
        )


@pytest.mark.parametrize(
    ("schema", "document"),
    [
        ({"type": "integer", "minimum": 2, "multipleOf": 5}, 5),
        ({"type": "integer", "exclusiveMaximum": 0}, -1),
        ({"type": "number", "minimum": 0.2, "maximum": 0.8}, 0.2),
        ({"type": ["null", "string"]}, None),
        ({"const": 7}, 7),
        ({"type": "string", "format": "date"}, "2024-01-01"),
        ({"type": "array", "items": {"type": "boolean"}, "maxItems": 0}, []),
        ({"type": "array", "prefixItems": [{"const": 1}, {"const": 2}]}, [1, 2]),
        ({"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]}, {"a": 1, "b": 2}),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"const": "here"}}}, "here"),
        ({"$ref": "https://elsewhere.example/schema"}, None),
    ],
)
def test_documents(schema: dict[str, Any], document: object) -> None:
    assert instance(schema) == document


def test_recursion_ends() -> None:
    tree = {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}
    assert len(json.dumps(instance(tree))) < 10_000
    endless = {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}
    assert json.dumps(instance(endless)).count("next") < 40


# How many, how long


def test_several_answers(client: openai.OpenAI) -> None:
    answer = ask(client, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert {choice.message.content for choice in answer.choices} == {"You said: one two three"}
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 15)
    texts = ["", "", ""]
    finished = []
    for chunk in ask(client, n=3, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            finished += [choice.index] if choice.finish_reason == "stop" else []
    assert (texts, finished) == (["You said: one two three"] * 3, [0, 1, 2])


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(
    ("limit", "text", "finish"),
    [(1, "You", "length"), (4, "You said: one two", "length"), (5, "You said: one two three", "stop")],
)
def test_a_limit_cuts_and_says_so(client: openai.OpenAI, name: str, limit: int, text: str, finish: str) -> None:
    answer = ask(client, n=2, **{name: limit})
    assert {(choice.message.content, choice.finish_reason) for choice in answer.choices} == {(text, finish)}
    assert answer.usage.completion_tokens == 2 * len(text.split())
    *_, last = ask(client, stream=True, **{name: limit})
    assert last.choices[0].finish_reason == finish


def test_stop_sequences(client: openai.OpenAI) -> None:
    for stop in (" two", ["nowhere", " three", " two"]):
        answer = ask(client, stop=stop)
        assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("You said: one", "stop")
        assert answer.usage.completion_tokens == 3
    assert ask(client, stop=" three", max_tokens=2).choices[0].finish_reason == "length"


def test_usage_in_a_stream_comes_last_and_only_if_asked_for(client: openai.OpenAI) -> None:
    whole = ask(client, tools=[WEATHER], tool_choice="required").usage
    asked = {"tools": [WEATHER], "tool_choice": "required", "stream": True}
    *before, last = ask(client, **asked, stream_options={"include_usage": True})
    assert (last.choices, last.usage) == ([], whole)
    assert all(chunk.usage is None for chunk in before)
    assert all(chunk.usage is None for chunk in ask(client, **asked))


def test_usage_counts_what_was_sent(client: openai.OpenAI) -> None:
    def prompt(**members: Any) -> int:
        return int(ask(client, **members).usage.prompt_tokens)

    messages = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": [{"type": "text", "text": "a b"}]},
    ]
    assert prompt(messages=messages) == 4
    assert prompt(messages=messages, tools=[WEATHER]) == 4 + len(json.dumps([WEATHER]).split())


@given(st.text("a\u00e9 \n\u3000\x1c", max_size=40), st.integers(1, 7))
def test_words_are_counted_in_any_windows(text: str, window: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mock_answers, "_WINDOW", window)
        assert mock_answers.count_words(text) == len(text.split())


@pytest.mark.parametrize(
    ("text", "words", "echoed"),
    [(" " * 4_000_000, 0, 2), ("a " * 2_000_000, 2_000_000, 16_384), ("a" * 4_000_000, 1, 3)],
    ids=["spaces", "words", "one word"],
)
def test_a_large_prompt_does_not_stop_the_server(text: str, words: int, echoed: int) -> None:
    """Spaces took time that grew with the square of their number, and each word of an echo was a token."""
    request = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}
    [choice] = mock_answers.choices(request)
    usage = mock_answers.usage(request, [choice])
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (words, echoed)
    assert choice.finish == ("length" if echoed > 3 else "stop")


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"n": 0}, "n"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "other"}}}, "tool_choice"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"messages": []}, "messages"),
        ({"messages": ["x"]}, "messages"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"minItems": "y"}}}}, None),
    ],
)
def test_what_a_provider_would_refuse(client: openai.OpenAI, members: dict[str, Any], param: str | None) -> None:
    if param is None:
        members["response_format"]["json_schema"]["schema"]["type"] = "array"
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, **members)
    assert caught.value.param == param


# Embeddings and models


def test_embeddings(client: openai.OpenAI) -> None:
    one, two, again = client.embeddings.create(model="text-embedding-3-small", input=["a b", "c", "a b"]).data
    assert one.embedding == again.embedding != two.embedding
    assert len(one.embedding) == 1536
    assert math.isclose(sum(value * value for value in one.embedding), 1, abs_tol=1e-5)
    plain = client.embeddings.create(model="m", input="a b", dimensions=8, encoding_format="float")
    assert (len(plain.data[0].embedding), plain.usage.prompt_tokens) == (8, 2)
    assert client.embeddings.create(model="m", input=[[1, 2], [3]]).usage.total_tokens == 3
    bad: Any
    for bad in ("", [], ["a", 1], [[]]):
        with pytest.raises(openai.BadRequestError):
            client.embeddings.create(model="m", input=bad)


def test_models(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert "gpt-4o-mini" in names
    assert client.models.retrieve("gpt-4o-mini").id == "gpt-4o-mini"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")
