"""What the registry has to do with prices: the places where a model has one, and the entry for a new table.

The table itself is a file, which all processes read.
"""

from __future__ import annotations

from gateway.registry import names, queries
from gateway.registry.database import Registry
from gateway.registry.outbox import add_change


def price_places(registry: Registry, organization: str, upstream: str | None) -> list[tuple[str, str]]:
    """The provider and the name of each upstream, or of the one that is named. Raises `unknown_upstream`."""
    upstreams = {each.name: each.provider for each in queries.upstreams(registry, organization)}
    if upstream is None:
        return [(provider, name) for name, provider in upstreams.items()]
    if upstream not in upstreams:
        raise names.unknown_upstream(upstream, upstreams)
    return [(upstreams[upstream], upstream)]


def record_update(registry: Registry, *, actor: str, before: str, version: str, source: str, digest: str) -> None:
    """Record that the table of this version, with this SHA-256, takes the place of the one `before`."""
    fields = {"version": version, "before": before, "source": source, "digest": digest}
    with registry.write() as session:
        add_change(session, None, actor, "prices.updated", fields)
