"""The content of bodies about pictures, sound and kept state: the models, the files and the items that they name."""

from __future__ import annotations

from typing import Any

from .folding import Facts, deep, items, names_in, once
from .reading_bodies import responses

PARAMS = ("purpose", "n", "size", "quality", "background", "response_format", "output_format", "voice", "language")


def params_of(action: str) -> tuple[str, ...]:
    """The members that an action has among these. A file has its purpose only: another field of it is a setting."""
    return ("purpose",) if action == "files.create" else PARAMS


def media(body: Facts, action: str) -> Facts:
    speech = action == "audio.speech"
    voice = body.get("voice")
    return {
        "models": once(names_in(body)),
        "stream": body.get("stream_format") == "sse" if speech else bool(body.get("stream")),
        "references": {("voice", str(voice.get("id")))} if isinstance(voice, dict) else set(),
        "parameters": {
            name: body[name] for name in PARAMS if body.get(name) is not None and not isinstance(body[name], dict)
        },
    }


def vector_stores(body: Facts, action: str) -> Facts:
    skipped = frozenset({"metadata", "attributes", "filters"})
    named = [*deep(body, "file_id", skipped)]
    named += [each for listed in deep(body, "file_ids", skipped) for each in items(listed)]
    return {"references": {("file", str(each)) for each in named}, "models": once(names_in(body))}


def conversations(body: Facts, action: str) -> Facts:
    said = responses({"input": body.get("items") or []}, action)
    kept = ("tools", "servers", "roles", "messages", "system prompts", "references")
    found: Facts = {name: said[name] for name in kept}
    return {**found, "models": [*said["models"], *names_in(body)]}


def form(fields: dict[str, Any], action: str) -> Facts:
    """For a form, whose values are texts and files."""
    facts = media({name: value for name, value in fields.items() if isinstance(value, str)}, action)
    references = {("file", str(each)) for name in ("file_id", "file_ids") for each in _all(fields.get(name))}
    if action == "files.create":
        purpose = fields.get("purpose")
        return {"references": references, "parameters": {} if purpose is None else {"purpose": purpose}, "models": []}
    number = facts["parameters"].get("n")
    if isinstance(number, str) and number.isdigit():
        facts["parameters"]["n"] = int(number)
    return {**facts, "stream": fields.get("stream") == "true", "references": references}


def _all(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


READERS = {
    **dict.fromkeys(("images.generations", "audio.speech"), media),
    **dict.fromkeys(
        ("vector_stores.create", "vector_stores.files.create", "vector_stores.file_batches.create"), vector_stores
    ),
    **dict.fromkeys(("conversations.create", "conversations.items.create"), conversations),
}
FORMS = frozenset({"images.edits", "images.variations", "audio.transcriptions", "audio.translations", "files.create"})
