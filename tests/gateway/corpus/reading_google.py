"""A body of Google's API, as lenient servers read it: members in either spelling, wherever they stand."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

from .folding import Facts, Fold, digest, items, objects, once

_NAMES = (
    "model", "contents", "content", "requests", "systemInstruction", "tools", "toolConfig", "generationConfig",
    "cachedContent", "generateContentRequest", "role", "parts", "text", "inlineData", "fileData", "functionResponse",
    "functionCall", "args", "response", "mimeType", "fileUri", "functionDeclarations", "mcpServers", "fileSearch",
    "fileSearchStoreNames", "name", "maxOutputTokens", "candidateCount", "responseModalities", "modelName",
    "parameters",
    "parametersJsonSchema", "responseSchema", "responseJsonSchema", "labels", "googleSearch", "codeExecution",
    "urlContext",
)  # fmt: skip
_SCHEMAS = frozenset(
    {"parameters", "parametersJsonSchema", "response", "responseSchema", "responseJsonSchema", "args", "labels"}
)
_LISTS = {"functionDeclarations": "function", "mcpServers": "mcp"}


def _snake(name: str) -> str:
    return re.sub("[A-Z]", lambda found: "_" + found[0].lower(), name)


@functools.cache
def taking_both(fold: Fold) -> Fold:
    """`fold`, and then either spelling of a name that is known: as servers read that are made from protocol buffers."""
    known = {fold(spelling): name for name in _NAMES for spelling in (_snake(name), name)}
    return lambda name: known.get(fold(name), fold(name))


def read(body: Facts, action: str) -> Facts:
    """The judged part of it; the model in the path is not in the body."""
    return _embedding(body) if action.startswith("embed_content") else _generation(body)


def _several(value: Any) -> list[Any]:
    return items(value) if not isinstance(value, dict | str) else [value]


def _generation(body: Facts) -> Facts:
    inner = body.get("generateContentRequest")
    request = inner if isinstance(inner, dict) else body
    contents = [each for each in _several(request.get("contents")) if isinstance(each, dict)]
    system = request.get("systemInstruction")
    config = request.get("generationConfig")
    config = config if isinstance(config, dict) else {}
    answers, limit = config.get("candidateCount") or 1, config.get("maxOutputTokens")
    asked = {str(each).lower() for each in _several(config.get("responseModalities"))} - {"text"}
    parts = [*_parts(contents), *_parts([system] if isinstance(system, dict) else [])]
    return {
        "models": _models(body),
        "limit": None if limit is None else limit * answers if isinstance(limit, int | float) else str(limit),
        "tools": sorted(_tools(request.get("tools"))),
        "roles": [each.get("role") or "user" for each in contents],
        "messages": len(contents),
        **_prompts(system),
        "references": _references(request, parts),
        "modalities": sorted(asked | _kinds(parts)),
    }


def _embedding(body: Facts) -> Facts:
    requests = [body, *(each for each in _several(body.get("requests")) if isinstance(each, dict))]
    contents = [each for request in requests for each in _several(request.get("content")) if isinstance(each, dict)]
    parts = list(_parts(contents))
    return {"models": _models(body), "references": _references({}, parts), "modalities": sorted(_kinds(parts))}


def _models(body: Facts) -> list[Any]:
    """Every model that is named anywhere but in what is the client's own."""
    return once([_bare(each) for name in ("model", "modelName") for each in _deep(body, name)])


def _bare(name: Any) -> Any:
    """`models/x` is `x`; servers that take the last part alone read any other path in the same way."""
    return name.removeprefix("publishers/google/").removeprefix("models/") if isinstance(name, str) else name


def _prompts(system: Any) -> Facts:
    """The digest of an instruction that is one text. The meaning of others depends on how their members are spelled."""
    if system is None:
        return {"system prompts": []}
    parts = _several(system.get("parts")) if isinstance(system, dict) else []
    if len(parts) == 1 and isinstance(parts[0], dict) and list(parts[0]) == ["text"]:
        return {"system prompts": [digest(parts[0]["text"])]}
    return {}


def _parts(contents: list[Facts]) -> Iterator[Facts]:
    for content in contents:
        for part in _several(content.get("parts")):
            if isinstance(part, dict):
                yield part
                if isinstance(part.get("functionResponse"), dict):
                    yield from _parts([part["functionResponse"]])


def _kinds(parts: list[Facts]) -> set[str]:
    held = [part[name] for part in parts for name in ("inlineData", "fileData") if isinstance(part.get(name), dict)]
    mains = {str(each.get("mimeType") or "application").partition("/")[0].strip().lower() for each in held}
    return {each if each in ("audio", "image", "video") else "file" for each in mains}


def _tools(value: Any) -> Iterator[tuple[str, Any]]:
    for tool in objects(_several(value)):
        for name, held in tool.items():
            if name in _LISTS:
                yield from ((_LISTS[name], each.get("name")) for each in objects(_several(held)))
            else:
                yield name, ""


def _references(request: Facts, parts: list[Facts]) -> set[tuple[str, str]]:
    found = {("file", str(each)) for each in _deep(parts, "fileUri")}
    if request.get("cachedContent") is not None:
        found.add(("cached_content", str(request["cachedContent"])))
    for listed in _deep(request.get("tools"), "fileSearchStoreNames"):
        found |= {("file_search_store", str(each)) for each in _several(listed)}
    return found


def _deep(value: Any, name: str) -> Iterator[Any]:
    if isinstance(value, list):
        for each in value:
            yield from _deep(each, name)
    elif isinstance(value, dict):
        if value.get(name) is not None:
            yield value[name]
        for key, each in value.items():
            if key not in _SCHEMAS:
                yield from _deep(each, name)


ACTIONS = frozenset({"generate_content", "generate_content.count_tokens", "embed_content", "embed_content.batch"})
READERS = dict.fromkeys(ACTIONS, read)
