"""The Responses API: what a request body asks for, and what is changed in it.

It keeps state unless it is told not to, and can be handed state by reference: earlier responses, conversations, items,
files, containers, vector stores. Tools come in `tools` and in items that add some later, and may be grouped.
Specification: architecture.md, sections 6 and 7; https://platform.openai.com/docs/api-reference/responses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from gateway.body import Body
from gateway.call import Call, Reference, Tool
from gateway.upstream import json_body
from gateway.upstream.providers import members, settings
from gateway.upstream.providers.base import CAP_EDIT, MODEL_EDIT, TOOLS_EDIT, Edits, Endpoint, RequestHead, call_of
from gateway.upstream.providers.prompts import digest
from gateway.usage.bounds import COMPACTION_TRIGGER, has_compaction_trigger

CREATE = "responses"
COUNT = "responses.input_tokens"
COMPACT = "responses.compact"
GENERATING = frozenset({CREATE, COMPACT})
"""The actions that make a model generate something."""

_ROLES = frozenset({"system", "developer", "user", "assistant"})
_SYSTEM_ROLES = frozenset({"system", "developer"})
_MAX_LIMIT = members.EXACT
_MAX_DEPTH = 3  # of groups of tools

# Members by which a request does what no policy could see, and why that is refused.
_UNSEEN = {
    **members.UNSEEN,
    "prompt": "the text, the model and the tools of a stored prompt are written in the request itself",
    # Names of the output limit that this API does not have; a compatible server might honour one.
    **dict.fromkeys(("max_tokens", "max_completion_tokens"), "the output limit is `max_output_tokens`"),
    **dict.fromkeys(("models", "fallbacks", "route"), "the model is named in `model`"),
    **dict.fromkeys(("messages", "system", "system_prompt"), "what is said stands in `input` and `instructions`"),
    **dict.fromkeys(("functions", "mcp_servers"), "tools are listed in `tools`"),
}

# Members whose other spellings are refused, per kind of object.
_CALL_NAMES = frozenset(
    {"model", "input", "instructions", "previous_response_id", "conversation", "store", "background", "stream"}
    | {"max_output_tokens", "tools", "tool_choice", "moderation", "prompt_cache_options", "multi_agent"}
    | {"service_tier"}
    | _UNSEEN.keys()
)
# Members that policies judge as what they are: all others are settings.
_JUDGED = frozenset({"model", "input", "instructions", "stream", "tools", "max_output_tokens"})
# Objects whose names are the client's own, such as those in a JSON Schema.
_THEIRS = frozenset({"metadata", "text"})
_SCHEMAS = frozenset({"input_schema", "input_examples", "output_schema", "format", "filters", "headers", "tools"})
_ARGUMENTS = frozenset({"arguments", "annotations", "logprobs"})
_ITEM_NAMES = frozenset(
    {"type", "role", "content", "output", "id", "tools", "container_id", "approval_request_id", "environment"}
)
_PART_NAMES = frozenset({"type", "text", "file", "file_id", "file_data", "file_url", "image_url", "input_audio"})
_TOOL_NAMES = frozenset(
    {"type", "name", "server_label", "tools", "container", "vector_store_ids", "environment", "model"}
    | {"input_image_mask", "file_id", "file_ids", "container_id", "skills", "skill_id", "function", "custom"}
    | {"server_url", "connector_id", "tunnel_id", "models", "fallbacks"}
)
_HOLDER_NAMES = frozenset({"id"})
_CACHE_NAMES = frozenset({"comparison_response_id"})
_MODERATION_NAMES = frozenset({"model"})
_AGENTS = "multi_agent"
_AGENTS_NAMES = frozenset({"enabled"})
_SERVERS = ("server_url", "connector_id", "tunnel_id")

# Types that are read; another type must not look like one of them.
_TOOL_KINDS = frozenset({"function", "custom", "namespace", "mcp", "image_generation"})
_ITEM_KINDS = frozenset({"message", "item_reference", "mcp_list_tools", "additional_tools", "reasoning", "compaction"})
_LISTING = "mcp_list_tools"
_ITEM_KINDS |= {"image_generation_call", "tool_search_output", "mcp_approval_response", COMPACTION_TRIGGER}
# Items besides messages that have a role.
_WITH_ROLE = frozenset({"additional_tools"})

# Parts that bring something besides text, by their types and by the members that hold it.
_KINDS = {
    **dict.fromkeys(("input_image", "image_url", "computer_screenshot"), "image"),
    **dict.fromkeys(("input_file", "file", "file_data", "file_url"), "file"),
    "input_audio": "audio",
}
_PART_KINDS = frozenset(_KINDS) | {"input_text", "output_text"}
# Items that the provider completes from what it keeps, unless the request has this member.
_COMPLETED_BY = {"reasoning": "encrypted_content", "compaction": "encrypted_content", "image_generation_call": "result"}
# A question whether a tool may be called, and all that it says.
_QUESTION, _QUESTION_NAMES = "mcp_approval_request", ("id", "server_label", "name", "arguments")


def read(endpoint: Endpoint, head: RequestHead, provider: str, raw: Body) -> Call:
    """The call in this body; `Denied` where it is none."""
    body = members.body(raw, _CALL_NAMES, _UNSEEN, _THEIRS)
    if endpoint.route.action == COMPACT and _has(body, "max_output_tokens"):
        members.refuse("`max_output_tokens` is not supported: what a conversation is compacted to has no limit")
    facts = _facts(body, creates=endpoint.route.action == CREATE)
    return call_of(
        endpoint, head, provider, raw, body, settings=_settings(settings.of(head.query, body, _JUDGED), body), **facts
    )


def edit(call: Call, edits: Edits) -> tuple[Call, tuple[str, ...]]:
    """The call with its body edited, and the names of the edits."""
    body, names = call.body, []
    assert body is not None
    cap, limit = edits.max_output_tokens, call.max_output_tokens
    if cap is not None and call.action == CREATE and (limit is None or limit > cap):
        body = {**body, "max_output_tokens": cap}
        names.append(CAP_EDIT)
    if edits.strip_tools and (stripped := _stripped(body, edits.strip_tools)) != body:
        body = stripped
        names.append(TOOLS_EDIT)
    if edits.model is not None and call.model != edits.model:
        body = {**body, "model": edits.model}
        names.append(MODEL_EDIT)
    if not names:
        return call, ()
    facts = {
        **_facts(body, creates=call.action == CREATE),
        "settings": _settings(settings.again(call, body, _JUDGED), body),
    }
    return replace(call, raw=json_body.dump(body, call.raw), body=body, **facts), tuple(names)


def _settings(found: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """The settings of a body, with the one that stands among its items."""
    return {**found, COMPACTION_TRIGGER: True} if has_compaction_trigger(body) else found


def _facts(body: dict[str, Any], *, creates: bool) -> dict[str, Any]:
    """The members of a call that a body determines. `creates`: it asks for a response, not only for a count."""
    items = _items(body.get("input"))
    tools = list(_definitions(body, items))
    limit = body.get("max_output_tokens")
    model = members.model(body.get("model"))
    said = _said(body, items, tools)
    return {
        **said,
        # More models at work, each with tools and an output of its own: the provider runs them, as it does a tool.
        "tools": (*said["tools"], *_agents(body)),
        "model": model,
        "models": tuple(dict.fromkeys([model, *_further_models(body, items, tools)])),
        "stream": members.boolean(body.get("stream"), "stream"),
        "max_output_tokens": None if limit is None else members.whole_number(limit, "max_output_tokens", _MAX_LIMIT),
        # Kept unless the request says otherwise, and always when it is to be fetched later.
        "stores": _stores(body) and creates,
        "service_tier": members.service_tier(body.get("service_tier")),
    }


def content(value: object) -> dict[str, Any]:
    """The members of a call that puts these items into a conversation."""
    items = _items(value)
    tools = list(_definitions({}, items))
    if any(True for _ in _further_models({}, items, tools)):
        members.refuse("a tool that names a model cannot be put into a conversation: list it in the request itself")
    return _said({}, items, tools)


def _said(body: dict[str, Any], items: list[dict[str, Any]], tools: list[dict[str, Any]]) -> dict[str, Any]:
    """The members of a call that say what is asked, whatever is to be done about it."""
    spoken = [item for item in items if item.get("role") is not None and item.get("type") not in _WITH_ROLE]
    instructions = body.get("instructions")
    if instructions is not None and not isinstance(instructions, str):
        members.refuse("`instructions` must be a string")
    prompts = [] if instructions is None else [digest(instructions)]
    prompts += [digest(item.get("content")) for item in spoken if item["role"] in _SYSTEM_ROLES]
    return {
        "tools": (*map(_tool, tools), *_of_servers(items, tools)),
        "roles": tuple(item["role"] for item in spoken),
        "messages": len(spoken),
        "system_prompts": tuple(prompts),
        "references": tuple(dict.fromkeys(_references(body, items, tools))),
        "modalities": tuple(sorted(_modalities(items, tools))),
    }


def _further_models(body: dict[str, Any], items: list[dict[str, Any]], tools: list[dict[str, Any]]) -> Iterator[str]:
    """The models of tools, at any depth, and the one that moderates."""
    if _has(body, "moderation"):
        yield members.model(members.one_object(body["moderation"], "moderation", _MODERATION_NAMES).get("model"))
    for tool in tools:
        # The parameters of these are a JSON Schema.
        theirs = _SCHEMAS | {"parameters"} if tool.get("type") in ("function", "custom") else _SCHEMAS
        yield from members.tool_models(tool, _TOOL_NAMES, theirs)
    # No item that is known names a model to ask, but a summary of another server may.
    for item in items:
        if str(item.get("type")).startswith("compact"):
            for each in members.values_of(item, "model"):
                yield members.model(each, "`model` of an item")


def _stores(body: dict[str, Any]) -> bool:
    fetched_later = members.boolean(body.get("background"), "background")
    return body.get("store") is None or members.boolean(body["store"], "store") or fetched_later


def _has(item: dict[str, Any], name: str) -> bool:
    return item.get(name) is not None


def _items(value: object) -> list[dict[str, Any]]:
    """The input as items. A text is a message of the user, and an id alone refers to an item, without saying so."""
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    items = members.objects(value, "input", _ITEM_NAMES)
    items = [{**item, "type": "item_reference"} if item.keys() == _HOLDER_NAMES else item for item in items]
    for item in items:
        role, kind = item.get("role"), item.get("type")
        if role is None or kind is not None:
            kind = members.kind(kind, "`type` of an item", _ITEM_KINDS)
        if role is None:
            if kind == "message":
                members.refuse("a message must have a role")
        elif kind not in (None, "message", *_WITH_ROLE):
            members.refuse(f"an item of type {kind} has no role")
        elif not isinstance(role, str) or role not in _ROLES:
            members.refuse("`role` of a message must be one of " + ", ".join(sorted(_ROLES)))
        elif kind not in _WITH_ROLE and not isinstance(item.get("content"), str | list):
            members.refuse("`content` of a message must be a string or a list")
    return items


def _parts(items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The parts of messages, of the results of tools and of the items themselves."""
    for item in items:
        for name in ("content", "output"):
            held = item.get(name)
            for part in [held] if isinstance(held, dict) else held if isinstance(held, list) else ():
                members.check_nested(
                    members.one_object(part, f"a part of `{name}`", _PART_NAMES), _PART_NAMES, _ARGUMENTS
                )
                if _has(part, "type"):
                    members.kind(part["type"], "`type` of a part", _PART_KINDS)
                yield part


