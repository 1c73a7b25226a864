"""The content of a body of each API, read by code that shares nothing with the gateway's and looks everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .folding import Facts, deep, digest, items, names_in, objects, once, word

_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens", "max_new_tokens")
_SCHEMAS = frozenset({"parameters", "input_schema"})


def chat(body: Facts, action: str) -> Facts:
    messages = objects(body.get("messages"))
    contents = [each.get("content") for each in messages]
    tools = objects(body.get("tools"))
    references = {("file", str(each)) for content in contents for each in deep(content, "file_id")}
    references |= {("audio", each["audio"].get("id")) for each in messages if isinstance(each.get("audio"), dict)}
    references |= {("vector_store", str(each)) for listed in deep(tools, "vector_store_ids") for each in items(listed)}
    functions = [("function", each.get("name")) for each in objects(body.get("functions"))]
    searches = [] if body.get("web_search_options") is None else [("web_search", "")]
    searches += [("web_search", "")] if body.get("enable_search") else []
    sought = body.get("search_parameters")
    searches += [("live_search", "")] if sought is not None and sought.get("mode") != "off" else []
    searches += [("plugin", each.get("id")) for each in objects(body.get("plugins"))]
    presets = [f"@preset/{each.rpartition('@preset/')[2]}" for each in [body.get("preset")] if isinstance(each, str)]
    models = once([*names_in(body), *presets, *_moderation(body), *_models_of(tools)])
    searches += [("plugin", "web")] if any(":online" in str(each) for each in names_in(body)) else []
    references |= {("preset", each.partition("@preset/")[2]) for each in models if "@preset/" in str(each)}
    return {
        "models": models,
        "stream": bool(body.get("stream")),
        "limit": _limit(body, body.get("n") or 1),
        "tools": sorted([*(found for each in tools for found in _chat_tool(each)), *functions, *searches]),
        "servers": _servers(tools),
        "roles": [each.get("role") for each in messages],
        "messages": len(messages),
        "system prompts": [digest(each.get("content")) for each in messages if each.get("role") in _SYSTEM],
        "references": references,
        "stores": bool(body.get("store")),
    }


_SYSTEM = ("system", "developer")


def _chat_tool(tool: Facts) -> list[tuple[Any, Any]]:
    kind = tool.get("type", "function")
    found: list[tuple[Any, Any]] = []
    if word(kind) == "mcp":
        found.append((kind, tool.get("server_label")))
    elif word(kind) not in ("function", "custom"):
        found.append((kind, ""))
    else:
        found += [(kind, tool["name"])] if "name" in tool else []
    held = [tool[name] for name in ("function", "custom") if isinstance(tool.get(name), dict)]
    return found + [(kind, each["name"]) for each in held if "name" in each]


def responses(body: Facts, action: str) -> Facts:
    given = body.get("input")
    said = [{"role": "user", "content": given}] if isinstance(given, str) else objects(given)
    spoken = [
        each for each in said
        if (each.get("role") is not None and word(each.get("type")) != "additionaltools")
        or word(each.get("type")) == "message"
    ]  # fmt: skip
    tools = _flat(body.get("tools"))
    for each in said:
        tools += [] if word(each.get("type")) == "mcplisttools" else _flat(each.get("tools"))
    prompts = [body["instructions"]] if body.get("instructions") is not None else []
    prompts += [each.get("content") for each in spoken if each.get("role") in _SYSTEM]
    return {
        "models": once([*names_in(body), *_moderation(body), *_models_of(tools)]),
        "stream": bool(body.get("stream")),
        "limit": _limit(body, 1),
        "tools": sorted(found for each in tools for found in _named_tool(each, "server_label")),
        "servers": _servers(tools),
        "roles": [each.get("role") for each in spoken],
        "messages": len(spoken),
        "system prompts": [digest(each) for each in prompts],
        "references": _response_references(body, said, tools),
        "stores": action == "responses" and (body.get("store") is not False or bool(body.get("background"))),
    }


def _response_references(body: Facts, said: list[Facts], tools: list[Facts]) -> set[tuple[str, str]]:
    found = {("response", str(each)) for each in [body.get("previous_response_id")] if each is not None}
    conversation = body.get("conversation")
    if conversation is not None:
        held = conversation.get("id") if isinstance(conversation, dict) else conversation
        found.add(("conversation", str(held)))
    if isinstance(options := body.get("prompt_cache_options"), dict) and options.get("comparison_response_id"):
        found.add(("response", str(options["comparison_response_id"])))
    for each in said:
        if word(each.get("type")) == "itemreference" or (not each.get("type") and not each.get("role")):
            found.add(("item", str(each.get("id"))))
        for name in ("content", "output"):
            ids = deep(each.get(name), "file_id", frozenset({"annotations", "arguments", "logprobs"}))
            found |= {("file", str(one)) for one in ids}
        found |= {("container", str(each["container_id"]))} if each.get("container_id") is not None else set()
    found |= {("vector_store", str(each)) for listed in deep(tools, "vector_store_ids") for each in items(listed)}
    found |= {("file", str(each)) for listed in deep(tools, "file_ids") for each in items(listed)}
    return found


def messages(body: Facts, action: str) -> Facts:
    said = objects(body.get("messages"))
    system = body.get("system")
    contents = [system, *(each.get("content") for each in said)]
    tools = [*objects(body.get("tools")), *(each for each in deep(contents, "tool") if isinstance(each, dict))]
    tools = [each for each in tools if word(each.get("type")) != "toolreference"]
    servers = objects(body.get("mcp_servers"))
    fallbacks = objects(body.get("fallbacks"))
    container = body.get("container")
    skills = objects(container.get("skills")) if isinstance(container, dict) else []
    prompts = [system, *deep([body.get("compaction"), body.get("context_management")], "instructions")]
    prompts += [each.get("content") for each in said if each.get("role") == "system"]
    limits = [each["max_tokens"] for each in (body, *fallbacks) if each.get("max_tokens") is not None]
    others = [body[name] for name in _LIMITS if name != "max_tokens" and body.get(name) is not None]
    named = [found for each in tools for found in _named_tool(each, "mcp_server_name")]
    named = [("function" if word(kind) in (None, "custom") else kind, name) for kind, name in named]
    named += [("mcp", each.get("name")) for each in servers]
    named += [("skill", each.get("skill_id")) for each in skills]
    return {
        "models": once([*names_in(body), *_models_of(tools)]),
        "stream": bool(body.get("stream")),
        "limit": None if body.get("max_tokens") is None else max([*limits, *others]),
        "tools": sorted(named),
        "servers": sorted(_place(each.get("url")) for each in servers),
        "roles": [each.get("role") for each in said],
        "messages": len(said),
        "system prompts": [digest(each) for each in prompts if each is not None],
        "references": _message_references(body, contents, container),
        "stores": action == "messages" and any(body.get(each) is not None for each in ("thread", "diagnostics")),
    }


def _message_references(body: Facts, contents: list[Any], container: Any) -> set[tuple[str, str]]:
    skipped = frozenset({"input", "citations"})
    found = {("file", str(each)) for each in deep(contents, "file_id", skipped)}
    found |= {("container", str(each)) for each in deep(contents, "container_id", skipped)}
    held = container.get("id") if isinstance(container, dict) else container
    found |= set() if held is None else {("container", str(held))}
    earlier = deep([body.get("thread"), body.get("diagnostics")], "previous_message_id")
    return found | {("message", str(each)) for each in earlier}


def simple(body: Facts, action: str) -> Facts:
    facts: Facts = {"models": once(names_in(body)), "stream": bool(body.get("stream")), "limit": None}
    if action == "completions":
        prompts = body.get("prompt")
        several = (
            len(prompts) if isinstance(prompts, list) and not all(isinstance(each, int) for each in prompts) else 1
        )
        answers = [body[name] for name in ("n", "best_of") if isinstance(body.get(name), int)]
        facts["limit"] = _limit(body, max(answers, default=1) * several)
    elif action == "moderations":
        facts["modalities"] = ["image"] if any(True for _ in deep(body.get("input"), "image_url")) else []
    return facts


def _named_tool(tool: Facts, label: str) -> list[tuple[Any, Any]]:
    kind = tool.get("type")
    held = [tool[name] for name in ("function", "custom") if isinstance(tool.get(name), dict)]
    inner = [(kind, each["name"]) for each in held if "name" in each]
    if word(kind) in (None, "function", "custom", "namespace"):
        return [(kind, tool.get("name")), *inner]
    labelled = "mcp" if label == "server_label" else "mcptoolset"
    return [(kind, tool.get(label) if word(kind) == labelled else ""), *inner]


def _flat(value: Any) -> list[Facts]:
    found = []
    for each in objects(value):
        found += [each, *_flat(each.get("tools"))]
    return found


def _models_of(tools: list[Facts]) -> list[Any]:
    found: list[Any] = []
    for each in tools:
        own = word(each.get("type")) in (None, "function", "custom")
        skipped = _SCHEMAS | {"tools"} if own else frozenset({"tools"})
        found += deep(
            {name: value for name, value in each.items() if not (own and name == "function")}, "model", skipped
        )
    return found


def _moderation(body: Facts) -> list[Any]:
    moderation = body.get("moderation")
    return names_in(moderation) if isinstance(moderation, dict) else []


def _servers(tools: list[Facts]) -> list[str]:
    named = [each.get(name) for each in tools for name in ("server_url", "connector_id") if each.get(name) is not None]
    return sorted(map(_place, named))


def _place(address: Any) -> str:
    return str(address).partition("?")[0].partition("#")[0]


def _limit(body: Facts, answers: Any) -> Any:
    given = [body[name] for name in _LIMITS if body.get(name) is not None]
    limits = {each * answers if isinstance(each, int) and isinstance(answers, int) else str(each) for each in given}
    return next(iter(limits), None) if len(limits) < 2 else limits


READERS: dict[str, Callable[[Facts, str], Facts]] = {
    "chat.completions": chat,
    **dict.fromkeys(("responses", "responses.input_tokens", "responses.compact"), responses),
    **dict.fromkeys(("messages", "messages.count_tokens"), messages),
    **dict.fromkeys(("embeddings", "moderations", "completions"), simple),
}
