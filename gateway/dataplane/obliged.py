"""Edits of a call that policies and routes demand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from gateway.call import Call
from gateway.errors import Denied
from gateway.policy.obligations import Obligations
from gateway.upstream.providers.base import Edits, Provider
from gateway.upstream.routing import Match

_WITH_OUTPUT_LIMIT: Final = frozenset({"chat.completions", "completions", "responses", "messages", "generate_content"})
"""Actions of whose calls the providers' `edit` limits the output."""


def obliged(provider: Provider, call: Call, obligations: Obligations) -> tuple[Call, tuple[str, ...]]:
    """The call as obligations change its body, and the provider's names of the changes.

    Headers are no part of a body: they are set when the call is forwarded.
    """
    edits = Edits(
        max_output_tokens=obligations.max_output_tokens,
        strip_tools=obligations.strip_tools,
        model=obligations.model,
    )
    return provider.edit(call, edits)


def described(call: Call, obligations: Obligations) -> tuple[Call, tuple[str, ...]]:
    """The same for a call without a body, of which only the parts are known that policies see."""
    if call.method != "POST" or call.content_type != "application/json":
        return call, ()
    changed: dict[str, Any] = {}
    cap, limit = obligations.max_output_tokens, call.max_output_tokens
    if cap is not None and call.action in _WITH_OUTPUT_LIMIT and (limit is None or limit > cap):
        changed["max_output_tokens"] = cap
    tools = tuple([each for each in call.tools if (each.name or each.type) not in obligations.strip_tools])
    if tools != call.tools:
        changed["tools"] = tools
    if obligations.model is not None and call.models not in ((), (obligations.model,)):
        changed |= {"model": obligations.model, "models": (obligations.model,)}
    names = {"max_output_tokens": "max_output_tokens", "tools": "strip_tools", "model": "model"}
    return replace(call, **changed), tuple(name for member, name in names.items() if member in changed)


def renamed(match: Match, call: Call) -> tuple[Call, tuple[str, ...]]:
    """The call with the model's name at this upstream, and the provider's names of the changes."""
    name = dict(match.renames).get(call.model or "")
    if name is None:
        return call, ()
    changed, edits = match.destination.provider.edit(call, Edits(model=name))
    if changed.model != name:
        raise Denied("bad_request", reasons=[f"the model cannot be called {name} here, as its route demands"])
    return changed, edits
