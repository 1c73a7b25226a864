"""The calls of tools that a model's answer proposes, read from its bytes on their way to the client.

Only answers to calls that offer tools are read, in the forms of all families: OpenAI's chat completions and responses,
Anthropic's messages, Gemini's candidates. A stream tells a call in pieces, which are put together. What cannot be read
proposes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from gateway.upstream import sse
from gateway.upstream.taps import json_object

MAX_BYTES: Final = 256 * 1024
"""A longer document, or longer arguments in all, are not read."""
MAX_CALLS: Final = 64
"""The most calls of one answer that are looked at."""

# Every event that has to do with a call holds one of these.
_MARKS: Final = (b"tool", b"function", b"partial_json")


class ProposedCall(NamedTuple):
    """A call that a model proposes. `arguments` are JSON as the model wrote it."""

    name: str
    arguments: str


class ProposalReader:
    """Reads one answer. `streaming` says that it comes in events."""

    def __init__(self, *, streaming: bool) -> None:
        self._splitter = sse.EventSplitter() if streaming else None
        self._whole = bytearray()
        self._over = False
        self._size = 0
        self._found: list[ProposedCall] = []
        # Calls of a stream that are not whole yet, by their places in the answer: name and pieces of the arguments.
        self._open: dict[tuple[Any, ...], tuple[str, list[str]]] = {}

    def feed(self, chunk: bytes) -> None:
        if self._over:
            return
        if self._splitter is None:
            self._whole += chunk
            self._over = len(self._whole) > MAX_BYTES
            return
        try:
            events = self._splitter.feed(chunk)
        except sse.EventTooLargeError:
            self._over = True
            return
        self._over = self._splitter.unfinished > MAX_BYTES
        for event in events:
            if any(mark in event for mark in _MARKS) and (found := json_object(sse.data_of(event))) is not None:
                self._event(found)

    def finish(self) -> list[ProposedCall]:
        """The calls that the answer proposes. After an answer that was too long there are none."""
        if self._splitter is None and not self._over and any(mark in self._whole for mark in _MARKS):
            found = json_object(bytes(self._whole))
            self._found += [] if found is None else _of_document(found)
        self._found += [ProposedCall(name, "".join(pieces)) for name, pieces in self._open.values() if name]
        self._open, self._whole, self._splitter = {}, bytearray(), None
        return [] if self._over else self._found[:MAX_CALLS]

    def _event(self, event: Mapping[str, Any]) -> None:
        kind = event.get("type")
        if kind == "response.output_item.done":
            self._found += _of_items([event.get("item")])
        elif kind == "content_block_start":
            block = _object(event.get("content_block"))
            if block.get("type") == "tool_use":
                self._piece((event.get("index"),), block.get("name"), "")
        elif kind == "content_block_delta":
            self._piece((event.get("index"),), None, _object(event.get("delta")).get("partial_json"))
        elif kind is None:
            for choice in _objects(event.get("choices")):
                delta = _object(choice.get("delta"))
                for call in _objects(delta.get("tool_calls")):
                    called = _object(call.get("function"))
                    place = choice.get("index"), call.get("index")
                    self._piece(place, called.get("name"), called.get("arguments"))
            self._found += _of_candidates(event)

    def _piece(self, place: tuple[Any, ...], name: object, arguments: object) -> None:
        if not all(each is None or isinstance(each, int) for each in place):
            return
        known, pieces = self._open.get(place, ("", []))
        if isinstance(arguments, str):
            self._size += len(arguments)
            pieces.append(arguments)
        if len(self._open) < MAX_CALLS or place in self._open:
            self._open[place] = (known or (name if isinstance(name, str) else ""), pieces)
        self._over = self._over or self._size > MAX_BYTES


def _of_document(document: Mapping[str, Any]) -> list[ProposedCall]:
    found = [*_of_candidates(document), *_of_items(document.get("output"))]
    for block in _objects(document.get("content")):
        if block.get("type") == "tool_use":
            found += _call(block.get("name"), block.get("input"))
    for choice in _objects(document.get("choices")):
        message = _object(choice.get("message"))
        calls = [_object(call.get("function")) for call in _objects(message.get("tool_calls"))]
        for called in (*calls, _object(message.get("function_call"))):
            found += _call(called.get("name"), called.get("arguments"))
    return found


def _of_items(items: object) -> list[ProposedCall]:
    called = (item for item in _objects(items) if item.get("type") == "function_call")
    return [found for item in called for found in _call(item.get("name"), item.get("arguments"))]


def _of_candidates(document: Mapping[str, Any]) -> list[ProposedCall]:
    found: list[ProposedCall] = []
    for candidate in _objects(document.get("candidates")):
        for part in _objects(_object(candidate.get("content")).get("parts")):
            called = _object(part.get("functionCall"))
            found += _call(called.get("name"), called.get("args", {}))
    return found


def _call(name: object, arguments: object) -> list[ProposedCall]:
    if not isinstance(name, str) or not name:
        return []
    try:
        return [ProposedCall(name, arguments if isinstance(arguments, str) else json.dumps(arguments))]
    except (ValueError, RecursionError):  # nested too deeply
        return []


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    return (each for each in value if isinstance(each, dict)) if isinstance(value, list) else iter(())
