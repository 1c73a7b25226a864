"""Principals: authenticated agents, and the cache of them (architecture.md, section 9).

`Principals` holds a bounded LRU of what the registry says about recently used credentials of all kinds. Every entry
carries the *epoch* of authority at which it was read. The epoch is a row that triggers bump in the same transaction
that changes authority. Callers read it for every request, and an entry of any other epoch is read again. So a
revocation holds for every request that arrives after it returned, in every worker, without a message that could get
lost. A `CredentialKind` says how the credentials of one kind are looked up and checked.
"""

from __future__ import annotations

import functools
import operator
import time
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Protocol

import orjson

from gateway.errors import Denied, PrincipalHint
from gateway.frozen import frozen
from gateway.identity import key_scope, persons, standing
from gateway.identity.credentials import Method
from gateway.identity.key_scope import KeyScope
from gateway.identity.persons import Right
from gateway.identity.tokens import Token

Effect = Literal["grant", "guard", "receive"]
"""How a bundle counts: it may allow its subject's calls, only refuse them, or allow calls of others to its subject."""
STRENGTHS: dict[Method, int] = {"legacy": 0, "api_key": 1, "signature": 2, "mtls": 2, "peer": 2, "token": 3}
"""The strength of each kind of credentials, as policies see it."""

_NEVER = (None, None, None)
_ID = operator.itemgetter("id")


@frozen()
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


@frozen()
class BoundLimit:
    """A limit of the registry as a principal has it: its own, its team's or its organization's.

    `upstream`, `model`, `counterparty` and `tool` are empty where it is not for these only. Until `raised_until_ns` it
    is `raised`, if that is more. If it is set `by_gateway`, no operator of the organization can raise it. `mode` is
    `hard` or `estimate`.
    """

    id: str
    subject_kind: Literal["agent", "team", "organization"]
    name: str
    value: int
    upstream: str
    model: str
    counterparty: str = ""
    tool: str = ""
    raised: int | None = None
    raised_until_ns: int | None = None
    by_gateway: bool | int = True
    mode: str = "hard"


@frozen()
class Principal:
    """An authenticated agent as of one epoch of authority. All its requests share it, so it must not be mutated.

    `key_id` names the credential in logs, and `lookup` finds it again; `document` is the input document's `agent`
    member.
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
    lookup: Hashable
    method: Method
    strength: int
    status: str
    bindings: tuple[BoundBundle, ...]
    authority_epoch: int
    document: dict[str, Any]
    # The times at which the key and the agent expire.
    expires_ns: int | None = None
    agent_expires_ns: int | None = None
    # The time from which the agent is suspended, because nobody has confirmed it.
    suspends_ns: int | None = None
    # None unless its content is kept.
    content: KeptContent | None = None
    limits: tuple[BoundLimit, ...] = ()
    # None unless the key is for less than its agent may do.
    scope: KeyScope | None = None
    # The content of the token that was presented; None for any other credential.
    token: Token | None = None
    # Its organization is moving away from a provider's key that programs share.
    adopting: bool = False
    # The upstream that the credential is for, if it is such a key; None for any other.
    upstream: str | None = None
    # The input document's `on_behalf_of` member; None unless the token names a person.
    person: dict[str, Any] | None = None
    # The time zone of its organization.
    zone: str = "UTC"
    # Results that others have worked out from the rest, by a name of theirs, so that it is done once for all requests.
    derived: dict[str, Any] = field(default_factory=dict, init=False, compare=False, repr=False)


class CredentialRow(NamedTuple):
    """A key with everything that hangs on it, as stored. The last ones are JSON text, but for the two keys."""

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
    bindings: str  # of objects with the members of `BoundBundle`
    limits: str = "[]"  # of objects with those of `BoundLimit`
    content: str | None = None
    content_key: bytes | None = None
    scope: str | None = None
    agent_expires_ns: int | None = None
    public_key: bytes | None = None  # the key of an agent that signs; such a row has no digest
    organization_status: str = "active"
    team_status: str | None = None
    stopped: str | None = None
    adopting: bool | int = False
    upstream: str | None = None  # set for a provider's key (`legacy_keys.py`); such a row has no digest either
    zone: str = "UTC"  # the organization's
    # From then on it is suspended, because nobody has confirmed it; as `registry/review_dates.py` says it.
    suspends_ns: int | None = None


class Presented(Protocol):
    """A credential that a request carries: well-formed, but neither looked up nor checked yet.

    `lookup` finds it in the registry. It identifies a credential among those of its `method` and proves nothing.
    """

    @property
    def method(self) -> Method: ...

    @property
    def lookup(self) -> Hashable: ...


@frozen()
class Found:
    """The registry's answer to a lookup. `proof` is what credentials are checked against; only its kind reads it."""

    row: CredentialRow
    proof: Any
    # For a token its content, and the credentials by which the other agents of its chain came to it, in order.
    token: Token | None = None
    before: tuple[CredentialRow, ...] = ()
    # For a token that names a person the right to act for them; None if it is in force no longer.
    right: Right | None = None


