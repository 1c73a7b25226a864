"""Reads and edits request bodies: generation, the counting of tokens, embeddings.

The model stands in the path. A body that names one as well must name the same.
Specification: architecture.md, sections 6 and 7; https://ai.google.dev/api/generate-content.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from gateway.body import Body
from gateway.call import Call, Reference, Tool
from gateway.upstream import json_body
from gateway.upstream.providers import members, settings
from gateway.upstream.providers.base import CAP_EDIT, MODEL_EDIT, TOOLS_EDIT, Edits, Endpoint, RequestHead, call_of
from gateway.upstream.providers.gemini import tools
from gateway.upstream.providers.gemini.contents import GeminiContents, modalities
from gateway.upstream.providers.gemini.spelling import Names, camel, check_unread, put, several, spelled

GENERATE = "generate_content"
COUNT = "generate_content.count_tokens"
EMBED = "embed_content"
BATCH = "embed_content.batch"

_MODEL = re.compile(r"[A-Za-z0-9._-]{1,128}")
_PREFIXES = ("", "models/", "publishers/google/models/")
_MAX_LIMIT = 2**31 - 1
_MAX_ANSWERS = 128

_REQUEST = Names(
    "model", "contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "cachedContent",
    "generateContentRequest", "serviceTier",
)  # fmt: skip
# All that a body may hold; what else some compatible server knows must not do what no policy could see.
_KNOWN = Names(
    "model", "contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "cachedContent", "labels",
    "generateContentRequest", "content", "requests", "safetySettings", "modelArmorConfig", "taskType", "title",
    "outputDimensionality", "autoTruncate", "serviceTier", "store",
)  # fmt: skip
_UNSEEN = {**members.UNSEEN, **dict.fromkeys(("models", "fallbacks", "route"), "the model is named in the path")}
# Members that policies judge as what they are: all others are settings.
_JUDGED = frozenset({"model", "contents", "content", "systemInstruction", "maxOutputTokens"})
_EMBEDDING = Names("model", "content", "requests")
_CONFIG = Names("maxOutputTokens", "candidateCount", "responseModalities", "routingConfig", "modelConfig")


def read(endpoint: Endpoint, head: RequestHead, provider: str, *, stream: bool, raw: Body) -> Call:
    """The call in this body; refused where it is none."""
    body = members.parsed(raw)
    named = members.model(endpoint.params["model"], "the model in the path")
    facts = _facts(endpoint.route.action, named, body)
    _KNOWN.check_others(body, _UNSEEN)
    check_unread(body)
    return call_of(
        endpoint,
        head,
        provider,
        raw,
        body,
        model=named,
        models=(named,),
        stream=stream,
        settings=_settings(endpoint.route.action, head.query, body),
        **facts,
    )


def edit(call: Call, edits: Edits) -> tuple[Call, tuple[str, ...]]:
    """The call with its body and its path edited, and the names of the edits."""
    body, names = call.body, []
    assert body is not None
    cap, limit = edits.max_output_tokens, call.max_output_tokens
    if cap is not None and call.action == GENERATE and (limit is None or limit > cap):
        capped = _capped(body, cap)
        # If there are more answers than tokens, the second judgement says no.
        if capped != body:
            body = capped
            names.append(CAP_EDIT)
    if edits.strip_tools and any((tool.name or tool.type) in edits.strip_tools for tool in call.tools):
        body = _in_request(body, edits.strip_tools)
        names.append(TOOLS_EDIT)
    # One that cannot stand in a path leaves the obligation unmet.
    if edits.model is not None and call.model != edits.model and _MODEL.fullmatch(edits.model):
        call, body = _with_model(call, edits.model), _renamed(body, str(call.model), edits.model)
        names.append(MODEL_EDIT)
    if not names:
        return call, ()
    assert call.model is not None
    raw = call.raw if body == call.body else json_body.dump(body, call.raw)
    facts = {**_facts(call.action, call.model, body), "settings": _settings(call.action, call.query, body)}
    return replace(call, raw=raw, body=body, **facts), tuple(names)


def _settings(action: str, query: Mapping[str, str], body: dict[str, Any]) -> dict[str, Any]:
    """Members that steer the provider, in camel case. Numbers and switches of generation are in `generationConfig`."""
    request = _in_camel_case(body)
    request |= _in_camel_case(request.pop("generateContentRequest", None))
    config = settings.of({}, _in_camel_case(request.pop("generationConfig", None)), _JUDGED)
    batch = [
        settings.of({}, _in_camel_case(each), _JUDGED) for each in several(request.pop("requests", None), "requests")
    ]
    # The requests of a batch are much alike.
    different = {json_body.dump(each, b""): each for each in batch if each}
    found = {"generationConfig": config, "requests": list(different.values())}
    judged = _JUDGED if action in (EMBED, BATCH) else _JUDGED | {"tools"}
    return settings.of(query, request | {name: value for name, value in found.items() if value}, judged)


def _in_camel_case(value: object) -> dict[str, Any]:
    return {camel(name): member for name, member in value.items()} if isinstance(value, dict) else {}


def _facts(action: str, named: str, body: dict[str, Any]) -> dict[str, Any]:
    """The members of a call that a body determines."""
    return _embedding(named, body) if action in (EMBED, BATCH) else _generation(action, named, body)


def _generation(action: str, named: str, body: dict[str, Any]) -> dict[str, Any]:
    request = _REQUEST.read(body, "the body")
    _check_model(request, named)
    if (inner := request.get("generateContentRequest")) is not None:
        if action != COUNT:
            members.refuse("`generateContentRequest` belongs to the counting of tokens")
        if len(request) > 1:
            members.refuse("`generateContentRequest` holds the whole request: nothing else may stand beside it")
        request = _REQUEST.read(inner, "generateContentRequest")
        if "generateContentRequest" in request:
            members.refuse("`generateContentRequest` must not hold another one")
        _check_model(request, named)
    contents, prompts = GeminiContents(), []
    contents.messages(request.get("contents"), "contents")
    if not contents.roles:
        members.refuse("`contents` must hold at least one content")
    if (system := request.get("systemInstruction")) is not None:
        prompts.append(contents.prompt(system))
    found, references = tools.read(request.get("tools"))
    if (cached := request.get("cachedContent")) is not None:
        references.append(Reference("cached_content", members.text(cached, "`cachedContent`")))
    limit, asked = _config(request.get("generationConfig"))
    return {
        "service_tier": members.service_tier(request.get("serviceTier")),
        "max_output_tokens": limit,
        "tools": tuple[Tool, ...](found),
        "roles": tuple(contents.roles),
        "messages": len(contents.roles),
        "system_prompts": tuple(prompts),
        "references": (*references, *contents.references),
        "modalities": tuple(sorted(contents.modalities | asked)),
    }


def _embedding(named: str, body: dict[str, Any]) -> dict[str, Any]:
    contents = GeminiContents()
    for each in _embeddings(body):
        _check_model(each, named)
        if "content" in each:
            contents.embedded(each["content"])
    return {"references": tuple(contents.references), "modalities": tuple(sorted(contents.modalities))}


def _embeddings(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The request itself, and those that it holds."""
    request = _EMBEDDING.read(body, "the body")
    yield request
    for each in _EMBEDDING.list(request.get("requests"), "requests"):
        if "requests" in each:
            members.refuse("a request in `requests` must not hold others")
        yield each


