"""Messages and the counting of their tokens: what a request body asks for, and what is changed in it.

Strict where a policy relies on a member; other members pass as they are, unless they name a model, a tool, a limit or
kept state. Besides `tools`, a request names tools in `mcp_servers`, in the skills of its container and in messages that
add a tool later; besides `model`, it names models in `fallbacks` and in tools.
Specification: architecture.md, sections 6 and 7; https://docs.claude.com/en/api/messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from gateway.body import Body
from gateway.call import Call, Reference, Tool
from gateway.upstream import json_body
from gateway.upstream.providers import members, settings
from gateway.upstream.providers.base import CAP_EDIT, MODEL_EDIT, TOOLS_EDIT, Edits, Endpoint, RequestHead, call_of
from gateway.upstream.providers.prompts import digest

CREATE = "messages"
COUNT = "messages.count_tokens"

_ROLES = frozenset({"user", "assistant", "system"})
_MAX_LIMIT = members.EXACT
_MAX_DEPTH = 4  # of content within content: a tool's result may hold documents, which hold parts

# Members by which compatible servers do what no policy could see, and why that is refused.
_UNSEEN = {
    **members.UNSEEN,
    **dict.fromkeys(("models", "route"), "models are named in `model` and `fallbacks`"),
    **dict.fromkeys(("max_output_tokens", "max_completion_tokens"), "the output limit is `max_tokens`"),
    **dict.fromkeys(("betas", "anthropic_beta"), "features are switched on by the header `anthropic-beta`"),
    "anthropic_version": "the version is chosen by the header `anthropic-version`",
    **dict.fromkeys(("prompt", "input"), "prompts are written in `messages`"),
    "functions": "tools are listed in `tools`",
    **dict.fromkeys(("instructions", "system_prompt"), "the system prompt is `system`"),
}

# Members whose other spellings are refused, per kind of object.
_CALL_NAMES = frozenset(
    {"model", "messages", "max_tokens", "system", "stream", "tools", "tool_choice", "mcp_servers", "container"}
    | {"fallbacks", "thread", "diagnostics", "compaction", "context_management"}
    | {"inference_geo", "speed", "service_tier"}
    # The credit for a refusal of another model: it changes the cost of a call, and not the model.
    | {"fallback_credit_token"}
    | _UNSEEN.keys()
)
# Members that policies judge as what they are: all others are settings.
_JUDGED = frozenset({"model", "messages", "max_tokens", "system", "stream", "tools", "mcp_servers", "fallbacks"})
# Objects whose names are the client's own, such as those in a JSON Schema.
_THEIRS = frozenset({"metadata", "output_config", "output_format"})
_SCHEMAS = frozenset({"input_schema", "input_examples", "configs"})
# The members of a fallback: others would apply to its attempt alone, so they are judged with the call's own or refused.
_FALLBACK_NAMES = frozenset({"model", "max_tokens", "thinking", "output_config", "speed"})
_STATE_NAMES = frozenset({"type", "previous_message_id"})
_SUMMARY_NAMES = frozenset({"type", "instructions", "edits"})
_MESSAGE_NAMES = frozenset({"role", "content"})
_BLOCK_NAMES = frozenset(
    {"type", "text", "source", "content", "file_id", "tool", "tools", "tool_changes", "container_id", "model"}
    | {"mcp_server_name"}
)
# Of blocks, objects whose names are not the provider's.
_OWN_NAMES = frozenset({"input", "citations", "tool", "tools", "trigger"})
_TOOL_NAMES = frozenset(
    {"type", "name", "model", "models", "fallbacks", "mcp_server_name", "function", "custom", "url", "server_url"}
    | {"tools"}
)
# An addition of a message to the tools: one of the names by which it refers to one, or its definition.
_CHANGE_NAMES = _TOOL_NAMES | {"server_name", "definition"}
_SERVER_NAMES = frozenset({"type", "name", "url"})
_CONTAINER_NAMES = frozenset({"id", "skills"})
_SKILL_NAMES = frozenset({"type", "skill_id", "version"})

# The tools of a server: offered, and as the server listed them, so that it is not asked again.
_TOOLSET, _LISTING = "mcp_toolset", "mcp_tool_listing"
# It repeats which models have answered before; the provider does not ask them because of it.
_ECHO = "fallback"

# Blocks that bring something besides text.
_KINDS = {"image": "image", "document": "file", "container_upload": "file"}
# Types that are read; another type must not look like one of them.
_BLOCK_KINDS = frozenset(_KINDS) | {"text", "tool_addition", "tool_removal", "tool_result", "compaction", _ECHO}
_BLOCK_KINDS |= {_LISTING}
_REFERENCES = frozenset({"mcp_tool_reference", "mcp_toolset_reference"})
_TOOL_KINDS = frozenset({"custom", "function", _TOOLSET, "tool_reference", "tool_definition"}) | _REFERENCES


def read(endpoint: Endpoint, head: RequestHead, provider: str, betas: tuple[str, ...], raw: Body) -> Call:
    """The call in this body; `Denied` where it is none."""
    body = members.body(raw, _CALL_NAMES, _UNSEEN, _THEIRS)
    facts = _facts(body, creates=endpoint.route.action == CREATE)
    judged = settings.of(head.query, body, _JUDGED, settings.of_headers(head.headers))
    return call_of(endpoint, head, provider, raw, body, betas=betas, settings=judged, **facts)


def edit(call: Call, edits: Edits) -> tuple[Call, tuple[str, ...]]:
    """The call with its body edited, and the names of the edits."""
    body, names = call.body, []
    assert body is not None
    cap, limit = edits.max_output_tokens, call.max_output_tokens
    if cap is not None and call.action == CREATE and (limit is None or limit > cap):
        body = _capped(body, cap)
        names.append(CAP_EDIT)
    if edits.strip_tools and (stripped := _stripped(body, edits.strip_tools)) != body:
        body = stripped
        names.append(TOOLS_EDIT)
    if edits.model is not None and (call.model != edits.model or body.get("fallbacks") is not None):
        # Models to fall back on would bring the others back.
        body = {name: value for name, value in body.items() if name != "fallbacks"}
        body["model"] = edits.model
        names.append(MODEL_EDIT)
    if not names:
        return call, ()
    facts = {**_facts(body, creates=call.action == CREATE), "settings": settings.again(call, body, _JUDGED)}
    return replace(call, raw=json_body.dump(body, call.raw), body=body, **facts), tuple(names)


def _facts(body: dict[str, Any], *, creates: bool) -> dict[str, Any]:
    """The members of a call that a body determines. `creates`: it asks for a message, not only for a count."""
    messages = _messages(body.get("messages"))
    system = body.get("system")
    if system is not None and not isinstance(system, str):
        members.objects(system, "system", _BLOCK_NAMES)
    blocks = [block for holder in (system, *(each.get("content") for each in messages)) for block in _blocks(holder)]
    skills, kept = _container(body.get("container"))
    fallbacks = _fallbacks(body)
    limits = [_limit(each) for each in (body, *fallbacks) if each is body or each.get("max_tokens") is not None]
    prompts = [digest(each) for each in (system, *_summaries(body)) if each is not None]
    prompts += [digest(message["content"]) for message in messages if message["role"] == "system"]
    return {
        "model": members.model(body.get("model")),
        "models": _models(body, fallbacks, blocks),
        "stream": members.boolean(body.get("stream"), "stream"),
        # One attempt is made after another, so the largest limit counts.
        "max_output_tokens": None if None in limits else max(each or 0 for each in limits),
        "tools": (*_tools(body, blocks), *skills),
        "roles": tuple(message["role"] for message in messages),
        "messages": len(messages),
        "system_prompts": tuple(prompts),
        "references": tuple(dict.fromkeys((*kept, *_earlier_messages(body), *_files(blocks)))),
        # A later call can refer to what is asked for with either of them.
        "stores": creates and any(body.get(name) is not None for name in ("thread", "diagnostics")),
        "modalities": tuple(sorted({_KINDS[block["type"]] for block in blocks if block.get("type") in _KINDS})),
        "service_tier": _speed((body, *fallbacks)),
    }


def _limit(holder: dict[str, Any]) -> int | None:
    limit = holder.get("max_tokens")
    return None if limit is None else members.whole_number(limit, "max_tokens", _MAX_LIMIT)


def _speed(attempts: Iterable[dict[str, Any]]) -> str | None:
    """The dearest way in which an attempt may be served. The choices of `service_tier` here do not change a price."""
    asked = [each["speed"] for each in attempts if each.get("speed") not in (None, "standard")]
    return "" if not asked else members.service_tier(asked[0]) if all(each == asked[0] for each in asked) else None


def _capped(body: dict[str, Any], cap: int) -> dict[str, Any]:
    """The body whose own limit, and that of each fallback, is at most `cap`."""
    limit = body.get("max_tokens")
    capped = {**body, "max_tokens": cap if limit is None else min(limit, cap)}
    if body.get("fallbacks") is not None:
        capped["fallbacks"] = [
            {**each, "max_tokens": min(each["max_tokens"], cap)} if each.get("max_tokens") is not None else each
            for each in body["fallbacks"]
        ]
    return capped


def _fallbacks(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The attempts that the provider makes with other models if the first one declines."""
    value = body.get("fallbacks")
    if isinstance(value, str):
        members.refuse("`fallbacks` must list its models: which ones a default means is not known here")
    found = members.objects(value, "fallbacks", _FALLBACK_NAMES)
    if found and (other := sorted(set().union(*found) - _FALLBACK_NAMES)):
        members.refuse(f"an entry of `fallbacks` must not have a member `{other[0]}`")
    return found