class CredentialSource(Protocol):
    """The part of the registry in which kinds of credentials look; `gateway.registry.port.RegistryPort` has it."""

    async def credential(self, credential_id: str) -> CredentialRow | None: ...

    async def legacy(self, digests: Sequence[bytes]) -> CredentialRow | None: ...

    async def workload(self, spiffe_id: str) -> CredentialRow | None: ...

    async def holder(self, credential: str) -> CredentialRow | None: ...

    async def right(self, rule: str) -> Right | None: ...


class Uses(Protocol):
    """Keeps when credentials are used; `gateway.runtime.key_uses.KeyUses` does."""

    def note(self, key: str, expires_ns: int | None) -> None: ...


class CredentialKind(Protocol):
    """The credentials of one kind: how they are looked up and checked."""

    @property
    def method(self) -> Method: ...

    async def find(self, lookup: Any) -> Found | None:
        """The row that `lookup` means, dead or alive; None if there is none."""
        ...

    def check(self, presented: Any, proof: Any) -> None:
        """Raise `Denied` unless what was presented matches the `proof` that was found; None if nothing was found.

        This is done for every request, also when the principal is cached.
        """
        ...

    async def admit(self, presented: Any, principal: Principal) -> None:
        """Raise `Denied` if this credential of a living principal was used before and may be used once only."""
        ...


@frozen()
class _Entry:
    principal: Principal
    proof: Any


class Principals:
    """The cache of one data worker; used from its event loop's thread only.

    # INVARIANT: the caller has read `epoch` before this reads rows. A change in between leaves an entry with an old
    stamp, never a stale entry with a new stamp.
    """

    def __init__(self, kinds: Iterable[CredentialKind], capacity: int = 16_384) -> None:
        """At most `capacity` are kept. Each takes about 2.7 KB."""
        self._kinds = {each.method: each for each in kinds}
        self._capacity = capacity
        # By method and lookup, oldest use first.
        self._entries: OrderedDict[tuple[Method, Hashable], _Entry] = OrderedDict()

    async def get(self, presented: Presented, epoch: int) -> Principal:
        """The principal of a credential as of this epoch of authority or a later one.

        Raises `Denied`: `bad_credentials` whatever is wrong with the credential, `detail` says what.
        """
        kind = self._kinds.get(presented.method)
        if kind is None:
            raise Denied("bad_credentials", "unknown")
        place = (presented.method, presented.lookup)
        entry = self._entries.get(place)
        if entry is None or entry.principal.authority_epoch != epoch or _over(entry.principal):
            found = await kind.find(presented.lookup)
            kind.check(presented, None if found is None else found.proof)
            if found is None:
                raise Denied("bad_credentials", "unknown")
            principal = self._keep(found, *place, epoch)
        else:
            # All of it is checked on every request: finding an entry proves no more than knowing a public id.
            kind.check(presented, entry.proof)
            self._entries.move_to_end(place)
            principal = entry.principal
        await kind.admit(presented, principal)
        return principal

    async def refresh(self, principal: Principal, epoch: int) -> Principal:
        """The same credential's principal as of a later epoch of authority; `Denied` if it is dead or expired by now.

        For the second look between reading a body and deciding (step 5 of a request). The credential was checked
        already, and what it is checked against never changes.
        """
        if principal.authority_epoch == epoch and not _over(principal):
            return principal
        found = await self._kinds[principal.method].find(principal.lookup)
        if found is None:
            raise Denied("bad_credentials", "unknown")
        if found.row.key_id != principal.key_id:
            raise _another(principal)
        return self._keep(found, principal.method, principal.lookup, epoch)

    async def withdrawn(self, principal: Principal, epoch: int) -> Denied | None:
        """The reason why this principal would be refused as of a later epoch of authority; None if it would not.

        For calls under way. A credential that has expired meanwhile was good when the call was made: that is no reason.
        """
        entry = self._entries.get((principal.method, principal.lookup))
        if entry is not None and entry.principal.authority_epoch == epoch:
            return None if entry.principal.key_id == principal.key_id else _another(principal)
        try:
            found = await self._kinds[principal.method].find(principal.lookup)
        except Denied as denied:
            if denied.code != "bad_credentials":
                raise
            return denied  # a token whose key was taken away
        if found is None:
            return Denied("bad_credentials", "unknown")
        return refusal_of(found, expiry=False) if found.row.key_id == principal.key_id else _another(principal)

    def _keep(self, found: Found, method: Method, lookup: Hashable, epoch: int) -> Principal:
        """Cache the principal of a row whose credential is known to match, unless it or its agent is dead."""
        place = (method, lookup)
        self._entries.pop(place, None)
        denied = refusal_of(found)
        if denied is not None:
            raise denied
        principal = principal_of(found.row, lookup, epoch, method, found.token, found.before, found.right)
        self._entries[place] = _Entry(principal, found.proof)
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)
        return principal


def _another(principal: Principal) -> Denied:
    """A name that was taken from this principal's agent and given to another one in the meantime."""
    hint = PrincipalHint.of(principal)
    return Denied("bad_credentials", "revoked", principal_hint=hint)


