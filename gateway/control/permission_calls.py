"""The calls that `permissions.py` is asked about: the simplest of an action, an upstream, a model and maybe a tool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.call import Call, Tool
from gateway.errors import Hint, UnknownError, did_you_mean
from gateway.registry import names, queries
from gateway.registry.database import Registry
from gateway.upstream.providers.base import simplest
from gateway.upstream.providers.http import provider as http
from gateway.upstream.providers.presets import PROVIDERS


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedTool:
    """A tool that a call would have."""

    type: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedCall:
    """A call that is asked about, as people are told of it."""

    action: str
    upstream: str
    provider: str
    model: str
    tools: list[AskedTool]


_CHATS: Final = ("chat.completions", "messages", "generate_content", "responses")


def calls_of(
    registry: Registry,
    organization: str,
    models: Sequence[str],
    actions: Sequence[str] | None,
    tools: Sequence[str] | None,
    upstream: str | None,
) -> list[Call]:
    """The combinations, each as the simplest call of its kind."""
    rows = queries.upstreams(registry, organization)
    row = next((each for each in rows if (each.default if upstream is None else each.name == upstream)), None)
    if upstream is not None and row is None:
        raise names.unknown_upstream(upstream, [each.name for each in rows])
    provider = PROVIDERS["openai"]
    if row is not None and row.specification is not None and row.provider == http.NAME:
        provider = http.provider(row.name, row.specification)
    elif row is not None:
        provider = PROVIDERS[row.provider]
    routes = {name: route for route in reversed(provider.routes) for name in route.actions}
    usual = next((each for each in _CHATS if each in routes), next(iter(routes)))
    found = []
    for action in actions or [usual]:
        route = routes.get(action)
        if route is None:
            where = f"upstream `{row.name}`" if row else "the default upstream"
            hint = did_you_mean(action, routes, Hint("`gateway upstreams show NAME` lists the actions of an upstream"))
            raise UnknownError("action", f"{where} has no action `{action}`", subject=action, hint=hint)
        call = simplest(provider, row.name if row else "openai", route, action)
        for model in models:
            for tool in tools or [""]:
                kind, colon, name = tool.rpartition(":")
                given = Tool(kind if colon else "function", name)
                tools_of_it = (given,) if tool else ()
                found.append(replace(call, model=model, models=(model,), tools=tools_of_it))
    return found


def told(call: Call) -> AskedCall:
    """The call as people are told of it."""
    return AskedCall(
        action=call.action,
        upstream=call.upstream,
        provider=call.provider,
        model=call.model or "",
        tools=[AskedTool(type=each.type, name=each.name) for each in call.tools],
    )
