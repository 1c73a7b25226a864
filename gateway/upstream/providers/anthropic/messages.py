"""Messages and the counting of their tokens: what a request body asks for, and what is changed in it.

Strict where a policy relies on a member; other members pass as they are. Besides `tools`, a request names tools in
`mcp_servers`, in the skills of its container and in messages that add a tool later; a tool can bring its own model.
Specification: docs/architecture.md, sections 6 and 7; https://docs.claude.com/en/api/messages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from gateway.call import Call, Reference, Tool
from gateway.upstream import strict_json
from gateway.upstream.providers import members
from gateway.upstream.providers.base import Edits, Endpoint, Head
from gateway.upstream.providers.prompts import digest

CREATE = "messages"
COUNT = "messages.count_tokens"

CAP_EDIT = "max_output_tokens"
TOOLS_EDIT = "strip_tools"
MODEL_EDIT = "model"
"""How the log names what was changed in a body."""

_ROLES = frozenset({"user", "assistant", "system"})
_MAX_LIMIT = 2**63 - 1
_MAX_DEPTH = 4  # of content within content: a tool's result may hold documents, which hold parts

# Members whose other spellings are refused, per kind of object.
_CALL_NAMES = frozenset(
    {"model", "messages", "max_tokens", "system", "stream", "tools", "tool_choice", "mcp_servers", "container"}
)
_MESSAGE_NAMES = frozenset({"role", "content"})
_BLOCK_NAMES = frozenset({"type", "text", "source", "content", "file_id", "tool", "container_id"})
_SOURCE_NAMES = frozenset({"type", "file_id", "content"})
_TOOL_NAMES = frozenset({"type", "name", "model", "mcp_server_name"})
_SERVER_NAMES = frozenset({"type", "name", "url"})
_CONTAINER_NAMES = frozenset({"id", "skills"})
_SKILL_NAMES = frozenset({"type", "skill_id", "version"})

# Blocks that bring something besides text.
_KINDS = {"image": "image", "document": "file", "container_upload": "file"}


def read(endpoint: Endpoint, head: Head, provider: str, betas: tuple[str, ...], raw: bytes) -> Call:
    """The call in this body; `Denied` where it is none."""
    body = strict_json.parse(raw)
    if not isinstance(body, dict):
        members.refuse("the body must be an object")
    members.check_names(body, _CALL_NAMES)
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
        betas=betas,
        **_facts(body),
    )


def edit(call: Call, edits: Edits) -> tuple[Call, tuple[str, ...]]:
    """The call with its body edited, and the names of the edits."""
    body, names = call.body, []
    assert body is not None
    cap, limit = edits.max_output_tokens, call.max_output_tokens
    if cap is not None and call.action == CREATE and (limit is None or limit > cap):
        body = {**body, "max_tokens": cap}
        names.append(CAP_EDIT)
    if edits.strip_tools and (stripped := _stripped(body, edits.strip_tools)) != body:
        body = stripped
        names.append(TOOLS_EDIT)
    if edits.model is not None and call.model != edits.model:
        body = {**body, "model": edits.model}
        names.append(MODEL_EDIT)
    if not names:
        return call, ()
    return replace(call, raw=strict_json.dump(body), body=body, **_facts(body)), tuple(names)


def _facts(body: dict[str, Any]) -> dict[str, Any]:
    """The members of a call that a body determines."""
    messages = _messages(body.get("messages"))
    system = body.get("system")
    if system is not None and not isinstance(system, str):
        members.objects(system, "system", _BLOCK_NAMES)
    blocks = [block for message in messages for block in _blocks(message.get("content"))]
    skills, kept = _container(body.get("container"))
    limit = body.get("max_tokens")
    prompts = [] if system is None else [digest(system)]
    prompts += [digest(message["content"]) for message in messages if message["role"] == "system"]
    return {
        "model": members.model(body.get("model")),
        "models": _models(body, blocks),
        "stream": members.boolean(body.get("stream"), "stream"),
        "max_output_tokens": None if limit is None else members.whole_number(limit, "max_tokens", _MAX_LIMIT),
        "tools": (*_tools(body, blocks), *skills),
        "roles": tuple(message["role"] for message in messages),
        "messages": len(messages),
        "system_prompts": tuple(prompts),
        "references": (*kept, *_files(blocks)),
        "modalities": tuple(sorted({_KINDS[block["type"]] for block in blocks if block.get("type") in _KINDS})),
    }


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
        yield block
        yield from _blocks(block.get("content"), depth + 1)
        # Some results are one object.
        if isinstance(block.get("content"), dict):
            yield from _blocks([block["content"]], depth + 1)
        if isinstance(block.get("source"), dict):
            members.check_names(block["source"], _SOURCE_NAMES)
            yield from _blocks(block["source"].get("content"), depth + 1)


def _models(body: dict[str, Any], blocks: list[dict[str, Any]]) -> tuple[str, ...]:
    """The model, and those that tools consult (the advisor tool)."""
    consulted = [item["model"] for item in _tool_objects(body, blocks) if item.get("model") is not None]
    return tuple(dict.fromkeys([members.model(body["model"]), *(members.model(each) for each in consulted)]))


def _tool_objects(body: dict[str, Any], blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The definitions of tools: those listed, and those that a message adds later."""
    added = [block["tool"] for block in blocks if isinstance(block.get("tool"), dict)]
    for each in added:
        members.check_names(each, _TOOL_NAMES)
    # A reference repeats what is listed.
    return members.objects(body.get("tools"), "tools", _TOOL_NAMES) + [
        each for each in added if each.get("type") != "tool_reference"
    ]


def _tools(body: dict[str, Any], blocks: list[dict[str, Any]]) -> tuple[Tool, ...]:
    servers = members.objects(body.get("mcp_servers"), "mcp_servers", _SERVER_NAMES)
    return (
        *(_tool(item) for item in _tool_objects(body, blocks)),
        *(Tool("mcp", members.text(each.get("name"), "`name` of an MCP server")) for each in servers),
    )


def _tool(item: dict[str, Any]) -> Tool:
    kind = item.get("type")
    if kind is None or kind == "custom":
        # As with other providers: the agent itself carries it out.
        return Tool("function", members.text(item.get("name"), "`name` of a tool"))
    kind = members.word(kind, "`type` of a tool")
    if kind == "mcp_toolset":
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


def _files(blocks: list[dict[str, Any]]) -> list[Reference]:
    """The uploaded files that blocks name."""
    holders = [holder for block in blocks for holder in (block, block.get("source")) if isinstance(holder, dict)]
    return [Reference("file", _id(each["file_id"])) for each in holders if each.get("file_id") is not None]


def _id(value: object) -> str:
    return members.text(value, "an id in a message")
