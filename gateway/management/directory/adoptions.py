"""Old keys of providers that a data directory's gateway lets pass, and the clients that still use them."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.data_directory import DataDirectory
from gateway.dataplane import legacy_clients
from gateway.dataplane.legacy_clients import Client
from gateway.identity import key_scope
from gateway.identity.credentials import Peppers
from gateway.management.port.adoptions import NewAdoption
from gateway.processes import local
from gateway.registry import adoptions
from gateway.registry.adoptions import AdoptionRecord, Started
from gateway.registry.database import Registry


class DirectoryAdoptions:
    """`Adoptions` of `port/adoptions.py`."""

    def __init__(self, registry: Registry, data: DataDirectory) -> None:
        self._registry = registry
        self._data = data

    def start(self, organization: str, new: NewAdoption, reason: str) -> Started:
        return adoptions.start(
            self._registry,
            Peppers.load(self._data.keys),
            actor=local.actor(),
            organization=organization,
            upstream=new.upstream,
            keys=new.keys,
            expires_ns=new.expires_ns,
            owner=new.owner,
            replace_revoked=new.replace_revoked,
            reason=reason,
        )

    def listed(self, organization: str) -> list[AdoptionRecord]:
        return adoptions.adoptions(self._registry, organization)

    def clients(self, organization: str, address: str | None) -> Sequence[Client]:
        found = legacy_clients.read(self._data.runtime_db, organization)
        if address is None:
            return found
        wanted = legacy_clients.hashed(key_scope.address(address), Peppers.load(self._data.keys))
        return [each for each in found if each.peer == wanted]

    def stop(self, organization: str, upstream: str | None, reason: str) -> list[AdoptionRecord]:
        return adoptions.stop(
            self._registry, actor=local.actor(), organization=organization, upstream=upstream, reason=reason
        )
