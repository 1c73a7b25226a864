"""Publishes logs to a directory in C2SP's form (tlog-tiles), where others can read them without the gateway.

    DIRECTORY/<sha256 of the origin, hex>/checkpoint                the newest signed checkpoint that was published
    DIRECTORY/<sha256 of the origin, hex>/tile/<L>/<N>[.p/<W>]      hashes
    DIRECTORY/<sha256 of the origin, hex>/tile/entries/<N>[.p/<W>]  leaves, as the log has them

Nothing else leaves the log: no private row, no salt, no content, and no entry that is not signed yet. Every file is
checked against the signed root before the checkpoint is written, which is the last file. So a reader finds all that a
checkpoint needs, also after a crash, and the next run continues from there. A checkpoint that does not continue the
one that is there already is refused: two histories are never published one after the other.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.audit import checkpoint as checkpoints
from gateway.audit import merkle, tiles
from gateway.audit.checkpoint import Checkpoint
from gateway.audit.errors import AuditError
from gateway.audit.intents import SYSTEM
from gateway.audit.log_reader import Head, IndexedLog
from gateway.audit.note import Verifier
from gateway.audit.tiles import ENTRIES, WIDTH, Tile
from gateway.errors import Hint
from gateway.storage import durable
from gateway.storage.file_lock import LOCK_SECONDS, FileLock

CHECKPOINT: Final = "checkpoint"
ALL: Final = "*"
"""Among the names of organizations: the logs of all of them, and the system log."""
_LOCK: Final = ".publishing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One log as it is published now; `before` is the size that was published until then."""

    origin: str
    size: int
    before: int
    directory: str
    public_key: str


def name_of(origin: str) -> str:
    """The directory of a log: origins have slashes, and may have names that no file system takes."""
    return hashlib.sha256(origin.encode()).hexdigest()


def size_of(target: Path, origin: str) -> tuple[int, int] | None:
    """The size to which a log is published there, and when that was (nanoseconds); not verified, None if it is not."""
    path = target / name_of(origin) / CHECKPOINT
    try:
        size = checkpoints.parse(path.read_text("utf-8").partition("\n\n")[0] + "\n").size
        return size, path.stat().st_mtime_ns
    except (OSError, UnicodeDecodeError, AuditError):
        return None


def publish(
    log: IndexedLog, verifier: Verifier, target: Path, organizations: Collection[str], *, repair: bool = False
) -> list[Published]:
    """Bring the directory up to the newest checkpoint of the logs of these organizations, or of `ALL`.

    With `repair` every file is looked at, and written again if it is missing or differs. Only one process at a time
    does it.

    If a log must not be published, the others are all the same, and `publish_refused` is raised at the end. Raises
    `publish_failed` if the directory cannot be written.
    """
    refused: list[AuditError] = []
    done: list[Published] = []
    heads = log.heads()
    if unknown := sorted({*organizations} - {ALL, SYSTEM, *(each.organization for each in heads)}):
        message = f"there is no log of `{unknown[0][:100]}` to publish"
        raise AuditError("unknown_organization", message, hint=Hint("`gateway orgs list` shows the organizations"))
    try:
        target.mkdir(parents=True, exist_ok=True)
        with closing(FileLock(target / _LOCK)) as lock:
            if not lock.acquire(LOCK_SECONDS):
                raise AuditError("publish_failed", f"another process publishes to `{target}`", hint="try again later")
            for head in heads:
                if ALL not in organizations and head.organization not in organizations:
                    continue
                try:
                    done += _publish(log, head, verifier, target / name_of(head.origin), repair)
                except AuditError as error:
                    refused.append(_refusal(head.origin, error))
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        hint = "name a directory that this user can write to"
        raise AuditError("publish_failed", f"cannot write to `{target}`: {reason}", hint=hint) from error
    if refused:
        raise refused[0]
    return done