def _summaries(body: dict[str, Any]) -> Iterator[str]:
    """Instructions for summaries of a conversation, which are prompts like the system's."""
    holders = [members.one_object(body["compaction"], "compaction", _SUMMARY_NAMES)] if body.get("compaction") else []
    if body.get("context_management") is not None:
        management = members.one_object(body["context_management"], "context_management", _SUMMARY_NAMES)
        holders += members.objects(management.get("edits"), "edits", _SUMMARY_NAMES)
    for each in holders:
        if each.get("instructions") is not None:
            yield members.text(each["instructions"], "`instructions`")


def _earlier_messages(body: dict[str, Any]) -> Iterator[Reference]:
    """The messages of the provider's state that the call continues, or is compared with."""
    for name in ("thread", "diagnostics"):
        if body.get(name) is not None:
            holder = members.one_object(body[name], name, _STATE_NAMES)
            if holder.get("previous_message_id") is not None:
                yield Reference("message", _id(holder["previous_message_id"]))


def _messages(value: object) -> list[dict[str, Any]]:
    messages = members.objects(value, "messages", _MESSAGE_NAMES)
    if not messages:
        members.refuse("`messages` must hold at least one message")
    for message in messages:
        role = message.get("role")
        if not isinstance(role, str) or role not in _ROLES:
            members.refuse("`role` of a message must be one of " + ", ".join(sorted(_ROLES)))
        if not isinstance(message.get("content"), str | list):
            members.refuse("`content` of a message must be a string or a list")
    return messages


