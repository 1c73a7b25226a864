"""The actions that a key's scope may name (keys.md)."""

from __future__ import annotations

from gateway.errors import Hint, UnknownError, did_you_mean
from gateway.identity.key_scope import KeyScope
from gateway.registry import queries
from gateway.registry.database import Registry


def check_actions(registry: Registry, organization: str, scope: KeyScope | None) -> None:
    """Raise unless each action of a scope is one of some upstream: a mistyped one would let nothing through."""
    if scope is None or not scope.actions:
        return
    # Imported here because they take as long as the whole check, and most keys have no actions.
    from gateway.upstream.providers.http import provider as http
    from gateway.upstream.providers.presets import PROVIDERS

    known = {route.action for provider in PROVIDERS.values() for route in provider.routes}
    for each in queries.upstreams(registry, organization):
        if each.specification is not None:
            known |= {route.action for route in http.provider(each.name, each.specification).routes}
    for pattern in scope.actions:
        if not any(name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern for name in known):
            hint = did_you_mean(
                pattern, known, Hint("see `gateway upstreams show NAME` for the actions of an upstream")
            )
            raise UnknownError("action", f"no upstream has the action `{pattern}`", subject=pattern, hint=hint)
