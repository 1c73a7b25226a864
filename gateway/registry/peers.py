"""Other gateways that are trusted to say who calls: changes and queries (two-gateways.md).

A peer is one of the whole gateway. An operator gives its keys, which are never fetched, and names the organizations
that it may speak for: none that this gateway has itself, and none that another peer speaks for, so that a name means
one thing. Each change is one transaction with its audit entry, and in force for the next request when it returns.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sqlmodel import Session, col, select

from gateway.errors import ConflictError, GatewayError, Hint
from gateway.identifiers import new_id
from gateway.identity import jose, peers
from gateway.registry import change_entries as entries
from gateway.registry import names, outbox
from gateway.registry.database import Registry
from gateway.registry.models import Organization, Peer
from gateway.registry.records import copied

MAX_PEERS: Final = 64
MAX_KEYS: Final = 16
MAX_ORGANIZATIONS: Final = 32
MAX_JWKS: Final = 64 * 1024

Status = Literal["active", "disabled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRecord:
    """`keys` names its keys by their thumbprints. Nothing is taken from a peer that is disabled."""

    id: str
    name: str
    keys: list[str]
    speaks_for: list[str]
    status: Status
    version: int
    created_ns: int


def add_peer(
    registry: Registry, *, actor: str, name: str, jwks: str, speaks_for: Collection[str], reason: str = ""
) -> PeerRecord:
    """Trust another gateway to say who calls, for agents of these organizations."""
    names.check_name("peer", name)
    jwks, wanted = _checked_keys(jwks), _checked_organizations(speaks_for)
    with registry.write() as session:
        live = _live(session)
        if any(each.name == name for each in live):
            hint = Hint(f"choose another name, or change that one: `gateway peers update {name}`")
            raise ConflictError("peer_exists", f"peer `{name}` exists already", subject=name, hint=hint)
        if len(live) >= MAX_PEERS:
            raise ConflictError("too_many_peers", f"there are {MAX_PEERS} peers already")
        row = Peer(
            id=new_id("per"),
            name=name,
            jwks=jwks,
            speaks_for=wanted,
            status="active",
            version=1,
            created_ns=time.time_ns(),
        )
        _check_alone(session, row)
        session.add(row)
        return _recorded(session, actor, "peer.added", row, reason)


def update_peer(
    registry: Registry,
    *,
    actor: str,
    name: str,
    jwks: str | None = None,
    speaks_for: Collection[str] | None = None,
    status: Status | None = None,
    reason: str = "",
) -> PeerRecord:
    """Change what is given: the keys take the place of the old ones, and the organizations of the old ones."""
    with registry.write() as session:
        row = find_peer(session, name)
        row.jwks = row.jwks if jwks is None else _checked_keys(jwks)
        row.speaks_for = row.speaks_for if speaks_for is None else _checked_organizations(speaks_for)
        row.status = status or row.status
        row.version += 1
        _check_alone(session, row)
        return _recorded(session, actor, "peer.updated", row, reason)


def remove_peer(registry: Registry, *, actor: str, name: str, reason: str = "") -> PeerRecord:
    """Trust a gateway no longer. Calls of its agents that are under way end."""
    with registry.write() as session:
        row = find_peer(session, name)
        row.removed_ns = time.time_ns()
        return _recorded(session, actor, "peer.removed", row, reason)


def all_peers(registry: Registry) -> list[PeerRecord]:
    """All peers by name."""
    with registry.read() as session:
        return [_record(each) for each in _live(session)]


def peer(registry: Registry, name: str) -> PeerRecord:
    """The one of this name or id."""
    with registry.read() as session:
        return _record(find_peer(session, name))


def find_peer(session: Session, reference: str) -> Peer:
    live = _live(session)
    for each in live:
        if reference in (each.name, each.id):
            return each
    raise names.unknown("peer", reference, [each.name for each in live], Hint("type `gateway peers list`"))


def _live(session: Session) -> Sequence[Peer]:
    return session.exec(select(Peer).where(col(Peer.removed_ns).is_(None)).order_by(Peer.name)).all()


def _check_alone(session: Session, row: Peer) -> None:
    """Raise if something that the peer has is somebody else's: a key or an organization."""
    own = select(Organization.name).where(col(Organization.name).in_(row.speaks_for))
    if (name := session.exec(own).first()) is not None:
        message = f"`{name}` is an organization of this gateway, for which no other may speak"
        raise ConflictError("own_organization", message, subject=name)
    for other in _live(session):
        if other.id == row.id:
            continue
        if both := sorted(set(other.speaks_for) & set(row.speaks_for)):
            message = f"peer `{other.name}` speaks for `{both[0]}` already"
            raise ConflictError("organization_taken", message, subject=both[0], hint="change or remove that one first")
        if set(_keys(other)) & set(_keys(row)):
            message = f"peer `{other.name}` has one of these keys already"
            raise ConflictError("key_taken", message, subject=other.name, hint="change or remove that one first")


def _recorded(session: Session, actor: str, what: str, row: Peer, reason: str) -> PeerRecord:
    outbox.add_change(session, None, actor, what, entries.peer(row), reason)
    return _record(row)


def _record(row: Peer) -> PeerRecord:
    return copied(PeerRecord, row, keys=_keys(row))


def _keys(row: Peer) -> list[str]:
    return [each.kid or "" for each in jose.key_set(row.jwks)]


def _checked_keys(jwks: str) -> str:
    found = peers.canonical_keys(jwks)
    if found.count('"kid"') > MAX_KEYS:
        raise GatewayError("invalid_jwks", f"a peer has at most {MAX_KEYS} keys")
    return found


def _checked_organizations(given: Collection[str]) -> list[str]:
    wanted = sorted({names.check_organization(each) for each in given})
    if not 0 < len(wanted) <= MAX_ORGANIZATIONS:
        message = f"a peer speaks for 1 to {MAX_ORGANIZATIONS} organizations"
        raise GatewayError("invalid_peer", message, subject="speaks_for", hint=Hint("add --speaks-for NAME"))
    return wanted
