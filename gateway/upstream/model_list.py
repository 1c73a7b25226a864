"""A provider's list of models, of which a client gets only those that its key is for and its agent may use.

The whole list is held back until it is complete. If a model has to go it is written anew, otherwise it is sent as it
came. For a key of certain models a list that cannot be read becomes an empty one: what is not known to be inside stays
out. The salted digest in the log is of what the provider sent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import orjson

from gateway.upstream.taps import MAX_DOCUMENT_BYTES, Report, json_object

# The place of a list, and the member that names a model in it: OpenAI's and Anthropic's form, and Gemini's.
_LISTS: Final = (("data", "id"), ("models", "name"))
_NOTHING: Final = b'{"object":"list","data":[],"models":[]}'


class ModelListTap:
    """The tap of one answer to `models.list`. `among` says which of its models stay.

    `strict`: what cannot be read as a model may not be seen, the whole list if need be; otherwise it stays. A list that
    is too large to be held is empty.
    """

    streaming = False

    def __init__(self, among: Callable[[Sequence[str]], Collection[str]], *, strict: bool) -> None:
        self._among = among
        self._strict = strict
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
        """The list that the client gets. Asking about hundreds of models may take long."""
        whole = b"".join(self._chunks) if self.kept <= MAX_DOCUMENT_BYTES else b""
        self._chunks.clear()
        document = json_object(whole)
        if document is None:
            if self._strict or self.kept > MAX_DOCUMENT_BYTES:
                return _NOTHING
            self.ended = True
            return whole
        lists = [
            (member, name, document[member])
            for member, name in _LISTS
            if member in document and (self._strict or isinstance(document[member], list))
        ]
        named = [model for _, name, listed in lists for each in _elements(listed) if (model := _model(each, name))]
        stay = {*self._among(named)}
        if not self._strict:
            stay.add("")
        changed = False
        for member, name, listed in lists:
            document[member] = [each for each in _elements(listed) if _model(each, name) in stay]
            changed |= document[member] != listed
        try:
            inside = orjson.dumps(document) if changed else whole
        except orjson.JSONEncodeError:  # it is nested more deeply than can be written
            return _NOTHING
        self.ended = True
        return inside


def _model(element: Any, name: str) -> str:
    """A model as calls name it, by the member that names it in a list; empty if it has no name."""
    found = element.get(name) if isinstance(element, dict) else None
    return found.removeprefix("models/") if isinstance(found, str) else ""


def _elements(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
