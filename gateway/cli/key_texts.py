"""How the command line shows keys, what they are for and when they were used; and which actions a scope can name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cli import output
from gateway.errors import GatewayError, did_you_mean

if TYPE_CHECKING:
    from gateway.dataplane.key_uses import Uses
    from gateway.identity.key_scope import KeyScope
    from gateway.registry.database import Registry
    from gateway.registry.records import KeyRecord


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


def last_use(used_ns: int | None, now_ns: int) -> str:
    """When a key was used last, in one unit; empty if that is not known."""
    return "" if used_ns is None else f"{output.age(now_ns - used_ns)} ago"


def line(key: KeyRecord, uses: Uses, now_ns: int) -> str:
    """A key in one line."""
    used = last_use(uses.get(key.id), now_ns)
    more = filter(None, (used and f"used {used}", shown(key.scope)))
    return "  ".join((key.shown_id, key.status(now_ns), f"({key.id})", *more))


def document(key: KeyRecord, uses: Uses, now_ns: int) -> dict[str, Any]:
    """A key for programs, as it is now."""
    plain: dict[str, Any] = output.plain(key)
    used = uses.get(key.id)
    return plain | {"status": key.status(now_ns), "last_used": None if used is None else output.timestamp(used)}


def shown(scope: dict[str, list[str]] | None) -> str:
    """A scope in one line; empty if there is none."""
    return "; ".join(f"{name} {' '.join(part)}" for name, part in (scope or {}).items())
