"""Principals: authenticated agents, and the cache of them (docs/architecture.md, section 9).

`Principals` holds a bounded LRU of what the registry says about recently used keys. Every entry carries the *epoch* of
authority at which it was read. The epoch is a row that triggers bump in the same transaction that changes authority.
Callers read it for every request, and an entry of any other epoch is read again. So a revocation holds for every
request that arrives after it returned, in every worker, without a message that could get lost.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import orjson

from gateway.errors import Denied, PrincipalHint
from gateway.identity.credentials import Credential, Peppers, matches

Effect = Literal["grant", "guard"]

METHOD = "api_key"
STRENGTH = 1


@dataclass(frozen=True, slots=True)
class BoundBundle:
    """A binding as a principal has it: a bundle that judges it. `pinned` is a commit, or None for the one in force.

    A `shadow` is asked and recorded, and its answer does not count.
    """

    id: str
    bundle: str
    effect: Effect
    pinned: str | None
    shadow: bool | int = False


@dataclass(frozen=True, slots=True)
class KeptContent:
    """For how many days an agent's content is kept, what is redacted before, and the sealed key for it."""

    days: int
    redact: tuple[str, ...]
    sealed_key: bytes


@dataclass(frozen=True, slots=True)
class BoundLimit:
    """A limit of the registry as a principal has it: its own, its team's or its organization's.

    `upstream` and `model` are empty where it is not for these only. Until `raised_until_ns` it is `raised`, if that is
    more.
    """

    id: str
    subject_kind: Literal["agent", "team", "organization"]
    name: str
    value: int
    upstream: str
    model: str
    raised: int | None = None
    raised_until_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated agent as of one epoch of authority. All its requests share it, so it must not be mutated.

    `key_id` names the key in logs, `credential_id` is the public part of its text; `document` is the input document's
    `agent` member.
    """

    organization: str
    agent_id: str
    name: str
    version: int
    owner: str
    team: str
    environment: str
    capabilities: tuple[str, ...]
    labels: dict[str, str]
    key_id: str
    credential_id: str
    method: str
    strength: int
    status: str
    bindings: tuple[BoundBundle, ...]
    authority_epoch: int
    document: dict[str, Any]
    # When the key expires, and when the agent does.
    expires_ns: int | None = None
    agent_expires_ns: int | None = None
    # None unless its content is kept.
    content: KeptContent | None = None
    limits: tuple[BoundLimit, ...] = ()


class CredentialRow(NamedTuple):
    """A key with everything that hangs on it, as stored. The last ones are JSON text, but for the sealed key."""

    key_id: str
    digest: bytes
    pepper: int
    expires_ns: int | None
    revoked_ns: int | None
    agent_id: str
    organization: str
    name: str
    version: int
    owner: str
    team: str
    environment: str
    status: str
    capabilities: str
    labels: str
    bindings: str  # [[id, bundle, effect, pinned, shadow], …]
    limits: str = "[]"  # [[id, subject_kind, name, value, upstream, model, raised, raised_until_ns], …]
    content: str | None = None
    content_key: bytes | None = None
    agent_expires_ns: int | None = None


class PrincipalSource(Protocol):
    """The part of the registry that `Principals` needs; `gateway.registry.port.RegistryPort` has it."""

    async def credential(self, lookup: str) -> CredentialRow | None: ...


@dataclass(frozen=True, slots=True)
class _Entry:
    principal: Principal
    digest: bytes
    pepper: bytes


class Principals:
    """The cache of one data worker; used from its event loop's thread only.

    # INVARIANT: the caller has read `epoch` before this reads rows. A change in between leaves an entry with an old
    stamp, never a stale entry with a new stamp.
    """

    def __init__(self, source: PrincipalSource, peppers: Peppers, capacity: int = 4096) -> None:
        self._source = source
        self._peppers = peppers
        self._capacity = capacity
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # by the key's public id, oldest use first

    async def get(self, credential: Credential, epoch: int) -> Principal:
        """The principal of a key as of this epoch of authority or a later one.

        Raises `Denied`: `bad_credentials` whatever is wrong with the key, `detail` says what.
        """
        entry = self._entries.get(credential.id)
        if entry is None or entry.principal.authority_epoch != epoch:
            return await self._read(credential, epoch)
        # The whole secret is checked on every request: finding an entry proves no more than knowing a public id.
        if not matches(credential, entry.digest, entry.pepper):
            raise Denied("bad_credentials", "wrong_secret")
        _check_expiry(entry.principal)
        self._entries.move_to_end(credential.id)
        return entry.principal

    async def refresh(self, principal: Principal, epoch: int) -> Principal:
        """The same key's principal as of a later epoch of authority; `Denied` if the key is dead or expired by now.

        For the second look between reading a body and deciding (step 5 of a request). The secret was checked already,
        and a key never changes its secret.
        """
        if principal.authority_epoch == epoch:
            _check_expiry(principal)
            return principal
        row = await self._source.credential(principal.credential_id)
        pepper = self._peppers.get(row.pepper) if row else None
        if row is None or pepper is None:
            raise Denied("bad_credentials", "unknown")
        return self._admit(row, pepper, principal.credential_id, epoch)

    async def _read(self, credential: Credential, epoch: int) -> Principal:
        row = await self._source.credential(credential.id)
        pepper = self._peppers.get(row.pepper) if row else None
        if row is None or pepper is None:
            # The same work as for a known key, so that the time does not tell which ids exist.
            matches(credential, bytes(32), self._peppers.current)
            raise Denied("bad_credentials", "unknown" if row is None else "pepper_missing")
        if not matches(credential, row.digest, pepper):
            raise Denied("bad_credentials", "wrong_secret")
        return self._admit(row, pepper, credential.id, epoch)

    def _admit(self, row: CredentialRow, pepper: bytes, credential_id: str, epoch: int) -> Principal:
        """Cache the principal of a row whose secret is known to match, unless the key or its agent is dead."""
        self._entries.pop(credential_id, None)
        if row.revoked_ns is not None:
            why = "revoked"
        elif row.status in ("revoked", "retired"):
            why = f"agent_{row.status}"
        elif expired := _expired(row.expires_ns, row.agent_expires_ns):
            why = expired
        elif row.status != "active":
            # Only somebody with a valid key is told: its owner, who should know that this is no mistake of the key.
            raise Denied("agent_suspended", principal_hint=PrincipalHint(row.organization, row.agent_id, row.key_id))
        else:
            principal = principal_of(row, credential_id, epoch)
            self._entries[credential_id] = _Entry(principal, row.digest, pepper)
            if len(self._entries) > self._capacity:
                self._entries.popitem(last=False)
            return principal
        raise Denied("bad_credentials", why, principal_hint=PrincipalHint(row.organization, row.agent_id, row.key_id))


def _check_expiry(principal: Principal) -> None:
    """Refuse a key or an agent that has expired. No epoch changes when time passes, so each use checks this."""
    if why := _expired(principal.expires_ns, principal.agent_expires_ns):
        hint = PrincipalHint(principal.organization, principal.agent_id, principal.key_id)
        raise Denied("bad_credentials", why, principal_hint=hint)


def _expired(key_ns: int | None, agent_ns: int | None) -> str:
    """Which of the two has expired, as the log's detail; empty if neither has."""
    if key_ns is None and agent_ns is None:
        return ""
    now = time.time_ns()
    if key_ns is not None and key_ns <= now:
        return "expired"
    return "agent_expired" if agent_ns is not None and agent_ns <= now else ""


