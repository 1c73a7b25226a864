"""The texts that the events of a stream make: pieces that belong together, put together.

Every provider's events are JSON objects in which the same place gets one piece after the other. A place
is named by the members on the way to it and by the indexes that the objects on that way give themselves. Members that
only describe the stream (ids, models, times, usage) are in the log's entry and are left out.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

_TEXTS: Final = frozenset(
    {
        *("arguments", "code", "content", "data", "delta", "error", "message", "name", "partial_json"),
        *("reasoning", "reasoning_content", "refusal", "text", "thinking", "transcript"),
    }
)
_DOCUMENTS: Final = frozenset({"args", "input"})  # of tool calls that come whole
_INDEXES: Final = ("output_index", "content_index", "index")
# Characters of a place. No provider's has a tenth of them, and each of a hundred thousand members may be below it.
_LONGEST: Final = 1024


def read(raw: bytes) -> dict[str, Any]:
    """The texts of a stream by their places, and the number of its events."""
    events = 0
    texts: dict[str, list[str]] = {}
    for event in raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n\n"):
        data = b"\n".join(line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))
        if not data:
            continue
        events += 1
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            if data != b"[DONE]":
                texts.setdefault("data", []).append(data.decode("utf-8", "replace"))
            continue
        kind = document.get("type") if isinstance(document, dict) else None
        _collect(document, kind if isinstance(kind, str) else "", texts)
    return {"events": events, "texts": {place: "".join(pieces) for place, pieces in texts.items()}}


def _collect(value: Any, place: str, texts: dict[str, list[str]]) -> None:
    if len(place) > _LONGEST:
        return
    if isinstance(value, dict):
        place += "".join(f"[{value[name]}]" for name in _INDEXES if isinstance(value.get(name), int))
        for name, each in value.items():
            inner = f"{place}.{name}" if place else name
            if isinstance(each, str):
                if name in _TEXTS:
                    texts.setdefault(inner, []).append(each)
            elif name in _DOCUMENTS and each:
                texts.setdefault(inner, []).append(orjson.dumps(each).decode())
            else:
                _collect(each, inner, texts)
    elif isinstance(value, list):
        for at, each in enumerate(value):
            indexed = isinstance(each, dict) and isinstance(each.get("index"), int)
            _collect(each, place if indexed else f"{place}[{at}]", texts)
