"""The calls of tools that answers propose, in the forms of all families, whole and in pieces."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.upstream.proposed import MAX_BYTES, ProposalReader

ARGUMENTS = '{"repo": "acme/app", "number": 7}'
DOCUMENTS: dict[str, dict[str, Any]] = {
    "chat": {
        "choices": [
            {"message": {"tool_calls": [{"id": "c1", "function": {"name": "get_issue", "arguments": ARGUMENTS}}]}}
        ]
    },
    "older chat": {"choices": [{"message": {"function_call": {"name": "get_issue", "arguments": ARGUMENTS}}}]},
    "responses": {
        "output": [{"type": "message"}, {"type": "function_call", "name": "get_issue", "arguments": ARGUMENTS}]
    },
    "messages": {
        "content": [
            {"type": "text", "text": "so"},
            {"type": "tool_use", "name": "get_issue", "input": json.loads(ARGUMENTS)},
        ]
    },
    "gemini": {
        "candidates": [{"content": {"parts": [{"functionCall": {"name": "get_issue", "args": json.loads(ARGUMENTS)}}]}}]
    },
}


def chat_piece(index: int, **function: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": index, "function": function}]}}]}


STREAMS: dict[str, list[dict[str, Any]]] = {
    "chat": [
        {"choices": [{"index": 0, "delta": {"content": "tool"}}]},
        chat_piece(0, name="get_issue", arguments=""),
        chat_piece(1, name="other", arguments="{}"),
        chat_piece(0, arguments='{"repo": "acme'),
        chat_piece(0, arguments='/app", "number": 7}'),
    ],
    "responses": [
        {"type": "response.function_call_arguments.delta", "delta": '{"repo"'},
        {
            "type": "response.output_item.done",
            "item": {"type": "function_call", "name": "get_issue", "arguments": ARGUMENTS},
        },
        {"type": "response.completed", "response": DOCUMENTS["responses"]},
    ],
    "messages": [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "tool_use"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a tool"}},
        {
            "type": "content_block_start",
            "index": 1,
            "content_block": {"type": "tool_use", "name": "get_issue", "input": {}},
        },
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"repo": '}},
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "input_json_delta", "partial_json": '"acme/app", "number": 7}'},
        },
    ],
    "gemini": [DOCUMENTS["gemini"]],
}


def read(raw: bytes, *, streaming: bool, size: int = 7) -> list[tuple[str, Any]]:
    reader = ProposalReader(streaming=streaming)
    for at in range(0, len(raw), size):
        reader.feed(raw[at : at + size])
    return [(each.name, json.loads(each.arguments)) for each in reader.finish()]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document(name: str) -> None:
    raw = json.dumps(DOCUMENTS[name]).encode()
    assert read(raw, streaming=False) == [("get_issue", json.loads(ARGUMENTS))]


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("size", [1, 50, 100_000])
def test_a_stream(name: str, size: int) -> None:
    raw = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in STREAMS[name]) + b"data: [DONE]\n\n"
    found = read(raw, streaming=True, size=size)
    assert found[0] == ("get_issue", json.loads(ARGUMENTS))
    assert found[1:] == ([("other", {})] if name == "chat" else [])


@pytest.mark.parametrize(
    "document",
    [
        {"choices": "tool_calls"},
        {"choices": [{"message": {"tool_calls": [{"function": {"name": 7, "arguments": []}}]}}]},
        {"choices": [{"message": {"tool_calls": {"function": "x"}}}]},
        {"content": "tool_use"},
        {"content": [{"type": "tool_use", "name": None}]},
        {"output": [None, {"type": "function_call"}]},
        {"candidates": [{"content": []}], "function": 1},
        {"choices": [{"message": {"content": "a tool"}}]},
    ],
)
def test_what_proposes_nothing(document: dict[str, Any]) -> None:
    assert read(json.dumps(document).encode(), streaming=False) == []
    assert read(b"data: " + json.dumps(document).encode() + b"\n\n", streaming=True) == []
    assert read(b"tool [", streaming=False) == []


def test_a_very_long_answer_proposes_nothing() -> None:
    long = {
        "choices": [
            {"message": {"tool_calls": [{"function": {"name": "x", "arguments": "{}"}}], "content": "y" * MAX_BYTES}}
        ]
    }
    assert read(json.dumps(long).encode(), streaming=False, size=4096) == []
    pieces = [chat_piece(0, name="x", arguments="")] + [chat_piece(0, arguments="y" * 4096)] * (MAX_BYTES // 4096 + 1)
    raw = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in pieces)
    assert read(raw, streaming=True, size=4096) == []


@pytest.mark.parametrize("depth", [70, 300, 900, 5000])
def test_arguments_may_be_nested_deeply(depth: int) -> None:
    inner = "[" * depth + "]" * depth
    for document in (
        '{"content": [{"type": "tool_use", "name": "x", "input": {"a": %s}}]}',
        '{"candidates": [{"content": {"parts": [{"functionCall": {"name": "x", "args": {"a": %s}}}]}}]}',
    ):
        raw = (document % inner).encode()
        for streaming in (False, True):
            reader = ProposalReader(streaming=streaming)
            reader.feed(b"data: " + raw + b"\n\n" if streaming else raw)
            assert len(reader.finish()) <= 1


def test_what_is_held_of_a_stream_has_a_bound() -> None:
    reader = ProposalReader(streaming=True)
    for _ in range(100):
        reader.feed(b"data: " + b"x" * 8192)
    assert reader._splitter is not None
    assert reader._splitter.unfinished < MAX_BYTES + 2 * 8192
    assert reader.finish() == []


def test_places_in_a_stream_may_be_anything() -> None:
    def piece(choice: object, index: object) -> dict[str, Any]:
        return {"choices": [{"index": choice, "delta": {"tool_calls": [{"index": index, "function": {"name": "x"}}]}}]}

    pieces = [piece({}, []), *(piece(0, n) for n in range(99))]
    raw = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in pieces)
    reader = ProposalReader(streaming=True)
    reader.feed(raw)
    assert len(reader.finish()) == 64