def refusal_of(found: Found, *, expiry: bool = True, now_ns: int | None = None) -> Denied | None:
    """The reason why nobody is let in by what was found; None if somebody is. A chain ends with any of its links.

    The credential is known to match. `now_ns` is another time than now.
    """
    now_ns = time.time_ns() if now_ns is None else now_ns
    if (why := standing.refusal(found.row, now_ns, expiry=expiry)) is not None:
        return _denied(found.row, *why)
    for row in found.before:
        if standing.refusal(row, now_ns, expiry=expiry) is not None:
            # The agent that acts is alive. It must not learn what has become of the other one.
            return Denied("bad_credentials", "delegator_dead", principal_hint=PrincipalHint.of(row))
    if found.token is not None and found.token.person is not None and found.right is None:
        hint = PrincipalHint.of(found.row)
        return Denied("bad_credentials", "person_right_ended", principal_hint=hint)
    return None


def _denied(row: CredentialRow, code: str, detail: str) -> Denied:
    hint = PrincipalHint.of(row)
    if row.upstream is not None:
        # Nobody knows who sends a provider's key, so the client is not told more than a stranger.
        return Denied("bad_credentials", f"legacy_{detail}", principal_hint=hint)
    # Only somebody with a valid key is told of a suspension: its owner, who should know that this is no mistake of it.
    reasons = [standing.TEXTS[detail]] if code == "agent_suspended" and detail in standing.TEXTS else []
    return Denied(code, detail, reasons=reasons, principal_hint=hint)


def _over(principal: Principal) -> bool:
    """True if a time has come at which it is refused. No epoch changes when time passes, so each use checks this."""
    ends = principal.expires_ns, principal.agent_expires_ns, principal.suspends_ns
    if ends == _NEVER:
        return False
    now_ns = time.time_ns()
    return any(each is not None and each <= now_ns for each in ends)


def principal_of(
    row: CredentialRow,
    lookup: Hashable,
    epoch: int,
    method: Method = "api_key",
    token: Token | None = None,
    before: Sequence[CredentialRow] = (),
    right: Right | None = None,
) -> Principal:
    """The principal that a row describes. The caller checks the credential.

    `token` is what it presented, if that is one, and `before` are those on whose behalf it acts, outermost first. With
    `right` the first of all acts for the person that the token names.
    """
    strength = STRENGTHS[method]
    capabilities: list[str] = orjson.loads(row.capabilities)
    labels: dict[str, str] = orjson.loads(row.labels)
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
        "credential": {"id": row.key_id, "method": method, "strength": strength},
        "delegation": [_delegator(each) for each in before],
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
        lookup=lookup,
        method=method,
        strength=strength,
        status=row.status,
        bindings=_bindings(row.bindings),
        authority_epoch=epoch,
        document=document,
        expires_ns=row.expires_ns,
        agent_expires_ns=row.agent_expires_ns,
        suspends_ns=row.suspends_ns,
        limits=_limits(row.limits),
        content=_content(row),
        scope=_scope(row, token, before),
        token=token,
        adopting=bool(row.adopting),
        upstream=row.upstream,
        person=persons.document(token.person, right) if token and token.person and right else None,
        zone=row.zone,
    )


# Most agents of a team have the same of both, so these are made once for all of them.
@functools.lru_cache(maxsize=1024)
def _bindings(text: str) -> tuple[BoundBundle, ...]:
    """The bindings of a row, sorted by id, that is by age: bundles judge in the same order in every worker."""
    return tuple(BoundBundle(**each) for each in sorted(orjson.loads(text), key=_ID))


@functools.lru_cache(maxsize=1024)
def _limits(text: str) -> tuple[BoundLimit, ...]:
    return tuple(BoundLimit(**each) for each in sorted(orjson.loads(text), key=_ID))


def _scope(row: CredentialRow, token: Token | None, before: Sequence[CredentialRow]) -> KeyScope | None:
    """The scope of a credential. A token's scope was made from that of its key, but for where it may be used from.

    This holds for each key of a chain: one that is for certain networks does not lose them when it is granted on.
    """
    own = key_scope.parse(row.scope)
    if token is None:
        return own
    scopes = [found for each in (*before, row) if (found := key_scope.parse(each.scope)) is not None]
    scope = replace(token.scope, networks=key_scope.common_networks(each.networks for each in scopes))
    return scope if scope != KeyScope() else None


def _delegator(row: CredentialRow) -> dict[str, Any]:
    """An agent on whose behalf another one acts, as policies see it."""
    return {
        "id": row.agent_id,
        "name": row.name,
        "version": row.version,
        "team": row.team,
        "owner": row.owner,
        "environment": row.environment,
        "credential": row.key_id,
    }


def _content(row: CredentialRow) -> KeptContent | None:
    setting = orjson.loads(row.content) if row.content else None
    if setting is None or row.content_key is None:
        return None
    return KeptContent(setting["days"], tuple(setting["redact"]), row.content_key)
