"""Chat completions: what a request body asks for, and what is changed in it.

Strict where servers are known to differ: a member that a policy relies on must have its one documented type and its one
spelling, and a role must be one that exists. Members that no policy relies on pass as they are.
Specification: architecture.md, sections 6 and 7.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from gateway.body import Body
from gateway.call import Call, Reference, Tool
from gateway.upstream import json_body
from gateway.upstream.providers import members, settings
from gateway.upstream.providers.base import (
    CAP_EDIT,
    MODEL_EDIT,
    TOOLS_EDIT,
    USAGE_EDIT,
    Edits,
    Endpoint,
    RequestHead,
    call_of,
)
from gateway.upstream.providers.openai import switches
from gateway.upstream.providers.openai.deployments import DEPLOYMENT, deployment
from gateway.upstream.providers.openai.dialects import LIMITS, Dialect
from gateway.upstream.providers.prompts import digest
from gateway.upstream.strict_json import shown

ACTION = "chat.completions"

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_SYSTEM_ROLES = frozenset({"system", "developer"})
_MAX_LIMIT = members.EXACT
_MAX_ANSWERS = 128
_MAX_MODELS = 32

# Members by which compatible servers do what no policy could see, and why that is refused.
_UNSEEN = {
    **{name: instead for name, instead in members.UNSEEN.items() if name not in switches.NAMES},
    **dict.fromkeys(("max_output_tokens", "instructions", "input"), "this is a name of the Responses API"),
    **dict.fromkeys(("system", "system_prompt", "prompt"), "what is said stands in `messages`"),
    "mcp_servers": "tools are listed in `tools`",
}

# Members by which the provider may take another model than that in `model`.
_CHOICES = frozenset({"models", "fallbacks", "route", "preset"})

# Members whose other spellings are refused, per kind of object.
_CALL_NAMES = frozenset(
    {"model", "models", "fallbacks", "route", "messages", "stream", "stream_options", "tools", "tool_choice"}
    | {"functions", "web_search_options", "n", "store", "moderation", "service_tier"}
    | set(LIMITS)
    | switches.NAMES
    | _UNSEEN.keys()
)
# Members that policies judge as what they are: all others are settings.
_JUDGED = frozenset({"model", "models", "fallbacks", "messages", "stream", "tools", "functions", "modalities", *LIMITS})
# Without one of these and with a model of an ordinary name, no tool is offered.
_BRINGS_TOOLS = frozenset({"tools", "functions", "web_search_options", "models", "fallbacks"}) | switches.NAMES
_MESSAGE_NAMES = frozenset({"role", "content", "audio", "tool_calls"})
_DEFINITIONS = frozenset({"function", "custom"})
_TOOL_NAMES = frozenset({"type", "name", "model", "models", "fallbacks", "server_label"}) | _DEFINITIONS
# Of tools that a server runs itself: where they are, and what they look into.
_SERVERS = ("server_url", "connector_id", "tunnel_id")
_HELD = {"vector_store_ids": "vector_store", "file_ids": "file"}
_HOSTED_NAMES = _TOOL_NAMES | {"server_url", "connector_id", "tunnel_id", "vector_store_ids", "file_ids"}
_TOOL_KINDS = _DEFINITIONS | {"mcp"}
_TOOL_CALL_NAMES = frozenset({"id"}) | _TOOL_NAMES
_PART_NAMES = frozenset({"type", "text", "file", "file_id", "image_url", "input_audio"})
_OPTION_NAMES = frozenset({"include_usage"})
_FALLBACK_NAMES = frozenset({"model"})
# The members of all other objects at the top level, such as `response_format` and `tool_choice`.
_SETTING_NAMES = _TOOL_NAMES | {"json_schema", "schema", "strict"}
# Objects whose names are the client's own: some are JSON Schemas, with the names of properties.
_THEIRS = frozenset(
    {"metadata", "logit_bias", "chat_template_kwargs", "guided_json", "structured_outputs", "json_schema"}
)
_SCHEMA = frozenset({"schema"})
# These may hold what elsewhere would be unseen: a choice among the listed tools, a schema, a limit within the limit.
_READ = _CALL_NAMES | {"response_format", "function_call", "reasoning"}
_OWN = _THEIRS - {"chat_template_kwargs"}


def read(endpoint: Endpoint, head: RequestHead, provider: str, dialect: Dialect, raw: Body) -> Call:
    """The call in this body; `Denied` where it is none."""
    body = members.parsed(raw)
    members.check_names(body, _CALL_NAMES)
    for name, value in body.items():
        if name in _UNSEEN:
            members.refuse(f"`{name}` is not supported: {_UNSEEN[name]}")
        if value.__class__ is dict and name not in _THEIRS:
            members.check_nested(value, _SETTING_NAMES, _SCHEMA)
    members.check_unread(body, _READ, _OWN)
    models = _models(body, endpoint.params.get(DEPLOYMENT))
    messages = _messages(body.get("messages"))
    return call_of(
        endpoint,
        head,
        provider,
        raw,
        body,
        model=models[0],
        models=models,
        stream=_stream(body),
        max_output_tokens=_output_limit(body, dialect),
        tools=_tools(body),
        roles=tuple([message["role"] for message in messages]),
        messages=len(messages),
        system_prompts=tuple([digest(m.get("content")) for m in messages if m["role"] in _SYSTEM_ROLES]),
        references=_references(body, models, messages),
        stores=members.boolean(body.get("store"), "store"),
        modalities=_modalities(body, messages),
        service_tier=members.service_tier(body.get("service_tier")),
        settings=settings.of(head.query, body, _JUDGED),
    )


def edit(call: Call, edits: Edits, dialect: Dialect) -> tuple[Call, tuple[str, ...]]:
    """The call with its body edited, and the names of the edits."""
    body, names = call.body, []
    assert body is not None
    limit = call.max_output_tokens
    options = body.get("stream_options") or {}
    if edits.report_usage and call.stream and not options.get("include_usage"):
        body = {**body, "stream_options": {**options, "include_usage": True}}
        names.append(USAGE_EDIT)
    if edits.max_output_tokens is not None and (limits := _capped(body, edits.max_output_tokens, dialect)):
        body = {**body, **limits}
        limit = _output_limit(body, dialect)
        names.append(CAP_EDIT)
    tools = call.tools
    if edits.strip_tools and any(_name(tool) in edits.strip_tools for tool in tools):
        body = _stripped(body, edits.strip_tools)
        tools = _tools(body)
        names.append(TOOLS_EDIT)
    if edits.model is not None:
        # A list of models to fall back on would bring the others back.
        kept = {name: value for name, value in body.items() if name not in _CHOICES}
        kept["model"] = edits.model
        if kept != body:
            body = kept
            names.append(MODEL_EDIT)
    if not names:
        return call, ()
    models = _models(body, call.params.get(DEPLOYMENT))
    changed = replace(
        call,
        raw=json_body.dump(body, call.raw),
        body=body,
        model=models[0],
        models=models,
        max_output_tokens=limit,
        tools=tools,
        settings=settings.again(call, body, _JUDGED),
        # A tool that is gone looks into nothing.
        references=_references(body, models, body["messages"]),
    )
    return changed, tuple(names)


def _name(tool: Tool) -> str:
    """The policies' name of the tool: its name, or its type if the provider runs it itself."""
    return tool.name or tool.type


