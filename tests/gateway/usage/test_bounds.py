"""The bound of a call's input: no model sees more tokens than that, whatever the text consists of."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.providers.base import Edits
from gateway.upstream.providers.gemini.requests import GENERATE
from gateway.upstream.providers.presets import PROVIDERS
from gateway.usage import bounds
from tests.recordings import all_recordings
from tests.rigs.usage.bounds import read

# As byte-pair encodings cut a text first: words, up to three digits, signs. Here each byte of a word is a token.
_TOKENS = re.compile(r"[A-Za-z]|[0-9]{1,3}|[^A-Za-z0-9]+")
_NAMES = st.sampled_from(["name", "type", "role", "content", "text", "parts", "cache_control", "a", "id", ""])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9999, 9999) | st.text("ab 0,", max_size=4),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(_NAMES, inner, max_size=6),
    max_leaves=20,
)


def as_json(value: Any) -> int:
    """The tokens of a value that the model sees as JSON."""
    return max(len(_TOKENS.findall(json.dumps(value, separators=each))) for each in ((",", ":"), (", ", ": ")))


def size(name: str, action: str, body: dict[str, Any]) -> int:
    return bounds.input_tokens(read(name, action, body))


@pytest.mark.parametrize(
    "value",
    [
        [""] * 1000,
        [0] * 1000,
        [[]] * 1000,
        [{}] * 1000,
        [None, True] * 1000,
        [{"name": "a", "text": "b", "type": "c", "role": "d", "content": "e"}] * 1000,
        {f"{number}": number for number in range(1000)},
        {"content": {"text": {"name": {"type": [[["x"]]]}}}},
    ],
)
def test_arguments_and_schemas_are_seen_as_json(value: Any) -> None:
    """Their names, commas and brackets are tokens, too, also of names that elsewhere give a message its form."""
    tokens = as_json(value)
    user = {"role": "user", "content": "x"}
    called = {"type": "tool_use", "id": "t", "name": "f", "input": {"v": value}}
    messages = [user, {"role": "assistant", "content": [called]}]
    assert size("anthropic", "messages", {"model": "m", "max_tokens": 9, "messages": messages}) >= tokens
    schema = {"enum": value}
    function = {"type": "function", "function": {"name": "f", "parameters": schema}}
    assert size("openai", "chat.completions", {"model": "m", "messages": [user], "tools": [function]}) >= tokens
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    assert size("openai", "chat.completions", {"model": "m", "messages": [user], "response_format": wanted}) >= tokens
    parts = [{"functionCall": {"name": "f", "args": {"v": value}}}]
    assert size("gemini", GENERATE, {"contents": [{"role": "model", "parts": parts}]}) >= tokens


@given(_VALUES)
def test_any_arguments(value: Any) -> None:
    parts = [{"functionResponse": {"name": "f", "response": {"v": value}}}]
    assert size("gemini", GENERATE, {"contents": [{"role": "user", "parts": parts}]}) >= as_json(value)


def test_several_texts_are_several_beginnings() -> None:
    """Models of embeddings put a token before and after each text, also an empty one."""
    texts = ["", "a", "bb"] * 100
    assert size("openai", "embeddings", {"model": "m", "input": texts}) >= 300 + 2 * 300


@pytest.mark.parametrize(
    ("name", "action", "body"),
    [
        ("openai", "chat.completions", {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}),
        ("ollama", "chat.completions", {"model": "m", "messages": [{"role": "user", "content": "x"}]}),
        ("openai", "responses", {"model": "m", "input": "x"}),
        ("openai", "completions", {"model": "m", "prompt": "x"}),
        ("anthropic", "messages", {"model": "m", "messages": [{"role": "user", "content": "x"}]}),
        ("gemini", GENERATE, {"contents": [{"parts": [{"text": "x"}]}]}),
        (
            "gemini",
            GENERATE,
            {"contents": [{"parts": [{"text": "x"}]}], "generation_config": {"topP": 1}},
        ),
    ],
)
def test_an_output_limit_is_no_input(name: str, action: str, body: dict[str, Any]) -> None:
    """Else the limit that is just what is left of the room would never fit into it."""
    call = read(name, action, body)
    limited, edits = PROVIDERS[name].edit(call, Edits(max_output_tokens=123_456, report_usage=True))
    assert edits
    assert bounds.input_tokens(limited) == bounds.input_tokens(call)


def test_schemas_among_settings_are_input() -> None:
    config = {"responseJsonSchema": {"enum": ["x" * 1000]}, "temperature": 1}
    assert size("gemini", GENERATE, {"contents": [{"parts": [{"text": "x"}]}], "generationConfig": config}) > 1000


def test_the_form_of_messages_costs_little() -> None:
    """So that most of a limit can be used by short calls."""
    messages = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    assert size("openai", "chat.completions", {"model": "gpt-5", "messages": messages}) <= 30


_ITEM = {"role": "user", "content": "x"}
_ASKED = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}


@pytest.mark.parametrize(
    ("name", "action", "body", "bounded"),
    [
        ("openai", "responses", {"input": "x"}, True),
        ("openai", "responses", {"input": "x", "context_management": []}, True),
        ("openai", "responses", {"input": "x", "context_management": [{"type": "compaction"}]}, False),
        ("openai", "responses", {"input": "x", "multi_agent": {"enabled": True}}, False),
        ("openai", "responses.compact", {"input": "x"}, False),
        ("openai", "responses", {"input": [_ITEM, {"type": "compaction_trigger"}]}, False),
        ("openai", "responses", {"input": [_ITEM, {"type": "compaction", "encrypted_content": "x"}]}, True),
        ("openai", "responses", {"input": "x", "reasoning": {"mode": "standard", "effort": "high"}}, True),
        ("openai", "responses", {"input": "x", "reasoning": {"mode": "pro"}}, False),
        ("anthropic", "messages", _ASKED, True),
        ("anthropic", "messages", {**_ASKED, "compaction": {"type": "enabled"}}, False),
        (
            "anthropic",
            "messages",
            {**_ASKED, "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
            True,
        ),
        ("anthropic", "messages", {**_ASKED, "context_management": {"edits": [{"type": "compact_20260112"}]}}, False),
        ("anthropic", "messages", {**_ASKED, "context_management": {"type": "compaction"}}, False),
    ],
)
def test_what_the_provider_does_besides_has_no_bound(
    name: str, action: str, body: dict[str, Any], bounded: bool
) -> None:
    assert (bounds.unbounded(read(name, action, {"model": "m", **body})) == "") is bounded


@pytest.mark.parametrize(
    ("tools", "bounded"),
    [
        ([{"type": "tool_search", "execution": "client"}], True),  # as Codex has it
        ([{"type": "tool_search"}], False),
        ([{"type": "tool_search", "execution": "server"}], False),
        ([{"type": "tool_search", "execution": "client"}, {"type": "tool_search"}], False),
        ([{"type": "shell", "environment": {"type": "local"}}], True),
        ([{"type": "shell", "environment": {"type": "container_auto"}}], False),
        ([{"type": "shell", "execution": "client"}], False),
        ([{"type": "tool_search", "environment": {"type": "local"}}], False),
        ([{"type": "web_search", "execution": "client"}], False),
    ],
)
def test_a_tool_that_runs_at_the_client_has_a_bound(tools: list[dict[str, Any]], bounded: bool) -> None:
    call = read("openai", "responses", {"model": "m", "input": "x", "tools": tools})
    assert (bounds.unbounded(call) == "") is bounded


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("gpt-5", 8),
        ("openai/gpt-4o", 8),
        ("ft:gpt-4o-mini-2024-07-18:acme::1", 8),
        ("claude-opus-5-5", 8),
        ("gemini-2.5-pro", 8),
        ("openai/gpt-oss-120b", 128),
        ("deepseek-chat", 128),
        ("my-gpt-5", 128),
        ("x-ai/grok-4", 1024),
    ],
)
def test_what_a_provider_puts_before_each_call(model: str, most: int) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": ""}]}
    assert size("openai", "chat.completions", body) == most + bounds.OF_AN_OBJECT + len("user")
    # A router may take any of them.
    assert size("openrouter", "chat.completions", {**body, "models": ["x-ai/grok-4"]}) >= 1024


def test_no_recorded_call_had_more_input_than_its_bound(recordings_dir: Path) -> None:
    seen = 0
    for each in all_recordings(recordings_dir):
        if each.recorded["request"] is None or (used := each.usage) is None:
            continue
        call = PROVIDERS[each.provider].read(each.endpoint, each.head, each.body)
        if not bounds.unbounded(call):
            assert bounds.input_tokens(call) >= used["input"], each.note
            seen += 1
    assert seen > 500


STREAMED = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "x"}]}


@pytest.mark.parametrize(
    ("name", "action", "body", "preset", "seen"),
    [
        ("openai", "chat.completions", STREAMED, "openai", True),
        ("openai", "chat.completions", STREAMED, "groq", False),  # which goes on to the end of the answer
        ("openai", "chat.completions", {**STREAMED, "stream": False}, "openai", False),
        ("openai", "chat.completions", {**STREAMED, "model": "o3"}, "openai", False),
        (
            "openai",
            "chat.completions",
            {**STREAMED, "prediction": {"type": "content", "content": "x"}},
            "openai",
            False,
        ),
        ("openai", "responses", {"model": "gpt-4o", "stream": True, "input": "x"}, "openai", True),
        ("openai", "responses", {"model": "gpt-4o", "stream": True, "input": "x", "background": True}, "openai", False),
        ("anthropic", "messages", {**STREAMED, "model": "claude-sonnet-4-5", "max_tokens": 9}, "anthropic", True),
        (
            "anthropic",
            "messages",
            {
                **STREAMED,
                "model": "claude-sonnet-4-5",
                "max_tokens": 2048,
                "thinking": {"type": "enabled", "budget_tokens": 1024},
            },
            "anthropic",
            False,
        ),
    ],
)
def test_streams_that_show_all_that_they_cost(
    name: str, action: str, body: dict[str, Any], preset: str, seen: bool
) -> None:
    """Only these are charged by what has come, if their clients leave."""
    assert bounds.is_seen(read(name, action, body), preset) is seen


@pytest.mark.parametrize(
    ("members", "all_of_it"),
    [
        ({}, True),
        ({"truncation": "auto"}, False),
        ({"context_management": [{"type": "compaction", "compact_threshold": 1000}]}, False),
        ({"input": [{"type": "compaction_trigger"}]}, False),
    ],
)
def test_what_a_response_continues_is_bounded_by_its_usage_if_it_has_all_of_it(
    members: dict[str, Any], all_of_it: bool
) -> None:
    assert bounds.keeps_all(read("openai", "responses", {"model": "gpt-4o", "input": "x", **members})) is all_of_it
