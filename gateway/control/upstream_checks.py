"""Checks of upstreams for operators: who does it is on record before the stored key is used (`upstream/check.py`)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.dataplane.registry_view import destination_of, opened, provider_of
from gateway.errors import GatewayError
from gateway.registry.database import Registry
from gateway.registry.port import UpstreamRow
from gateway.registry.upstreams.changes import use
from gateway.secrets.vault import Vault
from gateway.upstream import check
from gateway.upstream.check import UpstreamCheck
from gateway.upstream.routing import Destination


def carry_out(
    registry: Registry, vault: Vault, *, actor: str, organization: str, upstreams: Sequence[str], reason: str = ""
) -> list[UpstreamCheck]:
    """Check these upstreams, all at the same time. Call it from a thread without a loop.

    Each has its entry in the outbox before anything is sent; the caller publishes it (`registry/publication.py`).
    """
    rows = use(registry, actor=actor, organization=organization, upstreams=upstreams, reason=reason)
    return asyncio.run(check.check([_destination(row, vault) for row in rows]))


def _destination(row: UpstreamRow, vault: Vault) -> Destination:
    if provider_of(row) is None:
        message = f"this version of the gateway does not know the provider `{row.provider}` of upstream `{row.name}`"
        raise GatewayError("invalid_provider", message, subject=row.name, hint="upgrade it")
    return destination_of(row, opened(row, vault))
