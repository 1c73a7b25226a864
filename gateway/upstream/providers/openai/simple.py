"""The calls of one model and one input without messages: embeddings, moderations and the older completions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gateway.body import Body
from gateway.call import Call
from gateway.upstream import json_body
from gateway.upstream.providers import members, settings
from gateway.upstream.providers.base import CAP_EDIT, MODEL_EDIT, USAGE_EDIT, Edits, Endpoint, RequestHead, call_of
from gateway.upstream.providers.openai.deployments import DEPLOYMENT, deployment

EMBEDDINGS, MODERATIONS, COMPLETIONS = "embeddings", "moderations", "completions"

# Members by which servers do what no policy could see, and why that is refused.
_UNSEEN = {
    **members.UNSEEN,
    **dict.fromkeys(("models", "fallbacks", "route"), "the model is named in `model`"),
    **dict.fromkeys(
        ("messages", "instructions", "system", "system_prompt", "tools", "mcp_servers"),
        "this call has no messages: use chat completions",
    ),
    **dict.fromkeys(("max_completion_tokens", "max_output_tokens"), "the output limit is `max_tokens`"),
}
_NAMES = frozenset(
    {"model", "input", "prompt", "max_tokens", "n", "best_of", "stream", "stream_options", "service_tier"}
    | _UNSEEN.keys()
)
# Members that policies judge as what they are: all others are settings.
_JUDGED = frozenset({"model", "input", "prompt", "stream"})
_OPTION_NAMES = frozenset({"include_usage"})
_THEIRS = frozenset({"metadata", "logit_bias", "guided_json", "structured_outputs", "json_schema"})
_PART_NAMES = frozenset({"type", "text", "image_url"})
_MAX_LIMIT = members.EXACT
_MAX_ANSWERS = 128


def read(endpoint: Endpoint, head: RequestHead, provider: str, raw: Body) -> Call:
    """The call in this body; `Denied` where it is none."""
    body = members.body(raw, _NAMES, _UNSEEN, _THEIRS)
    facts = _facts(endpoint.route.action, body, endpoint.params)
    return call_of(
        endpoint,
        head,
        provider,
        raw,
        body,
        settings=settings.of(head.query, body, _judged(endpoint.route.action)),
        **facts,
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
    facts = {**_facts(call.action, body, call.params), "settings": settings.again(call, body, _judged(call.action))}
    return replace(call, raw=json_body.dump(body, call.raw), body=body, **facts), tuple(names)


def _judged(action: str) -> frozenset[str]:
    return _JUDGED | {"max_tokens"} if action == COMPLETIONS else _JUDGED


def _facts(action: str, body: dict[str, Any], params: Mapping[str, str]) -> dict[str, Any]:
    """The members of a call that a body determines."""
    for name in ("input", "prompt"):
        if isinstance(body.get(name), dict):
            members.refuse(f"`{name}` must be a text, tokens, or a list of them")
    named = body.get("model")
    if (path := params.get(DEPLOYMENT)) is not None:
        if named is not None:
            members.model(named)
        named = deployment(path, [])
    elif action != MODERATIONS or named is not None:  # moderations have a default
        named = members.model(named)
    facts: dict[str, Any] = {
        "model": named,
        "models": () if named is None else (named,),
        "stream": members.boolean(body.get("stream"), "stream"),
        "service_tier": members.service_tier(body.get("service_tier")),
    }
    if action == COMPLETIONS:
        options = body.get("stream_options")
        if options is not None:
            members.boolean(
                members.one_object(options, "stream_options", _OPTION_NAMES).get("include_usage"), "include_usage"
            )
        limit, answers = body.get("max_tokens"), _answers(body)
        if limit is not None:
            facts["max_output_tokens"] = members.whole_number(limit, "max_tokens", _MAX_LIMIT // answers) * answers
    else:
        facts["modalities"] = _modalities(action, body.get("input"))
    return facts


def _modalities(action: str, value: object) -> tuple[str, ...]:
    """The kinds of content besides text in an input; moderations look at images, too."""
    parts = [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []
    if parts and action == EMBEDDINGS:
        members.refuse("`input` must be a text, tokens, or a list of them")
    for part in parts:
        members.check_nested(part, _PART_NAMES)
        if part.get("type") not in ("text", "image_url"):
            members.refuse('`type` of a part must be "text" or "image_url"')
    return ("image",) if any("image_url" in (part["type"], *part) for part in parts) else ()


def _answers(body: dict[str, Any]) -> int:
    """The number of answers that are generated for every prompt, also those of which only the best are sent."""
    # OpenAI takes a `best_of` of 0 for none.
    given = [
        members.whole_number(body[name], name, _MAX_ANSWERS)
        for name in ("n", "best_of")
        if body.get(name) is not None and not (name == "best_of" and body[name] == 0 and body[name].__class__ is int)
    ]
    prompts = body.get("prompt")
    if not isinstance(prompts, list) or all(each.__class__ is int for each in prompts):
        return max(given, default=1)
    if len({each.__class__ for each in prompts}) > 1:
        members.refuse("`prompt` must be a text, tokens, or a list of either")
    return max(given, default=1) * len(prompts)