def _definitions(body: dict[str, Any], items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The definitions of tools: those listed, and those that items bring along."""
    yield from _flat(body.get("tools"))
    for item in items:
        if item.get("type") != _LISTING:  # a listing has the tools of a server
            yield from _flat(item.get("tools"))


def _flat(value: object, depth: int = 0) -> Iterator[dict[str, Any]]:
    """Each definition, and those in it if it is a group."""
    if depth == _MAX_DEPTH:
        members.refuse("groups of tools are nested too deeply")
    for item in members.objects(value, "tools", _TOOL_NAMES):
        yield item
        if _has(item, "tools"):
            yield from _flat(item["tools"], depth + 1)


def _tool(item: dict[str, Any]) -> Tool:
    kind = members.kind(item.get("type"), "`type` of a tool", _TOOL_KINDS)
    # As chat completions have it: a server could look for the name there.
    if more := sorted(item.keys() & {"function", "custom"}):
        members.refuse(f"a tool must not have a member `{more[0]}`: its name stands in `name`")
    if kind == "mcp":
        label = members.text(item.get("server_label"), "`server_label` of a tool")
        return Tool(kind, label, members.server(item, _SERVERS))
    members.no_server(item, _SERVERS)
    if kind in ("function", "custom", "namespace"):
        return Tool(kind, members.text(item.get("name"), "`name` of a tool"))
    return Tool(kind, "")  # the provider runs it itself: its type says what it is


def _of_servers(items: list[dict[str, Any]], tools: list[dict[str, Any]]) -> Iterator[Tool]:
    """The tools that servers are said to have listed: with this item, the provider does not ask them."""
    servers: dict[str, str] = {}
    for tool in map(_tool, tools):
        if tool.type == "mcp":
            # Of two with one label nobody knows which is meant.
            servers[tool.name] = tool.server if servers.get(tool.name, tool.server) == tool.server else ""
    for item in items:
        if item.get("type") == _LISTING:
            server = servers.get(members.text(item.get("server_label"), "`server_label` of an item"), "")
            for each in members.objects(item.get("tools"), "tools", _TOOL_NAMES):
                yield Tool("mcp_tool", members.text(each.get("name"), "`name` of a tool"), server)


def _agents(body: dict[str, Any]) -> Iterator[Tool]:
    """The setting that lets the model start other ones at the provider, as many as it likes."""
    if _has(body, _AGENTS):
        settings = members.one_object(body[_AGENTS], _AGENTS, _AGENTS_NAMES)
        if settings.get("enabled") is None or members.boolean(settings["enabled"], "enabled"):
            yield Tool(_AGENTS, "")


def _stripped(body: dict[str, Any], unwanted: frozenset[str]) -> dict[str, Any]:
    """The body without these tools, and without a choice of tools that they may have been."""
    kept = dict(body)
    for name, value in (("tools", _without(body.get("tools"), unwanted)),):
        if value:
            kept[name] = value
        else:
            kept.pop(name, None)
    if isinstance(body.get("input"), list):
        kept["input"] = [
            {**item, "tools": _without(item["tools"], unwanted)}
            if _has(item, "tools") and item.get("type") != _LISTING
            else item
            for item in body["input"]
        ]
    if isinstance(kept.get("tool_choice"), dict) or "tools" not in kept:
        kept.pop("tool_choice", None)
    # The choice may stay if nothing was taken out.
    kept = body if kept.get("tools") == body.get("tools") and kept.get("input") == body.get("input") else kept
    if _AGENTS in unwanted and any(True for _ in _agents(body)):
        return {name: value for name, value in kept.items() if name != _AGENTS}
    return kept


def _without(tools: Any, unwanted: frozenset[str]) -> list[dict[str, Any]]:
    left: list[dict[str, Any]] = []
    for item in tools or ():
        tool = _tool(item)
        if (tool.name or tool.type) in unwanted:
            continue
        left.append({**item, "tools": _without(item["tools"], unwanted)} if _has(item, "tools") else item)
    return left


def _modalities(items: list[dict[str, Any]], tools: list[dict[str, Any]]) -> set[str]:
    """The kinds of content besides text that go in, and the images that a tool may make."""
    found = {"image" for item in tools if item.get("type") == "image_generation"}
    for part in _parts(items):
        # Servers may look at the member, whatever the type says.
        found.update(kind for name, kind in _KINDS.items() if name == part.get("type") or _has(part, name))
        if part.get("type") in ("input_image", "input_file") or not _has(part, "file_id"):
            continue
        found.add("file")
    return found


def _references(body: dict[str, Any], items: list[dict[str, Any]], tools: list[dict[str, Any]]) -> Iterator[Reference]:
    """Everything that the request names of the provider's state."""
    if _has(body, "previous_response_id"):
        yield Reference("response", _id(body["previous_response_id"]))
    if _has(body, "conversation"):
        yield Reference("conversation", _held_id(body["conversation"], "conversation"))
    asked = set(_questions(items))
    for item in items:
        kind = item.get("type")
        if kind == "item_reference" or (
            _has(item, "id") and kind in _COMPLETED_BY and not item.get(_COMPLETED_BY[kind])
        ):
            yield Reference("item", _id(item.get("id")))
        if _has(item, "container_id"):
            yield Reference("container", _id(item["container_id"]))
        yield from _references_of_place(item.get("environment"))
        if _has(item, "approval_request_id") and (named := _id(item["approval_request_id"])) not in asked:
            yield Reference("item", named)
    for part in _parts(items):
        # Servers take it from a part itself, from its `file`, or from deeper.
        for each in members.values_of(part, "file_id", _ARGUMENTS):
            yield Reference("file", _id(each))
    if _has(body, "prompt_cache_options"):
        options = members.one_object(body["prompt_cache_options"], "prompt_cache_options", _CACHE_NAMES)
        if _has(options, "comparison_response_id"):
            yield Reference("response", _id(options["comparison_response_id"]))
    for tool in tools:
        yield from _references_of_tool(tool)


def _questions(items: list[dict[str, Any]]) -> Iterator[str]:
    """The ids of the questions that stand in the input as a whole: without `store`, that is the only place."""
    for item in items:
        if item.get("type") == _QUESTION and all(isinstance(item.get(name), str) for name in _QUESTION_NAMES):
            yield item["id"]


def _references_of_tool(tool: dict[str, Any]) -> Iterator[Reference]:
    for each in _listed(tool, "vector_store_ids"):
        yield Reference("vector_store", _id(each))
    yield from _references_of_place(tool.get("container"))
    yield from _references_of_place(tool.get("environment"))
    if isinstance(mask := tool.get("input_image_mask"), dict) and _has(mask, "file_id"):
        yield Reference("file", _id(mask["file_id"]))


def _references_of_place(holder: object) -> Iterator[Reference]:
    """The state that the place names where a tool runs, in its definition or in a call of it."""
    if isinstance(holder, str):
        yield Reference("container", _id(holder))
    elif isinstance(holder, dict):
        members.check_names(holder, _TOOL_NAMES)
        if _has(holder, "container_id"):
            yield Reference("container", _id(holder["container_id"]))
        for each in _listed(holder, "file_ids"):
            yield Reference("file", _id(each))
        for skill in members.objects(holder.get("skills"), "skills", _TOOL_NAMES):
            if _has(skill, "skill_id"):
                yield Reference("skill", _id(skill["skill_id"]))


def _listed(holder: dict[str, Any], name: str) -> list[Any]:
    value = holder.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        members.refuse(f"`{name}` must be a list")
    return value


def _held_id(value: object, what: str) -> str:
    """An id by itself, or the one in an object."""
    return _id(members.one_object(value, what, _HOLDER_NAMES).get("id") if isinstance(value, dict) else value)


def _id(value: object) -> str:
    return members.text(value, "an id in the request")
