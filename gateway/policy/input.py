"""The document that policies judge (schemas/input.schema.json), and the part of it that the log keeps.

Specification: docs/architecture.md, sections 6 and 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from gateway.call import Call
from gateway.identity.principals import Principal
from gateway.policy.cache import CONTENT_PATHS, InputPath

_WEEKDAYS: Final = ("Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday")  # since 1970-01-01
_HOUR_NS: Final = 3600 * 10**9


def build_input(
    principal: Principal, call: Call, now_ns: int, usage: Mapping[str, Any] | None = None, *, body: bool = False
) -> dict[str, Any]:
    """The input document. Shares what it can with the principal and the call, so nobody may change it.

    `body` puts the client's document in. It is most of the cost of a large request, and policies rarely need it.
    """
    hours = now_ns // _HOUR_NS
    request: dict[str, Any] = {
        "method": call.method,
        "path": call.path,
        "stream": call.stream,
        "max_output_tokens": call.max_output_tokens,
        "tools": [{"type": tool.type, "name": tool.name} for tool in call.tools],
        "roles": list(call.roles),
        "messages": call.messages,
        "system_prompts": list(call.system_prompts),
    }
    if body:
        request["body"] = call.body
    return {
        "agent": principal.document,
        "action": call.action,
        "resource": {
            "upstream": call.upstream,
            "provider": call.provider,
            "model": call.model,
            "params": dict(call.params),
            "agent": None,
            "references": [{"kind": each.kind, "id": each.id} for each in call.references],
        },
        "request": request,
        "usage": dict(usage) if usage else {},
        "time": {"now_ns": now_ns, "zone": "UTC", "weekday": _WEEKDAYS[hours // 24 % 7], "hour": hours % 24},
    }


def restricted(document: Mapping[str, Any], paths: tuple[InputPath, ...]) -> bytes:
    """The parts of a document below `paths` and without content, as JSON with sorted keys and no spaces.

    Judging it again gives the same answer: what a bundle reads is there, and what was undefined to it still is.
    """
    kept: dict[str, Any] = {}
    for path in paths:
        if path:
            _keep(document, path, kept)
        else:
            kept = dict(document)
    for path in CONTENT_PATHS:
        _drop(kept, path)
    return orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)


def _keep(source: Any, path: InputPath, kept: dict[str, Any]) -> None:
    """Copy the value at `path`, and nothing beside it, into the same place of `kept`."""
    for step in path[:-1]:
        source = source.get(step) if source.__class__ is dict else None
        if source.__class__ is not dict:
            return
        kept = kept.setdefault(step, {})
    if source.__class__ is dict and path[-1] in source:
        kept[path[-1]] = source[path[-1]]


def _drop(kept: dict[str, Any], path: InputPath) -> None:
    """Take the value at `path` out of `kept`, whose inner objects may be shared and are copied before they change."""
    for step in path[:-1]:
        inner = kept.get(step)
        if inner.__class__ is not dict:
            return
        kept[step] = inner = dict(inner)
        kept = inner
    kept.pop(path[-1], None)
