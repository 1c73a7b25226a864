"""Members that steer a provider and are neither content nor judged under their own name: policies see them in
`resource.params`.

For example ids of end users, cache keys, labels, the order of providers, whether data may be kept or collected,
sampling, and the query. Of members that are known here and of all others, switches, numbers and words are there; any
other text may be content or the name of a person, which the log must not keep: it is a digest.
Specification: policies.md, "Settings".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from gateway.call import Call
from gateway.identity.credentials import PREFIXES
from gateway.upstream.providers import members
from gateway.upstream.strict_json import shown

NAMED: Final = frozenset(
    # The end user, and the labels that a call is filed under.
    {"user", "user_id", "end_user", "safety_identifier", "metadata", "labels", "attributes", "session_id", "trace"}
    # Caches.
    | {"prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"}
    # The choice of provider, place, terms and account.
    | {"provider", "route", "transforms", "service_tier", "inference_geo", "speed", "billing_policy"}
    # The switches of what is kept and collected.
    | {"store", "data_collection", "zdr"}
)
"""Members on which policies rely: each has its one spelling."""

DIGESTED: Final = frozenset(
    {"messages", "input", "prompt", "system", "instructions", "contents", "content", "systemInstruction", "items"}
    | {"prediction", "suffix", "query", "filters", "title", "name", "description", "personality", "keywords"}
    # Schemas have names and descriptions of the client's own.
    | {"response_format", "text", "output_config", "output_format", "guided_json", "json_schema", "structured_outputs"}
    | {"responseSchema", "responseJsonSchema"}
)
"""Members that are content, or hold some: of texts, objects and lists policies see the digest."""

HEADERS: Final = ("anthropic-user-profile-id",)
"""Headers of clients that policies judge as settings, by their own names."""

# Google's servers have names of two spellings, of which `gemini/` makes one.
_SPELLED: Final = NAMED - {"service_tier"}
# Without the sign that makes an address of a person.
_WORD: Final = re.compile(r"[A-Za-z0-9_.:/+=-]{1,256}")
_MOST_OF_ONE: Final = 4 * 1024  # bytes of a member that may hold content
_MOST_BYTES: Final = 16 * 1024
_HEADER: Final = re.compile(r"[!-~]{1,512}")
_KEYS: Final = tuple(prefix.encode() for prefix in PREFIXES.values())


def of(
    query: Mapping[str, str],
    body: Mapping[str, Any] | None,
    judged: frozenset[str] = frozenset(),
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The settings in a request's query, its body and those of its headers that policies judge.

    `judged` are the members of the body that policies judge under names of their own, and content for `request.body`.
    """
    found: dict[str, Any] = {}
    for name, value in (body or {}).items():
        if value is not None and name not in judged:
            if name not in NAMED and (documented := members.documented(name, _SPELLED)) is not None:
                members.refuse(f"the member {shown(name)} must be spelled `{documented}`")
            found[name] = _shown(value, name not in DIGESTED, _MOST_BYTES if name in NAMED else _MOST_OF_ONE)
    for name, text in (*query.items(), *(headers or {}).items()):
        if found.get(name, text) != text:
            members.refuse(f"`{name}` is given twice, with different values")
        found[name] = text
    if found:
        _check(found)
    return found


def again(call: Call, body: Mapping[str, Any], judged: frozenset[str]) -> dict[str, Any]:
    """The settings of a call whose body is `body` from now on."""
    headers = {name: call.settings[name] for name in HEADERS if name in call.settings}
    return of(call.query, body, judged, headers)


def of_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of a request that policies judge."""
    found = {name: headers[name] for name in HEADERS if name in headers}
    for name, value in found.items():
        if not _HEADER.fullmatch(value):
            members.refuse(f"the header `{name}` must be at most 512 printable ASCII characters without spaces")
    return found


def plain(value: object) -> object:
    """A value as policies see it: no floats, whose texts differ between languages."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return value


def _shown(value: object, words: bool, most: int = _MOST_BYTES) -> object:
    """A value without its texts, of which words may stay; one that is large as its digest alone."""
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        return value if words and _WORD.fullmatch(value) else _digest(value.encode())
    text = orjson.dumps(value)
    if not words or len(text) > most:
        return _digest(text)
    if isinstance(value, list):
        return [_shown(each, words) for each in value]
    assert isinstance(value, dict)
    return {str(_shown(name, words)): _shown(each, words) for name, each in value.items()}


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _check(found: dict[str, Any]) -> None:
    """Refuse what is no setting by its size, and what no log may hold."""
    text = orjson.dumps(found)
    if len(text) > _MOST_BYTES:
        largest = max(found, key=lambda name: len(orjson.dumps(found[name])))
        members.refuse(f"`{largest}` and other settings of the request have more than {_MOST_BYTES} bytes together")
    for prefix in _KEYS:
        if prefix in text:
            members.refuse("a setting of the request holds a key of this gateway")
