"""The Anthropic provider: a body becomes a call, or is refused where two readers could disagree about it."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gateway.call import Call, Reference, Tool, Usage
from gateway.errors import REASONS, Denied
from gateway.upstream import strict_json
from gateway.upstream.providers.base import Edits, Endpoint, RequestHead
from gateway.upstream.providers.presets import PROVIDERS
from gateway.upstream.providers.prompts import digest
from tests.rigs.upstream.sent import sent_to, tap_of

PROVIDER = PROVIDERS["anthropic"]
ENDPOINTS = {route.action: Endpoint("a", route, "/v1" + route.path) for route in PROVIDER.routes}
MESSAGES, COUNT = ENDPOINTS["messages"], ENDPOINTS["messages.count_tokens"]
MODELS, MODEL = ENDPOINTS["models.list"], ENDPOINTS["models.retrieve"]
USER = {"role": "user", "content": "hello"}
PLAIN = {"model": "claude-sonnet-4-6", "max_tokens": 1000, "messages": [USER]}


def read(head: RequestHead | None = None, **given: Any) -> Call:
    return PROVIDER.read(MESSAGES, head or RequestHead(), strict_json.dump(PLAIN | given))


def in_message(*blocks: Any, role: str = "user") -> Any:
    return [{"role": role, "content": list(blocks)}]


def test_a_plain_call() -> None:
    found = read()
    assert (found.action, found.provider, found.model) == ("messages", "anthropic", "claude-sonnet-4-6")
    assert (found.models, found.stream, found.max_output_tokens) == (("claude-sonnet-4-6",), False, 1000)
    assert (found.roles, found.messages, found.tools, found.betas) == (("user",), 1, (), ())
    assert found.raw == strict_json.dump(PLAIN)


@pytest.mark.parametrize(
    ("given", "tools"),
    [
        ({"tools": [{"name": "get_order", "input_schema": {}}]}, [Tool("function", "get_order")]),
        ({"tools": [{"type": "custom", "name": "x", "input_schema": {}}]}, [Tool("function", "x")]),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, [Tool("web_search_20250305", "")]),
        (
            {"mcp_servers": [{"type": "url", "name": "wiki", "url": "https://w.example"}]},
            [Tool("mcp", "wiki", "https://w.example")],
        ),
        ({"tools": [{"type": "mcp_toolset", "mcp_server_name": "wiki"}]}, [Tool("mcp_toolset", "wiki")]),
        ({"container": {"skills": [{"type": "anthropic", "skill_id": "pdf"}]}}, [Tool("skill", "pdf")]),
        # A message can add a tool, and repeat what is listed.
        (
            {"messages": in_message({"type": "tool_addition", "tool": {"name": "late"}}, role="system")},
            [Tool("function", "late")],
        ),
        (
            {"messages": in_message({"type": "tool_addition", "tool": {"type": "tool_reference", "name": "x"}})},
            [],
        ),
    ],
)
def test_tools(given: dict[str, Any], tools: list[Tool]) -> None:
    assert list(read(**given).tools) == tools


def test_a_tool_can_bring_a_model() -> None:
    found = read(tools=[{"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-4-7"}])
    assert found.models == ("claude-sonnet-4-6", "claude-opus-4-7")


FILE = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}


@pytest.mark.parametrize(
    ("given", "references"),
    [
        ({"messages": in_message(FILE)}, [Reference("file", "file_1")]),
        ({"messages": in_message({"type": "container_upload", "file_id": "file_2"})}, [Reference("file", "file_2")]),
        (
            {"messages": in_message({"type": "tool_result", "tool_use_id": "x", "content": [FILE]})},
            [Reference("file", "file_1")],
        ),
        (
            {"messages": in_message({"type": "document", "source": {"type": "content", "content": [FILE]}})},
            [Reference("file", "file_1")],
        ),
        ({"container": "container_1"}, [Reference("container", "container_1")]),
        ({"container": {"id": "container_1"}}, [Reference("container", "container_1")]),
        ({"container": {"skills": [{"type": "custom", "skill_id": "skill_1"}]}}, [Reference("skill", "skill_1")]),
    ],
)
def test_references(given: dict[str, Any], references: list[Reference]) -> None:
    assert list(read(**given).references) == references


def test_modalities() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}}
    assert read(messages=in_message(image, FILE, {"type": "text", "text": ""})).modalities == ("file", "image")


def test_system_prompts_in_order() -> None:
    parts = [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}]
    later = {"role": "system", "content": "be kind"}
    assert read(system="be brief").system_prompts == (digest("be brief"),)
    assert read(system=parts, messages=[USER, later]).system_prompts == (digest(parts), digest("be kind"))


def test_features_that_a_header_switches_on() -> None:
    head = RequestHead({"beta": "true"}, {"anthropic-beta": "files-api-2025-04-14, mcp-client-2025-11-20"})
    found = read(head)
    assert found.betas == ("files-api-2025-04-14", "mcp-client-2025-11-20")
    outgoing = PROVIDER.prepare(found, "https://a.example/v1", "s3cret", head.headers)
    assert str(outgoing.url) == "https://a.example/v1/messages?beta=true"
    assert outgoing.headers == {
        "anthropic-beta": "files-api-2025-04-14, mcp-client-2025-11-20",
        "anthropic-version": "2023-06-01",
        "Content-Type": "application/json",
        "x-api-key": "s3cret",
    }


@pytest.mark.parametrize(
    "headers", [{"anthropic-beta": "a,,b"}, {"anthropic-beta": "a b"}, {"anthropic-version": "latest"}]
)
def test_headers_that_cannot_be_judged(headers: dict[str, str]) -> None:
    with pytest.raises(Denied) as caught:
        read(RequestHead({}, headers))
    assert caught.value.code == "bad_request"


@pytest.mark.parametrize(
    "given",
    [
        {"Model": "other"},
        {"model\u200b": "other"},
        {"model": 1},
        {"messages": []},
        {"messages": [{"role": "root", "content": "x"}]},
        {"messages": [{"role": "user"}]},
        {"messages": in_message("text")},
        {"messages": in_message({"Type": "image"})},
        {"max_tokens": 0},
        {"max_tokens": 1.5},
        {"stream": "true"},
        {"tools": [{"input_schema": {}}]},
        {"tools": [{"type": "web search", "name": "x"}]},
        {"tools": [{"type": "mcp_toolset"}]},
        {"mcp_servers": [{"url": "https://w.example"}]},
        {"container": 7},
        {"system": 7},
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(Denied) as caught:
        read(**given)
    assert caught.value.code == "bad_request"


@pytest.mark.parametrize(
    ("given", "edits", "wanted", "names"),
    [
        ({}, Edits(max_output_tokens=100), {"max_tokens": 100}, ("max_output_tokens",)),
        ({"max_tokens": None}, Edits(max_output_tokens=100), {"max_tokens": 100}, ("max_output_tokens",)),
        ({"max_tokens": 7}, Edits(max_output_tokens=100), None, ()),
        ({}, Edits(model="claude-haiku-4-5"), {"model": "claude-haiku-4-5"}, ("model",)),
        (
            {"tools": [{"name": "a"}, {"name": "b"}], "tool_choice": {"type": "tool", "name": "a"}},
            Edits(strip_tools=frozenset({"a"})),
            {"tools": [{"name": "b"}]},
            ("strip_tools",),
        ),
        (
            {"tools": [{"type": "bash_20250124", "name": "bash"}], "tool_choice": {"type": "auto"}},
            Edits(strip_tools=frozenset({"bash_20250124"})),
            {},
            ("strip_tools",),
        ),
        (
            {
                "mcp_servers": [{"name": "wiki", "url": "https://w.example"}],
                "tools": [{"type": "mcp_toolset", "mcp_server_name": "wiki"}],
            },
            Edits(strip_tools=frozenset({"wiki"})),
            {},
            ("strip_tools",),
        ),
        (
            {"container": {"id": "c", "skills": [{"type": "custom", "skill_id": "s"}, {"type": "x", "skill_id": "t"}]}},
            Edits(strip_tools=frozenset({"s"})),
            {"container": {"id": "c", "skills": [{"type": "x", "skill_id": "t"}]}},
            ("strip_tools",),
        ),
        ({}, Edits(strip_tools=frozenset({"a"}), report_usage=True), None, ()),
    ],
)
def test_edits(given: dict[str, Any], edits: Edits, wanted: dict[str, Any] | None, names: tuple[str, ...]) -> None:
    before = read(**given)
    changed, made = PROVIDER.edit(before, edits)
    assert made == names
    assert changed.body == (before.body if wanted is None else PLAIN | wanted)
    assert PROVIDER.read(MESSAGES, RequestHead(), changed.raw) == changed
    assert PROVIDER.edit(changed, edits) == (changed, ())


def test_counting_tokens_is_not_capped() -> None:
    body = {"model": "claude-sonnet-4-6", "messages": [USER]}
    found = PROVIDER.read(COUNT, RequestHead(), strict_json.dump(body))
    assert found.action == "messages.count_tokens"
    assert PROVIDER.edit(found, Edits(max_output_tokens=100)) == (found, ())
    tap = tap_of(PROVIDER, COUNT, b"application/json", (), stores=False)
    tap.feed(b'{"input_tokens": 12}', last=True)
    assert tap.finish() == b'{"input_tokens": 12}'
    assert tap.report.usage is None


def test_models() -> None:
    listed = PROVIDER.read(MODELS, RequestHead({"limit": "20"}), b"")
    assert (listed.action, listed.model, listed.models) == ("models.list", None, ())
    outgoing = PROVIDER.prepare(listed, "https://a.example/v1", None, {"anthropic-version": "2024-01-01"})
    assert (outgoing.method, str(outgoing.url)) == ("GET", "https://a.example/v1/models?limit=20")
    assert outgoing.headers == {"anthropic-version": "2024-01-01"}
    named = PROVIDER.read(Endpoint("a", MODEL.route, "/v1/models/m", {"model": "m"}), RequestHead(), b"")
    assert (named.action, named.model, named.models) == ("models.retrieve", "m", ("m",))


def event(**data: Any) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


def test_what_is_cached_for_an_hour_is_told_apart() -> None:
    tap = tap_of(PROVIDER, MESSAGES, b"application/json", (), stores=False)
    written = {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 7}
    usage = {"input_tokens": 1, "cache_creation_input_tokens": 9, "cache_creation": written, "service_tier": "priority"}
    tap.feed(json.dumps({"usage": usage}).encode(), last=True)
    tap.finish()
    assert tap.report.usage == Usage(10, 0, cache_write=9, cache_write_1h=7)
    assert tap.report.service_tier == "priority"


def test_a_stream() -> None:
    usage = {"input_tokens": 5, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2, "output_tokens": 1}
    start = event(type="message_start", message={"model": "m", "container": {"id": "container_9"}, "usage": usage})
    block = event(type="content_block_start", content_block={"type": "x", "content": [{"file_id": "file_9"}]})
    delta = event(type="message_delta", delta={}, usage={"output_tokens": 40, "input_tokens": None})
    stop = event(type="message_stop")
    tap = tap_of(PROVIDER, MESSAGES, b"text/event-stream; charset=utf-8", (), stores=False)
    assert tap.feed(start + block + delta + stop, last=True) == start + block + delta
    assert tap.finish() == stop
    report = tap.report
    assert (report.usage, report.model, report.failed, tap.ended) == (Usage(10, 40, 3, 2), "m", False, True)
    assert report.created == [Reference("container", "container_9"), Reference("file", "file_9")]


def test_of_a_stream_that_reports_without_end_little_is_kept() -> None:
    tap = tap_of(PROVIDER, MESSAGES, b"text/event-stream", (), stores=False)
    tap.feed(event(type="message_start", message={"usage": {"input_tokens": 5}}), last=False)
    tracemalloc.start()
    for number in range(500):
        usage = {f"{'x' * 500}{number}": number, "output_tokens": number}
        tap.feed(event(type="message_delta", usage=usage), last=False)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 100_000
    # A value that is no number of tokens changes nothing.
    tap.feed(event(type="message_delta", usage={"output_tokens": "many", "input_tokens": -1}), last=False)
    assert tap.report.usage == Usage(5, 499)
    for number in range(1001):
        tap.feed(event(type="content_block_start", content_block={"file_id": f"file_{number}"}), last=False)
    assert len(tap.report.created) == 1000


def test_a_stream_that_fails() -> None:
    failure = event(type="error", error={"type": "overloaded_error", "message": "Overloaded"})
    tap = tap_of(PROVIDER, MESSAGES, b"text/event-stream", (), stores=False)
    assert tap.feed(failure, last=True) == b""
    assert tap.finish() == failure
    assert (tap.report.failed, tap.ended) == (True, False)


@pytest.mark.parametrize("code", sorted(REASONS))
def test_errors_have_the_shape_of_anthropic(code: str) -> None:
    denied = Denied(code, "internal detail", reasons=["because"])
    document = json.loads(PROVIDER.error(denied))
    assert document["type"] == "error"
    assert document["error"].keys() == {"type", "message", "code"}
    assert document["error"]["code"] == code
    assert "internal" not in document["error"]["message"]
    sent = PROVIDER.error_event(sent_to(MESSAGES), denied)
    assert sent == b"event: error\ndata: " + PROVIDER.error(denied) + b"\n\n"


# -- files


def test_an_upload() -> None:
    request = httpx.Request("POST", "http://x", files={"file": ("a.txt", b"hello", "text/plain")})
    head = RequestHead(headers={"anthropic-beta": "files-api-2025-04-14"}, content_type=request.headers["content-type"])
    call = PROVIDER.read(ENDPOINTS["files.create"], head, request.read())
    assert (call.action, call.stores, call.modalities) == ("files.create", True, ("file",))
    assert call.betas == ("files-api-2025-04-14",)
    sent = PROVIDER.prepare(call, "https://api.example/v1", "sk", head.headers)
    assert (sent.body, sent.headers["Content-Type"]) == (call.raw, head.content_type)
    assert sent.headers["anthropic-beta"] == "files-api-2025-04-14"


@pytest.mark.parametrize("action", ["files.retrieve", "files.content", "files.delete"])
def test_a_file_is_its_uploader_s(action: str) -> None:
    endpoint = replace(ENDPOINTS[action], params={"file_id": "file_1"})
    assert PROVIDER.read(endpoint, RequestHead(), b"").references == (Reference("file", "file_1"),)


def test_only_an_upload_creates_a_file() -> None:
    answer = strict_json.dump({"id": "file_1", "type": "file"})
    for action, created in (("files.create", [Reference("file", "file_1")]), ("files.retrieve", [])):
        tap = tap_of(PROVIDER, ENDPOINTS[action], b"application/json", (), stores=False)
        assert tap.feed(answer, True) + tap.finish() == answer
        assert tap.report.created == created


def test_the_content_of_a_file_is_opaque() -> None:
    tap = tap_of(PROVIDER, ENDPOINTS["files.content"], b"application/json", (), stores=False)
    assert (tap.feed(b"{} {}", False), tap.finish(), tap.ended) == (b"{} {", b"}", True)
