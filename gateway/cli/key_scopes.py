"""Scopes of keys on the command line: names that exist, and how lists show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import GatewayError, did_you_mean

if TYPE_CHECKING:
    from gateway.identity.key_scope import KeyScope
    from gateway.registry.database import Registry


def check_actions(registry: Registry, organization: str, scope: KeyScope | None) -> None:
    """Raise unless each action of a scope is one of some upstream: a mistyped one would let nothing through."""
    if scope is None or not scope.actions:
        return
    from gateway.registry import queries
    from gateway.upstream.providers.http import provider as http
    from gateway.upstream.providers.presets import PROVIDERS

    known = {route.action for provider in PROVIDERS.values() for route in provider.routes}
    for each in queries.upstreams(registry, organization):
        if each.specification is not None:
            known |= {route.action for route in http.provider(each.name, each.specification).routes}
    for pattern in scope.actions:
        if not any(name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern for name in known):
            hint = did_you_mean(pattern, known, "see `gateway upstreams show NAME` for the actions of an upstream")
            raise GatewayError("unknown_action", f"no upstream has the action `{pattern}`", subject=pattern, hint=hint)


def shown(scope: dict[str, list[str]] | None) -> str:
    """A scope in one line; empty if there is none."""
    return "; ".join(f"{name} {' '.join(part)}" for name, part in (scope or {}).items())
