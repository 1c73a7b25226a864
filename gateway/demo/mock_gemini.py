"""The mock provider's Gemini API, Google's: requests as chat completions, answers as documents and parts of a stream.

The content of answers is `mock_answers.py`'s business. Tools that the provider runs itself are accepted and never used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from gateway.demo.mock_answers import BadRequestError, Choice, Document, ToolCall, chat

MODELS = ("gemini-mock-large", "gemini-mock-small")
CALL = re.compile(r"/v1(?:beta)?/models/(?P<model>[^/:]+):(?P<verb>\w+)")
MODEL = re.compile(rf"/v1(?:beta)?/models(?:/({'|'.join(MODELS)}))?")
_FINISHES = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"}
_STATUSES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
# Members that hold names of the client's own, in which nothing is spelled otherwise.
_THEIRS = frozenset({"args", "response", "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema"})
_MODES = {"AUTO": "auto", "ANY": "required", "NONE": "none"}


def as_chat(request: Document) -> Document:
    """The chat completion that asks for the same. Raises `BadRequestError`."""
    request = _spelled(request)
    config = request.get("generationConfig") or {}
    return chat(
        messages=list(_messages(request)),
        tools=list(_tools(request)),
        tool_choice=_choice((request.get("toolConfig") or {}).get("functionCallingConfig") or {}),
        max_tokens=config.get("maxOutputTokens"),
        n=config.get("candidateCount"),
        stop=config.get("stopSequences"),
        response_format=_format(config),
    )


def _spelled(value: Any) -> Any:
    """A request with names in one spelling: Google's servers take `max_output_tokens` for `maxOutputTokens`, too."""
    if isinstance(value, list):
        return [_spelled(each) for each in value]
    if not isinstance(value, dict):
        return value
    named = {re.sub(r"_([a-z])", lambda found: found[1].upper(), name): inner for name, inner in value.items()}
    return {name: inner if name in _THEIRS else _spelled(inner) for name, inner in named.items()}


def as_embeddings(request: Document) -> Document:
    """The request of OpenAI's embeddings that asks for the same."""
    text = " ".join(_texts(request.get("content") or {}))
    return {"model": "", "input": text, "dimensions": request.get("outputDimensionality")}


def _messages(request: Document) -> Iterator[Document]:
    if request.get("systemInstruction"):
        yield {"role": "system", "content": " ".join(_texts(request["systemInstruction"]))}
    contents = request.get("contents") or ()
    for content in [contents] if isinstance(contents, dict) else contents:
        parts = content.get("parts") or ()
        texts = _texts(content)
        used = [part["functionCall"] for part in parts if "functionCall" in part]
        role = "assistant" if content.get("role") == "model" else "user"
        if texts:
            yield {"role": role, "content": " ".join(texts)}
        if used:
            calls = [{"function": {"name": call["name"], "arguments": json.dumps(call.get("args"))}} for call in used]
            yield {"role": "assistant", "tool_calls": calls}
        for part in parts:
            if "functionResponse" in part:
                yield {"role": "tool", "content": _result(part["functionResponse"].get("response"))}


def _texts(content: Document) -> list[str]:
    return [part["text"] for part in content.get("parts") or () if "text" in part]


def _result(response: Any) -> str:
    """The result of a function: clients wrap a text into an object with one member."""
    values = list(response.values()) if isinstance(response, dict) else [response]
    texts = [value for value in values if isinstance(value, str)]
    return texts[-1] if texts else json.dumps(response)


def _tools(request: Document) -> Iterator[Document]:
    for tool in request.get("tools") or ():
        for function in tool.get("functionDeclarations") or ():
            schema = function.get("parametersJsonSchema") or _json_schema(function.get("parameters"))
            yield {"type": "function", "function": {"name": function.get("name"), "parameters": schema}}


def _json_schema(schema: Any) -> Any:
    """A schema of this API as a JSON Schema: there the names of types have capital letters."""
    if isinstance(schema, list):
        return [_json_schema(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: value.lower() if name == "type" and isinstance(value, str) else _json_schema(value)
        for name, value in schema.items()
    }


def _choice(config: Document) -> Any:
    allowed = config.get("allowedFunctionNames") or []
    if config.get("mode") == "ANY" and len(allowed) == 1:
        [name] = allowed
        return {"type": "function", "function": {"name": name}}
    if (mode := config.get("mode", "AUTO")) not in _MODES:
        raise BadRequestError("the mode is AUTO, ANY or NONE", "toolConfig.functionCallingConfig.mode")
    return _MODES[mode]


def _format(config: Document) -> Document | None:
    schema = config.get("responseJsonSchema") or _json_schema(config.get("responseSchema"))
    if schema is None:
        return None
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def content(model: str, choices: list[Choice], reported: Document | None) -> Document:
    """The whole answer."""
    candidates = [
        _candidate(index, [_part(number, each) for number, each in enumerate(choice.parts)], choice)
        for index, choice in enumerate(choices)
    ]
    return {"candidates": candidates, **_tail(model, reported)}


def contents(model: str, choices: list[Choice], reported: Document | None) -> Iterator[Document]:
    """The answer in the parts of a stream: a token each, a call whole. The last one says how it ended."""
    for index, choice in enumerate(choices):
        parts = [_part(number, call) for number, call in enumerate(choice.calls)]
        parts += [{"text": piece} for piece in choice.pieces or ()]
        for part in parts:
            yield {"candidates": [_candidate(index, [part], None)], **_tail(model, None)}
        yield {"candidates": [_candidate(index, [{"text": ""}], choice)], **_tail(model, reported)}


def error(status: int, text: str, param: str | None = None) -> Document:
    """A refusal in the shape of this API."""
    kind = _STATUSES.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
    return {"error": {"code": status, "message": text, "status": kind}}


def models() -> Document:
    return {"models": [model(name) for name in MODELS]}


def model(name: str) -> Document:
    verbs = ["generateContent", "countTokens"]
    return {"name": f"models/{name}", "version": "1", "displayName": name, "supportedGenerationMethods": verbs}


def _part(number: int, part: ToolCall | list[str]) -> Document:
    if not isinstance(part, ToolCall):
        return {"text": "".join(part)}
    return {"functionCall": {"id": f"call_mock_{number}", "name": part.name, "args": part.arguments}}


def _candidate(index: int, parts: list[Document], ended: Choice | None) -> Document:
    finish = {} if ended is None else {"finishReason": _FINISHES[ended.finish]}
    return {"content": {"role": "model", "parts": parts}, "index": index, **finish}


def _tail(model: str, reported: Document | None) -> Document:
    """The part after the candidates. Counts are those of the whole answer."""
    tail: Document = {"modelVersion": model, "responseId": "mock"}
    if reported is None:
        return tail
    counted = {
        "promptTokenCount": reported["prompt_tokens"],
        "candidatesTokenCount": reported["completion_tokens"],
        "totalTokenCount": reported["total_tokens"],
    }
    return {**tail, "usageMetadata": counted}