def _check_model(request: dict[str, Any], named: str) -> None:
    if (again := request.get("model")) is not None and again not in [prefix + named for prefix in _PREFIXES]:
        members.refuse(f"`model` in the body must be `models/{named}`, as in the path, or absent")


def _config(value: object) -> tuple[int | None, set[str]]:
    """The limit of all answers together, and the kinds of output besides text."""
    if value is None:
        return None, set()
    config = _CONFIG.read(value, "generationConfig")
    for name in ("routingConfig", "modelConfig"):
        if name in config:
            members.refuse(f"`{name}` is not supported: the model is named in the path")
    limit, answers = config.get("maxOutputTokens"), _answers(config)
    if limit is not None:
        limit = members.whole_number(limit, "maxOutputTokens", _MAX_LIMIT) * answers
    return limit, modalities(several(config.get("responseModalities"), "responseModalities"))


def _answers(config: dict[str, Any]) -> int:
    """The number of answers that are asked for; each of them may be as long as the limit says."""
    return members.whole_number(config.get("candidateCount", 1), "candidateCount", _MAX_ANSWERS)


def _capped(body: dict[str, Any], cap: int) -> dict[str, Any]:
    config = body.get(spelled(body, "generationConfig")) or {}
    share = max(1, cap // _answers(_CONFIG.read(config, "generationConfig")))
    return put(body, "generationConfig", put(config, "maxOutputTokens", share))


def _in_request(body: dict[str, Any], unwanted: frozenset[str]) -> dict[str, Any]:
    """Strip tools where they are: in the body, or in the request whose tokens are counted."""
    inner = body.get(spelled(body, "generateContentRequest"))
    if inner is None:
        return tools.stripped(body, unwanted)
    return put(body, "generateContentRequest", tools.stripped(inner, unwanted))


def _with_model(call: Call, wanted: str) -> Call:
    """The call with another model in its path."""
    before, _, after = call.path.rpartition("/")
    path = f"{before}/{wanted}{after.removeprefix(str(call.model))}"
    return replace(call, path=path, params={**call.params, "model": wanted}, model=wanted, models=(wanted,))


def _renamed(body: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """The body with the new model wherever it names one."""
    if body.get("model") is not None:
        body = {**body, "model": body["model"].removesuffix(old) + new}
    if (inner := body.get(key := spelled(body, "generateContentRequest"))) is not None:
        body = {**body, key: _renamed(inner, old, new)}
    if body.get("requests") is not None:
        body = {**body, "requests": [_renamed(each, old, new) for each in several(body["requests"], "requests")]}
    return body
