"""After a crash: check that the log is sound, and close the decisions that dead processes left open.

`check` is the quick check at every start. Except for counting the entries, its cost depends on what was written since
the last checkpoint, not on the size of the log (`verify.py` checks all of it). `recover` closes open decisions of dead
processes. It only reads the table of open decisions, and serves a whole restart as well as the death of one worker.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from gateway.audit import checkpoint as checkpoints
from gateway.audit import merkle, note, tiles
from gateway.audit.errors import AuditError
from gateway.audit.intents import Recovered
from gateway.audit.log_files import needed_log, opened_log
from gateway.audit.log_reader import Head, IndexedLog, UnreadableError
from gateway.audit.writer import AuditWriter
from gateway.data_directory import DataDirectory
from gateway.errors import Hint


@dataclass(frozen=True, slots=True)
class Recovery:
    """The number of decisions that recovery closed, and the processes that had opened them."""

    closed: int
    boots: frozenset[str]


def recover(writer: AuditWriter, live_boots: Collection[str], *, epoch: int = 0) -> Recovery:
    """Close every open decision whose process is not alive, with outcome `unknown`, each exactly once.

    `live_boots` must contain every live process that may have open decisions; the writer's own is added. After the
    death of a worker, take the list when the process has been reaped.
    """
    organizations: dict[str, set[str]] = {}
    with needed_log(writer.data) as log:
        rows = log.execute(
            "SELECT DISTINCT log.organization, open_decision.boot FROM open_decision JOIN log ON log.id = log_id"
        ).fetchall()
    for organization, boot in rows:
        if boot != writer.boot and boot not in live_boots:
            organizations.setdefault(organization, set()).add(boot)
    closed = 0
    for organization, boots in sorted(organizations.items()):
        committed = writer.write_sync(Recovered(organization=organization, boots=frozenset(boots), epoch=epoch))
        closed += int(committed.entry["count"] or 0)
    return Recovery(closed, frozenset(boot for boots in organizations.values() for boot in boots))


def check(data: DataDirectory, verifier: note.Verifier) -> None:
    """Raise `audit_damaged` if the schema was changed, or head, tiles, newest entries and checkpoint do not agree."""
    with opened_log(data) as db, db.snapshot():
        db.check_schema()
        for head in db.heads():
            try:
                _check_log(db, head, verifier)
            except UnreadableError:
                raise
            except AuditError as error:
                raise AuditError(
                    "audit_damaged",
                    f"`{head.origin}`: {error.message}",
                    subject=head.origin,
                    hint=Hint("`gateway audit verify` says what is wrong; do not go on writing to this log"),
                ) from error


def _check_log(db: IndexedLog, head: Head, verifier: note.Verifier) -> None:
    (last,) = db.execute("SELECT max(seq) FROM entry WHERE log_id = ?", (head.id,)).fetchone()
    if (-1 if last is None else last) + 1 != head.size:
        raise AuditError("bad_proof", f"its head counts {head.size} entries, its last one is {last}")
    # By the index alone: some million entries in a second.
    (count,) = db.execute("SELECT count(*) FROM entry WHERE log_id = ?", (head.id,)).fetchone()
    if count != head.size:
        raise AuditError("bad_proof", f"its head counts {head.size} entries, and {count} are there")
    read = db.tile_reader(head.id)
    node = tiles.node_reader(head.size, read)
    stored = db.newest_checkpoint(head.id)
    checkpoint = None if stored is None else checkpoints.verify(stored, verifier, head.origin)
    checkpoints.check_head(head.size, head.root, node, [checkpoint])
    signed = 0 if checkpoint is None else checkpoint.size
    rows = db.execute("SELECT seq, leaf FROM entry WHERE log_id = ? AND seq >= ? ORDER BY seq", (head.id, signed))
    due = signed
    for seq, leaf in rows:
        if seq != due:
            raise AuditError("bad_proof", f"entry {due} is missing")
        if type(leaf) is not bytes or merkle.leaf_hash(leaf) != node(0, seq):
            raise AuditError("bad_proof", f"entry {seq} is not the one that is in its tree")
        due += 1
