"""The mock provider's Messages API, Anthropic's: requests as chat completions, answers as messages and events.

The content of answers is `mock_answers.py`'s business. Tools that the provider runs itself are accepted and never used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from gateway.demo.mock_answers import BadRequestError, Choice, Document, ToolCall, chat

MODELS = ("claude-mock-large", "claude-mock-small")
_STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_ERRORS = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 529: "overloaded_error",
}  # fmt: skip


def as_chat(request: Document, *, counting: bool = False) -> Document:
    """The chat completion that asks for the same. Raises `BadRequestError`."""
    limit = request.get("max_tokens")
    if limit is None and not counting:
        raise BadRequestError("max_tokens: Field required", "max_tokens")
    choice = request.get("tool_choice") or {}
    return chat(
        messages=list(_messages(request)),
        tools=[tool for each in request.get("tools") or () if (tool := _tool(each)) is not None],
        tool_choice=_choice(choice),
        parallel_tool_calls=False if choice.get("disable_parallel_tool_use") else None,
        max_tokens=limit,
        stop=request.get("stop_sequences"),
        response_format=_format((request.get("output_config") or {}).get("format")),
    )


def _messages(request: Document) -> Iterator[Document]:
    if request.get("system"):
        yield {"role": "system", "content": request["system"]}
    for message in request.get("messages") or ():
        content = message.get("content")
        blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
        texts = [block for block in blocks if block.get("type") in ("text", "image", "document")]
        used = [block for block in blocks if block.get("type") == "tool_use"]
        if texts or not blocks:
            yield {"role": message["role"], "content": texts}
        if used:
            calls = [{"function": {"name": block["name"], "arguments": json.dumps(block["input"])}} for block in used]
            yield {"role": "assistant", "tool_calls": calls}
        for block in blocks:
            if block.get("type") == "tool_result":
                yield {"role": "tool", "content": block.get("content")}


def _tool(tool: Document) -> Document | None:
    if tool.get("type") not in (None, "custom"):
        return None
    return {"type": "function", "function": {"name": tool.get("name"), "parameters": tool.get("input_schema")}}


def _choice(choice: Document) -> Any:
    match choice.get("type"):
        case "tool":
            return {"type": "function", "function": {"name": choice.get("name")}}
        case "any":
            return "required"
        case kind:
            return kind


def _format(form: Document | None) -> Document | None:
    if form is None:
        return None
    if form.get("type") != "json_schema":
        raise BadRequestError("the type is json_schema", "output_config.format.type")
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": form.get("schema")}}


def message(model: str, turn: int, choice: Choice, reported: Document | None) -> Document:
    """The whole answer."""
    return {
        **_head(model, turn),
        "content": [_block(number, part, whole=True) for number, part in enumerate(choice.parts)],
        "stop_reason": _STOPS[choice.finish],
        **({} if reported is None else {"usage": _usage(reported)}),
    }


def events(model: str, turn: int, choice: Choice, reported: Document | None) -> Iterator[Document]:
    """The answer as events, a token each."""
    begun = None if reported is None else {**_usage(reported), "output_tokens": 1}
    yield {
        "type": "message_start",
        "message": {**_head(model, turn), "content": [], "stop_reason": None, "usage": begun},
    }
    yield {"type": "ping"}
    for number, part in enumerate(choice.parts):
        block = _block(number, part, whole=False)
        yield {"type": "content_block_start", "index": number, "content_block": block}
        for piece in part.pieces if isinstance(part, ToolCall) else part:
            if isinstance(part, ToolCall):
                delta = {"type": "input_json_delta", "partial_json": piece}
            else:
                delta = {"type": "text_delta", "text": piece}
            yield {"type": "content_block_delta", "index": number, "delta": delta}
        yield {"type": "content_block_stop", "index": number}
    ended: Document = {"stop_reason": _STOPS[choice.finish], "stop_sequence": None}
    counted = {} if reported is None else {"usage": {"output_tokens": reported["completion_tokens"]}}
    yield {"type": "message_delta", "delta": ended, **counted}
    yield {"type": "message_stop"}


def error(status: int, text: str, param: str | None = None) -> Document:
    """A refusal in the shape of this API."""
    kind = _ERRORS.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_mock"}


def models() -> Document:
    listed = [model(name) for name in MODELS]
    return {"data": listed, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}


def model(name: str) -> Document:
    return {"type": "model", "id": name, "display_name": name, "created_at": "2023-11-14T22:13:20Z"}


def _block(number: int, part: ToolCall | list[str], *, whole: bool) -> Document:
    if not isinstance(part, ToolCall):
        return {"type": "text", "text": "".join(part) if whole else ""}
    given = part.arguments if whole else {}
    return {"type": "tool_use", "id": f"toolu_mock_{number}", "name": part.name, "input": given}


def _usage(reported: Document) -> Document:
    return {
        "input_tokens": reported["prompt_tokens"],
        "output_tokens": reported["completion_tokens"],
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    }


def _head(model: str, turn: int) -> Document:
    return {"id": f"msg_mock_{turn}", "type": "message", "role": "assistant", "model": model, "stop_sequence": None}
