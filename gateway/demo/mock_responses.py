"""The mock provider's Responses API: requests as chat completions, and their answers as responses and events.

The content of answers is `mock_answers.py`'s business. Nothing is kept: a request that continues an earlier response is
answered from what it says itself. Hosted tools are accepted and never used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import orjson

from gateway.demo.mock_answers import BadRequestError, Choice, Document, ToolCall, chat

_PREFIX = "resp_mock_"
_CREATED = 1_700_000_000
_COMPACTED = {"id": "cmp_mock", "type": "compaction", "encrypted_content": "mock"}
_FINISHES = {"length": ("incomplete", {"reason": "max_output_tokens"})}


def as_chat(request: Document) -> Document:
    """The chat completion that asks for the same. Raises `BadRequestError`."""
    if not str(request.get("previous_response_id") or _PREFIX).startswith(_PREFIX):
        raise BadRequestError("no response has this id", "previous_response_id")
    form = (request.get("text") or {}).get("format")
    if isinstance(form, dict) and form.get("type") == "json_schema":
        form = {"type": "json_schema", "json_schema": form}
    return chat(
        messages=list(_messages(request)),
        tools=[tool for each in request.get("tools") or () if (tool := _tool(each)) is not None],
        tool_choice=_choice(request.get("tool_choice")),
        parallel_tool_calls=request.get("parallel_tool_calls"),
        max_completion_tokens=request.get("max_output_tokens"),
        response_format=form,
    )


def _messages(request: Document) -> Iterator[Document]:
    if request.get("instructions"):
        yield {"role": "system", "content": request["instructions"]}
    given = request.get("input")
    if isinstance(given, str):
        yield {"role": "user", "content": given}
        return
    for item in given or ():
        match item.get("type", "message"):
            case "message":
                yield {"role": item["role"], "content": item.get("content")}
            case "function_call":
                yield {"role": "assistant", "tool_calls": [{"function": {"name": item["name"]}}]}
            case "function_call_output" | "custom_tool_call_output":
                yield {"role": "tool", "content": item.get("output")}


def _tool(tool: Document) -> Document | None:
    kind = tool.get("type")
    return {"type": kind, kind: tool} if kind in ("function", "custom") else None


def _choice(choice: Any) -> Any:
    if isinstance(choice, dict) and choice.get("type") in ("function", "custom"):
        return {"type": choice["type"], choice["type"]: {"name": choice.get("name")}}
    return choice


def usage(reported: Document) -> Document:
    """The usage of a chat completion in the words of this API."""
    return {
        "input_tokens": reported["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": reported["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": reported["total_tokens"],
    }


def response(request: Document, choice: Choice, reported: Document | None) -> Document:
    """The whole response."""
    status, details = _FINISHES.get(choice.finish, ("completed", None))
    return {
        **_head(request),
        "status": status,
        "incomplete_details": details,
        "output": [_COMPACTED]
        if _is_compacted(request)
        else [_item(number, part, whole=True) for number, part in enumerate(choice.parts)],
        "usage": None if reported is None else usage(reported),
    }


def compaction(request: Document, reported: Document) -> Document:
    """A conversation in short: here, one item that nobody can read."""
    head = {"id": _head(request)["id"], "object": "response.compaction", "created_at": _CREATED}
    return {**head, "output": [_COMPACTED], "usage": usage(reported)}


def _is_compacted(request: Document) -> bool:
    """True if the last item asks for nothing but a compaction."""
    items = request.get("input")
    return isinstance(items, list) and bool(items) and items[-1].get("type") == "compaction_trigger"


def events(request: Document, choice: Choice, reported: Document | None) -> Iterator[Document]:
    """The response as events, a token each."""
    for sequence, event in enumerate(_events(request, choice, reported)):
        yield {**event, "sequence_number": sequence}


def _events(request: Document, choice: Choice, reported: Document | None) -> Iterator[Document]:
    begun = {**_head(request), "status": "in_progress", "incomplete_details": None, "output": [], "usage": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    if _is_compacted(request):
        yield {"type": "response.output_item.added", "output_index": 0, "item": _COMPACTED}
        yield {"type": "response.output_item.done", "output_index": 0, "item": _COMPACTED}
    for number, part in enumerate([] if _is_compacted(request) else choice.parts):
        item = _item(number, part, whole=False)
        place: Document = {"item_id": item["id"], "output_index": number}
        yield {"type": "response.output_item.added", "output_index": number, "item": item}
        if isinstance(part, ToolCall):
            yield from _call_events(place, part)
        else:
            yield from _text_events(place, part)
        done = _item(number, part, whole=True)
        yield {"type": "response.output_item.done", "output_index": number, "item": done}
    whole = response(request, choice, reported)
    yield {"type": f"response.{whole['status']}", "response": whole}


def _call_events(place: Document, call: ToolCall) -> Iterator[Document]:
    kind, member = (
        ("function_call_arguments", "arguments") if call.kind == "function" else ("custom_tool_call_input", "input")
    )
    for piece in call.pieces:
        yield {"type": f"response.{kind}.delta", **place, "delta": piece}
    yield {"type": f"response.{kind}.done", **place, "name": call.name, member: "".join(call.pieces)}


def _text_events(place: Document, pieces: list[str]) -> Iterator[Document]:
    place = {**place, "content_index": 0}
    yield {"type": "response.content_part.added", **place, "part": _text("")}
    for piece in pieces:
        yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
    text = "".join(pieces)
    yield {"type": "response.output_text.done", **place, "text": text, "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": _text(text)}


def _item(number: int, part: ToolCall | list[str], *, whole: bool) -> Document:
    status = "completed" if whole else "in_progress"
    if isinstance(part, ToolCall):
        given = "".join(part.pieces) if whole else ""
        call = {"status": status, "call_id": f"call_mock_{number}", "name": part.name}
        if part.kind == "function":
            return {"id": f"fc_mock_{number}", "type": "function_call", **call, "arguments": given}
        return {"id": f"ctc_mock_{number}", "type": "custom_tool_call", **call, "input": given}
    content = [_text("".join(part))] if whole else []
    return {"id": "msg_mock", "type": "message", "status": status, "role": "assistant", "content": content}


def _text(text: str) -> Document:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _head(request: Document) -> Document:
    """The members of a request that a response repeats."""
    store = request.get("store")
    return {
        # Clients take two answers with one id for the same.
        "id": _PREFIX + hashlib.sha256(orjson.dumps(request)).hexdigest()[:24],
        "object": "response",
        "created_at": _CREATED,
        "model": request["model"],
        "error": None,
        "background": False,
        "instructions": request.get("instructions"),
        "max_output_tokens": request.get("max_output_tokens"),
        "metadata": request.get("metadata") or {},
        "parallel_tool_calls": request.get("parallel_tool_calls") is not False,
        "previous_response_id": request.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "store": store is not False,
        "temperature": request.get("temperature") or 1.0,
        "text": request.get("text") or {"format": {"type": "text"}},
        "tool_choice": request.get("tool_choice") or "auto",
        "tools": request.get("tools") or [],
        "top_p": request.get("top_p") or 1.0,
        "truncation": "disabled",
        "user": None,
    }