def _stripped(body: dict[str, Any], unwanted: frozenset[str]) -> dict[str, Any]:
    """The body without these tools, and without a choice of tools that they may have been."""
    kept = dict(body)
    for name in ("tools", "functions"):
        if body.get(name) is not None:
            left = [
                item
                for item, tool in zip(body[name], _tools({name: body[name]}), strict=True)
                if _name(tool) not in unwanted
            ]
            kept[name] = left
            if not left:
                del kept[name]
    if "web_search" in unwanted:
        kept.pop("web_search_options", None)
    kept = switches.without(kept, unwanted)
    # The choice may name a tool that is gone, or demand one where none is left.
    for name in ("tool_choice", "function_call"):
        if isinstance(kept.get(name), dict) or not kept.keys() & {"tools", "functions"}:
            kept.pop(name, None)
    if "tools" not in kept:
        kept.pop("parallel_tool_calls", None)
    return kept


def _capped(body: dict[str, Any], cap: int, dialect: Dialect) -> dict[str, int]:
    """The limits that must change so that all answers together have at most `cap` tokens; none if they do already."""
    given = {name: body[name] for name in LIMITS if body.get(name) is not None}
    # Each of several answers gets its share. If there are more answers than tokens, the second judgement says no.
    share = min([max(1, cap // _answers(body)), *given.values()])
    names = set(given)
    if dialect.together:
        names.update(dialect.honoured)
    elif names.isdisjoint(dialect.honoured):
        names.add(dialect.honoured[0])
    return {name: share for name in LIMITS if name in names and given.get(name) != share}


def _models(body: dict[str, Any], named: str | None) -> tuple[str, ...]:
    """Every model that the request lets the provider choose from, in order of preference, each once.

    Routers take a list in `models` or `fallbacks` and go through it when the first model fails. `named` is
    the model in the path, if there is one. Last come the model that moderates, and those of tools.
    """
    found = [members.model(body["model"], routed=True)] if body.get("model") is not None else []
    for name in ("models", "fallbacks"):
        listed = body.get(name)
        if listed is None:
            continue
        if not isinstance(listed, list):
            members.refuse(f"`{name}` must be a list")
        for each in listed:
            if isinstance(each, dict):
                if each.keys() != _FALLBACK_NAMES:
                    members.refuse(f"an object in `{name}` must have the member `model` and no other")
                each = each["model"]
            found.append(members.model(each, f"a model in `{name}`", routed=True))
    found += switches.models(body)
    if body.get("route") not in (None, "fallback"):
        members.refuse('`route` must be "fallback": a request names its models itself')
    if named is not None:
        listed = found if body.get("model") is None else found[1:]
        found = [deployment(named, listed)]
    if not found:
        members.refuse("`model` must be a string")
    if body.get("moderation") is not None:
        found.append(members.model(members.one_object(body["moderation"], "moderation", _FALLBACK_NAMES).get("model")))
    for tool in members.objects(body.get("tools"), "tools", _HOSTED_NAMES):
        found += members.tool_models(tool, _HOSTED_NAMES, _DEFINITIONS)
    if len(found) > _MAX_MODELS:
        members.refuse(f"a request must not name more than {_MAX_MODELS} models")
    return tuple(dict.fromkeys(found))


def _stream(body: dict[str, Any]) -> bool:
    options = body.get("stream_options")
    if options is not None:
        members.one_object(options, "stream_options", _OPTION_NAMES)
        members.boolean(options.get("include_usage"), "stream_options.include_usage")
    return members.boolean(body.get("stream"), "stream")


def _answers(body: dict[str, Any]) -> int:
    """The number of answers that are asked for; each of them may be as long as the limit says."""
    answers = body.get("n")
    return 1 if answers is None else members.whole_number(answers, "n", _MAX_ANSWERS)


def _output_limit(body: dict[str, Any], dialect: Dialect) -> int | None:
    """The limit of all answers together. A name that this server does not honour limits nothing."""
    answers = _answers(body)
    limits = {
        name: members.whole_number(body[name], name, _MAX_LIMIT // answers) * answers
        for name in LIMITS
        if body.get(name) is not None
    }
    if len(set(limits.values())) > 1:
        members.refuse("`max_tokens` and `max_completion_tokens` contradict each other: name one of them")
    return next((limits[name] for name in dialect.honoured if name in limits), None)


def _messages(value: object) -> list[dict[str, Any]]:
    messages = members.objects(value, "messages", _MESSAGE_NAMES)
    if not messages:
        members.refuse("`messages` must hold at least one message")
    for message in messages:
        role = message.get("role")
        if not isinstance(role, str) or role not in _ROLES:
            members.refuse("`role` of a message must be one of " + ", ".join(sorted(_ROLES)))
        content = message.get("content")
        if content is not None and not isinstance(content, str):
            for part in members.objects(content, "content", _PART_NAMES):
                for inner in part.values():
                    members.check_nested(inner, _PART_NAMES)
        if content is None and role in _SYSTEM_ROLES:
            members.refuse(f"a message of role {role} must have content")
        for asked in members.objects(message.get("tool_calls"), "tool_calls", _TOOL_CALL_NAMES):
            for inner in asked.values():
                if inner.__class__ is dict:
                    members.check_names(inner, _TOOL_NAMES)
    return messages


def _tools(body: dict[str, Any]) -> tuple[Tool, ...]:
    if _BRINGS_TOOLS.isdisjoint(body) and members.ONLINE not in str(body.get("model")):
        return ()
    tools = [_tool(item) for item in members.objects(body.get("tools"), "tools", _HOSTED_NAMES)]
    functions = members.objects(body.get("functions"), "functions", _TOOL_NAMES)
    tools += [Tool("function", members.text(item.get("name"), "`name` of a tool")) for item in functions]
    if body.get("web_search_options") is not None:
        tools.append(Tool("web_search", ""))
    return (*tools, *switches.tools(body))


def _tool(item: dict[str, Any]) -> Tool:
    # Some compatible servers take a function without its type.
    kind = item.get("type", "function" if "function" in item else None)
    kind = members.kind(kind, "`type` of a tool", _TOOL_KINDS)
    # Some servers look for a function whatever the type says: what is called must not have two names.
    if more := sorted(item.keys() & (_DEFINITIONS - {kind})):
        members.refuse(f"a tool of type {shown(kind)} must not have a member `{more[0]}`")
    if kind == "mcp":
        label = members.text(item.get("server_label"), "`server_label` of a tool")
        return Tool(kind, label, members.server(item, _SERVERS))
    members.no_server(item, _SERVERS)
    if kind not in _DEFINITIONS:
        return Tool(kind, "")  # the provider runs it itself: its type says what it is
    if "name" in item:
        members.refuse(f"the name of a tool of type {kind} stands in its member `{kind}`")
    if not isinstance(item.get(kind), dict):
        members.refuse(f"a tool of type {kind} must have a member `{kind}`")
    definition = members.one_object(item[kind], kind, _TOOL_NAMES)
    return Tool(kind, members.text(definition.get("name"), "`name` of a tool"))


# Types of content parts, and what they bring besides text. Others are told by their names.
_PART_KINDS = {"image_url": "image", "input_audio": "audio", "file": "file", "video_url": "video"}


def _modalities(body: dict[str, Any], messages: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """The kinds of content besides text in the messages, and what is asked for in `modalities`."""
    found: set[str] = set()
    asked = body.get("modalities")
    if asked is not None:
        if not isinstance(asked, list):
            members.refuse("`modalities` must be a list")
        found.update(members.word(each, "a modality") for each in asked)
    for message in messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            # Servers look at the member, whatever the type says.
            found.update(kind for name, kind in _PART_KINDS.items() if name == part.get("type") or name in part)
    if not found:
        return ()
    if unknown := sorted(found - {"text", "audio", "file", "image", "video"}):
        members.refuse(f"the modality {shown(unknown[0])} is not known")
    return tuple(sorted(found - {"text"}))


def _references(
    body: dict[str, Any], models: Sequence[str], messages: Sequence[dict[str, Any]]
) -> tuple[Reference, ...]:
    """The provider's state that a call names: presets, files, audio of earlier answers, and what tools look into."""
    found = list(switches.presets(models))
    for tool in body.get("tools") or ():
        for name, kind in _HELD.items():
            for listed in members.values_of(tool, name, _DEFINITIONS):
                if not isinstance(listed, list):
                    members.refuse(f"`{name}` must be a list")
                found += [Reference(kind, _id(each)) for each in listed]
    for message in messages:
        if (audio := message.get("audio")) is not None:
            found.append(Reference("audio", _id(members.one_object(audio, "audio", _PART_NAMES).get("id"))))
        content = message.get("content")
        if isinstance(content, list):
            for part in content:
                if part.get("file") is not None:
                    members.one_object(part["file"], "file", _PART_NAMES)
            found += [Reference("file", each) for each in _files(content)]
    return tuple(found)


def _files(value: object) -> Iterator[str]:
    """The ids of files in a message's parts. Servers take them from a part itself, from its `file`, or from deeper."""
    if isinstance(value, dict):
        if value.get("file_id") is not None:
            yield _id(value["file_id"])
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _files(inner)


def _id(value: object) -> str:
    return members.text(value, "an id in a message")
