"""Contents of messages: their roles, and what they bring besides text.

Specification: https://ai.google.dev/api/caching#Content.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from gateway.call import Reference
from gateway.upstream.providers import members
from gateway.upstream.providers.gemini.spelling import Names, several
from gateway.upstream.providers.prompts import digest

_CONTENT = Names("role", "parts")
_PART = Names("text", "inlineData", "fileData", "functionResponse")
_RESPONSE = Names("parts")
_INLINE = Names("mimeType", "data")
_FILE = Names("mimeType", "fileUri")

_ROLES = frozenset({"user", "model", "function"})
_MAX_DEPTH = 4  # of parts within parts: the result of a function may hold some


class GeminiContents:
    """Everything that the messages of one call bring."""

    def __init__(self) -> None:
        self.roles: list[str] = []
        self.references: list[Reference] = []
        self.modalities: set[str] = set()

    def messages(self, value: object, what: str) -> None:
        """Read a list of messages. One without a role is the user's."""
        for content in _CONTENT.list(value, what):
            role = content.get("role", "user")
            if not isinstance(role, str) or role not in _ROLES:
                members.refuse("`role` of a content must be one of " + ", ".join(sorted(_ROLES)))
            self.roles.append(role)
            self.parts(content.get("parts"))

    def prompt(self, value: object) -> str:
        """Read a system instruction and return its digest."""
        content = _CONTENT.read(value, "systemInstruction")
        self.parts(content.get("parts"))
        parts = several(content.get("parts"), "parts")
        if len(parts) == 1 and parts[0].keys() == {"text"} and isinstance(parts[0]["text"], str):
            return digest(parts[0]["text"])
        return digest(parts)

    def embedded(self, value: object) -> None:
        """Read the one content of an embedding, which has no role."""
        for content in _CONTENT.list(value, "content"):
            self.parts(content.get("parts"))

    def parts(self, value: object) -> None:
        for part in _parts(value):
            if "inlineData" in part:
                self._kind(_INLINE.read(part["inlineData"], "inlineData"))
            if "fileData" in part:
                file = _FILE.read(part["fileData"], "fileData")
                self._kind(file)
                self.references.append(Reference("file", members.text(file.get("fileUri"), "`fileUri`")))

    def _kind(self, data: dict[str, Any]) -> None:
        kind = members.text(data.get("mimeType", "application/octet-stream"), "`mimeType`")
        main = kind.partition("/")[0].strip().lower()
        self.modalities.add(main if main in ("audio", "image", "video") else "file")


def _parts(value: object, depth: int = 0) -> Iterator[dict[str, Any]]:
    """The parts of a content, also those within results of functions."""
    if depth == _MAX_DEPTH:
        members.refuse("the parts of a content are nested too deeply")
    for part in _PART.list(value, "parts"):
        yield part
        if "functionResponse" in part:
            yield from _parts(_RESPONSE.read(part["functionResponse"], "functionResponse").get("parts"), depth + 1)


def modalities(asked: Iterable[object]) -> set[str]:
    """The kinds of output besides text in `responseModalities`."""
    found = {members.word(each, "a modality").lower() for each in asked}
    if unknown := sorted(found - {"text", "audio", "image", "video"}):
        members.refuse(f"the modality `{unknown[0]}` is not known")
    return found - {"text"}
