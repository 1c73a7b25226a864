"""Effects at a provider that a policy could overlook are in the call that is judged, or the call is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from gateway.call import Call, Reference, Tool
from gateway.errors import Denied
from gateway.upstream import strict_json
from gateway.upstream.providers.base import Edits, Endpoint, Provider, RequestHead
from gateway.upstream.providers.openai import switches
from gateway.upstream.providers.presets import PROVIDERS
from gateway.upstream.providers.prompts import digest
from tests.rigs.upstream.sent import tap_of

OPENAI, ANTHROPIC, ROUTER = PROVIDERS["openai"], PROVIDERS["anthropic"], PROVIDERS["openrouter"]
USER = {"role": "user", "content": "hello"}
PLAIN: dict[str, dict[str, Any]] = {
    "chat.completions": {"model": "m", "messages": [USER]},
    "responses": {"model": "m", "input": "hello"},
    "responses.input_tokens": {"model": "m", "input": "hello"},
    "embeddings": {"model": "m", "input": "hello"},
    "moderations": {"model": "m", "input": "hello"},
    "completions": {"model": "m", "prompt": "hello"},
    "messages": {"model": "m", "max_tokens": 100, "messages": [USER]},
    "messages.count_tokens": {"model": "m", "messages": [USER]},
}


def provider(action: str) -> Provider:
    return ANTHROPIC if action.startswith("messages") else ROUTER


def endpoint(action: str) -> Endpoint:
    route = next(each for each in provider(action).routes if each.action == action)
    return Endpoint("u", route, "/v1" + route.path)


def read(action: str, head: RequestHead | None = None, **given: Any) -> Call:
    return provider(action).read(endpoint(action), head or RequestHead(), strict_json.dump(PLAIN[action] | given))


def refused(action: str, **given: Any) -> str:
    with pytest.raises(Denied) as caught:
        read(action, **given)
    assert caught.value.code == "bad_request"
    return caught.value.reasons[0]


@pytest.mark.parametrize("action", PLAIN)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("engine", "x"), ("preset", "x"), ("plugins", [{"id": "web"}]), ("extra_body", {"model": "x"}),
        ("max_new_tokens", 9), ("chat_template", "x"), ("search_parameters", {"mode": "on"}), ("enable_search", True),
        ("data_sources", [{}]), ("safety_model", "x"), ("draft_model", "x"), ("modelId", "x"),
        ("fallback_models", ["x"]), ("providerOptions", {"gateway": {"models": ["x"]}}), ("prompt_id", "x"),
        ("options", {"num_predict": 9}), ("vendor", [[{"a": {"tools": []}}]]), ("vendor", {"file_ids": ["f"]}),
        ("vendor", {"maxTokens": 9}), ("vendor", {"previous_response_id": "x"}), ("api_base", "https://evil.example"),
        ("agent", "x"), ("agent_id", "x"), ("agent_reference", {"name": "x"}), ("assistant_id", "x"), ("bot_id", "x"),
        ("adapter_id", "x"), ("lora_path", "x"), ("azure_deployment", "x"), ("inferenceProfileArn", "x"),
        ("virtual_key", "x"), ("custom_llm_provider", "x"), ("vendor", {"api_base": "https://evil.example"}),
        ("vendor", {"lora_path": "x"}), ("tool_choice", {"type": "auto", "model": "x"}),
        ("stream_options", {"models": ["x"]}), ("system_prompt", "x"), ("file_id", "x"), ("file_ids", ["x"]),
        ("vector_store_ids", ["x"]), ("cached_content", "x"), ("vendor", {"server_url": "https://evil.example"}),
    ],
)  # fmt: skip
def test_members_that_nobody_reads(action: str, name: str, value: object) -> None:
    if action == "chat.completions" and name in switches.NAMES:
        return  # they are read there
    assert name in refused(action, **{name: value})


@pytest.mark.parametrize(
    ("given", "tools", "left"),
    [
        ({"plugins": [{"id": "web", "max_results": 3}]}, [Tool("plugin", "web")], {}),
        ({"plugins": []}, [], None),
        (
            {"plugins": [{"id": "web"}, {"id": "file-parser", "pdf": {"engine": "pdf-text"}}]},
            [Tool("plugin", "web"), Tool("plugin", "file-parser")],
            {"plugins": [{"id": "file-parser", "pdf": {"engine": "pdf-text"}}]},
        ),
        ({"search_parameters": {"mode": "auto", "sources": [{"type": "web"}]}}, [Tool("live_search", "")], {}),
        ({"search_parameters": {"mode": "off"}}, [], None),
        ({"enable_search": True}, [Tool("web_search", "")], {}),
        ({"enable_search": False}, [], None),
    ],
)
def test_what_switches_on_a_tool_is_one(given: dict[str, Any], tools: list[Tool], left: dict[str, Any] | None) -> None:
    """`left` is what remains once `web`, `live_search` and `web_search` are taken out; None if nothing was there."""
    call = read("chat.completions", **given)
    assert list(call.tools) == tools
    changed, names = ROUTER.edit(call, Edits(strip_tools=frozenset({"web", "live_search", "web_search"})))
    if left is None:
        assert (changed, names) == (call, ())
    else:
        assert (changed.body, names) == (PLAIN["chat.completions"] | left, ("strip_tools",))
        assert ROUTER.read(endpoint("chat.completions"), RequestHead(), changed.raw) == changed


@pytest.mark.parametrize(
    ("given", "models"),
    [
        ({"preset": "x"}, ("m", "@preset/x")),
        ({"preset": "@preset/x"}, ("m", "@preset/x")),
        ({"model": "@preset/x"}, ("@preset/x",)),
        ({"model": "m@preset/x"}, ("m@preset/x",)),
    ],
)
def test_a_preset_is_foreign_state_and_a_model_of_its_own(given: dict[str, Any], models: tuple[str, ...]) -> None:
    call = read("chat.completions", **given)
    assert (call.models, call.references) == (models, (Reference("preset", "x"),))
    changed, names = ROUTER.edit(call, Edits(model="n"))
    assert (changed.models, changed.references, names) == (("n",), (), ("model",))
    assert changed.body == PLAIN["chat.completions"] | {"model": "n"}


@pytest.mark.parametrize("token", ["token_1", {"token": "token_1", "mode": "best_effort"}])
def test_a_credit_of_a_fallback_names_no_model(token: Any) -> None:
    """It comes with a refusal, and makes the same call to another model cheaper."""
    assert read("messages", fallback_credit_token=token).models == ("m",)
    assert "model" in refused("messages", fallback_credit_token={"token": "token_1", "model": "x"})


@pytest.mark.parametrize("action", PLAIN)
@pytest.mark.parametrize(
    "given",
    [
        {"metadata": {"model": "x", "tools": "y"}},
        {"user": "u", "seed": 7},
        {"vendor": {"allow_fallbacks": True, "order": ["a"]}},
        {"vendor": {"model": None}},
    ],
)
def test_members_that_name_nothing_pass(action: str, given: dict[str, Any]) -> None:
    assert read(action, **given).models == ("m",)


@pytest.mark.parametrize(
    ("action", "given", "models"),
    [
        ("messages", {"fallbacks": [{"model": "x"}, {"model": "y"}]}, ("m", "x", "y")),
        ("messages", {"tools": [{"type": "advisor_20260301", "name": "advisor", "model": "x"}]}, ("m", "x")),
        ("responses", {"moderation": {"model": "x"}}, ("m", "x")),
        ("responses", {"tools": [{"type": "image_generation", "svg": {"model": "x"}}]}, ("m", "x")),
        ("responses", {"tools": [{"type": "function", "name": "f", "parameters": {"model": {}}}]}, ("m",)),
        ("chat.completions", {"moderation": {"model": "x"}}, ("m", "x")),
        ("chat.completions", {"tools": [{"type": "openrouter:advisor", "parameters": {"model": "x"}}]}, ("m", "x")),
        (
            "chat.completions",
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"model": {}}}}]},
            ("m",),
        ),
    ],
)
def test_every_model_is_seen(action: str, given: dict[str, Any], models: tuple[str, ...]) -> None:
    assert read(action, **given).models == models


@pytest.mark.parametrize(
    ("action", "given", "references"),
    [
        (
            "messages",
            {"thread": {"type": "continue", "previous_message_id": "msg_1"}},
            [Reference("message", "msg_1")],
        ),
        ("messages", {"diagnostics": {"previous_message_id": "msg_1"}}, [Reference("message", "msg_1")]),
        (
            "messages",
            {"system": [{"type": "document", "source": {"type": "file", "file_id": "f"}}]},
            [Reference("file", "f")],
        ),
        (
            "messages",
            {"messages": [{"role": "user", "content": [{"type": "x", "container_id": "c"}]}]},
            [Reference("container", "c")],
        ),
        (
            "responses",
            {"input": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
            [Reference("file", "f")],
        ),
        (
            "responses",
            {"input": [{"type": "function_call_output", "call_id": "c", "output": [{"x": [{"file_id": "f"}]}]}]},
            [Reference("file", "f")],
        ),
        ("responses", {"prompt_cache_options": {"comparison_response_id": "r"}}, [Reference("response", "r")]),
        (
            "chat.completions",
            {"tools": [{"type": "file_search", "vector_store_ids": ["v"]}]},
            [Reference("vector_store", "v")],
        ),
    ],
)
def test_every_reference_is_seen(action: str, given: dict[str, Any], references: list[Reference]) -> None:
    assert list(read(action, **given).references) == references


@pytest.mark.parametrize(
    ("action", "given", "tool"),
    [
        (
            "responses",
            {"tools": [{"type": "mcp", "server_label": "w", "server_url": "https://a.example/mcp?key=s3cret"}]},
            Tool("mcp", "w", "https://a.example/mcp"),
        ),
        (
            "responses",
            {"tools": [{"type": "mcp", "server_label": "w", "connector_id": "connector_gmail"}]},
            Tool("mcp", "w", "connector_gmail"),
        ),
        (
            "chat.completions",
            {"tools": [{"type": "mcp", "server_label": "w", "server_url": "https://a.example/@me/x"}]},
            Tool("mcp", "w", "https://a.example/@me/x"),
        ),
        (
            "messages",
            {"mcp_servers": [{"type": "url", "name": "w", "url": "https://a.example"}]},
            Tool("mcp", "w", "https://a.example"),
        ),
    ],
)
def test_where_a_server_of_tools_is(action: str, given: dict[str, Any], tool: Tool) -> None:
    assert read(action, **given).tools == (tool,)


_MCP = {"type": "mcp", "server_label": "w"}
_BLOCK = {"role": "user", "content": []}


@pytest.mark.parametrize(
    ("action", "given"),
    [
        ("messages", {"fallbacks": "default"}),
        ("messages", {"fallbacks": [{"model": "x", "tools": []}]}),
        ("messages", {"fallbacks": [{"Model": "x"}]}),
        ("messages", {"fallbacks": [{}]}),
        ("messages", {"betas": ["x"]}),
        ("messages", {"anthropic_beta": ["x"]}),
        ("messages", {"models": ["x"]}),
        ("messages", {"tools": [{"type": "function", "function": {"name": "f"}}]}),
        ("messages", {"tools": [{"type": "Custom", "name": "f"}]}),
        ("messages", {"tools": [{"type": "mcp-toolset", "mcp_server_name": "f"}]}),
        ("messages", {"tools": [{"type": "advisor_20260301", "name": "advisor", "models": ["x"]}]}),
        ("messages", {"messages": [{"role": "user", "content": [{"type": "Image"}]}]}),
        ("messages", {"mcp_servers": [{"name": "w"}]}),
        ("messages", {"mcp_servers": [{"name": "w", "url": "https://good.example@evil.example"}]}),
        ("responses", {"instructions": ["x"]}),
        ("responses", {"max_new_tokens": 9}),
        ("responses", {"input": [{"type": "message", "content": "obey"}]}),
        ("responses", {"input": [{"type": "text", "role": "system", "content": "obey"}]}),
        ("responses", {"input": [{"type": "Item_Reference", "id": "msg_1"}]}),
        ("responses", {"input": [{"type": "item-reference", "id": "msg_1"}]}),
        ("responses", {"input": [{"role": "user", "content": [{"type": "Input_Image"}]}]}),
        ("responses", {"input": [{"role": "user", "content": [{"type": "x", "y": {"File_id": "f"}}]}]}),
        ("responses", {"tools": [{"type": "Function", "name": "f"}]}),
        ("responses", {"tools": [_MCP]}),
        ("responses", {"tools": [{**_MCP, "server_url": "https://a.example", "connector_id": "connector_gmail"}]}),
        ("responses", {"tools": [{**_MCP, "server_url": "https://a.example\\@evil.example"}]}),
        ("responses", {"tools": [{"type": "image_generation", "fallbacks": ["x"]}]}),
        ("chat.completions", {"tools": [{"type": "openrouter:fusion", "parameters": {"models": ["x"]}}]}),
        ("chat.completions", {"chat_template_kwargs": {"chat_template": "x"}}),
        ("chat.completions", {"tools": [{"type": "MCP", "server_label": "w", "server_url": "https://a.example"}]}),
        ("embeddings", {"messages": [USER]}),
        ("embeddings", {"input": [{"image_url": "https://a.example"}]}),
        ("moderations", {"input": [{"type": "video_url", "video_url": {}}]}),
        ("completions", {"max_completion_tokens": 9}),
        ("completions", {"n": 0}),
        ("completions", {"best_of": False}),
        ("completions", {"prompt": [1, "text"]}),
        ("completions", {"stream_options": {"Include_Usage": True}}),
    ],
)
def test_what_cannot_be_judged_is_refused(action: str, given: dict[str, Any]) -> None:
    refused(action, **given)


def test_the_limit_is_that_of_the_longest_attempt() -> None:
    given = {"fallbacks": [{"model": "x", "max_tokens": 5000}, {"model": "y"}]}
    before = read("messages", **given)
    assert before.max_output_tokens == 5000
    call, names = ANTHROPIC.edit(before, Edits(max_output_tokens=50))
    assert (names, call.max_output_tokens) == (("max_output_tokens",), 50)
    assert call.body == PLAIN["messages"] | {
        "max_tokens": 50,
        "fallbacks": [{"model": "x", "max_tokens": 50}, {"model": "y"}],
    }
    assert ANTHROPIC.read(endpoint("messages"), RequestHead(), call.raw) == call


@pytest.mark.parametrize(
    ("action", "given"),
    [
        ("messages", {"fallbacks": [{"model": "x"}]}),
        ("messages", {"model": "n", "fallbacks": [{"model": "x"}]}),
        ("chat.completions", {"moderation": {"model": "x"}, "models": ["y"]}),
        ("responses", {"moderation": {"model": "x"}}),
    ],
)
def test_another_model_is_the_only_one_that_answers(action: str, given: dict[str, Any]) -> None:
    before = copy.deepcopy(given)
    call, names = provider(action).edit(read(action, **given), Edits(model="n"))
    assert names == ("model",)
    assert call.models[0] == "n"
    assert set(call.models) <= {"n", *([given["moderation"]["model"]] if "moderation" in given else [])}
    assert provider(action).read(endpoint(action), RequestHead(), call.raw) == call
    assert provider(action).edit(call, Edits(model="n")) == (call, ())
    assert given == before


def test_a_tool_that_is_gone_brings_no_model_and_looks_into_nothing() -> None:
    tool = {"type": "file_search", "vector_store_ids": ["v"], "parameters": {"model": "x"}}
    call, names = OPENAI.edit(read("chat.completions", tools=[tool]), Edits(strip_tools=frozenset({"file_search"})))
    assert (names, call.tools, call.models, call.references) == (("strip_tools",), (), ("m",), ())


def test_instructions_for_a_summary_are_prompts() -> None:
    found = read("messages", system="a", compaction={"type": "summarize", "instructions": "b"})
    assert found.system_prompts == (digest("a"), digest("b"))
    edits = {"edits": [{"type": "compact_20260112", "instructions": "c"}]}
    assert read("messages", context_management=edits).system_prompts == (digest("c"),)


@pytest.mark.parametrize(
    ("given", "stores"),
    [({}, False), ({"thread": {"type": "create"}}, True), ({"diagnostics": {"previous_message_id": None}}, True)],
)
def test_messages_that_are_kept(given: dict[str, Any], stores: bool) -> None:
    assert read("messages", **given).stores is stores
    assert read("messages.count_tokens", **given).stores is False
    tap = tap_of(ANTHROPIC, endpoint("messages"), b"application/json", (), stores=stores)
    tap.feed(b'{"id":"msg_1","model":"m"}', last=True)
    tap.finish()
    assert tap.report.created == ([Reference("message", "msg_1")] if stores else [])


@pytest.mark.parametrize("action", ["chat.completions", "responses", "embeddings"])
def test_features_of_openai_are_seen(action: str) -> None:
    head = RequestHead(headers={"openai-beta": "assistants=v2, responses_multi_agent=v1"})
    assert read(action, head).betas == ("assistants=v2", "responses_multi_agent=v1")
    with pytest.raises(Denied):
        read(action, RequestHead(headers={"openai-beta": "a b"}))


@pytest.mark.parametrize("value", ["True", "1", "", "yes", "true "])
def test_a_stream_is_asked_for_in_one_way(value: str) -> None:
    route = next(each for each in OPENAI.routes if each.action == "responses.retrieve")
    target = Endpoint("u", route, "/v1/responses/resp_1", {"response_id": "resp_1"})
    assert OPENAI.read(target, RequestHead({"stream": "true"}), b"").stream is True
    with pytest.raises(Denied):
        OPENAI.read(target, RequestHead({"stream": value}), b"")


@pytest.mark.parametrize(
    ("action", "event"),
    [
        ("messages", b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"m"}}\n\n'),
        ("responses", b'event: error\ndata: {"type":"error","code":"server_error","message":"m"}\n\n'),
        ("chat.completions", b'data: {"error":{"message":"m","code":"server_error"}}\n\n'),
        ("completions", b'data: {"error":{"message":"m","code":"server_error"}}\n\n'),
    ],
)
def test_an_error_is_held_back_as_the_end_of_a_stream(action: str, event: bytes) -> None:
    tap = tap_of(provider(action), endpoint(action), b"text/event-stream", (), stores=False)
    assert tap.feed(b'data: {"model":"m"}\n\n' + event, last=False) == b'data: {"model":"m"}\n\n'
    assert tap.report.failed
    # A stream that goes on shows it after all.
    assert tap.feed(b"data: {}\n\n", last=False) == event + b"data: {}\n\n"
    assert tap.feed(event, last=True) == b""
    assert tap.finish() == event


@pytest.mark.parametrize("name", ["response_format", "reasoning", "prediction", "function_call"])
def test_settings_of_chat_completions_name_no_model(name: str) -> None:
    assert "`model`" in refused("chat.completions", **{name: {"type": "text", "model": "x"}})


@pytest.mark.parametrize(
    "given",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"properties": {"model": {}}}}}},
        {"response_format": {"type": "json_object", "schema": {"properties": {"model": {}}}}},
        {"reasoning": {"max_tokens": 9}},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"model": {}}}}}]},
    ],
)
def test_a_schema_may_have_any_names(given: dict[str, Any]) -> None:
    assert read("chat.completions", **given).models == ("m",)


@pytest.mark.parametrize(
    ("action", "name"),
    [
        ("chat.completions", "system"), ("chat.completions", "prompt"), ("chat.completions", "input"),
        ("chat.completions", "mcp_servers"), ("responses", "mcp_servers"), ("completions", "system"),
    ],
)  # fmt: skip
def test_names_of_other_apis_for_prompts_and_tools(action: str, name: str) -> None:
    assert f"`{name}` is not supported" in refused(action, **{name: "x"})


@pytest.mark.parametrize("action", ["embeddings", "moderations", "completions"])
@pytest.mark.parametrize("name", ["input", "prompt"])
def test_a_stored_prompt_is_no_input(action: str, name: str) -> None:
    assert f"`{name}` must be" in refused(action, **{name: {"id": "pmpt_1"}})


@pytest.mark.parametrize("action", PLAIN)
@pytest.mark.parametrize("model", ["m:online", "m:Online", "@preset/x", "m@preset/x", "@Preset/x"])
def test_the_name_of_a_model_brings_no_tool_and_no_prompt(action: str, model: str) -> None:
    if action == "chat.completions" and model.islower():
        call = read(action, model=model)
        assert (call.tools, call.references) != ((), ())
    else:
        assert "must not" in refused(action, model=model)


def test_a_search_in_a_models_name_is_a_tool_that_can_be_taken_out() -> None:
    call = read("chat.completions", model="m:online@preset/x", models=["m:online", "k"])
    assert call.tools == (Tool("plugin", "web"),)
    changed, _ = ROUTER.edit(call, Edits(strip_tools=frozenset({"web"})))
    assert (changed.models, changed.tools) == (("m@preset/x", "m", "k"), ())


def test_the_tag_of_a_model_is_part_of_its_name() -> None:
    assert read("chat.completions", model="llama3.2:1b").model == "llama3.2:1b"


@pytest.mark.parametrize("action", ["chat.completions", "embeddings", "messages"])
@pytest.mark.parametrize("name", ["previous_response_id", "conversation", "fileIds", "container_id"])
def test_kept_state_that_this_call_does_not_have(action: str, name: str) -> None:
    assert "policies could not see it" in refused(action, **{name: "x"})
