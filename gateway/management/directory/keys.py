"""Keys of a data directory's agents."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.control.key_actions import check_actions
from gateway.data_directory import DataDirectory
from gateway.dataplane import key_uses
from gateway.dataplane.key_uses import Uses
from gateway.identity.credentials import Peppers
from gateway.identity.key_scope import KeyScope
from gateway.identity.message_signatures import PublicKey
from gateway.management.directory.change import Change, change
from gateway.management.port.keys import NewCredential
from gateway.processes import local
from gateway.registry import changes, key_rotation, queries
from gateway.registry.database import Registry
from gateway.registry.key_rotation import Rotated, Skipped, Terms
from gateway.registry.public_keys import add_public_key
from gateway.registry.records import KeyRecord, NewKey
from gateway.registry.workload_names import add_spiffe_id


class _Given(Change):
    """What all kinds of keys are made with."""

    agent: str
    lifetime_ns: int | None
    scope: KeyScope | None


class DirectoryKeys:
    """`Keys` of `port/keys.py`."""

    def __init__(self, registry: Registry, data: DataDirectory) -> None:
        self._registry = registry
        self._data = data

    def create(self, organization: str, new: NewCredential, reason: str) -> NewKey:
        given = self._given(organization, new, reason)
        return changes.create_key(self._registry, self._peppers(), **given)

    def add_public(self, organization: str, key: PublicKey, new: NewCredential, reason: str) -> KeyRecord:
        proof = None if new.prove is None else new.prove(queries.deployment(self._registry))
        return add_public_key(self._registry, key, proof=proof, **self._given(organization, new, reason))

    def add_spiffe(self, organization: str, spiffe_id: str, new: NewCredential, reason: str) -> KeyRecord:
        return add_spiffe_id(self._registry, spiffe_id, **self._given(organization, new, reason))

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
            self._peppers(),
            actor=local.actor(),
            organization=organization,
            terms=terms,
            deliver=deliver,
            key=key,
            agent=agent,
        )

    def rotate_many(
        self, organization: str, team: str | None, terms: Terms, deliver: Callable[[Sequence[Rotated]], None]
    ) -> tuple[list[Rotated], list[Skipped]]:
        """All in one transaction; `deliver` gets them before anything is in force."""
        actor = local.actor()
        return key_rotation.rotate_many(
            self._registry,
            self._peppers(),
            actor=actor,
            organization=organization,
            terms=terms,
            team=team,
            deliver=deliver,
        )

    def revoke(self, organization: str, key: str, reason: str) -> KeyRecord | None:
        return changes.revoke_key(self._registry, key=key, **change(organization, reason))

    def _given(self, organization: str, new: NewCredential, reason: str) -> _Given:
        check_actions(self._registry, organization, new.scope)
        by = change(organization, reason)
        return _Given(agent=new.agent, lifetime_ns=new.lifetime_ns, scope=new.scope, **by)

    def _peppers(self) -> Peppers:
        return Peppers.load(self._data.keys)
