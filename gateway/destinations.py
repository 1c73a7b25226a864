"""A worker's view of the upstreams: the registry's rows, with their secrets opened, as of an epoch.

The table is read again when the epoch has changed, as principals are. A secret that cannot be opened makes its own
upstream unusable and no other. Specification: sections 7 (step 2) and 9.
"""

from __future__ import annotations

import logging

from gateway.errors import GatewayError
from gateway.registry.reader import RegistryReader, UpstreamRow
from gateway.registry.vault import Place, Vault
from gateway.upstream.routing import PROVIDERS, RouteTable, Upstream

logger = logging.getLogger("gateway.upstreams")


class Destinations:
    """The routes of one worker; used from its event loop's thread only."""

    def __init__(self, reader: RegistryReader, vault: Vault) -> None:
        self._reader = reader
        self._vault = vault
        self._epoch = -1
        self._table = RouteTable([])
        # By row and version: a secret and why it cannot be used. Opening one once is enough.
        self._secrets: dict[tuple[str, int], tuple[str | None, str]] = {}

    def routes(self, epoch: int) -> RouteTable:
        """The table as of this epoch or a later one."""
        if epoch != self._epoch:
            # What is read now is at least as new as the epoch that the caller has seen.
            rows = [row for row in self._reader.upstreams() if row.provider in PROVIDERS]
            self._secrets = {(row.id, row.version): self._secret(row) for row in rows}
            self._table = RouteTable(self._upstream(row) for row in rows)
            self._epoch = epoch
        return self._table

    def _secret(self, row: UpstreamRow) -> tuple[str | None, str]:
        known = self._secrets.get((row.id, row.version))
        if known is not None:
            return known
        if row.secret is None:
            return None, ""
        try:
            place = Place(row.organization, row.provider, row.id, row.version)
            return self._vault.open(row.secret, place), ""
        except GatewayError as error:
            logger.error("upstream %s: %s", row.name, error.message)
            return None, error.message

    def _upstream(self, row: UpstreamRow) -> Upstream:
        secret, fault = self._secrets[row.id, row.version]
        return Upstream(
            id=row.id,
            organization=row.organization,
            name=row.name,
            provider=PROVIDERS[row.provider],
            base_url=row.base_url,
            default=row.default,
            secret=secret,
            fault=fault,
        )