def _blocks(content: object, depth: int = 0) -> Iterator[dict[str, Any]]:
    """The content blocks in `content`, also those within tool results and documents."""
    if not isinstance(content, list):
        return
    if depth == _MAX_DEPTH:
        members.refuse("the content of a message is nested too deeply")
    for block in members.objects(content, "content", _BLOCK_NAMES):
        members.check_nested(block, _BLOCK_NAMES, _OWN_NAMES)
        if block.get("type") is not None:
            members.kind(block["type"], "`type` of a block", _BLOCK_KINDS)
        yield block
        yield from _blocks(block.get("content"), depth + 1)
        # A summary brings along what was added to the tools before it.
        yield from _blocks(members.objects(block.get("tool_changes"), "tool_changes", _BLOCK_NAMES), depth + 1)
        # Some results are one object.
        if isinstance(block.get("content"), dict):
            yield from _blocks([block["content"]], depth + 1)
        if isinstance(block.get("source"), dict):
            yield from _blocks(block["source"].get("content"), depth + 1)


def _models(body: dict[str, Any], fallbacks: list[dict[str, Any]], blocks: list[dict[str, Any]]) -> tuple[str, ...]:
    """The model, those to fall back on, and those that tools consult (the advisor tool)."""
    named = [members.model(each) for each in (body["model"], *(entry.get("model") for entry in fallbacks))]
    brought = [
        each for tool in _tool_objects(body, blocks) for each in members.tool_models(tool, _TOOL_NAMES, _SCHEMAS)
    ]
    # No block that is known names a model to ask, but one of another server may, such as for a summary.
    for block in blocks:
        if block.get("type") != _ECHO:
            found = members.values_of(block, "model", _OWN_NAMES | {"content", "tool_changes"})
            brought += [members.model(each, "`model` of a block") for each in found]
    return tuple(dict.fromkeys([*named, *brought]))


