"""Secret keys of a data directory's agents."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.control.key_actions import check_actions
from gateway.dataplane import key_uses
from gateway.dataplane.key_uses import Uses
from gateway.identity.credentials import Peppers
from gateway.identity.key_scope import KeyScope
from gateway.processes import local
from gateway.registry import changes, key_rotation, queries
from gateway.registry.database import Registry
from gateway.registry.key_rotation import Rotated, Terms
from gateway.registry.records import KeyRecord, NewKey
from gateway.settings import DataDirectory


class DirectoryKeys:
    """`Keys` of `port.py`."""

    def __init__(self, registry: Registry, data: DataDirectory) -> None:
        self._registry = registry
        self._data = data

    def create(
        self, organization: str, agent: str, lifetime_ns: int | None, scope: KeyScope | None, reason: str
    ) -> NewKey:
        check_actions(self._registry, organization, scope)
        return changes.create_key(
            self._registry,
            Peppers.load(self._data.keys),
            actor=local.actor(),
            organization=organization,
            agent=agent,
            lifetime_ns=lifetime_ns,
            reason=reason,
            scope=scope,
        )

    def listed(self, organization: str, agent: str | None) -> tuple[list[KeyRecord], Uses]:
        return queries.keys(self._registry, organization, agent), key_uses.read(self._data.runtime_db)

    def rotate(
        self,
        organization: str,
        key: str | None,
        agent: str | None,
        terms: Terms,
        deliver: Callable[[Sequence[Rotated]], None],
    ) -> Rotated:
        return key_rotation.rotate_key(
            self._registry,
            Peppers.load(self._data.keys),
            actor=local.actor(),
            organization=organization,
            terms=terms,
            deliver=deliver,
            key=key,
            agent=agent,
        )

    def revoke(self, organization: str, key: str, reason: str) -> KeyRecord | None:
        return changes.revoke_key(
            self._registry, actor=local.actor(), organization=organization, key=key, reason=reason
        )
