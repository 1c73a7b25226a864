"""Changes of the table of prices, as the log keeps them. The table itself is a file, which all processes read."""

from __future__ import annotations

from gateway.audit.intents import SYSTEM
from gateway.registry.database import Registry
from gateway.registry.outbox import add_change


def record_update(registry: Registry, *, actor: str, before: str, version: str, source: str, digest: str) -> None:
    """Record that the table of this version, with this SHA-256, takes the place of the one `before`."""
    fields = {"version": version, "before": before, "source": source, "digest": digest}
    with registry.write() as session:
        add_change(session, organization=SYSTEM, actor=actor, what="prices.updated", fields=fields)
