"""The document that policies judge (schemas/input.schema.json), and the part of it that the log keeps.

Specification: architecture.md, sections 6 and 10.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

if TYPE_CHECKING:
    from gateway.call import Call, Tool
    from gateway.identity.principals import Principal

InputPath: TypeAlias = tuple[str, ...]

CONTENT_PATHS: Final[tuple[InputPath, ...]] = (
    ("resource", "tool", "arguments"),
    ("resource", "prompt", "arguments"),
    ("request", "body"),
)
"""Places of prompts, answers and tool arguments in the input document (`x-content` in schemas/input.schema.json)."""

OF_CALLS: Final[tuple[InputPath, ...]] = (*CONTENT_PATHS, ("resource", "tool", "proposed_by"))
"""What only a call has: nobody knows it when a list is judged."""

MAX_KEPT: Final = 256 * 1024
"""Bytes that the log keeps of one input. A longer one has lists that no honest call has: most of them is left out."""
_MAX_LISTED: Final = 24 * 1024  # bytes of one list, or of the parameters, of such an input
_LISTS: Final[tuple[InputPath, ...]] = (
    ("request", "tools"),
    ("request", "roles"),
    ("request", "system_prompts"),
    ("request", "modalities"),
    ("request", "betas"),
    ("resource", "models"),
    ("resource", "references"),
)

_WEEKDAYS: Final = ("Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday")  # since 1970-01-01
_HOUR_NS: Final = 3600 * 10**9


def build_input(
    principal: Principal,
    call: Call,
    now_ns: int,
    usage: Mapping[str, Any] | None = None,
    *,
    body: bool = False,
    clock: Mapping[str, Any] | None = None,
    approval: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The input document. It shares what it can with the principal and the call, so it must not be changed.

    `body` puts the client's document in. It is most of the cost of a large request, and policies rarely need it. So is
    `usage` left out where no policy that is asked can read it. `clock` is the member `time` where
    `now_ns` does not say it, `approval` the one that the call uses.
    """
    hours = now_ns // _HOUR_NS
    request: dict[str, Any] = {
        "method": call.method,
        "path": call.path,
        "stream": call.stream,
        "max_output_tokens": call.max_output_tokens,
        "tools": [_tool(tool) for tool in call.tools],
        "roles": list(call.roles),
        "messages": call.messages,
        "system_prompts": list(call.system_prompts),
        "modalities": list(call.modalities),
        "betas": list(call.betas),
    }
    if body:
        request["body"] = call.body
    document: dict[str, Any] = {
        "agent": principal.document,
        "action": call.action,
        "resource": {
            "upstream": call.upstream,
            "provider": call.provider,
            "model": call.model,
            "models": list(call.models),
            "params": {**call.settings, **call.params},
            "agent": call.agent,
            "references": [{"kind": each.kind, "id": each.id} for each in call.references],
            "stores": call.stores,
        },
        "request": request,
        "usage": usage or {},
        "time": clock or {"now_ns": now_ns, "zone": "UTC", "weekday": _WEEKDAYS[hours // 24 % 7], "hour": hours % 24},
    }
    if call.protocol is not None:
        request["protocol"] = call.protocol
        document["resource"] |= _named(call, content=body)
    if principal.person is not None:
        document["on_behalf_of"] = principal.person
    if approval is not None:
        document["approval"] = approval
    if call.mandate is not None:
        document["mandate"] = call.mandate
    return document


def received(document: Mapping[str, Any]) -> dict[str, Any]:
    """The same call as the side that receives it sees it: nothing of the caller's usage, person and approvals."""
    hidden = ("on_behalf_of", "approval")
    kept = {name: value for name, value in document.items() if name not in hidden}
    if "mandate" in kept:
        kept["mandate"] = {name: value for name, value in kept["mandate"].items() if name != "left_microusd"}
    return {**kept, "direction": "receive", "usage": {}}


def _tool(tool: Tool) -> dict[str, str]:
    named = {"type": tool.type, "name": tool.name}
    return {**named, "server": tool.server} if tool.server else named


def _named(call: Call, *, content: bool) -> dict[str, Any]:
    """What a call to an MCP server names, as members of `resource`."""
    found: dict[str, Any] = {}
    if (tool := call.tool) is not None:
        found["tool"] = {
            "server": tool.server,
            "name": tool.name,
            "digest": tool.digest,
            "state": tool.state,
            "approved": tool.approved,
            "untrusted": tool.untrusted,
        }
        if tool.proposed_by is not None:
            found["tool"]["proposed_by"] = tool.proposed_by
        if content and tool.arguments is not None:
            found["tool"]["arguments"] = tool.arguments
    if (prompt := call.prompt) is not None:
        found["prompt"] = {"name": prompt.name}
        if content and prompt.arguments is not None:
            found["prompt"]["arguments"] = prompt.arguments
    if call.uri is not None:
        found["uri"] = call.uri
    return found


def content_of(paths: Iterable[str], document: Mapping[str, Any]) -> tuple[str, ...]:
    """Those of these paths of content, with dots, that a document can have: a chat has no arguments of a tool."""
    resource = document["resource"]
    absent = [f"resource.{name}." for name in ("tool", "prompt") if name not in resource]
    return tuple(each for each in paths if not each.startswith(tuple(absent)))


def without_content(document: dict[str, Any]) -> bytes:
    """The document without its content, as JSON with sorted keys and no spaces.

    A bundle that reads no content gives the same answer for it, also a bundle that is written later.
    """
    for path in CONTENT_PATHS:
        if path[1] in document[path[0]]:
            document = _without(document, path)
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def kept_of(document: dict[str, Any]) -> tuple[bytes, dict[str, int]]:
    """The part of an input that the log keeps, and how many members of its lists are left out because it is too long.

    Raises `ValueError` if it is too long all the same.
    """
    whole = without_content(document)
    if len(whole) <= MAX_KEPT:
        return whole, {}
    parts = {part: {**document[part]} for part in ("request", "resource")}
    left_out: dict[str, int] = {}
    for part, name in _LISTS:
        listed = parts[part][name]
        parts[part][name] = shown = listed[: _fitting(listed)]
        left_out[f"{part}.{name}"] = len(listed) - len(shown)
    params = [[name, value] for name, value in parts["resource"]["params"].items()]
    short = sorted(params, key=lambda each: len(orjson.dumps(each)))
    parts["resource"]["params"] = dict(short[: _fitting(short)])
    left_out["resource.params"] = len(params) - len(parts["resource"]["params"])
    kept = without_content({**document, **parts})
    if len(kept) > MAX_KEPT:
        raise ValueError(f"the input has more than {MAX_KEPT} bytes")
    return kept, {path: many for path, many in left_out.items() if many}


def _fitting(listed: list[Any]) -> int:
    """The number of these that, from the first one on, are short enough to be kept."""
    room = _MAX_LISTED
    for number, each in enumerate(listed):
        room -= len(orjson.dumps(each)) + 1
        if room < 0:
            return number
    return len(listed)


def _without(document: Any, path: InputPath) -> Any:
    """`document` without the value at `path`. Its parts are shared, so what changes is copied."""
    name = path[0]
    if document.__class__ is not dict or name not in document:
        return document
    if len(path) == 1:
        return {each: value for each, value in document.items() if each != name}
    inner = _without(document[name], path[1:])
    return document if inner is document[name] else {**document, name: inner}
