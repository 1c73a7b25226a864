"""The places where a model could be called, and so has a price: the upstreams of an organization."""

from __future__ import annotations

from gateway.registry import names, queries
from gateway.registry.database import Registry


def price_places(registry: Registry, organization: str, upstream: str | None) -> list[tuple[str, str]]:
    """The provider and the name of each upstream, or of the one that is named. Raises `unknown_upstream`."""
    upstreams = {each.name: each.provider for each in queries.upstreams(registry, organization)}
    if upstream is None:
        return [(provider, name) for name, provider in upstreams.items()]
    if upstream not in upstreams:
        raise names.unknown_upstream(upstream, upstreams)
    return [(upstreams[upstream], upstream)]
