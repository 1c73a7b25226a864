"""Tools of a call that somebody else than its client carries out, and how often at most they call the model again.

The results of a search go into a further call to the model, which its window bounds. So a search has a bound where
the call says how many there may be at most. Specification: limits.md.
"""

from __future__ import annotations

import re
from typing import Any, Final

from gateway.call import Call

# Tools that the client carries out: it has defined them itself, or the provider has, by whose API they are named.
_OWN_TOOLS: Final = frozenset({"function", "custom", "namespace"})
_CLIENT_TOOLS: Final = {
    "anthropic": re.compile(r"(?:bash|text_editor|computer|memory)_\d{8}|(?:computer|browser)_toolset_\d{8}"),
    "openai": re.compile(r"local_shell|apply_patch|computer|computer_use_preview"),
    "gemini": re.compile(r"computerUse"),
}
_CLIENT_TOOLS["azure"] = _CLIENT_TOOLS["openai"]
_SHELL: Final = "shell"  # of OpenAI: where it runs, its environment says
_SEARCH: Final = "tool_search"  # of OpenAI: it runs at the client, as Codex's does, if its execution says so

_WEB_SEARCHES: Final = re.compile(r"web_search(?:_preview)?(?:_\d{4}_\d{2}_\d{2}|_\d{8})?", re.ASCII)
_FEES: Final = "web_search"
_MOST_SEARCHES: Final = 100
_TURNS: Final = 10
"""So often Anthropic calls its model within one request at most before it pauses the turn (`pause_turn`):
https://docs.claude.com/en/docs/agents-and-tools/tool-use/web-search-tool."""


def hosted(call: Call) -> list[str]:
    """The types of tools that somebody else than the client carries out; one that is not known is such a tool."""
    known = _CLIENT_TOOLS.get(call.provider)
    others = {tool.type for tool in call.tools if tool.type not in _OWN_TOOLS}
    others = {each for each in others if known is None or not known.fullmatch(each)}
    return sorted(each for each in others if each not in (_SHELL, _SEARCH) or not _runs(call, each))


def rounds(call: Call, kinds: list[str]) -> tuple[int, tuple[tuple[str, int], ...]] | None:
    """The most calls to the model that these tools make of one, and how often they may be charged; None if any number.

    OpenAI's `max_tool_calls` is "the maximum number of total calls to built-in tools that can be processed in a
    response". Anthropic's `max_uses` is of each tool: beyond it a search is an error, which the model is told.
    """
    body = call.body
    if not kinds or body is None or not all(map(_WEB_SEARCHES.fullmatch, kinds)):
        return None
    if call.provider in ("openai", "azure") and call.action == "responses":
        most = body.get("max_tool_calls")
        if most.__class__ is not int or not 0 <= most <= _MOST_SEARCHES:
            return None
        return most + 2, tuple((kind, most) for kind in _fees(kinds))
    if call.provider == "anthropic":
        listed = body.get("tools")
        tools = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        limits = [each.get("max_uses") for each in tools if each.get("type") in kinds]
        # Some may stand elsewhere.
        if len(limits) != sum(tool.type in kinds for tool in call.tools):
            return None
        if not all(each.__class__ is int and 0 <= each <= _MOST_SEARCHES for each in limits):
            return None
        uses = sum(each for each in limits if each is not None)
        return max(_TURNS, uses) + 2, ((_FEES, uses),)
    return None


def _fees(kinds: list[str]) -> list[str]:
    """The names by which prices have them: each may be the one that is charged, so the dearest counts."""
    return sorted({"web_search_preview" if "preview" in each else _FEES for each in kinds})


def _runs(call: Call, kind: str) -> bool:
    """True if the client carries out every shell, or every search for tools, of a call to OpenAI."""
    listed = call.body.get("tools") if call.body is not None else None
    found = [each for each in listed if each.get("type") == kind] if isinstance(listed, list) else []
    # Some may stand elsewhere: in items of the input, or in groups.
    return sum(map(_is_local, found)) == sum(tool.type == kind for tool in call.tools)


def _is_local(tool: dict[str, Any]) -> bool:
    if tool["type"] == _SEARCH:
        return tool.get("execution") == "client"
    environment = tool.get("environment")
    return isinstance(environment, dict) and environment.get("type") == "local"
