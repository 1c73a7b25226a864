"""Members of a chat completion by which compatible servers run tools of their own or apply what they have stored.

OpenRouter has `plugins` and `preset`, xAI `search_parameters`, Qwen `enable_search`. They stand beside `tools` and do
what a tool does, so a policy sees them as tools. A preset is kept at the provider and may hold anything, also other
models: a call that names one refers to foreign state and to a second model, `@preset/NAME`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from gateway.call import Reference, Tool
from gateway.upstream.providers import members

NAMES = frozenset({"plugins", "preset", "search_parameters", "enable_search"})

# The switch that a model called `…:online` brings.
_ONLINE = Tool("plugin", "web")
_PLUGIN_NAMES = frozenset({"id"})
_SEARCH_NAMES = frozenset({"mode"})


def tools(body: dict[str, Any]) -> Iterator[Tool]:
    """The tools that these members switch on."""
    for item in members.objects(body.get("plugins"), "plugins", _PLUGIN_NAMES):
        yield _plugin(item)
    if members.ONLINE in str(body.get("model")) or any(members.ONLINE in str(each) for each in _listed(body)):
        yield _ONLINE
    if body.get("search_parameters") is not None:
        search = members.one_object(body["search_parameters"], "search_parameters", _SEARCH_NAMES)
        members.check_inside("search_parameters", search)
        if search.get("mode") != "off":
            yield Tool("live_search", "")
    if members.boolean(body.get("enable_search"), "enable_search"):
        yield Tool("web_search", "")


def without(body: dict[str, Any], unwanted: frozenset[str]) -> dict[str, Any]:
    """The body without the switches of these tools."""
    kept = dict(body)
    if body.get("plugins"):
        kept["plugins"] = [item for item in body["plugins"] if _plugin(item).name not in unwanted]
        if not kept["plugins"]:
            del kept["plugins"]
    if _ONLINE.name in unwanted:
        for name in ("model", "models", "fallbacks"):
            if name in body:
                kept[name] = _offline(body[name])
    for name, kind in (("search_parameters", "live_search"), ("enable_search", "web_search")):
        if kind in unwanted:
            kept.pop(name, None)
    return kept


def models(body: dict[str, Any]) -> tuple[str, ...]:
    """The name under which a preset counts as a model, because it may choose one."""
    if body.get("preset") is None:
        return ()
    named = members.model(body["preset"], "`preset`", routed=True)
    return (members.PRESET + named.removeprefix(members.PRESET),)


def presets(named: Iterable[str]) -> Iterator[Reference]:
    """The presets in the names of models: `@preset/NAME` can also stand behind a model's own name."""
    for each in named:
        _, found, name = each.partition(members.PRESET)
        if found:
            yield Reference("preset", members.text(name, "the name of a preset"))


def _listed(body: dict[str, Any]) -> Iterator[Any]:
    for name in ("models", "fallbacks"):
        yield from body.get(name) or ()


def _offline(named: Any) -> Any:
    """The model, or the list of some, without the search."""
    if isinstance(named, list):
        return [_offline(each) for each in named]
    if isinstance(named, dict):
        return {name: _offline(each) for name, each in named.items()}
    return named.replace(members.ONLINE, "") if isinstance(named, str) else named


def _plugin(item: dict[str, Any]) -> Tool:
    members.check_inside("plugins", item)
    return Tool("plugin", members.word(item.get("id"), "`id` of a plugin"))
