"""The OpenAI provider: a body becomes a call, or is refused where two readers could disagree about it."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
import rfc8785

from gateway.call import Call, Reference, Tool
from gateway.errors import REASONS, Denied
from gateway.upstream import strict_json
from gateway.upstream.providers.base import Edits, Endpoint, Provider, RequestHead
from gateway.upstream.providers.openai.answers import read_usage
from gateway.upstream.providers.presets import PROVIDERS
from tests.rigs.upstream.sent import sent_to

PROVIDER = PROVIDERS["openai"]
CHAT, MODELS, MODEL = (
    next(Endpoint("openai", route, "/v1" + route.path) for route in PROVIDER.routes if route.action == action)
    for action in ("chat.completions", "models.list", "models.retrieve")
)
USER = {"role": "user", "content": "hello"}


def call(body: Any, endpoint: Endpoint = CHAT, provider: Provider = PROVIDER) -> Call:
    return provider.read(endpoint, RequestHead(), strict_json.dump(body))


def chat(**members: Any) -> Call:
    return call({"model": "gpt-4o", "messages": [USER], **members})


def test_a_plain_call() -> None:
    found = chat()
    assert (found.action, found.upstream, found.provider) == ("chat.completions", "openai", "openai")
    assert (found.model, found.stream, found.max_output_tokens) == ("gpt-4o", False, None)
    assert (found.roles, found.messages, found.tools, found.system_prompts) == (("user",), 1, (), ())
    assert found.raw == strict_json.dump(found.body)


def test_the_list_of_models_has_no_body() -> None:
    found = PROVIDER.read(MODELS, RequestHead(), b"")
    assert (found.action, found.body, found.raw, found.model, found.models) == ("models.list", None, b"", None, ())


def test_a_model_is_named_in_the_path() -> None:
    endpoint = Endpoint("openai", MODEL.route, "/v1/models/gpt-4o", {"model": "gpt-4o"})
    found = PROVIDER.read(endpoint, RequestHead(), b"")
    assert (found.action, found.model, found.models) == ("models.retrieve", "gpt-4o", ("gpt-4o",))
    assert found.params == {"model": "gpt-4o"}
    with pytest.raises(Denied, match="malformed"):
        PROVIDER.read(Endpoint("openai", MODEL.route, "/v1/models/aig_sk_x", {"model": "aig_sk_x"}), RequestHead(), b"")


@pytest.mark.parametrize(
    ("members", "models"),
    [
        ({}, ("gpt-4o",)),
        ({"models": ["gpt-4o", "o3", "gpt-4o"]}, ("gpt-4o", "o3")),
        ({"models": [], "route": "fallback"}, ("gpt-4o",)),
        ({"fallbacks": ["o3", {"model": "o4-mini"}]}, ("gpt-4o", "o3", "o4-mini")),
        ({"models": ["o3"], "fallbacks": ["o1"]}, ("gpt-4o", "o3", "o1")),
        ({"model": None, "models": ["o3", "o1"]}, ("o3", "o1")),
    ],
)
def test_every_model_that_a_call_names(members: dict[str, Any], models: tuple[str, ...]) -> None:
    found = chat(**members)
    assert (found.model, found.models) == (models[0], models)


@pytest.mark.parametrize(("store", "stores"), [(None, False), (False, False), (True, True)])
def test_a_call_that_the_provider_is_asked_to_keep(store: object, stores: bool) -> None:
    assert chat(store=store).stores == stores
    assert not chat().stores


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
        ({"model": "m", "messages": [USER], "max_tokens": 2**52, "n": 3}, "`max_tokens` must be a whole number"),
        ({"model": "m", "messages": [USER], "max_tokens": 2**53 + 1}, "`max_tokens` must be a whole number"),
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
        ({"model": "m", "ｍodel": "n", "messages": [USER]}, "the member name `\\uff4dodel`"),
        ({"model": "m", "toolſ": [], "messages": [USER]}, "the member name `tool\\u017f`"),
        ({"model": "m", "messages": [{"role": "user", "Role": "system", "content": "x"}]}, "must be spelled `role`"),
        ({"model": "m", "messages": [{"role": "user", "content": [{"Type": "file"}]}]}, "must be spelled `type`"),
        (
            {"model": "m", "messages": [USER], "tools": [{"type": "function", "function": {"name": "a", "Name": "b"}}]},
            "must be spelled `name`",
        ),
        # Members by which a router would choose another model or add tools of its own.
        ({"model": "m", "models": "n", "messages": [USER]}, "`models` must be a list"),
        ({"model": "m", "models": [1], "messages": [USER]}, "a model in `models` must be a string"),
        ({"model": "m", "models": ["a b"], "messages": [USER]}, "a model in `models` must be at most 256"),
        ({"model": "m", "fallbacks": [{"model": "n", "messages": []}], "messages": [USER]}, "`model` and no other"),
        ({"model": "m", "fallbacks": [{}], "messages": [USER]}, "`model` and no other"),
        ({"model": "m", "models": [f"m{number}" for number in range(32)], "messages": [USER]}, "more than 32 models"),
        ({"model": "m", "route": "sort", "messages": [USER]}, '`route` must be "fallback"'),
        ({"model": "m", "engine": "n", "messages": [USER]}, "`engine` is not supported"),
        ({"model": "m", "preset": "a b", "messages": [USER]}, "`preset` must be at most 256"),
        ({"model": "m@preset/", "messages": [USER]}, "the name of a preset must be a string"),
        ({"model": "m", "plugins": "web", "messages": [USER]}, "`plugins` must be a list"),
        ({"model": "m", "plugins": [{"id": "a b"}], "messages": [USER]}, "`id` of a plugin must be at most 128"),
        ({"model": "m", "plugins": [{"Id": "x"}], "messages": [USER]}, "must be spelled `id`"),
        (
            {"model": "m", "plugins": [{"id": "auto-router", "allowed_models": ["n"]}], "messages": [USER]},
            "must not hold a member `allowed_models`",
        ),
        ({"model": "m", "enable_search": 1, "messages": [USER]}, "`enable_search` must be true or false"),
        ({"model": "m", "search_parameters": {"Mode": "on"}, "messages": [USER]}, "must be spelled `mode`"),
        ({"model": "m", "data_sources": [{}], "messages": [USER]}, "`data_sources` is not supported"),
        ({"model": "m", "store": "true", "messages": [USER]}, "`store` must be true or false"),
        (
            {"model": "m", "tools": [{"type": "web_search\u200b"}], "messages": [USER]},
            "`type` of a tool must be at most",
        ),
        # Members by which a server would overrule an output limit or a system prompt.
        ({"model": "m", "n_predict": 9, "max_tokens": 1, "messages": [USER]}, "`n_predict` is not supported"),
        ({"model": "m", "chat_template": "x", "messages": [USER]}, "`chat_template` is not supported"),
        ({"model": "m", "N_Predict": 9, "messages": [USER]}, "must be spelled `n_predict`"),
        (
            {"model": "m", "messages": [USER], "stream_options": {"Include_Usage": False, "include_usage": True}},
            "must be spelled `include_usage`",
        ),
        ({"model": "m", "messages": [{"role": "system", "content": [{"type": "text", "x": 0.5}]}]}, "whole numbers"),
        ({"model": "m", "messages": [{"role": "system", "content": [{"type": "text", "ä": 1}]}]}, "the member name"),
        (
            {"model": "m", "messages": [{"role": "system", "content": [{"type": "text", "x": [{"ä": 1}]}]}]},
            "the member name",
        ),
        # Readers that bind members to the fields of a class take camel case and more.
        ({"model": "m", "maxTokens": 9, "messages": [USER]}, "`maxTokens` must be spelled `max_tokens`"),
        ({"model": "m", "max-completion-tokens": 9, "messages": [USER]}, "must be spelled `max_completion_tokens`"),
        ({"model": "m", "$model": "n", "messages": [USER]}, "must be spelled `model`"),
        ({"model": "m", "messages": [{"role": "user", "content": [{"type": "file", "fileId": "a"}]}]}, "`file_id`"),
        ({"model": "m", "extra_body": {"model": "n"}, "messages": [USER]}, "`extra_body` is not supported"),
        ({"model": "m", "compound_custom": {"models": {}}, "messages": [USER]}, "`compound_custom` is not supported"),
        # Objects that no fact is read from, but that a policy may look at.
        ({"model": "m", "response_format": {"type": "text", "Type": "x"}, "messages": [USER]}, "be spelled `type`"),
        ({"model": "m", "response_format": {"ty\u200bpe": "x"}, "messages": [USER]}, "the member name"),
        (
            {"model": "m", "tool_choice": {"function": {"name": "a", "na\u00adme": "b"}}, "messages": [USER]},
            "the member",
        ),
        ({"model": "m", "reasoning": {"effort ": "x"}, "messages": [USER]}, "the member name"),
        (
            {"model": "m", "tool_choice": {"allowed_tools": {"tools": [{"Name": "b"}]}}, "messages": [USER]},
            "be spelled `name`",
        ),
    ],
)
def test_refused(body: Any, says: str) -> None:
    with pytest.raises(Denied) as caught:
        call(body)
    assert caught.value.code == "bad_request"
    assert says in " ".join(caught.value.reasons)


# A name that a lenient reader may take for one that it knows: it drops what cannot be seen, trims, stops at a NUL.
LOOKALIKES = [
    pytest.param(change, id=note)
    for note, change in {
        "zero-width space inside": lambda name: name[:2] + "\u200b" + name[2:],
        "zero-width joiner behind": lambda name: name + "\u200d",
        "word joiner in front": lambda name: "\u2060" + name,
        "space behind": lambda name: name + " ",
        "space in front": lambda name: " " + name,
        "no-break space behind": lambda name: name + "\u00a0",
        "tab": lambda name: name + "\t",
        "newline": lambda name: "\n" + name,
        "NUL": lambda name: name + "\0",
        "NUL and more": lambda name: name + "\0x",
        "byte order mark": lambda name: "\ufeff" + name,
        "soft hyphen": lambda name: name[:2] + "\u00ad" + name[2:],
        "left-to-right mark": lambda name: name + "\u200e",
        "right-to-left override": lambda name: "\u202e" + name[::-1],
        "variation selector": lambda name: name + "\ufe0f",
        "combining accent": lambda name: name + "\u0301",
        "tag characters": lambda name: name + "\U000e0061",
        "full width": lambda name: chr(ord(name[0]) + 0xFEE0) + name[1:],
        "empty": lambda name: "",
        "quotes": lambda name: f'"{name}"',
        "a path": lambda name: f"/{name}",
        "brackets": lambda name: f"{name}[]",
        "capitals": str.upper,
    }.items()
]
TOOL = {"type": "function", "function": {"name": "get", "parameters": {"properties": {"größe ": {}}}}}
CALLED = {"id": "call_1", "type": "function", "function": {"name": "get", "arguments": "{}"}}


def body() -> dict[str, Any]:
    """A body in which every object of messages and tools has members that a policy or a provider reads."""
    part = {"type": "file", "file": {"file_id": "file-1"}}
    messages = [{"role": "user", "content": [part]}, {"role": "assistant", "content": None, "tool_calls": [CALLED]}]
    return {"model": "m", "messages": messages, "tools": [TOOL], "stream": True, "stream_options": {}, "max_tokens": 5}


@pytest.mark.parametrize("look_alike", LOOKALIKES)
@pytest.mark.parametrize(
    ("where", "name"),
    [
        ((), "model"),
        ((), "max_tokens"),
        ((), "metadata"),
        (("messages", 0), "role"),
        (("messages", 0, "content", 0), "type"),
        (("messages", 0, "content", 0, "file"), "file_id"),
        (("messages", 1, "tool_calls", 0), "type"),
        (("messages", 1, "tool_calls", 0, "function"), "name"),
        (("tools", 0), "type"),
        (("tools", 0, "function"), "name"),
        (("stream_options",), "include_usage"),
    ],
)
def test_a_name_that_looks_like_another(look_alike: Callable[[str], str], where: tuple[Any, ...], name: str) -> None:
    call(body())
    for instead in (False, True):
        changed = copy.deepcopy(body())
        item = changed
        for step in where:
            item = item[step]
        value = (item.pop(name, None) if instead else None) or "x"
        item[look_alike(name)] = value
        with pytest.raises(Denied) as caught:
            call(changed)
        assert caught.value.code == "bad_request"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "document", "source": {"type": "file", "file_id": "file-1"}},
        {"type": "tool_result", "content": [{"type": "document", "source": {"file_id": "file-1"}}]},
        {"type": "image_file", "image_file": {"file_id": "file-1"}},
    ],
)
def test_a_file_is_a_reference_wherever_a_part_names_it(part: dict[str, Any]) -> None:
    found = call({"model": "m", "messages": [{"role": "user", "content": [part]}]})
    assert found.references == (Reference("file", "file-1"),)


def test_names_of_the_clients_own_are_not_looked_at() -> None:
    changed = body()
    changed["metadata"] = {"Köln ": "x"}
    changed["logit_bias"] = {"ID": 1}
    changed["guided_json"] = changed["structured_outputs"] = {"properties": {"Größe": {}, "Name": {}}}
    changed["response_format"] = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"Type": 1, "ä ": 2}}}
    assert call(changed).tools == (Tool("function", "get"),)


COMPATIBLE, OLDER = PROVIDERS["openai-compatible"], PROVIDERS["ollama"]


@pytest.mark.parametrize(
    ("provider", "given", "cap", "wanted"),
    [
        (PROVIDER, {}, 100, {"max_completion_tokens": 100}),
        (PROVIDER, {"max_tokens": None}, 100, {"max_tokens": None, "max_completion_tokens": 100}),
        (PROVIDER, {"max_tokens": 500}, 100, {"max_tokens": 100}),
        (PROVIDER, {"max_completion_tokens": 500}, 100, {"max_completion_tokens": 100}),
        (
            PROVIDER,
            {"max_tokens": 500, "max_completion_tokens": 500},
            100,
            {"max_tokens": 100, "max_completion_tokens": 100},
        ),
        (PROVIDER, {"max_tokens": 100}, 100, None),
        (PROVIDER, {"max_completion_tokens": 7}, 100, None),
        # Of several answers each gets its share: what a policy caps is what all of them cost.
        (PROVIDER, {"n": 4}, 100, {"n": 4, "max_completion_tokens": 25}),
        (PROVIDER, {"n": 4, "max_tokens": 26}, 100, {"n": 4, "max_tokens": 25}),
        (PROVIDER, {"n": 4, "max_tokens": 25}, 100, None),
        # Both names are written if it is not known which one a server honours.
        (COMPATIBLE, {}, 100, {"max_completion_tokens": 100, "max_tokens": 100}),
        (COMPATIBLE, {"max_tokens": 500}, 100, {"max_tokens": 100, "max_completion_tokens": 100}),
        (COMPATIBLE, {"max_tokens": 7}, 100, {"max_tokens": 7, "max_completion_tokens": 7}),
        (COMPATIBLE, {"max_tokens": 7, "max_completion_tokens": 7}, 100, None),
        # A limit under the name that the server ignores limits nothing.
        (OLDER, {}, 100, {"max_tokens": 100}),
        (OLDER, {"max_completion_tokens": 7}, 100, {"max_completion_tokens": 7, "max_tokens": 7}),
        (OLDER, {"max_completion_tokens": 500}, 100, {"max_completion_tokens": 100, "max_tokens": 100}),
        (OLDER, {"max_tokens": 7}, 100, None),
    ],
)
def test_capping_the_output(provider: Provider, given: dict[str, Any], cap: int, wanted: dict[str, Any] | None) -> None:
    plain = {"model": "m", "messages": [USER]}
    before = call(plain | given, CHAT, provider)
    capped, edits = provider.edit(before, Edits(max_output_tokens=cap))
    assert before.body == plain | given
    if wanted is None:
        assert (capped, edits) == (before, ())
        return
    assert (capped.body, edits) == (plain | wanted, ("max_output_tokens",))
    # A capped call is a fixed point, and the bytes that are sent say the same.
    assert provider.edit(capped, Edits(max_output_tokens=cap)) == (capped, ())
    assert provider.read(CHAT, RequestHead(), capped.raw) == capped
    assert capped.max_output_tokens is not None
    assert capped.max_output_tokens <= cap


@pytest.mark.parametrize(
    ("provider", "limit"), [(PROVIDER, 7), (COMPATIBLE, 7), (OLDER, None)], ids=["openai", "compatible", "older"]
)
def test_a_limit_counts_where_it_is_honoured(provider: Provider, limit: int | None) -> None:
    found = call({"model": "m", "messages": [USER], "max_completion_tokens": 7}, CHAT, provider)
    assert found.max_output_tokens == limit


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
    before = chat(**given)
    asked, edits = PROVIDER.edit(before, Edits(report_usage=True))
    if options is None:
        assert (asked, edits) == (before, ())
        return
    assert edits == ("stream_options.include_usage",)
    assert asked.body is not None
    assert asked.body["stream_options"] == options
    assert PROVIDER.read(CHAT, RequestHead(), asked.raw) == asked


IMAGE = {"type": "image_url", "image_url": {"url": "data:"}}
FUNCTION = {"type": "function", "function": {"name": "get_order"}}
OTHER = {"type": "function", "function": {"name": "refund"}}


@pytest.mark.parametrize(
    ("given", "unwanted", "wanted"),
    [
        ({"tools": [FUNCTION, OTHER]}, {"refund"}, {"tools": [FUNCTION]}),
        ({"tools": [OTHER], "tool_choice": "auto", "parallel_tool_calls": True}, {"refund"}, {}),
        (
            {"tools": [FUNCTION, OTHER], "tool_choice": {"type": "function", "function": {"name": "refund"}}},
            {"refund"},
            {"tools": [FUNCTION]},
        ),
        ({"tools": [FUNCTION, OTHER], "tool_choice": "auto"}, {"refund"}, {"tools": [FUNCTION], "tool_choice": "auto"}),
        ({"tools": [FUNCTION], "web_search_options": {}}, {"web_search"}, {"tools": [FUNCTION]}),
        ({"tools": [{"type": "web_search"}]}, {"web_search"}, {}),
        ({"functions": [{"name": "refund"}], "function_call": {"name": "refund"}}, {"refund"}, {}),
        ({"tools": [FUNCTION]}, {"refund"}, None),
        ({}, {"refund"}, None),
    ],
)  # fmt: skip
def test_stripping_tools(given: dict[str, Any], unwanted: set[str], wanted: dict[str, Any] | None) -> None:
    before = chat(**given)
    stripped, edits = PROVIDER.edit(before, Edits(strip_tools=frozenset(unwanted)))
    if wanted is None:
        assert (stripped, edits) == (before, ())
        return
    assert edits == ("strip_tools",)
    assert stripped.body == {"model": "gpt-4o", "messages": [USER], **wanted}
    assert PROVIDER.read(CHAT, RequestHead(), stripped.raw) == stripped
    assert PROVIDER.edit(stripped, Edits(strip_tools=frozenset(unwanted))) == (stripped, ())


def test_another_model() -> None:
    before = chat(models=["gpt-4o", "o3"], route="fallback")
    assert before.models == ("gpt-4o", "o3")
    changed, edits = PROVIDER.edit(before, Edits(model="gpt-4o-mini"))
    assert edits == ("model",)
    assert (changed.model, changed.models) == ("gpt-4o-mini", ("gpt-4o-mini",))
    assert PROVIDER.read(CHAT, RequestHead(), changed.raw) == changed
    assert PROVIDER.edit(changed, Edits(model="gpt-4o-mini")) == (changed, ())


@pytest.mark.parametrize(
    ("members", "modalities"),
    [
        ({}, ()),
        ({"modalities": ["text"]}, ()),
        ({"modalities": ["text", "audio"]}, ("audio",)),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, ("image",)),
        # Servers look at the member, whatever the type says.
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "", "input_audio": {}}]}]}, ("audio",)),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]}, ("file",)),
    ],
)  # fmt: skip
def test_modalities(members: dict[str, Any], modalities: tuple[str, ...]) -> None:
    assert chat(**members).modalities == modalities


def test_a_modality_that_is_not_known_is_refused() -> None:
    with pytest.raises(Denied):
        chat(modalities=["smell"])


def test_what_goes_upstream() -> None:
    outgoing = PROVIDER.prepare(chat(), "https://api.example/v1", "s3cret", {"Accept": "x"})
    assert (outgoing.method, str(outgoing.url)) == ("POST", "https://api.example/v1/chat/completions")
    assert outgoing.headers == {
        "Accept": "x",
        "Content-Type": "application/json",
        "Authorization": "Bearer s3cret",
    }
    assert "s3cret" not in repr(outgoing)
    assert outgoing.take_body() == chat().raw
    assert outgoing.take_body() == b""
    listed = PROVIDER.prepare(PROVIDER.read(MODELS, RequestHead(), b""), "https://api.example/v1", None, {})
    assert (listed.method, str(listed.url), listed.headers) == ("GET", "https://api.example/v1/models", {})


@pytest.mark.parametrize("code", sorted(REASONS))
def test_errors_have_the_shape_of_openai(code: str) -> None:
    error = json.loads(PROVIDER.error(Denied(code, "internal detail", reasons=["because", "also"])))["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert error["message"].endswith(": because; also")
    assert "internal" not in error["message"]


@pytest.mark.parametrize(("retry", "kind"), [(True, "rate_limit_error"), (False, "insufficient_quota")])
def test_a_limit_without_room_for_long_is_a_used_up_quota(retry: bool, kind: str) -> None:
    """Codex waits as long as `retry-after` says, for hours if need be, unless the type is this one."""
    error = json.loads(PROVIDER.error(Denied("limit_exceeded", retry=retry, facts=[])))["error"]
    assert (error["type"], error["code"]) == (kind, "limit_exceeded")


@pytest.mark.parametrize(
    "usage",
    [None, [], {}, {"prompt_tokens": "7"}, {"prompt_tokens": -1}, {"prompt_tokens": True}, {"prompt_tokens": 2**53}],
)
def test_usage_that_is_none(usage: object) -> None:
    assert read_usage({"usage": usage}) is None


def test_a_stream_fails_with_an_event_that_the_sdk_raises() -> None:
    event = PROVIDER.error_event(sent_to(CHAT), Denied("upstream_timeout"))
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    assert json.loads(event[6:])["error"]["code"] == "upstream_timeout"
