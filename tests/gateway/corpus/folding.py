"""Lenient ways to read JSON: which of two members counts, and which names are the same. Some server has each."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

Fold = Callable[[str], str]
Facts = dict[str, Any]


def _visible(name: str) -> str:
    """The name without what cannot be seen, up to the first NUL."""
    name = name.partition("\0")[0]
    return "".join(each for each in name if unicodedata.category(each) not in ("Cf", "Cc", "Mn", "Co", "Cn")).strip()


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", _visible(name)).casefold().strip()


def _snake(name: str) -> str:
    """Camel case as snake case: readers made from protocol buffers take both."""
    return "".join("_" + each.lower() if each.isupper() else each for each in _visible(name)).lstrip("_")


def _simple(name: str) -> str:
    """As Go's encoding/json compares names: letter by letter in lower case, also the long s and the Kelvin sign."""
    return "".join({"\u017f": "s", "\u212a": "k"}.get(each, each.lower()) for each in name)


def _loose(name: str) -> str:
    """Only letters and digits count, as in readers that bind members to the fields of a class."""
    return "".join(each for each in _folded(name) if each.isalnum())


FOLDS: dict[str, Fold] = {
    "exact": lambda name: name,
    "as in Go": _simple,
    "ignoring case": str.casefold,
    "trimming": str.strip,
    "dropping what is invisible": _visible,
    "folding": _folded,
    "taking camel case": _snake,
    "taking letters alone": _loose,
}
_KNOWN = (
    "model", "models", "fallbacks", "messages", "stream", "tools", "functions", "n", "store", "max_tokens",
    "max_completion_tokens", "web_search_options", "role",
    "content", "audio", "id", "type", "name", "function", "custom", "file_id", "tool_calls", "engine", "extra_body",
    "moderation", "server_label", "server_url", "connector_id", "vector_store_ids", "file_ids", "max_output_tokens",
    "input", "output", "instructions", "previous_response_id", "conversation", "background", "container_id",
    "container", "system", "mcp_servers", "mcp_server_name", "skills", "skill_id", "tool", "source", "url", "thread",
    "diagnostics", "previous_message_id", "compaction", "context_management", "edits", "prompt", "best_of",
    "prompt_cache_options", "comparison_response_id", "image_url", "parameters", "max_new_tokens", "betas",
    "anthropic_beta", "input_schema", "citations", "encrypted_content", "approval_request_id", "plugins", "preset",
    "enable_search", "search_parameters", "mode",
)  # fmt: skip
_BY_LETTERS = {_loose(name): name for name in _KNOWN}


def parse(body: bytes, fold: Fold, last: bool) -> Any:
    def made(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name, value in pairs:
            name = fold(name)
            name = _BY_LETTERS.get(name, name) if fold is _loose else name
            if last or name not in result:
                result[name] = value
        return result

    return json.loads(body.decode("utf-8", "surrogatepass"), object_pairs_hook=made)


def renamed(value: Any, fold: Fold) -> Any:
    """The document with other names; the last of two members that now have the same counts."""
    if isinstance(value, dict):
        return {fold(name): renamed(each, fold) for name, each in value.items()}
    return [renamed(each, fold) for each in value] if isinstance(value, list) else value


def word(value: Any) -> Any:
    """A type or another word, as a server reads it that takes letters alone."""
    return _loose(value) if isinstance(value, str) else value


def deep(value: Any, name: str, skipped: frozenset[str] = frozenset()) -> Iterator[Any]:
    """All values under `name` in `value`, at any depth, but for those under `skipped`."""
    if isinstance(value, list):
        for each in value:
            yield from deep(each, name, skipped)
    elif isinstance(value, dict):
        if value.get(name) is not None:
            yield value[name]
        for key, each in value.items():
            if key not in skipped:
                yield from deep(each, name, skipped)


def names_in(value: Any, *, also: tuple[str, ...] = ("models", "fallbacks", "engine", "extra_body")) -> list[Any]:
    """Every model that an object names beside `model`, in a place where some server looks for one."""
    found = [value["model"]] if value.get("model") is not None else []
    for name in also:
        held = value.get(name)
        for each in held if isinstance(held, list) else [] if held is None else [held]:
            found += names_in(each) if isinstance(each, dict) else [each]
    return found


def once(values: list[Any]) -> list[Any]:
    return list(dict.fromkeys(json.dumps(each) if isinstance(each, dict | list) else each for each in values))


def objects(value: Any) -> list[Facts]:
    return [each for each in items(value) if isinstance(each, dict)]


def items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def digest(content: Any) -> str:
    if isinstance(content, str):
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
    return hashlib.sha256(
        json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    ).hexdigest()
