"""The mock provider's answers: text, calls of tools, JSON, embeddings. The same request always gets the same answer.

The text is an echo of the last message. A tool is called if `tool_choice` demands it or the last message of the user
names the tool; then its arguments, and an answer with a JSON Schema, are the smallest document that the schema lets us
make (`mock_documents.py`). One token is one word, which is close enough and easy to check.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

from gateway.demo.mock_documents import instance

Document = dict[str, Any]

_WORD = re.compile(r"\s*\S+")  # only for texts without spaces at the end: it would look for a word from each of them
_UNSPACED = re.compile(r"\S+")
# Words of an echo: providers limit their answers too, and a prompt may have millions of words.
_LONGEST_ECHO = 16_384
_WINDOW = 64 * 1024  # of a text whose words are counted
_MAX_CHOICES = 128
_MAX_DIMENSIONS = 4096
_MAX_INPUTS = 2048
_DIMENSIONS = 1536


class BadRequestError(Exception):
    """The request is one that a provider would refuse too; `param` is the member that is wrong."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


@dataclass(slots=True)
class ToolCall:
    """One call of a tool; `pieces` are the tokens of its arguments."""

    kind: str
    name: str
    pieces: list[str]

    @property
    def arguments(self) -> Any:
        """The arguments as a document; none if the limit has cut them off."""
        try:
            return json.loads("".join(self.pieces))
        except ValueError:
            return {}


@dataclass(slots=True)
class Choice:
    """One of `n` answers: text in tokens, or calls of tools."""

    pieces: list[str] | None = None
    calls: list[ToolCall] = field(default_factory=list)
    finish: str = "stop"

    @property
    def parts(self) -> list[ToolCall | list[str]]:
        """The parts of the answer, as other APIs than OpenAI's have them: each call, or the text."""
        return [*self.calls] or [self.pieces or []]

    @property
    def tokens(self) -> int:
        """Tokens of this answer: its words, and one for the name of each tool that it calls."""
        return len(self.pieces or ()) + sum(1 + len(call.pieces) for call in self.calls)


def chat(**asked: Any) -> Document:
    """The request of a chat completion with the members that say something."""
    return {name: value for name, value in asked.items() if value not in (None, [])}


def choices(request: Document, words: int = 0) -> list[Choice]:
    """The answers to a chat completion: echoes, or, if `words` is not 0, so many words."""
    messages = _messages(request)
    how_many = _number(request, "n", 1, _MAX_CHOICES) or 1
    limit = _number(request, "max_completion_tokens") or _number(request, "max_tokens")
    if not words:
        limit = min(limit or _LONGEST_ECHO, _LONGEST_ECHO)
    calls = [] if words else _calls(request, messages)
    if calls:
        return [_limited(Choice(calls=calls, finish="tool_calls"), limit) for _ in range(how_many)]
    text = " ".join(f"word{number}" for number in range(words)) or _text(request, messages)
    for stop in _stops(request):
        text = text.partition(stop)[0]
    return [_limited(Choice(_WORD.findall(text.rstrip())), limit) for _ in range(how_many)]


def usage(request: Document, answers: Sequence[Choice]) -> Document:
    """The usage that the provider reports: the words of all messages and tools, and those of all answers."""
    prompt = sum(_count(message) for message in _messages(request))
    if request.get("tools"):
        prompt += count_words(json.dumps(request["tools"]))
    completion = sum(answer.tokens for answer in answers)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def turn(request: Document) -> int:
    """The number of messages before the answer. Ids of answers end in it: frameworks keep one message for each id."""
    return len(_messages(request))


def count_words(text: str) -> int:
    """The number of words of a text. It may be large and have any content: no list of its words is made."""
    words, before = 0, " "
    for at in range(0, len(text), _WINDOW):
        window = text[at : at + _WINDOW]
        words += len(window.split())
        if not before.isspace() and not window[0].isspace():
            words -= 1  # it began in the window before
        before = window[-1]
    return words


def _limited(choice: Choice, limit: int | None) -> Choice:
    """The answer, cut off where the limit of tokens is reached; then it says so."""
    if limit is None or choice.tokens <= limit:
        return choice
    if choice.pieces is not None:
        return Choice(choice.pieces[:limit], finish="length")
    calls: list[ToolCall] = []
    for call in choice.calls:
        if limit < 1:
            break
        calls.append(ToolCall(call.kind, call.name, call.pieces[: limit - 1]))
        limit -= 1 + len(call.pieces)
    return Choice(calls=calls, finish="length")


# Text


def _text(request: Document, messages: list[Document]) -> str:
    last = messages[-1]
    said = " ".join(word[0] for word in islice(_UNSPACED.finditer(_content(last)), _LONGEST_ECHO))
    form = request.get("response_format") or {"type": "text"}
    match form.get("type") if isinstance(form, dict) else None:
        case "text":
            return " ".join(["The tool said:" if last.get("role") == "tool" else "You said:", said]).strip()
        case "json_object":
            if not any("json" in _content(message).lower() for message in messages):
                raise BadRequestError(
                    "a message must contain the word `json` if `response_format` is `json_object`", "messages"
                )
            return json.dumps({"you_said": said}, ensure_ascii=False)
        case "json_schema":
            schema = form.get("json_schema")
            if not isinstance(schema, dict) or not isinstance(schema.get("name"), str):
                raise BadRequestError("`json_schema` must have a name", "response_format.json_schema")
            return json.dumps(instance(schema.get("schema") or {}), ensure_ascii=False)
        case _:
            raise BadRequestError("the type is text, json_object or json_schema", "response_format.type")


