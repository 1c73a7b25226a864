"""Edits of a call that policies and routes demand."""

from __future__ import annotations

from gateway.call import Call
from gateway.errors import Denied
from gateway.policy.obligations import Obligations
from gateway.upstream.providers.base import Edits, Provider
from gateway.upstream.routing import Match


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


def renamed(match: Match, call: Call) -> tuple[Call, tuple[str, ...]]:
    """The call with the model's name at this upstream, and the provider's names of the changes."""
    name = dict(match.renames).get(call.model or "")
    if name is None:
        return call, ()
    changed, edits = match.destination.provider.edit(call, Edits(model=name))
    if changed.model != name:
        raise Denied("bad_request", reasons=[f"the model cannot be called {name} here, as its route demands"])
    return changed, edits
