"""The peppers under which keys are hashed, and the move of hashes to the newest one.

A hash can move only when its key is used: the registry does not have the secret. A worker computes the new one
(`gateway/dataplane/key_uses.py`), and here it takes the place of the old one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, or_, true
from sqlmodel import Session, col, select

from gateway.errors import GatewayError, Hint, UnknownError
from gateway.identity.credentials import Peppers, Rehash
from gateway.registry import outbox
from gateway.registry.database import Registry
from gateway.registry.models import ApiKey, LegacyKey, OperatorToken, Organization
from gateway.storage import secret_files


@dataclass(frozen=True, slots=True)
class PepperUse:
    """A pepper, whether it is the newest and its file is there, and how many keys that work need it."""

    version: int
    newest: bool
    file: bool
    keys: int


def uses(registry: Registry, keys: Path) -> list[PepperUse]:
    """Every pepper that has a file or that a living key, operator's token or provider's key needs; oldest first."""
    with registry.read() as session:
        return _uses(session, keys)


def _uses(session: Session, keys: Path) -> list[PepperUse]:
    now = time.time_ns()
    counted: dict[int, int] = {}
    for kind, hashed in ((ApiKey, col(ApiKey.pepper) > 0), (OperatorToken, true()), (LegacyKey, true())):
        living = select(kind.pepper, func.count()).where(
            hashed, col(kind.revoked_ns).is_(None), or_(col(kind.expires_ns).is_(None), col(kind.expires_ns) > now)
        )
        for version, count in session.exec(living.group_by(col(kind.pepper))):
            counted[version] = counted.get(version, 0) + int(count)
    found = _files(keys)
    newest = max(found, default=0)
    return [
        PepperUse(version, version == newest, version in found, counted.get(version, 0))
        for version in sorted({*found, *counted})
    ]


def add(registry: Registry, keys: Path, actor: str) -> int:
    """Make a new pepper, under which keys are hashed from now on; returns its version.

    Its file is made under the registry's lock, as `remove` deletes one: so it is not without its entry, nor there if
    the actor may not change the registry any more.
    """
    with registry.write() as session:
        version = max(_files(keys), default=0) + 1
        _record(session, actor, "pepper.added", version)
        secret_files.create(keys / f"pepper.{version}")
    return version


def remove(registry: Registry, keys: Path, actor: str, version: int) -> None:
    """Delete the file of a pepper. Raises `GatewayError` while a living key needs it."""
    with registry.write() as session:
        use = next((each for each in _uses(session, keys) if each.version == version), None)
        if use is None or not use.file:
            raise UnknownError("pepper", f"there is no pepper {version}", hint=Hint("type `gateway keys peppers`"))
        if use.newest:
            raise GatewayError(
                "newest_pepper", f"pepper {version} is the newest one", hint=Hint("type `gateway keys add-pepper`")
            )
        if use.keys:
            many = f"{use.keys} {'key' if use.keys == 1 else 'keys'}"
            hint = "wait until they were used, or rotate or revoke them"
            raise GatewayError("pepper_in_use", f"{many} that work are hashed under pepper {version}", hint=hint)
        _record(session, actor, "pepper.removed", version)
        (keys / f"pepper.{version}").unlink()


def move(registry: Registry, peppers: Peppers, moved: Iterable[Rehash], actor: str) -> int:
    """Put new hashes in the place of the old ones, in one transaction; returns how many.

    One that was not made with the pepper that it names, or whose key has another hash by now, is left out.
    """
    counts: dict[tuple[str, int], int] = {}
    with registry.write() as session:
        for each in moved:
            if not each.genuine(peppers):
                continue
            row = session.exec(select(ApiKey).where(ApiKey.credential_id == each.credential)).one_or_none()
            if row is None or row.digest != each.old or row.pepper >= each.pepper:
                continue
            row.digest, row.pepper = each.new, each.pepper
            place = row.organization_id, each.pepper
            counts[place] = counts.get(place, 0) + 1
        for (organization, pepper), count in counts.items():
            tenant = session.get_one(Organization, organization)
            fields = {"keys": count, "pepper": pepper}
            outbox.add_change(session, tenant, actor, "keys.rehashed", fields)
    return sum(counts.values())


def _files(keys: Path) -> set[int]:
    return {
        int(path.suffix[1:])
        for path in keys.glob("pepper.*")
        if path.suffix[1:].isascii() and path.suffix[1:].isdecimal()
    }


def _record(session: Session, actor: str, what: str, version: int) -> None:
    for tenant in session.exec(select(Organization)).all():
        outbox.add_change(session, tenant, actor, what, {"pepper": version})
