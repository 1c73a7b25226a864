"""Tools: functions of the agent, MCP servers, and what Google runs itself.

One object in `tools` can hold several kinds at once, each under its own name. Kinds that are not known here count, too:
a policy sees the name. Specification: https://ai.google.dev/api/caching#Tool.
"""

from __future__ import annotations

import re
from typing import Any

from gateway.call import Reference, Tool
from gateway.upstream.providers import members
from gateway.upstream.providers.gemini.spelling import Names, camel, put, several, spelled
from gateway.upstream.strict_json import shown

_TOOL = Names(
    "functionDeclarations", "mcpServers", "fileSearch", "retrieval", "googleSearch", "googleSearchRetrieval",
    "codeExecution", "urlContext", "computerUse", "googleMaps", "enterpriseWebSearch",
)  # fmt: skip
_NAMED = Names("name")
_SERVER = Names("name", "streamableHttpTransport")
_TRANSPORT = Names("url")
_SEARCH = Names("fileSearchStoreNames", "retrievalResources")
_CONFIG = Names("functionCallingConfig")
_CALLING = Names("mode", "allowedFunctionNames")
_KIND = re.compile(r"[a-z][A-Za-z0-9]{0,127}")

# Lists of tools that have names of their own, and the types of those.
_LISTS = {"functionDeclarations": "function", "mcpServers": "mcp"}


def read(value: object) -> tuple[list[Tool], list[Reference]]:
    """The tools in `tools`, and the stored documents that they search."""
    tools: list[Tool] = []
    references: list[Reference] = []
    for item in several(value, "tools"):
        _TOOL.read(item, "tools")
        seen: set[str] = set()
        for key, member in item.items():
            kind = _kind(key)
            if kind in seen:
                members.refuse(f"the member `{kind}` appears in two spellings")
            seen.add(kind)
            if kind == "retrieval":
                members.refuse("`retrieval` is not supported: it names data that no policy would see")
            if kind in _LISTS:
                tools += [_listed(kind, each) for each in several(member, kind)]
                continue
            if not isinstance(member, dict):
                members.refuse(f"`{kind}` of a tool must be an object")
            tools.append(Tool(kind, ""))
            if kind == "fileSearch":
                references += _stores(member)
    return tools, references


def stripped(request: dict[str, Any], unwanted: frozenset[str]) -> dict[str, Any]:
    """The request without these tools, and without a choice of tools that they may have been."""
    kept = [left for item in several(_get(request, "tools"), "tools") if (left := _without(item, unwanted))]
    request = put(request, "tools", kept or None)
    config = _get(request, "toolConfig")
    if config is None:
        return request
    calling = _CONFIG.read(config, "toolConfig").get("functionCallingConfig")
    allowed = several(_CALLING.read(calling or {}, "functionCallingConfig").get("allowedFunctionNames"), "allowed")
    if not any(_get(item, "functionDeclarations") for item in kept) or not unwanted.isdisjoint(allowed):
        config = put(config, "functionCallingConfig", None)
    return put(request, "toolConfig", config or None)


def _get(item: dict[str, Any], name: str) -> Any:
    return item.get(spelled(item, name))


def _without(item: dict[str, Any], unwanted: frozenset[str]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, member in item.items():
        kind = camel(key)
        if kind in _LISTS:
            if left := [each for each in several(member, kind) if _name(each) not in unwanted]:
                kept[key] = left
        elif kind not in unwanted:
            kept[key] = member
    return kept


def _kind(key: str) -> str:
    kind = camel(key)
    if not _KIND.fullmatch(kind):
        members.refuse(f"{shown(key)} is not the name of a kind of tool")
    return kind


def _listed(kind: str, item: object) -> Tool:
    """One of a list. There is one way to say where a server of tools is."""
    if kind != "mcpServers":
        return Tool(_LISTS[kind], _name(item))
    found, given = _SERVER.read(item, kind), {camel(each) for each in item} if isinstance(item, dict) else set()
    if other := sorted(given - {"name", "streamableHttpTransport"}):
        members.refuse(f"`{other[0]}` of an MCP server is not supported: policies could not see what it says")
    transport = _TRANSPORT.read(found.get("streamableHttpTransport"), "streamableHttpTransport")
    return Tool(_LISTS[kind], _name(item), members.server(transport, ("url",)))


def _name(item: object) -> str:
    return members.text(_NAMED.read(item, "a tool").get("name"), "`name` of a tool")


def _stores(search: dict[str, Any]) -> list[Reference]:
    found = _SEARCH.read(search, "fileSearch")
    if "retrievalResources" in found:
        members.refuse("`retrievalResources` is not supported: stores are named in `fileSearchStoreNames`")
    names = several(found.get("fileSearchStoreNames"), "fileSearchStoreNames")
    return [Reference("file_search_store", members.text(each, "the name of a store")) for each in names]