def _stops(request: Document) -> list[str]:
    stop = request.get("stop")
    stops = [stop] if isinstance(stop, str) else stop or []
    if not isinstance(stops, list) or len(stops) > 4 or not all(isinstance(each, str) and each for each in stops):
        raise BadRequestError("`stop` must be a text or up to four", "stop")
    return stops


# Tools


def _calls(request: Document, messages: list[Document]) -> list[ToolCall]:
    tools = request.get("tools") or []
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise BadRequestError("`tools` must be a list of objects", "tools")
    called = [_call(tool) for tool in tools]
    choice = request.get("tool_choice") or "auto"
    if not called:
        if choice not in ("auto", "none"):
            raise BadRequestError("`tool_choice` is only allowed with `tools`", "tool_choice")
        return []
    match choice:
        case "none":
            return []
        case "auto" | "required" | "any":  # Mistral's word for the second one
            text = _content(messages[-1]).lower() if messages[-1].get("role") == "user" else ""
            named = [call for call in called if _asks_for(text, call.name)]
            if choice != "auto" and not named:
                named = called[:1]
            return named[:1] if request.get("parallel_tool_calls") is False else named
        case {"type": "function" as kind, "function": {"name": name}} | {
            "type": "custom" as kind,
            "custom": {"name": name},
        }:
            if chosen := [call for call in called if (call.kind, call.name) == (kind, name)]:
                return chosen[:1]
            raise BadRequestError(f"there is no tool `{name}` in `tools`", "tool_choice")
        case _:
            raise BadRequestError("`tool_choice` is none, auto, required or names a tool", "tool_choice")


def _call(tool: Document) -> ToolCall:
    kind = tool.get("type")
    definition = tool.get(str(kind))
    if kind not in ("function", "custom") or not isinstance(definition, dict):
        raise BadRequestError("a tool must be a function or a custom tool", "tools")
    name = definition.get("name")
    if not isinstance(name, str) or not name:
        raise BadRequestError("a tool must have a name", "tools")
    given = json.dumps(instance(definition.get("parameters") or {"type": "object"})) if kind == "function" else "mock"
    return ToolCall(kind, name, _WORD.findall(given))


def _asks_for(text: str, name: str) -> bool:
    """True if the user's text names this tool, as it is written or with spaces in it."""
    names = {name.lower(), name.lower().replace("_", " ")}
    return any(each in text and re.search(rf"\b{re.escape(each)}\b", text) for each in names)


# Messages


def _messages(request: Document) -> list[Document]:
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(each, dict) for each in messages):
        raise BadRequestError("`messages` must be a list of objects, and at least one", "messages")
    return messages


def _content(message: Document) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")


def _count(message: Document) -> int:
    calls = message.get("tool_calls") or ()
    texts = [_content(message), *(json.dumps(call.get("function")) for call in calls if isinstance(call, dict))]
    return sum(count_words(text) for text in texts)


def _number(request: Document, name: str, low: int = 1, high: int = 2**31) -> int | None:
    value = request.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise BadRequestError(f"`{name}` must be a whole number from {low} to {high}", name)
    return value


# Embeddings


def embeddings(request: Document) -> Document:
    """A vector of length 1 for each input: equal for equal inputs, and without any meaning."""
    inputs = _inputs(request.get("input"))
    size = _number(request, "dimensions", 1, _MAX_DIMENSIONS) or _DIMENSIONS
    form = request.get("encoding_format") or "float"
    if form not in ("float", "base64"):
        raise BadRequestError("`encoding_format` is float or base64", "encoding_format")
    data: list[Document] = []
    for index, each in enumerate(inputs):
        vector = _vector(json.dumps(each).encode(), size)
        packed = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode() if form == "base64" else vector
        data.append({"object": "embedding", "index": index, "embedding": packed})
    tokens = sum(count_words(each) if isinstance(each, str) else len(each) for each in inputs)
    return {
        "object": "list",
        "data": data,
        "model": request["model"],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _inputs(given: Any) -> list[Any]:
    """One text, one list of tokens, or a list of either."""
    one = isinstance(given, str) or (isinstance(given, list) and all(isinstance(each, int) for each in given))
    inputs = [given] if one else given
    if not isinstance(inputs, list) or not inputs or not all(each and isinstance(each, (str, list)) for each in inputs):
        raise BadRequestError("`input` must be a text, tokens, or a list of them, none of them empty", "input")
    if len(inputs) > _MAX_INPUTS:
        raise BadRequestError(f"`input` must have at most {_MAX_INPUTS} members", "input")
    return inputs


def _vector(text: bytes, size: int) -> list[float]:
    seed = hashlib.sha256(text).digest()
    stream = (byte for block in count() for byte in hashlib.sha256(b"%d:%s" % (block, seed)).digest())
    raw = [byte - 127.5 for byte in islice(stream, size)]
    length = math.sqrt(sum(value * value for value in raw))
    return [value / length for value in raw]
