"""Verification of one tree: it is computed again from the leaves and compared with everything stored about it.

The numbers of the steps are those of `verify.py`. If one entry is wrong, later roots and higher tiles differ too. Only
the cause is reported, and every further leaf that differs from its tile.

A log is read in several transactions and may grow between them. The parts that were read remain valid, because
entries, complete tiles and checkpoints never change.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterable
from operator import attrgetter
from typing import Any, Final

from gateway.audit import checkpoint as checkpoints
from gateway.audit import merkle, note, tiles
from gateway.audit.checkpoint import Checkpoint
from gateway.audit.errors import AuditError
from gateway.audit.log_reader import Head, LogReader
from gateway.audit.report import LogFault, LogReport, Report

_BYTES = merkle.HASH_BYTES
_PAGE: Final = 500  # checkpoints that are read at once; there may be millions


class TreeCheck:
    """Fed with the leaves of one log in order, then finished."""

    def __init__(
        self,
        log: LogReader,
        head: Head,
        verifier: note.Verifier,
        known: Iterable[Checkpoint],
        report: Report,
    ) -> None:
        self.head = head
        self.log = LogReport(head.origin, head.organization)
        self.is_incomplete = False  # entries are missing, or were changed
        self.dependent: list[LogFault] = []  # findings that this would explain
        self._reader = log
        self._report = report
        self._next = 0  # the index that must come now
        self._gap = False  # entries are missing: the tree cannot be built any further
        self._broken = False  # the tree differs already: roots and higher tiles say nothing new
        self._tiles_sound = True  # all of them so far are those of the leaves
        self._disputed: list[int] = []  # entries whose leaf and tile disagree, until a signed root decides
        self._frontier: list[bytes] = []
        self._partial: dict[int, bytes] = {}  # the growing tile of each level
        self._pending: list[bytes] = []  # leaf hashes of the growing tile of level 0
        self._stored = b""  # the growing tile of level 0 as it is stored
        self._last_time = 0
        self._roots: dict[int, bytes] = {}  # at signed sizes that the system log has not told of yet
        # Sizes of stored checkpoints that the system log has not told of, and of those that it has told of and that
        # were not met yet, with the index of its entry. Both are empty in the end.
        self.untold: set[int] = set()
        self.unstored: dict[int, int] = {}
        self.first_told: int | None = None  # the smallest size that the system log tells of
        self._compared: Checkpoint | None = None  # the last one
        self.first_kind = ""  # of its first entry, if that can be read
        self._sound = 0  # the largest size whose root was signed and right
        self._verifier = verifier
        self._kept = deque(sorted((each for each in known if each.size), key=attrgetter("size")))
        self._stored_signed: deque[Checkpoint] = deque()  # stored checkpoints that have been read and not reached yet
        self._read_to: Any = -1  # the size of the last stored checkpoint that has been read
        self._all_read = False  # no more of them are stored at this moment
        self._upcoming = self._due()

    @property
    def due(self) -> int:
        """The index of the entry that must come now."""
        return self._next

    def look(self, head: Head) -> None:
        """Continue in another transaction, in which the log may be longer."""
        self.head = head
        self._all_read = False
        self._upcoming = self._due()
        if self._next % tiles.WIDTH:
            self._stored = self._stored_tile(0, self._next // tiles.WIDTH)

    def _due(self) -> Checkpoint | None:
        """(4) The smallest signed tree that has not been compared."""
        if not self._stored_signed and not self._all_read:
            self._read_checkpoints()
        queues = [queue for queue in (self._stored_signed, self._kept) if queue]
        return min((queue[0] for queue in queues), key=attrgetter("size"), default=None)

    def _read_checkpoints(self) -> None:
        """(4) More of those that are stored and whose signatures are good."""
        rows = self._reader.checkpoints(self.head.id, self._read_to, _PAGE)
        self._all_read = len(rows) < _PAGE
        for size, text in rows:
            self._read_to = size
            index = max(size - 1, 0) if type(size) is int else None
            try:
                checkpoint = checkpoints.verify(text, self._verifier, self.head.origin)
            except AuditError as error:
                self._found(index, f"the checkpoint at size {size}: {error.message}")
                continue
            if checkpoint.size != size:
                self._found(index, f"the checkpoint at size {size} is one of size {checkpoint.size}")
            else:
                self.log.checkpoints += 1
                self._stored_signed.append(checkpoint)

    def append(self, seq: int, leaf: bytes) -> int:
        """(1, 3, 4) The next leaf; returns its index."""
        if seq != self._next:
            missing = (
                f"it is missing, entry {seq} follows" if seq > self._next else f"entry {seq} is stored in its place"
            )
            self._found(self._next, missing)
            self._gap = self._broken = self.is_incomplete = True
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
            if self._upcoming and self._upcoming.size <= self._next:
                self._compare_roots()
        return seq

    def time(self, index: int, time_ns: int) -> None:
        """(1)"""
        if time_ns < self._last_time:
            self._found(index, "its time is before that of its predecessor")
        self._last_time = time_ns

    def contradicts(self, size: int, root: str, told_by: int) -> str | None:
        """(7) What is wrong with the claim of an entry of the system log that this log had this root at this size."""
        self.first_told = size if self.first_told is None else min(size, self.first_told)
        if size in self.untold:
            self.untold.remove(size)
        else:
            self.unstored[size] = told_by
        if not 0 < size <= self.log.size:
            return f"{size} entries were signed, only {self.log.size} are here"
        known = self._roots.pop(size, None)
        if known is None:
            if self._broken or self._disputed or not self._tiles_sound:
                return None  # the tiles cannot be relied on; what is wrong with them is reported
            try:
                known = self._root_of_tiles(size)
            except AuditError as error:
                return error.message
        if base64.b64encode(known).decode() != root:
            return f"another root was signed at size {size}"
        return None

    def finish(self) -> None:
        """(4, 8) After the last leaf: what remains are the edge of the tree, its head, and what must not be there."""
        if self._pending and not self._gap:
            self._grow()
        if not self._gap:
            self._compare_roots()
        self._settle_disputes(None)
        largest = 0
        while checkpoint := self._pop():
            largest = checkpoint.size
        if largest > self._next:
            self._found(self._next, f"it is missing: {largest} entries are signed")
            self.is_incomplete = True
        if self.head.size != self.log.size:
            said = f"the head counts {self.head.size} entries, {self.log.size} are here"
            self._depends(min(self.head.size, self._next), said)
        elif not self._broken:
            self._compare_edge()
        if self.head.time_ns != self._last_time:
            self._depends(max(self.log.size - 1, 0), "the head's time is not that of the last entry")

    def _compare_roots(self) -> None:
        """(4) With every signed tree that has been reached."""
        while (due := self._upcoming) and due.size <= self._next:
            if (other := self._compared) is not None and other.size == due.size and other.root != due.root:
                said = (
                    f"two roots were signed at size {due.size}: whoever has the key shows two histories (equivocation)"
                )
                self._found(due.size - 1, said)
            else:
                self._compare_root(due)
            self._compared = due
            self._pop()

    def _pop(self) -> Checkpoint | None:
        """Take the smallest signed tree that has not been compared."""
        due = self._upcoming
        if due is not None:
            is_stored = bool(self._stored_signed) and self._stored_signed[0] is due
            (self._stored_signed if is_stored else self._kept).popleft()
            if is_stored and self.unstored.pop(due.size, None) is None:
                self.untold.add(due.size)
            self._upcoming = self._due()
        return due

    def _root_of_tiles(self, size: int) -> bytes:
        """The root of an earlier size. All tiles up to here have been compared with the leaves."""
        return merkle.root(size, tiles.node_reader(size, self._reader.tile_reader(self.head.id)))

    def _compare_root(self, checkpoint: Checkpoint) -> None:
        """(4) Usually at the current size; a checkpoint that was stored meanwhile may have a smaller one."""
        if checkpoint.size == self._next:
            root = merkle.frontier_root(self._frontier)
        elif self._broken or self._disputed or not self._tiles_sound:
            return  # the tiles cannot be relied on; what is wrong with them is reported
        else:
            root = self._root_of_tiles(checkpoint.size)
        if root == checkpoint.root:
            self._settle_disputes(True)
            self.log.signed = self._sound = max(self._sound, checkpoint.size)
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
            self.is_incomplete = self.is_incomplete or leaves_are_right is not True
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
        count = self._reader.tile_count(self.head.id)
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
        return self._reader.stored_tile(self.head.id, level, number)

    def _found(self, index: int | None, message: str) -> None:
        self._report.add(LogFault(self.head.origin, index, message))

    def _depends(self, index: int, message: str) -> None:
        self.dependent.append(LogFault(self.head.origin, index, message, "heads"))
