"""Streams whose clients leave: charged at what had come and a margin, or at their usage where it comes soon."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import orjson
import pytest

from gateway.dataplane.produced import MARGIN, OF_AN_EVENT, Produced
from tests.rigs.dataplane.limits import balance, limit, proven

from .conftest import Gateway, chat, stream, until


def event(document: dict[str, Any] | bytes) -> bytes:
    return b"data: %s\n\n" % (document if isinstance(document, bytes) else orjson.dumps(document))


def chunk(**delta: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    facts = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-2024-08-06"}
    return {**facts, "service_tier": "default", "system_fingerprint": "fp_1", "choices": [choice], "usage": None}


CALLED = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"a"'}}
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


@pytest.mark.parametrize(
    ("events", "tokens"),
    [
        ([chunk(role="assistant", content="")], 0),
        ([chunk(content="hello"), chunk(content="é")], 5 + 2 + 2 * OF_AN_EVENT),
        ([chunk(tool_calls=[CALLED])], len('find{"a"') + OF_AN_EVENT),
        ([chunk(reasoning_content="so", unheard_of="of")], 4 + OF_AN_EVENT),
        ([{"type": "response.output_text.delta", "item_id": "msg_1", "delta": "hi"}], 2 + OF_AN_EVENT),
        ([{"type": "response.output_text.done", "text": "hi"}], 0),
        ([{"type": "response.output_item.done", "item": {"type": "message", "content": [{"text": "hi"}]}}], 0),
        # Items that come whole.
        ([{"type": "response.output_item.done", "item": {"type": "local_shell_call", "action": {"a": "ls"}}}], 14),
        ([{"type": "message_start", "message": {"id": "msg_1", "content": [], "usage": {"input_tokens": 4}}}], 0),
        ([{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}}], 2 + OF_AN_EVENT),
        ([b"[DONE]"], 0),
        ([b"what is this"], 12),
        ([b'{"cut": '], 7),
    ],
)
def test_what_has_come_of_a_stream(events: list[Any], tokens: int) -> None:
    data = b"event: x\n: comment\n" + b"".join(map(event, events))
    for size in (1, 7, len(data)):
        produced = Produced()
        for at in range(0, len(data), size):
            produced.add(data[at : at + size])
        assert produced.tokens == tokens


def test_an_event_of_any_size_is_counted_once() -> None:
    produced = Produced()
    for piece in (b'data: {"x": "', *[b"y" * 1000] * 200, b'"}\n\n', event(chunk(content="hi"))):
        produced.add(piece)
    assert 200_000 <= produced.tokens <= 200_100


async def left(gateway: Gateway, *chunks: bytes | float, **members: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The entries of a stream whose client leaves after its first bytes."""
    gateway.upstream.handler = stream(*chunks)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(gateway.request(chat(stream=True, **members)))
    await reader.readuntil(b"data: {")
    writer.close()
    await until(lambda: not gateway.open_decisions())
    decided = json.loads((await gateway.entries("decided"))[-1]["reservation_json"])
    return decided, (await gateway.entries("completed"))[-1]


async def test_a_client_that_leaves_pays_what_has_come_and_a_margin(gateway: Gateway) -> None:
    """Each of 48 streams was charged its whole reservation, and a day's budget was gone for 2,928 tokens."""
    limit(gateway, "tokens_per_day", 1_000_000)
    decided, completed = await left(gateway, event(chunk(content="hello")), 60.0, max_tokens=4000)
    came = len("hello") + OF_AN_EVENT
    into = decided["tokens"] - 4000
    assert (completed["outcome"], completed["came_tokens"]) == ("client_disconnected", came)
    assert completed["margin_tokens"] == MARGIN
    assert completed["settled_tokens"] == into + came + MARGIN
    assert completed["settled_nanousd"] == into * 2500 + (came + MARGIN) * 10_000
    # Pieces that come after it has left count, and twice more: so the provider goes on until it notices.
    late = event(chunk(content="x" * 100))
    _, completed = await left(gateway, event(chunk(content="hello")), 0.3, late, 60.0, max_tokens=4000)
    late_tokens = 100 + OF_AN_EVENT
    assert completed["came_tokens"] == came + late_tokens
    assert completed["margin_tokens"] == MARGIN + 2 * late_tokens
    # It is never more than what was reserved.
    decided, completed = await left(gateway, event(chunk(content="hello")), 60.0, max_tokens=30)
    assert completed["settled_tokens"] == decided["tokens"]
    assert proven(gateway) == []


async def test_a_stream_that_ends_soon_after_its_client_left_is_charged_by_its_usage(gateway: Gateway) -> None:
    limit(gateway, "tokens_per_day", 1_000_000)
    end = event({**chunk(), "choices": [], "usage": USAGE}), event(b"[DONE]")
    # Also of a model that may think unseen: for that longer is waited.
    for model in ("gpt-4o", "gpt-5"):
        _, completed = await left(gateway, event(chunk(content="hi")), 0.2, *end, model=model, max_tokens=4000)
        assert (completed["outcome"], completed["settled_tokens"]) == ("client_disconnected", 10)
        assert "came_tokens" not in completed
    assert balance(gateway, "organization:")["tokens_day"] == 20


@pytest.mark.slow
@pytest.mark.parametrize(
    "members",
    [
        {"model": "gpt-5"},
        {"prediction": {"type": "content", "content": "x"}},
    ],
)
async def test_what_a_stream_does_not_show_is_charged_as_reserved(gateway: Gateway, members: dict[str, Any]) -> None:
    limit(gateway, "tokens_per_day", 1_000_000)
    decided, completed = await left(gateway, event(chunk(content="hi")), 60.0, max_tokens=400, **members)
    assert completed["settled_tokens"] == decided["tokens"]
