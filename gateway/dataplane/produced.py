"""The amount that a model has made of an answer that was cut off: an upper bound of the tokens that came in a stream.

A token has at least one byte. So the bytes of all that comes in the events is a bound, but for the members that
providers write around a model's text: names, ids, kinds, times. Those that are known not to be the model's are left
out; whatever else there is counts. The docstring of `MARGIN` says what goes on at the provider after that.
Specification: limits.md.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from gateway.usage.bounds import text_size

MARGIN: Final = 256
"""Tokens that an answer may still have had when its connection was closed: those on their way, and those that are made
until the provider notices. Noticing takes a round trip and its next event. Makers whose streams stop so make 50 to 250
tokens a second, so these are a second or more of the fastest; and what came in the last second counts twice besides."""
OF_AN_EVENT: Final = 4
"""Tokens of an event with a part of an answer that are no text of it, such as the beginning of a call of a tool."""

_WAITING: Final = 16 * 1024  # bytes that wait to be counted: most streams end well, and nobody asks
_DATA: Final = b"data:"
_UNREADABLE: Final = b"data:!"
# Objects and lists that only give an answer its form: their names are the provider's.
_FORM: Final = frozenset(
    {
        *("choices", "delta", "message", "tool_calls", "function_call", "function", "content_block", "item", "part"),
        *("content", "response", "output", "custom"),
    }
)
# Members that no model makes, whatever they hold.
_AROUND: Final = frozenset(
    {
        *("id", "object", "created", "created_at", "model", "system_fingerprint", "service_tier", "usage", "type"),
        *("role", "index", "finish_reason", "native_finish_reason", "stop_reason", "logprobs", "obfuscation", "status"),
        *("item_id", "output_index", "content_index", "summary_index", "sequence_number", "call_id", "provider"),
    }
)
# Events that say again what others have said before, or repeat the request.
_REPEATING: Final = frozenset({"response.created", "response.in_progress", "response.queued", "message_start", "ping"})
_REPEATED_END: Final = ".done"
_IN_PIECES: Final = frozenset({"message", "function_call", "custom_tool_call"})  # other items come at their end alone


class Produced:
    """Counts one stream. Lines are looked at when some have come, or when `tokens` is asked for."""

    __slots__ = ("_rest", "_size", "_tokens", "_waiting")

    def __init__(self) -> None:
        self._waiting: list[bytes] = []
        self._size = self._tokens = 0
        self._rest = b""

    def add(self, chunk: bytes) -> None:
        self._waiting.append(chunk)
        self._size += len(chunk)
        if self._size > _WAITING:
            self._count()

    @property
    def tokens(self) -> int:
        """The most tokens that have come."""
        self._count()
        return self._tokens + len(self._rest)

    def _count(self) -> None:
        data = self._rest + b"".join(self._waiting)
        self._waiting.clear()
        *lines, self._rest = data.replace(b"\r", b"\n").split(b"\n")
        self._size = 0
        self._tokens += sum(map(_of_line, lines))
        if len(self._rest) > _WAITING:  # a line of so many bytes is counted by them, as is what follows of it
            self._tokens, self._rest = self._tokens + len(self._rest), _UNREADABLE


def _of_line(line: bytes) -> int:
    """The most tokens in one line of a stream. One that cannot be read counts by its bytes."""
    if not line.startswith(_DATA):
        return 0  # the name of an event, or a comment: readers of streams see nothing else
    data = line[len(_DATA) :].strip()
    if not data.startswith(b"{"):
        return 0 if data == b"[DONE]" else len(data)
    try:
        event = orjson.loads(data)
    except orjson.JSONDecodeError:
        return len(data)
    kind = event.get("type")
    if isinstance(kind, str) and (kind in _REPEATING or kind.endswith(_REPEATED_END)):
        item = event.get("item")
        if not isinstance(item, dict) or item.get("type") in _IN_PIECES:
            return 0
    size = _of_form(event)
    return size + OF_AN_EVENT if size else 0


def _of_form(value: Any) -> int:
    """The part that a model has made of an object or a list that gives an answer its form."""
    if isinstance(value, list):
        return sum(map(_of_form, value))
    if not isinstance(value, dict):
        return _of_value(value)
    size = 0
    for name, each in value.items():
        if name not in _AROUND:
            size += _of_form(each) if name in _FORM else _of_value(each)
    return size


def _of_value(value: Any) -> int:
    if isinstance(value, str):
        return text_size(value)
    return len(orjson.dumps(value)) if isinstance(value, dict | list) and value else 0
