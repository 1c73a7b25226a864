"""A data worker's view of the registry beside principals: upstreams with their secrets opened, and policies in force.

Each is read again when its part of the epoch has changed. A secret that cannot be opened makes its own upstream
unusable and no other, and is tried again after a while: the key may have been restored.
Specification: docs/architecture.md, sections 7 (step 2), 9 and 11.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field

import orjson

from gateway.errors import GatewayError
from gateway.registry.port import ActiveSet, Epochs, RegistryPort, RouteRow, UpstreamRow
from gateway.registry.vault import Place, Vault
from gateway.upstream.providers.base import Provider
from gateway.upstream.providers.http import provider as http
from gateway.upstream.providers.presets import PROVIDERS
from gateway.upstream.routing import Destination, Member, Pool, RouteTable

logger = logging.getLogger("gateway.upstreams")

RETRY_SECONDS = 2.0
"""How soon a secret that cannot be opened is tried again."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The secret of an upstream, and why it cannot be used."""

    secret: str | None = field(repr=False)
    fault: str


class RegistryView:
    """One worker's view; used from its event loop's thread only."""

    def __init__(self, registry: RegistryPort, vault: Vault) -> None:
        self._registry = registry
        self._vault = vault
        self._table_epoch = -1
        self._table = RouteTable([])
        self._active: ActiveSet | None = None
        # By row and version: a secret and why it cannot be used. Opening one once is enough.
        self._secrets: dict[tuple[str, int], Opened] = {}
        # When the secrets that cannot be used are tried again.
        self._retry = float("inf")

    async def epochs(self) -> Epochs:
        """The state of the registry now: what is newer than this was committed later."""
        return await self._registry.epochs()

    async def routes(self, epoch: int) -> RouteTable:
        """The table as of this epoch of upstreams or a later one."""
        if epoch != self._table_epoch or time.monotonic() >= self._retry:
            # What is read now is at least as new as the epoch that the caller has seen.
            rows = [row for row in await self._registry.upstreams() if provider_of(row) is not None]
            if missed := self._vault.missed(row.secret for row in rows):
                try:
                    await asyncio.to_thread(self._vault.look, missed)
                except GatewayError as error:
                    logger.error("%s", error.message)
            self._secrets = {(row.id, row.version): self._secret(row) for row in rows}
            pools = [_pool(row) for row in await self._registry.upstream_routes()]
            self._table = RouteTable((destination_of(row, self._secrets[row.id, row.version]) for row in rows), pools)
            self._table_epoch = epoch
            failed = any(each.fault for each in self._secrets.values())
            self._retry = time.monotonic() + RETRY_SECONDS if failed else float("inf")
        return self._table

    async def active(self, epoch: int) -> ActiveSet:
        """The policy revisions in force as of this epoch of policy or a later one."""
        if self._active is None or self._active.epoch != epoch:
            self._active = await self._registry.active_bundles()
        return self._active

    def _secret(self, row: UpstreamRow) -> Opened:
        known = self._secrets.get((row.id, row.version))
        if known is not None and not known.fault:
            return known
        found = opened(row, self._vault)
        if found.fault and (known is None or known.fault != found.fault):
            logger.error("upstream %s: %s", row.name, found.fault)
        return found


def opened(row: UpstreamRow, vault: Vault) -> Opened:
    """The secret of an upstream, or why it cannot be opened."""
    if row.secret is None:
        return Opened(None, "")
    try:
        return Opened(vault.open(row.secret, Place(row.organization, row.provider, row.id, row.version)), "")
    except GatewayError as error:
        return Opened(None, error.message)


def destination_of(row: UpstreamRow, secret: Opened) -> Destination:
    """An upstream whose provider is known, with its secret."""
    provider = provider_of(row)
    assert provider is not None
    return Destination(
        id=row.id,
        organization=row.organization,
        name=row.name,
        provider=provider,
        base_url=row.base_url,
        default=row.default,
        secret=secret.secret,
        fault=secret.fault,
        headers=orjson.loads(row.headers),
        preset=row.provider,
        reach=row.reach,
    )


def _pool(row: RouteRow) -> Pool:
    members = [
        Member(each["upstream"], each["weight"], each["tier"], tuple(each["models"].items()))
        for each in orjson.loads(row.members)
    ]
    return Pool(row.organization, row.name, row.default, tuple(members))


def provider_of(row: UpstreamRow) -> Provider | None:
    """The provider of an upstream; None if a later version of the gateway has added it."""
    if row.specification is not None:
        return http.provider(row.name, row.specification)
    return PROVIDERS.get(row.provider)
