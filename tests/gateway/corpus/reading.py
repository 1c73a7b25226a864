"""What readers other than the gateway's find in a body that reached the provider, and what the judged input says.

Each reader is lenient in its own way: it takes the first or the last of two members, and folds the names of members as
some servers do. If one of them finds other facts than those that were judged, the request has passed the policies as
something else than it was.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Callable
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


def _loose(name: str) -> str:
    """Only letters and digits count, as in readers that bind members to the fields of a class."""
    return "".join(each for each in _folded(name) if each.isalnum())


_FOLDS: dict[str, Fold] = {
    "exact": lambda name: name,
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
)  # fmt: skip
_BY_LETTERS = {_loose(name): name for name in _KNOWN}


def disagreements(body: bytes, judged: Facts) -> list[str]:
    """The readers that find something else in the body than what was judged, and what that is."""
    said = _judged(judged)
    found = []
    for how, fold in _FOLDS.items():
        for last in (True, False):
            facts = _facts(_parse(body, fold, last))
            # What was not judged is not compared: a reader that finds nothing there cannot be misled.
            wrong = [f"{name} {facts[name]!r} for {said[name]!r}" for name in said if facts[name] != said[name]]
            if wrong:
                found.append(f"a reader {how}, {'last' if last else 'first'} wins: {', '.join(wrong)}")
    return found


def _parse(body: bytes, fold: Fold, last: bool) -> Any:
    def made(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name, value in pairs:
            name = fold(name)
            name = _BY_LETTERS.get(name, name) if fold is _loose else name
            if last or name not in result:
                result[name] = value
        return result

    return json.loads(body.decode("utf-8", "surrogatepass"), object_pairs_hook=made)


def _judged(document: Facts) -> Facts:
    resource, request = document["resource"], document["request"]
    return {
        "models": resource["models"],
        "stream": request["stream"],
        "limit": request["max_output_tokens"],
        "tools": sorted((each["type"], each["name"]) for each in request["tools"]),
        "roles": request["roles"],
        "messages": request["messages"],
        "system prompts": request["system_prompts"],
        "references": sorted({(each["kind"], each["id"]) for each in resource["references"]}),
        "stores": resource["stores"],
    }


def _facts(body: Any) -> Facts:
    """The same facts, read by code that shares nothing with the gateway's."""
    if not isinstance(body, dict):
        return dict.fromkeys(_judged(_NOTHING), "not an object")
    messages = [each for each in _list(body.get("messages")) if isinstance(each, dict)]
    system = [each.get("content") for each in messages if each.get("role") in ("system", "developer")]
    return {
        "models": _models(body),
        "stream": bool(body.get("stream")),
        "limit": _limit(body),
        "tools": sorted(_tools(body)),
        "roles": [each.get("role") for each in messages],
        "messages": len(messages),
        "system prompts": [_digest(each) for each in system],
        "references": sorted(_references(messages)),
        "stores": bool(body.get("store")),
    }


_NOTHING: Facts = {
    "resource": {"models": [], "references": [], "stores": False},
    "request": dict.fromkeys(("stream", "max_output_tokens", "roles", "messages", "system_prompts")) | {"tools": []},
}


def _models(body: Facts) -> list[Any]:
    found = [body[name] for name in ("model", "engine") if body.get(name) is not None]
    for name in ("models", "fallbacks"):
        found += [each.get("model") if isinstance(each, dict) else each for each in _list(body.get(name))]
    if isinstance(inner := body.get("extra_body"), dict):
        found += _models(inner)
    return list(dict.fromkeys(json.dumps(each) if isinstance(each, dict | list) else each for each in found))


def _limit(body: Facts) -> Any:
    given = [body[name] for name in ("max_completion_tokens", "max_tokens") if body.get(name) is not None]
    answers = body.get("n") or 1
    limits = {each * answers if isinstance(each, int) and isinstance(answers, int) else str(each) for each in given}
    return next(iter(limits), None) if len(limits) < 2 else limits


def _tools(body: Facts) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    for each in _list(body.get("tools")):
        kind = each.get("type", "function")
        if kind not in ("function", "custom"):
            found.append((kind, ""))
            each = {name: value for name, value in each.items() if name != "name"}
        holders = [each, *(each[name] for name in ("function", "custom") if isinstance(each.get(name), dict))]
        found += [(kind, holder["name"]) for holder in holders if "name" in holder]
    found += [("function", each.get("name")) for each in _list(body.get("functions"))]
    if body.get("web_search_options") is not None:
        found.append(("web_search", ""))
    return found


def _references(messages: list[Facts]) -> set[tuple[str, Any]]:
    found: set[tuple[str, Any]] = set()

    def look(value: Any) -> None:
        if isinstance(value, list):
            for each in value:
                look(each)
        elif isinstance(value, dict):
            if value.get("file_id") is not None:
                found.add(("file", str(value["file_id"])))
            for each in value.values():
                look(each)

    for message in messages:
        look(message.get("content"))
        if isinstance(audio := message.get("audio"), dict):
            found.add(("audio", audio.get("id")))
    return found


def _digest(content: Any) -> str:
    if isinstance(content, str):
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
    return hashlib.sha256(
        json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    ).hexdigest()


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
