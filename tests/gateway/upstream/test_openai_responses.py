"""The Responses API and the calls without messages: what is read out of a request, changed in it, and reported."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.call import Call, Reference, Tool, Usage
from gateway.errors import Denied
from gateway.upstream import strict_json
from gateway.upstream.providers.base import Edits, Endpoint, RequestHead
from gateway.upstream.providers.presets import PROVIDERS
from gateway.upstream.providers.prompts import digest
from tests.rigs.upstream.sent import sent_to, tap_of

PROVIDER = PROVIDERS["openai"]
ENDPOINTS = {route.action: Endpoint("openai", route, "/v1" + route.path) for route in PROVIDER.routes}
RESPONSES = ENDPOINTS["responses"]
PLAIN = {"model": "gpt-5", "input": "hello"}

QUESTION = {"type": "mcp_approval_request", "id": "mcpr_1", "server_label": "w", "name": "f", "arguments": "{}"}


def read(endpoint: Endpoint = RESPONSES, **given: Any) -> Call:
    return PROVIDER.read(endpoint, RequestHead(), strict_json.dump(PLAIN | given))


def call(action: str, **given: Any) -> Call:
    return PROVIDER.read(ENDPOINTS[action], RequestHead(), strict_json.dump(given))


def test_a_plain_call() -> None:
    found = read()
    assert (found.action, found.provider, found.model) == ("responses", "openai", "gpt-5")
    assert (found.roles, found.messages, found.stream, found.max_output_tokens) == (("user",), 1, False, None)
    assert found.raw == strict_json.dump(PLAIN)


@pytest.mark.parametrize(
    ("given", "stores"),
    [
        ({}, True),  # the provider's default
        ({"store": None}, True),
        ({"store": True}, True),
        ({"store": False}, False),
        ({"store": False, "background": True}, True),
    ],
)
def test_what_is_kept(given: dict[str, Any], stores: bool) -> None:
    assert read(**given).stores is stores
    assert read(ENDPOINTS["responses.input_tokens"], **given).stores is False
    assert read(ENDPOINTS["responses.compact"], **given).stores is False


@pytest.mark.parametrize(
    ("given", "tools"),
    [
        ({"tools": [{"type": "function", "name": "f"}]}, [Tool("function", "f")]),
        ({"tools": [{"type": "custom", "name": "c"}]}, [Tool("custom", "c")]),
        ({"tools": [{"type": "web_search"}]}, [Tool("web_search", "")]),
        (
            {"tools": [{"type": "mcp", "server_label": "wiki", "server_url": "https://w"}]},
            [Tool("mcp", "wiki", "https://w")],
        ),
        (
            {"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f"}]}]},
            [Tool("namespace", "n"), Tool("function", "f")],
        ),
        # Items can bring tools along, in the middle of a conversation.
        (
            {
                "input": [
                    {"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": "l"}]}
                ]
            },
            [Tool("function", "l")],
        ),
        (
            {"input": [{"type": "tool_search_output", "call_id": "c", "tools": [{"type": "function", "name": "s"}]}]},
            [Tool("function", "s")],
        ),
        (
            {"input": [{"type": "mcp_list_tools", "id": "m", "server_label": "w", "tools": [{"name": "t"}]}]},
            [Tool("mcp_tool", "t")],
        ),
    ],
)
def test_tools(given: dict[str, Any], tools: list[Tool]) -> None:
    assert list(read(**given).tools) == tools


@pytest.mark.parametrize(
    ("given", "references"),
    [
        ({"previous_response_id": "resp_1"}, [("response", "resp_1")]),
        ({"conversation": "conv_1"}, [("conversation", "conv_1")]),
        ({"conversation": {"id": "conv_1"}}, [("conversation", "conv_1")]),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, [("item", "msg_1")]),
        ({"input": [{"id": "msg_1"}]}, [("item", "msg_1")]),
        # The provider completes what is not all there.
        ({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, [("item", "rs_1")]),
        ({"input": [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}]}, []),
        ({"input": [{"type": "mcp_approval_response", "approval_request_id": "mcpr_1"}]}, [("item", "mcpr_1")]),
        # Without `store` a client sends the question along.
        ({"input": [QUESTION, {"type": "mcp_approval_response", "approval_request_id": "mcpr_1"}]}, []),
        ({"input": [QUESTION, {"type": "mcp_call", "id": "mcp_1", "approval_request_id": "mcpr_1"}]}, []),
        (
            {"input": [QUESTION, {"type": "mcp_approval_response", "approval_request_id": "mcpr_2"}]},
            [("item", "mcpr_2")],
        ),
        (
            {"input": [QUESTION | {"arguments": None}, {"type": "mcp_call", "approval_request_id": "mcpr_1"}]},
            [("item", "mcpr_1")],
        ),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file_1"}]}]}, [("file", "file_1")]),
        (
            {"input": [{"type": "function_call_output", "output": [{"type": "input_image", "file_id": "file_2"}]}]},
            [("file", "file_2")],
        ),
        ({"input": [{"type": "code_interpreter_call", "container_id": "cntr_1"}]}, [("container", "cntr_1")]),
        (
            {"input": [{"type": "shell_call", "environment": {"container_id": "cntr_3"}}]},
            [("container", "cntr_3")],
        ),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}, [("vector_store", "vs_1")]),
        ({"tools": [{"type": "code_interpreter", "container": "cntr_2"}]}, [("container", "cntr_2")]),
        (
            {"tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file_3"]}}]},
            [("file", "file_3")],
        ),
        ({"tools": [{"type": "image_generation", "input_image_mask": {"file_id": "file_4"}}]}, [("file", "file_4")]),
    ],
)
def test_references(given: dict[str, Any], references: list[tuple[str, str]]) -> None:
    assert list(read(**given).references) == [Reference(*each) for each in references]


def test_the_routes_of_a_response_refer_to_it() -> None:
    for action in ("responses.retrieve", "responses.delete", "responses.cancel", "responses.input_items"):
        endpoint = Endpoint("openai", ENDPOINTS[action].route, "/v1/responses/resp_1", {"response_id": "resp_1"})
        found = PROVIDER.read(endpoint, RequestHead(), b"")
        assert (found.action, found.references) == (action, (Reference("response", "resp_1"),))


def test_system_prompts_in_order() -> None:
    parts = [{"type": "input_text", "text": "be kind"}]
    messages = [{"role": "system", "content": "be brief"}, {"type": "message", "role": "developer", "content": parts}]
    found = read(instructions="be good", input=messages)
    assert found.system_prompts == (digest("be good"), digest("be brief"), digest(parts))
    assert found.roles == ("system", "developer")


def test_an_item_that_asks_for_a_compaction_is_a_setting() -> None:
    """Policies did not see it: it stands among the items of the conversation."""
    items = [{"role": "user", "content": "x"}, {"type": "compaction_trigger"}]
    assert read(input=items).settings["compaction_trigger"] is True
    assert "compaction_trigger" not in read(input=items[:1]).settings


def test_modalities() -> None:
    parts = [{"type": "input_image", "image_url": "data:"}, {"type": "input_file", "file_data": ""}]
    assert read(input=[{"role": "user", "content": parts}]).modalities == ("file", "image")
    assert read(tools=[{"type": "image_generation"}]).modalities == ("image",)
    assert read().modalities == ()


@pytest.mark.parametrize(
    "given",
    [
        {"Model": "other"},
        {"model": None},
        {"input": None, "Input": "x"},
        {"input": [7]},
        {"input": [{"role": "root", "content": "x"}]},
        {"input": [{"role": "user"}]},
        {"input": [{"content": "x"}]},
        {"input": [{"role": "user", "content": [{"Type": "input_image"}]}]},
        {"prompt": {"id": "pmpt_1"}},
        {"max_tokens": 7},
        {"models": ["a", "b"]},
        {"max_output_tokens": "7"},
        {"store": "false"},
        {"background": 1},
        {"tools": [{"type": "function"}]},
        {"tools": [{"type": "function", "name": "f", "function": {"name": "g"}}]},
        {"tools": [{"name": "f"}]},
        {"tools": [{"type": "file_search", "vector_store_ids": "vs_1"}]},
        {"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "namespace", "name": "m", "tools": [
            {"type": "namespace", "name": "o", "tools": [{"type": "function", "name": "f"}]}]}]}]},
        {"previous_response_id": 7},
        {"conversation": {"Id": "conv_1"}},
        {"instructions": [{"x": 1.5}]},
    ],
)  # fmt: skip
def test_what_could_be_read_in_two_ways_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(Denied) as caught:
        read(**given)
    assert caught.value.code == "bad_request"


FUNCTION, OTHER = {"type": "function", "name": "f"}, {"type": "function", "name": "g"}


@pytest.mark.parametrize(
    ("given", "edits", "wanted", "names"),
    [
        ({}, Edits(max_output_tokens=100), {"max_output_tokens": 100}, ("max_output_tokens",)),
        ({"max_output_tokens": 50}, Edits(max_output_tokens=100), None, ()),
        ({}, Edits(model="gpt-5-mini"), {"model": "gpt-5-mini"}, ("model",)),
        (
            {"tools": [FUNCTION, OTHER], "tool_choice": "auto"},
            Edits(strip_tools=frozenset({"f"})),
            {"tools": [OTHER], "tool_choice": "auto"},
            ("strip_tools",),
        ),
        (
            {"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "f"}},
            Edits(strip_tools=frozenset({"f"})),
            {},
            ("strip_tools",),
        ),
        (
            {"tools": [{"type": "namespace", "name": "n", "tools": [FUNCTION, OTHER]}]},
            Edits(strip_tools=frozenset({"f"})),
            {"tools": [{"type": "namespace", "name": "n", "tools": [OTHER]}]},
            ("strip_tools",),
        ),
        (
            {"input": [{"type": "additional_tools", "role": "developer", "tools": [FUNCTION, OTHER]}]},
            Edits(strip_tools=frozenset({"f"})),
            {"input": [{"type": "additional_tools", "role": "developer", "tools": [OTHER]}]},
            ("strip_tools",),
        ),
        ({"tools": [FUNCTION], "tool_choice": {"type": "x"}}, Edits(strip_tools=frozenset({"g"})), None, ()),
        ({"tools": [{"type": "web_search"}]}, Edits(strip_tools=frozenset({"web_search"})), {}, ("strip_tools",)),
    ],
)
def test_edits(given: dict[str, Any], edits: Edits, wanted: dict[str, Any] | None, names: tuple[str, ...]) -> None:
    before = read(**given)
    changed, made = PROVIDER.edit(before, edits)
    assert made == names
    assert changed.body == (before.body if wanted is None else PLAIN | wanted)
    assert PROVIDER.read(RESPONSES, RequestHead(), changed.raw) == changed
    assert PROVIDER.edit(changed, edits) == (changed, ())


def event(kind: str, **data: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode()


USAGE = {
    "input_tokens": 20,
    "input_tokens_details": {"cached_tokens": 8},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 4},
}


@pytest.mark.parametrize("stores", [True, False])
@pytest.mark.parametrize("end", ["response.completed", "response.incomplete", "response.failed"])
def test_a_stream(stores: bool, end: str) -> None:
    part = {"annotations": [{"type": "container_file_citation", "container_id": "cntr_1", "file_id": "cfile_1"}]}
    item = {"type": "message", "id": "msg_1", "content": [part]}
    begin = event("response.created", response={"id": "resp_1", "model": "gpt-5", "usage": None})
    done = event("response.output_item.done", item=item)
    last = event(end, response={"id": "resp_1", "model": "gpt-5", "output": [item], "usage": USAGE})
    tap = tap_of(PROVIDER, RESPONSES, b"text/event-stream", (), stores=stores)
    assert tap.feed(begin + done + last, last=True) == begin + done
    assert tap.finish() == last
    report = tap.report
    assert (report.usage, report.model) == (Usage(20, 9, cached=8, reasoning=4), "gpt-5")
    assert (tap.ended, report.failed) == (True, end == "response.failed")
    kept = [Reference("response", "resp_1"), Reference("item", "msg_1")] if stores else []
    assert report.created == [*kept, Reference("file", "cfile_1")]


def test_a_stream_that_fails_before_its_end() -> None:
    failure = event("error", code="server_error", message="x")
    tap = tap_of(PROVIDER, RESPONSES, b"text/event-stream", (), stores=False)
    tap.feed(failure, last=True)
    tap.finish()
    assert (tap.report.failed, tap.ended) == (True, False)
    assert PROVIDER.error_event(sent_to(RESPONSES), Denied("upstream_timeout")).startswith(b"event: error\ndata: {")


def test_an_answer_that_is_fetched_again_is_not_charged_again() -> None:
    tap = tap_of(PROVIDER, ENDPOINTS["responses.retrieve"], b"application/json", (), stores=False)
    tap.feed(json.dumps({"id": "resp_1", "model": "gpt-5", "usage": USAGE}).encode(), last=True)
    tap.finish()
    assert (tap.report.usage, tap.report.model, tap.report.created) == (None, "gpt-5", [])


def test_embeddings_and_moderations() -> None:
    found = call("embeddings", model="text-embedding-3-small", input=["a", "b"])
    assert (found.action, found.model, found.max_output_tokens) == ("embeddings", "text-embedding-3-small", None)
    assert PROVIDER.edit(found, Edits(max_output_tokens=10, strip_tools=frozenset({"f"}))) == (found, ())
    changed, names = PROVIDER.edit(found, Edits(model="text-embedding-3-large"))
    assert (changed.model, names) == ("text-embedding-3-large", ("model",))
    tap = tap_of(PROVIDER, ENDPOINTS["embeddings"], b"application/json", (), stores=False)
    tap.feed(b'{"model": "m", "data": [], "usage": {"prompt_tokens": 4, "total_tokens": 4}}', last=True)
    tap.finish()
    assert (tap.report.usage, tap.report.model) == (Usage(4, 0), "m")
    assert call("moderations", input="x").models == ()
    assert call("moderations", input=[{"type": "image_url", "image_url": {"url": "data:"}}]).modalities == ("image",)


@pytest.mark.parametrize(
    ("given", "limit", "capped"),
    [
        ({"prompt": "a"}, None, {"max_tokens": 100}),
        ({"prompt": "a", "max_tokens": 7}, 7, None),
        ({"prompt": "a", "max_tokens": 60, "n": 2}, 120, {"max_tokens": 50}),
        ({"prompt": "a", "max_tokens": 60, "n": 1, "best_of": 4}, 240, {"max_tokens": 25}),
        ({"prompt": ["a", "b"], "max_tokens": 60}, 120, {"max_tokens": 50}),
        ({"prompt": [1, 2, 3], "max_tokens": 60}, 60, None),
    ],
)
def test_older_completions(given: dict[str, Any], limit: int | None, capped: dict[str, Any] | None) -> None:
    found = call("completions", model="m", **given)
    assert (found.action, found.max_output_tokens) == ("completions", limit)
    changed, names = PROVIDER.edit(found, Edits(max_output_tokens=100))
    assert names == (("max_output_tokens",) if capped else ())
    assert changed.body == {"model": "m", **given, **(capped or {})}
    assert PROVIDER.edit(changed, Edits(max_output_tokens=100)) == (changed, ())


def test_older_completions_report_usage_in_streams_when_asked() -> None:
    found = call("completions", model="m", prompt="a", stream=True)
    changed, names = PROVIDER.edit(found, Edits(report_usage=True))
    assert names == ("stream_options.include_usage",)
    assert PROVIDER.read(ENDPOINTS["completions"], RequestHead(), changed.raw) == changed


@pytest.mark.parametrize("action", ["embeddings", "completions"])
@pytest.mark.parametrize("given", [{}, {"model": 7}, {"model": "m", "Model": "n"}, {"model": "m", "models": ["n"]}])
def test_calls_that_name_no_one_model_are_refused(action: str, given: dict[str, Any]) -> None:
    with pytest.raises(Denied):
        call(action, input="x", prompt="x", **given)


@pytest.mark.parametrize(
    ("given", "tools"),
    [
        ({"enabled": True, "max_concurrent_subagents": 2}, [Tool("multi_agent", "")]),
        ({}, [Tool("multi_agent", "")]),
        ({"enabled": False}, []),
        (None, []),
    ],
)
def test_agents_that_the_provider_starts_are_a_tool(given: Any, tools: list[Tool]) -> None:
    found = read(multi_agent=given)
    assert list(found.tools) == tools
    edited, names = PROVIDER.edit(found, Edits(strip_tools=frozenset({"multi_agent"})))
    assert edited.tools == ()
    assert names == (("strip_tools",) if tools else ())
    assert edited.body == (PLAIN if tools else found.body)


def test_other_spellings_of_them_are_refused() -> None:
    for given in ({"multiAgent": {"enabled": True}}, {"multi_agent": {"Enabled": True}}, {"multi_agent": True}):
        with pytest.raises(Denied):
            read(**given)


def test_a_conversation_is_compacted() -> None:
    found = read(ENDPOINTS["responses.compact"], instructions="in short", previous_response_id="resp_1")
    assert (found.action, found.model, found.max_output_tokens) == ("responses.compact", "gpt-5", None)
    assert found.system_prompts == (digest("in short"),)
    assert found.references == (Reference("response", "resp_1"),)
    answer = {
        "id": "resp_2",
        "object": "response.compaction",
        "output": [{"type": "compaction", "id": "cmp_1", "encrypted_content": "x"}],
        "usage": {"input_tokens": 9, "output_tokens": 4, "total_tokens": 13},
    }
    tap = tap_of(PROVIDER, ENDPOINTS["responses.compact"], b"application/json", (), stores=found.stores)
    tap.feed(json.dumps(answer).encode(), last=True)
    tap.finish()
    assert tap.report.usage == Usage(input=9, output=4)
    assert tap.report.created == []


def test_no_limit_of_the_output_is_believed_where_there_is_none() -> None:
    with pytest.raises(Denied) as caught:
        read(ENDPOINTS["responses.compact"], max_output_tokens=5)
    assert "has no limit" in caught.value.text
