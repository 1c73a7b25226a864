"""The calls of one model and one input without messages: embeddings, moderations and the older completions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gateway.call import Call
from gateway.upstream import strict_json
from gateway.upstream.providers import members
from gateway.upstream.providers.base import Edits, Endpoint, Head
from gateway.upstream.providers.openai.deployments import DEPLOYMENT, deployment
from gateway.upstream.providers.openai.edits import CAP_EDIT, MODEL_EDIT, USAGE_EDIT

EMBEDDINGS, MODERATIONS, COMPLETIONS = "embeddings", "moderations", "completions"

_NAMES = frozenset({"model", "models", "fallbacks", "input", "prompt", "max_tokens", "n", "best_of", "stream"})
_NAMES |= {"stream_options"}
_PART_NAMES = frozenset({"type", "text", "image_url"})
_MAX_LIMIT = 2**63 - 1
_MAX_ANSWERS = 128


def read(endpoint: Endpoint, head: Head, provider: str, raw: bytes) -> Call:
    """The call in this body; `Denied` where it is none."""
    body = strict_json.parse(raw)
    if not isinstance(body, dict):
        members.refuse("the body must be an object")
    members.check_names(body, _NAMES)
    for name in ("models", "fallbacks"):
        if body.get(name) is not None:
            members.refuse(f"`{name}` is not supported: the model is named in `model`")
    return Call(
        action=endpoint.route.action,
        upstream=endpoint.upstream,
        provider=provider,
        method=endpoint.route.method,
        path=endpoint.path,
        params=endpoint.params,
        query=head.query,
        raw=raw,
        body=body,
        **_facts(endpoint.route.action, body, endpoint.params),
    )


def edit(call: Call, edits: Edits) -> tuple[Call, tuple[str, ...]]:
    """The call with its body edited, and the names of the edits."""
    body, names = call.body, []
    assert body is not None
    cap, limit = edits.max_output_tokens, call.max_output_tokens
    if call.action == COMPLETIONS:
        options = body.get("stream_options") or {}
        if edits.report_usage and call.stream and not options.get("include_usage"):
            body = {**body, "stream_options": {**options, "include_usage": True}}
            names.append(USAGE_EDIT)
        if cap is not None and (limit is None or limit > cap):
            body = {**body, "max_tokens": max(1, cap // _answers(body))}
            # If there are more answers than tokens, the second judgement says no.
            if body != call.body:
                names.append(CAP_EDIT)
    if edits.model is not None and call.model != edits.model:
        body = {**body, "model": edits.model}
        names.append(MODEL_EDIT)
    if not names:
        return call, ()
    return replace(call, raw=strict_json.dump(body), body=body, **_facts(call.action, body, call.params)), tuple(names)


def _facts(action: str, body: dict[str, Any], params: Mapping[str, str]) -> dict[str, Any]:
    """The members of a call that a body determines."""
    named = body.get("model")
    if (path := params.get(DEPLOYMENT)) is not None:
        named = deployment(path, [] if named is None else [named])
    elif action != MODERATIONS or named is not None:  # moderations have a default
        named = members.model(named)
    facts: dict[str, Any] = {
        "model": named,
        "models": () if named is None else (named,),
        "stream": members.boolean(body.get("stream"), "stream"),
    }
    if action == COMPLETIONS:
        options = body.get("stream_options")
        if options is not None:
            members.boolean(members.one_object(options, "stream_options", _NAMES).get("include_usage"), "include_usage")
        limit, answers = body.get("max_tokens"), _answers(body)
        if limit is not None:
            facts["max_output_tokens"] = members.whole_number(limit, "max_tokens", _MAX_LIMIT // answers) * answers
    elif action == MODERATIONS and isinstance(body.get("input"), list):
        parts = [part for part in body["input"] if not isinstance(part, str)]
        parts = members.objects(parts, "input", _PART_NAMES)
        facts["modalities"] = ("image",) if any("image_url" in part for part in parts) else ()
    return facts


def _answers(body: dict[str, Any]) -> int:
    """How many answers are generated, also those of which only the best are sent, for every prompt."""
    given = [members.whole_number(body[name], name, _MAX_ANSWERS) for name in ("n", "best_of") if body.get(name)]
    prompts = body.get("prompt")
    several = isinstance(prompts, list) and bool(prompts) and not isinstance(prompts[0], int)
    return max(given, default=1) * (len(prompts) if several and isinstance(prompts, list) else 1)