def _tool_objects(body: dict[str, Any], blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The definitions of tools: those listed, and those that a message adds later, or a summary brings along."""
    return members.objects(body.get("tools"), "tools", _TOOL_NAMES) + [
        found for block in blocks if (found := _changed(block)) is not None
    ]


def _changed(block: dict[str, Any]) -> dict[str, Any] | None:
    """The tool that a block adds or removes, as `tools` would list it; None if it only repeats what is listed."""
    if block.get("tool") is None and block.get("type") not in ("tool_addition", "tool_removal"):
        return None
    change = members.one_object(block.get("tool"), "tool", _CHANGE_NAMES)
    kind = change.get("type")
    if kind != "tool_definition" and "definition" in change:
        members.refuse("only a tool_definition may have a member `definition`")
    if kind == "tool_reference":
        return None
    if kind == "tool_definition":
        if other := sorted(change.keys() - {"type", "definition"}):
            members.refuse(f"a tool_definition must not have a member `{other[0]}`: its tool stands in `definition`")
        return members.one_object(change.get("definition"), "definition", _TOOL_NAMES)
    if kind in _REFERENCES:
        return {"type": _TOOLSET, "mcp_server_name": change.get("server_name")}
    return change


def _tools(body: dict[str, Any], blocks: list[dict[str, Any]]) -> tuple[Tool, ...]:
    servers: dict[str, str] = {}
    for each in members.objects(body.get("mcp_servers"), "mcp_servers", _SERVER_NAMES):
        name = members.text(each.get("name"), "`name` of an MCP server")
        if name in servers:
            members.refuse("two MCP servers must not have the same name")
        servers[name] = members.server(each, ("url",))
    found: list[Tool] = []
    for item in _tool_objects(body, blocks):
        tool = _tool(item)
        found.append(replace(tool, server=servers.get(tool.name, "")) if tool.type == _TOOLSET else tool)
        if tool.type == _TOOLSET:
            found += _of_server(item, tool.name, servers)
    for block in blocks:
        if block.get("type") == _LISTING:
            found += _of_server(block, block.get("mcp_server_name"), servers)
    return (*found, *(Tool("mcp", name, server) for name, server in servers.items()))


def _of_server(holder: dict[str, Any], name: object, servers: dict[str, str]) -> Iterator[Tool]:
    """The tools that a server is said to have: the provider believes it instead of asking the server."""
    server = servers.get(members.text(name, "`mcp_server_name`"), "")
    for each in members.objects(holder.get("tools"), "tools", _TOOL_NAMES):
        yield Tool("mcp_tool", members.text(each.get("name"), "`name` of a tool"), server)


def _tool(item: dict[str, Any]) -> Tool:
    # As chat completions have it: a server could look for the name there.
    if more := sorted(item.keys() & {"function", "custom"}):
        members.refuse(f"a tool must not have a member `{more[0]}`: its name stands in `name`")
    members.no_server(item, ("url", "server_url"))
    kind = item.get("type")
    if kind is None or kind == "custom":
        # As with other providers: the agent itself carries it out.
        return Tool("function", members.text(item.get("name"), "`name` of a tool"))
    kind = members.kind(kind, "`type` of a tool", _TOOL_KINDS)
    if kind == "function":
        members.refuse("`type` of a tool that the agent carries out must be `custom`")
    if kind in ("tool_definition", *_REFERENCES):
        members.refuse(f"a tool of type {kind} stands in a message only")
    if kind == _TOOLSET:
        return Tool(kind, members.text(item.get("mcp_server_name"), "`mcp_server_name` of a tool"))
    return Tool(kind, "")  # the provider defines it: its type says what it is


def _is_called(tool: Tool, names: frozenset[str]) -> bool:
    return (tool.name or tool.type) in names


def _stripped(body: dict[str, Any], unwanted: frozenset[str]) -> dict[str, Any]:
    """The body without these tools, MCP servers and skills, and without a choice of tools that they may have been."""
    kept = dict(body)
    if body.get("tools") is not None:
        kept["tools"] = [item for item in body["tools"] if not _is_called(_tool(item), unwanted)]
        if not kept["tools"]:
            del kept["tools"]
    if body.get("mcp_servers") is not None:
        kept["mcp_servers"] = [each for each in body["mcp_servers"] if each["name"] not in unwanted]
        if not kept["mcp_servers"]:
            del kept["mcp_servers"]
    container = body.get("container")
    if isinstance(container, dict) and container.get("skills") is not None:
        skills = [each for each in container["skills"] if each["skill_id"] not in unwanted]
        kept["container"] = {**container, "skills": skills}
    choice = kept.get("tool_choice")
    if "tools" not in kept or (isinstance(choice, dict) and choice.get("name") in unwanted):
        kept.pop("tool_choice", None)
    return kept


def _container(value: object) -> tuple[list[Tool], list[Reference]]:
    """The tools and the state that a container brings: its skills, and what earlier calls left in it."""
    if value is None:
        return [], []
    if isinstance(value, str):
        return [], [Reference("container", _id(value))]
    container = members.one_object(value, "container", _CONTAINER_NAMES)
    references = [] if container.get("id") is None else [Reference("container", _id(container["id"]))]
    tools: list[Tool] = []
    for skill in members.objects(container.get("skills"), "skills", _SKILL_NAMES):
        name = members.text(skill.get("skill_id"), "`skill_id` of a skill")
        tools.append(Tool("skill", name))
        if skill.get("type") != "anthropic":
            references.append(Reference("skill", _id(name)))
    return tools, references


def _files(blocks: list[dict[str, Any]]) -> Iterator[Reference]:
    """The uploaded files and the containers that blocks name: in themselves, in their source, or deeper."""
    for block in blocks:
        for name, kind in (("container_id", "container"), ("file_id", "file")):
            for each in members.values_of(block, name, _OWN_NAMES):
                yield Reference(kind, _id(each))


def _id(value: object) -> str:
    return members.text(value, "an id in a message")
