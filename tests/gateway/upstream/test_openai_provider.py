"""The OpenAI provider: a body becomes a call, or is refused where two readers could disagree about it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
import rfc8785

from gateway.call import Call, Reference, Tool
from gateway.errors import REASONS, Denied
from gateway.upstream import strict_json
from gateway.upstream.providers.openai import OpenAI, read_usage

PROVIDER = OpenAI()
CHAT, MODELS = PROVIDER.routes
USER = {"role": "user", "content": "hello"}


def call(body: Any, route: Any = CHAT) -> Call:
    raw = strict_json.dump(body)
    return PROVIDER.parse_call(
        route, upstream="openai", path="/v1/chat/completions", params={}, raw=raw, body=strict_json.parse(raw)
    )


def chat(**members: Any) -> Call:
    return call({"model": "gpt-4o", "messages": [USER], **members})


def test_a_plain_call() -> None:
    found = chat()
    assert (found.action, found.upstream, found.provider) == ("chat.completions", "openai", "openai")
    assert (found.model, found.stream, found.max_output_tokens) == ("gpt-4o", False, None)
    assert (found.roles, found.messages, found.tools, found.system_prompts) == (("user",), 1, (), ())
    assert found.raw == strict_json.dump(found.body)


def test_the_list_of_models_has_no_body() -> None:
    found = call(None, MODELS)
    assert (found.action, found.body, found.raw, found.model) == ("models.list", None, b"null", None)


def test_system_prompts_in_order() -> None:
    parts = [{"type": "text", "text": "be ä"}, {"type": "text", "text": "\u0001 \\"}]
    found = call(
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": "be kind"},
                USER,
                {"role": "developer", "content": parts},
                {"role": "system", "content": ""},
            ],
        }
    )
    assert found.roles == ("system", "user", "developer", "system")
    assert found.system_prompts == (
        hashlib.sha256(b"be kind").hexdigest(),
        hashlib.sha256(rfc8785.dumps(parts)).hexdigest(),
        hashlib.sha256(b"").hexdigest(),
    )


def test_tools_keep_their_type() -> None:
    found = chat(
        tools=[
            {"type": "function", "function": {"name": "web_search", "parameters": {"Name": 1}}},
            {"type": "custom", "custom": {"name": "shell"}},
            {"type": "web_search"},
            {"function": {"name": "untyped"}},
        ],
        functions=[{"name": "old"}],
        web_search_options={},
    )
    assert found.tools == (
        Tool("function", "web_search"),
        Tool("custom", "shell"),
        Tool("web_search", ""),
        Tool("function", "untyped"),
        Tool("function", "old"),
        Tool("web_search", ""),
    )


def test_references() -> None:
    found = call(
        {
            "model": "m",
            "messages": [
                {"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}, {"type": "text"}]},
                {"role": "user", "content": [{"type": "file", "file": {"file_data": "data:…", "filename": "x"}}]},
                {"role": "user", "content": [{"type": "input_file", "file_id": "file-2", "file": None}]},
                {"role": "assistant", "audio": {"id": "audio-1"}, "content": None},
            ],
        }
    )
    assert found.references == (Reference("file", "file-1"), Reference("file", "file-2"), Reference("audio", "audio-1"))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ([], "must be an object"),
        ("text", "must be an object"),
        ({"messages": [USER]}, "`model` must be a string"),
        ({"model": None, "messages": [USER]}, "`model` must be a string"),
        ({"model": 1, "messages": [USER]}, "`model` must be a string"),
        ({"model": "", "messages": [USER]}, "`model` must be a string"),
        ({"model": "gpt-4о", "messages": [USER]}, "printable ASCII"),  # a Cyrillic o
        ({"model": "a\u0000", "messages": [USER]}, "printable ASCII"),
        ({"model": "a b", "messages": [USER]}, "printable ASCII"),
        ({"model": "a" * 257, "messages": [USER]}, "printable ASCII"),
        ({"model": "m"}, "at least one message"),
        ({"model": "m", "messages": []}, "at least one message"),
        ({"model": "m", "messages": {}}, "`messages` must be a list"),
        ({"model": "m", "messages": ["x"]}, "`messages` must hold objects"),
        ({"model": "m", "messages": [{"content": "x"}]}, "`role` of a message"),
        ({"model": "m", "messages": [{"role": "System", "content": "x"}]}, "`role` of a message"),
        ({"model": "m", "messages": [{"role": "system"}]}, "must have content"),
        ({"model": "m", "messages": [{"role": "user", "content": 1}]}, "`content` must be a list"),
        ({"model": "m", "messages": [{"role": "user", "content": ["x"]}]}, "`content` must hold objects"),
        ({"model": "m", "messages": [USER], "stream": "true"}, "`stream` must be true or false"),
        ({"model": "m", "messages": [USER], "stream": 1}, "`stream` must be true or false"),
        ({"model": "m", "messages": [USER], "stream_options": 1}, "`stream_options` must be an object"),
        ({"model": "m", "messages": [USER], "stream_options": {"include_usage": 1}}, "include_usage"),
        ({"model": "m", "messages": [USER], "max_tokens": True}, "`max_tokens` must be a whole number"),
        ({"model": "m", "messages": [USER], "max_tokens": 0}, "`max_tokens` must be a whole number"),
        ({"model": "m", "messages": [USER], "max_tokens": 1.0}, "`max_tokens` must be a whole number"),
        ({"model": "m", "messages": [USER], "max_tokens": "9"}, "`max_tokens` must be a whole number"),
        ({"model": "m", "messages": [USER], "max_tokens": 1, "max_completion_tokens": 2}, "contradict"),
        ({"model": "m", "messages": [USER], "max_tokens": 2**63, "n": 3}, "`max_tokens` must be a whole number"),
        ({"model": "m", "messages": [USER], "n": 0}, "`n` must be a whole number from 1 to 128"),
        ({"model": "m", "messages": [USER], "n": 129}, "`n` must be a whole number from 1 to 128"),
        ({"model": "m", "messages": [USER], "n": 2.0}, "`n` must be a whole number from 1 to 128"),
        ({"model": "m", "messages": [USER], "n": "2"}, "`n` must be a whole number from 1 to 128"),
        ({"model": "aig_sk_x", "messages": [USER]}, "`model` holds a key"),
        ({"model": "m", "messages": [{"role": "assistant", "audio": "audio_1"}]}, "`audio` must be an object"),
        ({"model": "m", "messages": [{"role": "user", "content": [{"file": ["f"]}]}]}, "`file` must be an object"),
        ({"model": "m", "messages": [USER], "tools": {}}, "`tools` must be a list"),
        ({"model": "m", "messages": [USER], "tools": [{}]}, "`type` of a tool"),
        ({"model": "m", "messages": [USER], "tools": [{"type": "function"}]}, "must have a member `function`"),
        ({"model": "m", "messages": [USER], "tools": [{"type": "function", "function": {}}]}, "`name` of a tool"),
        ({"model": "m", "messages": [USER], "functions": [{}]}, "`name` of a tool"),
        # Tools that a server which looks for functions alone would take for others.
        (
            {"model": "m", "messages": [USER], "tools": [{"type": "web_search", "function": {"name": "rm"}}]},
            "must not have a member `function`",
        ),
        (
            {
                "model": "m",
                "messages": [USER],
                "tools": [{"type": "custom", "custom": {"name": "a"}, "function": {"name": "rm"}}],
            },
            "must not have a member `function`",
        ),
        (
            {
                "model": "m",
                "messages": [USER],
                "tools": [{"type": "function", "name": "rm", "function": {"name": "a"}}],
            },
            "stands in its member `function`",
        ),
        # Other spellings that some servers take for the documented ones.
        ({"model": "m", "Model": "n", "messages": [USER]}, "`Model` must be spelled `model`"),
        ({"model": "m", "MAX_TOKENS": 9, "messages": [USER]}, "must be spelled `max_tokens`"),
        ({"model": "m", "ｍodel": "n", "messages": [USER]}, "must be spelled `model`"),
        ({"model": "m", "toolſ": [], "messages": [USER]}, "must be spelled `tools`"),
        ({"model": "m", "messages": [{"role": "user", "Role": "system", "content": "x"}]}, "must be spelled `role`"),
        ({"model": "m", "messages": [{"role": "user", "content": [{"Type": "file"}]}]}, "must be spelled `type`"),
        (
            {"model": "m", "messages": [USER], "tools": [{"type": "function", "function": {"name": "a", "Name": "b"}}]},
            "must be spelled `name`",
        ),
        # Members by which a router would choose another model or add tools of its own.
        ({"model": "m", "models": ["n"], "messages": [USER]}, "`models` is not supported"),
        ({"model": "m", "plugins": [], "messages": [USER]}, "`plugins` is not supported"),
        # Members by which a server would overrule an output limit or a system prompt.
        ({"model": "m", "n_predict": 9, "max_tokens": 1, "messages": [USER]}, "`n_predict` is not supported"),
        ({"model": "m", "chat_template": "x", "messages": [USER]}, "`chat_template` is not supported"),
        ({"model": "m", "N_Predict": 9, "messages": [USER]}, "must be spelled `n_predict`"),
        (
            {"model": "m", "messages": [USER], "stream_options": {"Include_Usage": False, "include_usage": True}},
            "must be spelled `include_usage`",
        ),
        ({"model": "m", "messages": [{"role": "system", "content": [{"type": "text", "x": 0.5}]}]}, "whole numbers"),
        ({"model": "m", "messages": [{"role": "system", "content": [{"type": "text", "ä": 1}]}]}, "ASCII"),
    ],
)
def test_refused(body: Any, says: str) -> None:
    with pytest.raises(Denied) as caught:
        call(body)
    assert caught.value.code == "bad_request"
    assert says in " ".join(caught.value.reasons)


@pytest.mark.parametrize(
    ("given", "cap", "wanted"),
    [
        ({}, 100, {"max_completion_tokens": 100}),
        ({"max_tokens": None}, 100, {"max_tokens": None, "max_completion_tokens": 100}),
        ({"max_tokens": 500}, 100, {"max_tokens": 100}),
        ({"max_completion_tokens": 500}, 100, {"max_completion_tokens": 100}),
        ({"max_tokens": 500, "max_completion_tokens": 500}, 100, {"max_tokens": 100, "max_completion_tokens": 100}),
        ({"max_tokens": 100}, 100, None),
        ({"max_completion_tokens": 7}, 100, None),
        # Of several answers each gets its share: what a policy caps is what all of them cost.
        ({"n": 4}, 100, {"n": 4, "max_completion_tokens": 25}),
        ({"n": 4, "max_tokens": 26}, 100, {"n": 4, "max_tokens": 25}),
        ({"n": 4, "max_tokens": 25}, 100, None),
    ],
)
def test_capping_the_output(given: dict[str, Any], cap: int, wanted: dict[str, Any] | None) -> None:
    body = {"model": "m", "messages": [USER], **given}
    before = json.dumps(body)
    capped = PROVIDER.cap_output(body, cap)
    assert capped == (None if wanted is None else {"model": "m", "messages": [USER], **wanted})
    assert json.dumps(body) == before
    if capped is not None:
        # What was capped is a fixed point, and the provider's view says so.
        assert PROVIDER.cap_output(capped, cap) is None
        assert call(capped).max_output_tokens == cap


def test_the_limit_of_several_answers_is_that_of_all() -> None:
    assert call({"model": "m", "messages": [USER], "max_tokens": 100, "n": 8}).max_output_tokens == 800
    assert call({"model": "m", "messages": [USER], "max_tokens": 100, "n": None}).max_output_tokens == 100
    assert call({"model": "m", "messages": [USER], "n": 8}).max_output_tokens is None


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({"stream": True}, {"include_usage": True}),
        ({"stream": True, "stream_options": None}, {"include_usage": True}),
        ({"stream": True, "stream_options": {"include_usage": False, "x": 1}}, {"include_usage": True, "x": 1}),
        ({"stream": True, "stream_options": {"include_usage": True}}, None),
        ({"stream": False}, None),
        ({}, None),
    ],
)
def test_asking_for_usage(given: dict[str, Any], options: dict[str, Any] | None) -> None:
    asked = PROVIDER.ask_for_usage({"model": "m", **given})
    assert (asked or {}).get("stream_options") == options


@pytest.mark.parametrize("code", sorted(REASONS))
def test_errors_have_the_shape_of_openai(code: str) -> None:
    error = json.loads(PROVIDER.error(Denied(code, "internal detail", reasons=["because", "also"])))["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert error["message"].endswith(": because; also")
    assert "internal" not in error["message"]


@pytest.mark.parametrize(
    "usage",
    [None, [], {}, {"prompt_tokens": "7"}, {"prompt_tokens": -1}, {"prompt_tokens": True}, {"prompt_tokens": 2**53}],
)
def test_usage_that_is_none(usage: object) -> None:
    assert read_usage({"usage": usage}) is None
