"""One tree under verification: it is built again from the leaves, and everything stored about it is compared.

The steps are those of `verify.py`. Once the tree of a log is known to be wrong at some entry, later roots and higher
tiles of it differ as a consequence; only the cause is reported, and every further leaf that disagrees with its tile.
"""

from __future__ import annotations

import base64
import heapq
import sqlite3
from collections.abc import Iterable, Iterator
from operator import attrgetter

from gateway.audit import checkpoint as checkpoints
from gateway.audit import merkle, note, storage, tiles
from gateway.audit.checkpoint import Checkpoint
from gateway.audit.errors import AuditError
from gateway.audit.intents import SYSTEM
from gateway.audit.report import Finding, LogReport, Report

_BYTES = merkle.HASH_BYTES


class TreeCheck:
    """Fed with the leaves of one log in order, then finished."""

    def __init__(
        self,
        db: sqlite3.Connection,
        head: storage.Head,
        verifier: note.Verifier,
        known: Iterable[Checkpoint],
        report: Report,
    ) -> None:
        self.head = head
        self.log = LogReport(head.origin, head.organization)
        self._db = db
        self._report = report
        self._next = 0  # the index that must come now
        self._gap = False  # entries are missing: the tree cannot be built any further
        self._broken = False  # the tree differs already: roots and higher tiles say nothing new
        self._tiles_sound = True  # all of them so far are those of the leaves
        self._disputed: list[int] = []  # entries whose leaf and tile disagree, until a signed root decides
        self._frontier: list[bytes] = []
        self._partial: dict[int, bytes] = {}  # the growing tile of each level
        self._pending: list[bytes] = []  # leaf hashes of the growing tile of level 0
        self._stored = b""  # that tile as it is stored
        self._last_time = 0
        self._roots: dict[int, bytes] = {}  # at signed sizes that the system log has not told of yet
        self._sound = 0  # the largest size whose root was signed and right
        by_size = attrgetter("size")
        kept = sorted((each for each in known if each.size), key=by_size)
        self._signed = heapq.merge(self._stored_checkpoints(verifier), kept, key=by_size)
        self._due = next(self._signed, None)  # the signed tree that is reached next

    def _stored_checkpoints(self, verifier: note.Verifier) -> Iterator[Checkpoint]:
        """(4) Those whose signatures are good, by size; there may be millions."""
        rows = self._db.execute("SELECT size, note FROM checkpoint WHERE log_id = ? ORDER BY size", (self.head.id,))
        for size, text in rows:
            try:
                checkpoint = checkpoints.verify(bytes(text).decode("utf-8", "replace"), verifier, self.head.origin)
            except AuditError as error:
                self._found(max(size - 1, 0), f"the checkpoint at size {size}: {error.message}")
                continue
            if checkpoint.size != size:
                self._found(max(size - 1, 0), f"the checkpoint at size {size} is one of size {checkpoint.size}")
            else:
                self.log.checkpoints += 1
                yield checkpoint

    def append(self, seq: int, leaf: bytes) -> int:
        """(1, 3, 4) The next leaf; returns its index."""
        if seq != self._next:
            missing = (
                f"it is missing, entry {seq} follows" if seq > self._next else f"entry {seq} is stored in its place"
            )
            self._found(self._next, missing)
            self._gap = self._broken = True
        slot = seq % tiles.WIDTH
        if slot == 0 or seq != self._next:
            self._stored = self._stored_tile(0, seq // tiles.WIDTH)
        hashed = merkle.leaf_hash(leaf)
        if self._stored[slot * _BYTES : (slot + 1) * _BYTES] != hashed:
            self._disputed.append(seq)
        self.log.size += 1
        self._next = seq + 1
        if not self._gap:
            merkle.extend(self._frontier, seq, hashed)
            self._pending.append(hashed)
            if slot == tiles.WIDTH - 1:
                self._grow()
            while self._due and self._due.size <= self._next:
                self._compare_root(self._due)
                self._due = next(self._signed, None)
        return seq

    def time(self, index: int, time_ns: int) -> None:
        """(1)"""
        if time_ns < self._last_time:
            self._found(index, "its time is before that of its predecessor")
        self._last_time = time_ns

    def contradicts(self, size: int, root: str) -> str | None:
        """(7) What is wrong with the claim that this log had this root at this size."""
        if not 0 < size <= self.log.size:
            return f"{size} entries were signed, only {self.log.size} are here"
        known = self._roots.pop(size, None)
        if known is None:
            if self._broken or self._disputed or not self._tiles_sound:
                return None  # the tiles cannot be relied on; what is wrong with them is reported
            # The tiles up to here have been compared with the leaves.
            try:
                known = merkle.root(size, tiles.node_reader(size, storage.tile_reader(self._db, self.head.id)))
            except AuditError as error:
                return error.message
        if base64.b64encode(known).decode() != root:
            return f"another root was signed at size {size}"
        return None

    def finish(self) -> None:
        """(4, 8) After the last leaf: what remains are the edge of the tree, its head, and what must not be there."""
        if self._pending and not self._gap:
            self._grow()
        self._settle_disputes(None)
        largest = max((each.size for each in (self._due, *self._signed) if each), default=0)
        if largest > self._next:
            self._found(self._next, f"it is missing: {largest} entries are signed")
        if self.head.size != self.log.size:
            self._found(
                min(self.head.size, self._next), f"the head counts {self.head.size} entries, {self.log.size} are here"
            )
        elif not self._broken:
            self._compare_edge()
        if self.head.time_ns != self._last_time:
            self._found(max(self.log.size - 1, 0), "the head's time is not that of the last entry")

    def _compare_root(self, checkpoint: Checkpoint) -> None:
        """(4)"""
        root = merkle.frontier_root(self._frontier)
        if root == checkpoint.root:
            self._settle_disputes(True)
            self.log.signed = self._sound = checkpoint.size
            if self.head.organization != SYSTEM:
                self._roots[checkpoint.size] = root
        elif self._disputed:
            self._settle_disputes(None if self._broken else False)
        elif not self._broken:
            last = checkpoint.size - 1
            span = "it was" if last == self._sound else f"it or a later one, up to entry {last}, was"
            self._found(self._sound, f"{span} changed together with the tree: another root was signed")
            self._broken = True

    def _settle_disputes(self, leaves_are_right: bool | None) -> None:
        """(3) Name the entries whose leaf and tile disagree, and say which of the two was changed if that is known."""
        verdicts = {
            True: "the hash in its tile was changed, the leaf is the signed one",
            False: "its leaf was changed: it is not the one that is in the signed tree",
            None: "its leaf or the hash in its tile was changed",
        }
        for index in self._disputed:
            self._found(index, verdicts[leaves_are_right])
        if self._disputed:
            self._tiles_sound = False
            self._broken = self._broken or leaves_are_right is not True
        self._disputed.clear()

    def _grow(self) -> None:
        """(8) A tile of level 0 is complete, or the last one: compare it, and the higher tiles that it completes."""
        begin = self.log.size - len(self._pending)
        for tile, data in tiles.grow(self._partial, begin, self._pending).items():
            if tile.width == tiles.WIDTH:
                self._compare_tile(tile, data)
        self._pending.clear()

    def _compare_edge(self) -> None:
        """(8) The partial tiles and the head."""
        for tile in tiles.edge(self.log.size):
            self._compare_tile(tile, self._partial[tile.level])
        expected, level = 0, 0
        while self.log.size >> tiles.HEIGHT * level:
            expected += -(-(self.log.size >> tiles.HEIGHT * level) // tiles.WIDTH)
            level += 1
        (count,) = self._db.execute("SELECT count(*) FROM tile WHERE log_id = ?", (self.head.id,)).fetchone()
        if count != expected:
            self._found(None, f"{count} tiles are stored, the tree has {expected}")
        for stored, computed, (level, number) in zip(
            self.head.frontier, self._frontier, merkle.frontier_nodes(self.log.size), strict=False
        ):
            if stored != computed:
                self._found(number << level, "the head does not belong to the tree: a hash over this entry differs")
        if len(self.head.frontier) != len(self._frontier):
            self._found(max(self.log.size - 1, 0), "the head does not belong to the tree")

    def _compare_tile(self, tile: tiles.Tile, computed: bytes) -> None:
        stored = self._stored_tile(tile.level, tile.number)
        if stored == computed or self._broken:
            return
        # The hashes of level 0 have been compared one by one (3): only a tile that is too long is news there.
        slots = range(tile.width) if tile.level else range(0)
        differing = (at for at in slots if stored[at * _BYTES :][:_BYTES] != computed[at * _BYTES :][:_BYTES])
        slot = next(differing, tile.width - 1)
        if tile.level == 0 and len(stored) <= len(computed):
            return
        first = (tile.number * tiles.WIDTH + slot) << tiles.HEIGHT * tile.level
        self._found(first, f"`{tiles.path(tile)}` was changed: its hash over this entry is not the tree's")

    def _stored_tile(self, level: int, number: int) -> bytes:
        query = "SELECT hashes FROM tile WHERE log_id = ? AND level = ? AND number = ?"
        row = self._db.execute(query, (self.head.id, level, number)).fetchone()
        return bytes(row[0]) if row else b""

    def _found(self, index: int | None, message: str) -> None:
        self._report.add(Finding(self.head.origin, index, message))