def _publish(log: IndexedLog, head: Head, verifier: Verifier, place: Path, repair: bool) -> Iterator[Published]:
    note = log.newest_checkpoint(head.id)
    if note is None:
        return
    signed = checkpoints.verify(note, verifier, head.origin)
    before = _before(place, verifier, head.origin)

    def done(old: int) -> Published:
        key = str(verifier.named(head.origin))
        return Published(origin=head.origin, size=signed.size, before=old, directory=str(place), public_key=key)

    repair = repair or (before is not None and not _has_edge(place, before.size))
    if signed == before and not repair:
        yield done(signed.size)
        return
    read = log.tile_reader(head.id)
    earlier = before if before is not None and before.size else None
    checkpoints.check_head(signed.size, signed.root, tiles.node_reader(signed.size, read), [earlier])
    old = earlier.size if earlier is not None else 0
    made = {place}
    for tile, data in _changed(read, 0 if repair else old, signed.size):
        path = place / tiles.path(tile)
        if path.exists() and (repair or tile.width == WIDTH) and path.read_bytes() == data:
            continue
        _write(path, data, made)
    for directory in {place, *(above for each in made for above in (each, *each.parents) if place in above.parents)}:
        durable.sync(directory)
    _write(place / CHECKPOINT, note.encode(), set())
    durable.sync(place)
    durable.sync(place.parent)
    _remove_covered(place, old, signed.size)
    yield done(old)


def _has_edge(place: Path, size: int) -> bool:
    """False if a file is missing at the edge of a tree that is published: then others may be, too."""
    edge = list(tiles.edge(size))
    bundles = [Tile(ENTRIES, each.number, each.width) for each in edge if each.level == 0]
    return all((place / tiles.path(each)).exists() for each in (*edge, *bundles))


def _before(place: Path, verifier: Verifier, origin: str) -> Checkpoint | None:
    """The checkpoint that is published, if there is one."""
    try:
        text = (place / CHECKPOINT).read_text("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise AuditError("bad_proof", "the checkpoint that is published already is not text") from error
    return checkpoints.verify(text, verifier, origin)


def _changed(read: tiles.Read, old: int, size: int) -> Iterator[tuple[Tile, bytes]]:
    """The tiles and bundles of a tree of this size that one of size `old` has not, each proven by the one above.

    The tiles that are not full are proven by the root, which `check_head` has computed from them.
    """
    level = 0
    while size >> tiles.HEIGHT * level:
        for number in range((old >> tiles.HEIGHT * level) // WIDTH, (size >> tiles.HEIGHT * level) // WIDTH + 1):
            width = tiles.width(level, number, size)
            if not width or width == tiles.width(level, number, old):
                continue
            tile = Tile(level, number, width)
            data = read(tile)
            if width == WIDTH:
                above = Tile(level + 1, number // WIDTH, number % WIDTH + 1)
                if read(above)[-merkle.HASH_BYTES :] != tiles.subtree(data, 0, tiles.HEIGHT):
                    raise AuditError("bad_proof", f"`{tiles.path(tile)}` is not what the tree above it says")
            if level == 0:
                bundle = Tile(ENTRIES, number, width)
                leaves = read(bundle)
                if b"".join(map(merkle.leaf_hash, tiles.decode_bundle(leaves))) != data:
                    raise AuditError("bad_proof", f"the entries of `{tiles.path(bundle)}` are not those of the tree")
                yield bundle, leaves
            yield tile, data
        level += 1


def _write(path: Path, data: bytes, made: set[Path]) -> None:
    """Put a file in its place at once, on disk before it has its name. `made` gets its directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644), "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(new, path)
    made.add(path.parent)


def _remove_covered(place: Path, old: int, size: int) -> None:
    """Remove the partial tiles of those that are full now; readers take the full one instead (tlog-tiles)."""
    for tile in tiles.edge(old):
        if tiles.width(tile.level, tile.number, size) == WIDTH:
            for level in (ENTRIES, 0) if tile.level == 0 else (tile.level,):
                partial = place / f"{tiles.path(Tile(level, tile.number))}.p"
                with suppress(OSError):
                    for each in partial.iterdir():
                        each.unlink()
                    partial.rmdir()


def _refusal(origin: str, error: AuditError) -> AuditError:
    return AuditError(
        "publish_refused",
        f"`{origin}` is not published: {error.message}",
        subject=origin,
        hint=Hint("see `gateway audit verify`; keep the directory as it is, for it may be the better evidence"),
    )