def principal_of(row: CredentialRow, credential_id: str, epoch: int) -> Principal:
    """The principal that a row describes. Whether its key is good is for the caller to check."""
    capabilities: list[str] = orjson.loads(row.capabilities)
    labels: dict[str, str] = orjson.loads(row.labels)
    # Sorted by id, that is by age: the order in which bundles judge is the same in every worker.
    bindings = tuple(BoundBundle(*each) for each in sorted(orjson.loads(row.bindings)))
    document = {
        "id": row.agent_id,
        "organization": row.organization,
        "name": row.name,
        "version": row.version,
        "team": row.team,
        "owner": row.owner,
        "environment": row.environment,
        "capabilities": capabilities,
        "labels": labels,
        "credential": {"id": row.key_id, "method": METHOD, "strength": STRENGTH},
        "delegation": [],
    }
    return Principal(
        organization=row.organization,
        agent_id=row.agent_id,
        name=row.name,
        version=row.version,
        owner=row.owner,
        team=row.team,
        environment=row.environment,
        capabilities=tuple(capabilities),
        labels=labels,
        key_id=row.key_id,
        credential_id=credential_id,
        method=METHOD,
        strength=STRENGTH,
        status=row.status,
        bindings=bindings,
        authority_epoch=epoch,
        document=document,
        expires_ns=row.expires_ns,
        agent_expires_ns=row.agent_expires_ns,
        limits=tuple(BoundLimit(*each) for each in sorted(orjson.loads(row.limits))),
        content=_content(row),
    )


def _content(row: CredentialRow) -> KeptContent | None:
    setting = orjson.loads(row.content) if row.content else None
    if setting is None or row.content_key is None:
        return None
    return KeptContent(setting["days"], tuple(setting["redact"]), row.content_key)
