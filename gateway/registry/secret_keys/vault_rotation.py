"""A new key-encryption key, and everything sealed put under it, while the gateway runs.

    1  the key in force is kept as `keys/kek.ID`, a new one takes its place in `keys/kek`
    2  each sealed thing is wrapped anew, some at a time, each batch in one transaction
    3  when nothing is left under an old key, its file is deleted

With a source outside of the data directory (`key_source.py`) the operator gives the new key there, before the others,
and removes an old one once `gateway vault status` shows nothing under it: only step 2 is taken.

Whenever this is interrupted, it goes on where it was. A running worker reads the files again when it meets a key that
it does not know; until then it holds the old one. Sealed texts do not change, only the wrapping of their data keys, so
the secrets are not opened. `KINDS` lists all that is sealed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from sqlalchemy import literal
from sqlmodel import Session, col, select

from gateway.audit.intents import Fields
from gateway.errors import GatewayError
from gateway.registry import approvals, names, outbox, webhooks
from gateway.registry.agents import content_keys
from gateway.registry.database import Registry
from gateway.registry.models import Agent, ApprovalRequest, LoginProvider, Organization, Upstream, Webhook
from gateway.registry.operators import login_providers
from gateway.secrets.key_source import FILE, FoundKey, KeySource, retired
from gateway.secrets.vault import SealedPlace, Vault, identity, sealed_under
from gateway.storage import durable, secret_files

BATCH: Final = 200  # rows in one transaction, so that no other change waits long
_NEXT: Final = "kek.next"

_Row: TypeAlias = Any  # of a table of `KINDS`


@dataclass(frozen=True, slots=True)
class SealedKind:
    """Something that is sealed: its table, the column that has it, and what it is sealed for in an organization.

    A table that is `owned` by none gets an empty text for its organization.
    """

    table: type[Any]
    column: str
    place: Callable[[str, _Row], SealedPlace]
    owned: bool = True


KINDS: Final[dict[str, SealedKind]] = {
    "upstreams": SealedKind(Upstream, "secret", lambda owner, row: row.place(owner)),
    "content_keys": SealedKind(Agent, "content_key", lambda owner, row: content_keys.place(owner, row.id)),
    "webhooks": SealedKind(Webhook, "secret", lambda owner, row: webhooks.place(owner, row.id)),
    "approvals": SealedKind(ApprovalRequest, "sealed", lambda owner, row: approvals.place(owner, row.id)),
    "login_providers": SealedKind(LoginProvider, "secret", lambda _, row: login_providers.place(row.id), owned=False),
}


@dataclass(frozen=True, slots=True)
class VaultState:
    """The key in force, the older ones that are still there, and how many of each kind are sealed under which key."""

    key: str
    older: list[str]
    sealed: dict[str, dict[str, int]]
    where: dict[str, str]  # each of these keys is

    @property
    def left(self) -> int:
        """The number of things that are not sealed under the key in force."""
        return sum(count for found in self.sealed.values() for key, count in found.items() if key != self.key)


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """The result of a rotation: the number of each kind. `unreadable` are the ids of rows that no key opens; they stay.

    `source` is where the operator has to give a new key; empty if the gateway makes it.
    """

    key: str
    continued: bool
    sealed: dict[str, int]
    unreadable: list[str]
    source: str


def state(registry: Registry, keys: Path) -> VaultState:
    found = KeySource.configured(keys).read()
    with registry.read() as session:
        return _state(found, _sealed(session))


def _sealed(session: Session) -> dict[str, dict[str, int]]:
    return {name: _under(session, kind, ()) for name, kind in KINDS.items()}


def _state(found: Sequence[FoundKey], sealed: dict[str, dict[str, int]]) -> VaultState:
    where: dict[str, str] = {}
    for each in found:
        where.setdefault(identity(each.key).hex(), each.where)
    current, *older = where
    return VaultState(current, older, sealed, where)


def rotate(
    registry: Registry,
    keys: Path,
    actor: str,
    progress: Callable[[int], None] = lambda _done: None,
    *,
    reason: str = "",
) -> Rewrapped:
    """Replace the key and rewrap everything, or go on with a rotation that was interrupted.

    A source outside gives the key: then everything is put under the first one of its keys.
    """
    source = KeySource.configured(keys)
    names.check_text("reason", reason)  # before a key is made
    continued = _begin(registry, source, actor, reason)
    vault = Vault.load(keys, source)
    unreadable: list[str] = []
    counts = dict.fromkeys(KINDS, 0)
    for name, kind in KINDS.items():
        ids = _ids(registry, kind)
        for start in range(0, len(ids), BATCH):
            with registry.write() as session:
                for row, place in _rows(session, kind, ids[start : start + BATCH]):
                    try:
                        wrapped = vault.rewrap(getattr(row, kind.column), place)
                    except GatewayError:
                        unreadable.append(row.id)
                        continue
                    if wrapped is not None:
                        setattr(row, kind.column, wrapped)
                        counts[name] += 1
            progress(sum(counts.values()))
    _finish(registry, source, vault, actor, counts, unreadable, reason)
    return Rewrapped(vault.id, continued, counts, unreadable, str(source) if source.outside else "")


def _begin(registry: Registry, source: KeySource, actor: str, reason: str) -> bool:
    """Put a new key in force and record it; True if there is one from a rotation that was interrupted.

    The files change under the registry's lock: of two rotations that begin at a time one goes on with the other's key,
    and whoever may not change the registry any more replaces no key.
    """
    found = source.read() if source.outside else []  # a command may take long, and others wait for the lock
    with registry.write() as session:
        sealed = _sealed(session)
        if not source.outside:
            if _unfinished(source.keys):
                return True
            _replace(source.keys)
            found = source.read()
        before = _state(found, sealed)
        if before.left or not source.outside:
            fields = {"kek": before.key, "kek_before": ", ".join(before.older)}
            outbox.add_change(session, None, actor, "vault.rotated", fields, reason)
    return False


def _unfinished(keys: Path) -> bool:
    """True if a rotation was interrupted after the new key was in place. Removes files that an earlier end has left."""
    with suppress(FileNotFoundError):
        (keys / _NEXT).unlink()
    current = identity(secret_files.read(keys / FILE)).hex()
    with suppress(FileNotFoundError):
        (keys / f"{FILE}.{current}").unlink()  # kept, but never replaced
    return bool(retired(keys))


def _replace(keys: Path) -> None:
    """Put a new key in the place of the one in force, which is kept under its id. Both are on disk at every moment."""
    current = identity(secret_files.read(keys / FILE)).hex()
    secret_files.create(keys / _NEXT)
    os.link(keys / FILE, keys / f"{FILE}.{current}")
    durable.sync(keys)
    (keys / _NEXT).replace(keys / FILE)
    durable.sync(keys)


def _finish(
    registry: Registry,
    source: KeySource,
    vault: Vault,
    actor: str,
    counts: dict[str, int],
    unreadable: Sequence[str],
    reason: str,
) -> None:
    """Delete the files of keys that nothing is sealed under any more. Looks under the registry's lock.

    Rows that no key opens need none of them. With a source outside they stay: a process that was not restarted yet may
    still seal under the one in `keys/kek`.
    """
    with registry.write() as session:
        fields: Fields = {"kek": vault.id, **counts}
        outbox.add_change(session, None, actor, "vault.rewrapped", fields, reason)
        needed = {key for kind in KINDS.values() for key in _under(session, kind, unreadable)}
        for path in () if source.outside else retired(source.keys):
            if path.suffix[1:] not in needed:
                path.unlink(missing_ok=True)
    durable.sync(source.keys)


def _ids(registry: Registry, kind: SealedKind) -> list[str]:
    table, column = kind.table, col(getattr(kind.table, kind.column))
    with registry.read() as session:
        return list(session.exec(select(table.id).where(column.is_not(None)).order_by(table.id)))


def _rows(session: Session, kind: SealedKind, ids: Sequence[str]) -> Iterator[tuple[_Row, SealedPlace]]:
    """The rows of these ids as they are now, each with what it is sealed for."""
    table: Any = kind.table
    if kind.owned:
        found = select(table, Organization.name).join(Organization, col(Organization.id) == table.organization_id)
    else:
        found = select(table, literal(""))
    for row, organization in session.exec(found.where(col(table.id).in_(ids))).all():
        if getattr(row, kind.column) is not None:
            yield row, kind.place(organization, row)


def _under(session: Session, kind: SealedKind, without: Sequence[str]) -> dict[str, int]:
    """The number of rows that are sealed under each key, without those of these ids."""
    column = col(getattr(kind.table, kind.column))
    found = session.exec(select(kind.table.id, column).where(column.is_not(None))).all()
    return dict(Counter(sealed_under(sealed) for identifier, sealed in found if identifier not in without))
