"""A new key-encryption key, and everything sealed put under it, while the gateway runs.

    1  the key in force is kept as `keys/kek.ID`, a new one takes its place in `keys/kek`
    2  each sealed thing is wrapped anew, some at a time, each batch in one transaction
    3  when nothing is left under an old key, its file is deleted

Whenever this is interrupted, it goes on where it was. A running worker reads the files again when it meets a key that
it does not know; until then it holds the old one. What is sealed does not change, only the wrapping of its data key, so
the secrets are not opened. Sealed are the secrets of upstreams and the keys of agents whose content is kept.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlmodel import Session, col, select

from gateway.audit.intents import SYSTEM, Fields
from gateway.errors import GatewayError
from gateway.registry import content_keys, outbox
from gateway.registry.database import Registry
from gateway.registry.models import Agent, Organization, Upstream
from gateway.registry.vault import FILE, Place, Vault, identity, retired, sealed_under
from gateway.storage import secret_files

BATCH: Final = 200  # rows in one transaction, so that no other change waits long
_NEXT: Final = "kek.next"


@dataclass(frozen=True, slots=True)
class VaultState:
    """The key in force, the older ones that are still there, and how much is sealed under which; ids of keys."""

    key: str
    older: list[str]
    upstreams: dict[str, int] = field(default_factory=dict)
    content_keys: dict[str, int] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """How many things are not sealed under the key in force."""
        return sum(
            count for found in (self.upstreams, self.content_keys) for key, count in found.items() if key != self.key
        )


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """What a rotation did. `unreadable` are the ids of rows whose secret no key opens; they are left as they are."""

    key: str
    continued: bool
    upstreams: int
    content_keys: int
    unreadable: list[str]


def state(registry: Registry, keys: Path) -> VaultState:
    vault = Vault.load(keys)
    with registry.read() as session:
        upstreams = session.exec(select(Upstream.secret).where(col(Upstream.secret).is_not(None))).all()
        contents = session.exec(select(Agent.content_key).where(col(Agent.content_key).is_not(None))).all()
    older = [path.suffix[1:] for path in retired(keys)]
    return VaultState(vault.id, older, _counted(upstreams), _counted(contents))


def rotate(
    registry: Registry, keys: Path, actor: str, progress: Callable[[int], None] = lambda _done: None
) -> Rewrapped:
    """Replace the key and rewrap everything, or go on with a rotation that was interrupted."""
    continued = _unfinished(keys)
    if not continued:
        _replace(keys)
        with registry.write() as session:
            fields = {"kek": Vault.load(keys).id, "kek_before": ", ".join(path.suffix[1:] for path in retired(keys))}
            outbox.add_change(session, organization=SYSTEM, actor=actor, what="vault.rotated", fields=fields)
    vault = Vault.load(keys)
    unreadable: list[str] = []
    counts: Counter[str] = Counter()
    for kind, ids in (("upstreams", _upstreams(registry)), ("content_keys", _agents(registry))):
        for start in range(0, len(ids), BATCH):
            with registry.write() as session:
                for row, sealed, place in _sealed(session, kind, ids[start : start + BATCH]):
                    try:
                        wrapped = vault.rewrap(sealed, place)
                    except GatewayError:
                        unreadable.append(row.id)
                        continue
                    if wrapped is not None:
                        counts[kind] += 1
                        _store(row, wrapped)
            progress(sum(counts.values()))
    _finish(registry, keys, vault, actor, counts, unreadable)
    return Rewrapped(vault.id, continued, counts["upstreams"], counts["content_keys"], unreadable)


def _unfinished(keys: Path) -> bool:
    """Whether a rotation was interrupted after the new key was in place. What an earlier end has left is removed."""
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
    _on_disk(keys)
    (keys / _NEXT).replace(keys / FILE)
    _on_disk(keys)


def _finish(
    registry: Registry, keys: Path, vault: Vault, actor: str, counts: Counter[str], unreadable: Sequence[str]
) -> None:
    """Delete the files of keys that nothing is sealed under any more. Looks under the registry's lock.

    What no key opens needs none of them.
    """
    with registry.write() as session:
        fields: Fields = {"kek": vault.id, "upstreams": counts["upstreams"], "content_keys": counts["content_keys"]}
        outbox.add_change(session, organization=SYSTEM, actor=actor, what="vault.rewrapped", fields=fields)
        secrets = session.exec(select(Upstream.id, Upstream.secret)).all()
        contents = session.exec(select(Agent.id, Agent.content_key)).all()
        needed = {
            sealed_under(each) for row, each in (*secrets, *contents) if each is not None and row not in unreadable
        }
    for path in retired(keys):
        if path.suffix[1:] not in needed:
            path.unlink()
    _on_disk(keys)


def _upstreams(registry: Registry) -> list[str]:
    with registry.read() as session:
        return list(session.exec(select(Upstream.id).where(col(Upstream.secret).is_not(None)).order_by(Upstream.id)))


def _agents(registry: Registry) -> list[str]:
    with registry.read() as session:
        return list(session.exec(select(Agent.id).where(col(Agent.content_key).is_not(None)).order_by(Agent.id)))


def _sealed(session: Session, kind: str, ids: list[str]) -> Iterator[tuple[Upstream | Agent, bytes, Place]]:
    """The rows of these ids as they are now, each with what is sealed in it and for which place."""
    if kind == "upstreams":
        found = select(Upstream, Organization.name).join(Organization).where(col(Upstream.id).in_(ids))
        for row, organization in session.exec(found).all():
            if row.secret is not None:
                yield row, row.secret, Place(organization, row.provider, row.id, row.version)
        return
    agents = select(Agent, Organization.name).join(Organization).where(col(Agent.id).in_(ids))
    for agent, organization in session.exec(agents).all():
        if agent.content_key is not None:
            yield agent, agent.content_key, content_keys.place(organization, agent.id)


def _store(row: Upstream | Agent, sealed: bytes) -> None:
    if isinstance(row, Upstream):
        row.secret = sealed
    else:
        row.content_key = sealed


def _counted(sealed: Sequence[bytes | None]) -> dict[str, int]:
    return dict(Counter(sealed_under(each) for each in sealed if each is not None))


def _on_disk(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
