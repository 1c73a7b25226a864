"""A provider's list of models, of which a client gets only those that its key is for.

The whole list is held back until it is complete, and written anew. A list that cannot be read becomes an empty one:
what is not known to be inside stays out. The salted digest in the log is of what the provider sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson

from gateway.upstream.taps import MAX_DOCUMENT_BYTES, Report, json_object

# Where a list stands and what names a model in it: OpenAI's and Anthropic's form, and Gemini's.
_LISTS: Final = (("data", "id"), ("models", "name"))
_NOTHING: Final = b'{"object":"list","data":[],"models":[]}'


class ModelListTap:
    """The tap of one answer to `models.list`; its length is another than the provider's."""

    streaming = False

    def __init__(self, allows: Callable[[str], bool]) -> None:
        self._allows = allows
        self._chunks: list[bytes] = []
        self.kept = 0
        self.report = Report()
        self.ended = False

    def forget(self) -> bool:
        self._chunks.clear()
        self.kept = MAX_DOCUMENT_BYTES + 1  # nothing more is kept
        return True

    def feed(self, chunk: bytes, last: bool) -> bytes:
        if self.kept <= MAX_DOCUMENT_BYTES:
            self._chunks.append(chunk)
            self.kept += len(chunk)
        return b""

    def finish(self) -> bytes:
        whole = b"".join(self._chunks) if self.kept <= MAX_DOCUMENT_BYTES else b""
        self._chunks.clear()
        document = json_object(whole)
        if document is None:
            return _NOTHING
        for member, name in _LISTS:
            if member in document:
                document[member] = [each for each in _objects(document[member]) if self._inside(each.get(name))]
        try:
            inside = orjson.dumps(document)
        except orjson.JSONEncodeError:  # it is nested more deeply than can be written
            return _NOTHING
        self.ended = True
        return inside

    def _inside(self, model: Any) -> bool:
        return isinstance(model, str) and self._allows(model.removeprefix("models/"))


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
