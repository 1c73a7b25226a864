"""Proofs about one log that are checked without it: that it has an entry, and that it begins as it once was (RFC 6962).

The holder of the log makes them for its newest signed checkpoint. The verifier needs the signer's key, and believes
nothing else: no index, no root and no entry that is not proven.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.audit import checkpoint as checkpoints
from gateway.audit import entry as entries
from gateway.audit import lookup, merkle, tiles
from gateway.audit.checkpoint import Checkpoint
from gateway.audit.errors import AuditError
from gateway.audit.log_reader import IndexedLog
from gateway.audit.note import Verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """For the tree of `checkpoint`, a signed note: of the entry `leaf` at `index`, and of a smaller tree."""

    organization: str
    checkpoint: str
    index: int | None
    leaf: bytes | None
    inclusion: Sequence[bytes]
    consistency: Sequence[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """The facts that a proof has shown. `entry` is None if it was not about one."""

    signed: Checkpoint
    index: int | None
    entry: entries.Entry | None


def make(db: IndexedLog, organization: str | None, event_id: str | None, since: int | None) -> Proof:
    """A proof that the entry `event_id` is in its log, and one that the log begins with its first `since` entries.

    Without an organization the entry is looked for in all logs. Raises `not_signed` if it is newer than the checkpoint.
    """
    index, leaf = None, None
    if event_id is not None:
        found = lookup.event(db, event_id, organization)
        organization, index = found.organization, found.seq
    assert organization is not None
    note = lookup.checkpoint(db, organization)
    signed = _unverified(note)
    head = db.head(organization)
    assert head is not None  # it has a checkpoint
    node = tiles.node_reader(signed.size, db.tile_reader(head.id))
    inclusion: list[bytes] = []
    if index is not None:
        if index >= signed.size:
            hint = "a running gateway signs every few seconds: try again"
            raise AuditError("not_signed", f"the entry `{event_id}` is not signed yet", hint=hint, kind="not_found")
        row = db.execute("SELECT leaf FROM entry WHERE log_id = ? AND seq = ?", (head.id, index)).fetchone()
        leaf = bytes(row[0])
        inclusion = merkle.inclusion_proof(index, signed.size, node)
    wanted = since is not None and 0 < since <= signed.size
    consistency = merkle.consistency_proof(since, signed.size, node) if wanted and since is not None else []
    return Proof(
        organization=organization,
        checkpoint=note,
        index=index,
        leaf=leaf,
        inclusion=inclusion,
        consistency=consistency,
    )


def tlog_proof(proof: Proof) -> str:
    """The proof of an entry in the form of C2SP's tlog-proof: its index, the hashes, and the checkpoint.

    The entry's bytes are not in it. Raises `bad_proof` if it is about no entry.
    """
    if proof.index is None:
        raise AuditError("bad_proof", "there is no proof of an entry", hint="name one")
    lines = [
        "c2sp.org/tlog-proof@v1",
        f"index {proof.index}",
        *(base64.b64encode(each).decode() for each in proof.inclusion),
    ]
    return "\n".join([*lines, "", proof.checkpoint])


def check(proof: Proof, verifier: Verifier, event_id: str | None, known: str | None) -> Proven:
    """Raise `bad_proof` unless it proves what was asked: an entry whose id begins like this, and a note kept before."""
    origin = _unverified(proof.checkpoint).origin
    if origin.rpartition("/")[0] != f"{verifier.name}/{proof.organization}/audit":
        raise AuditError("bad_proof", f"the checkpoint is of `{origin}`, which is another log")
    signed = checkpoints.verify(proof.checkpoint, verifier, origin)
    entry = None
    if event_id is not None:
        if proof.leaf is None or proof.index is None:
            raise AuditError("bad_proof", "there is no proof of the entry")
        entry = entries.decode(proof.leaf)
        if not str(entry["id"]).startswith((event_id, f"dec_{event_id}")):
            raise AuditError("bad_proof", f"the proof is of another entry, `{entry['id']}`")
        leaf_hash = merkle.leaf_hash(proof.leaf)
        merkle.verify_inclusion(proof.index, signed.size, leaf_hash, proof.inclusion, signed.root)
    if known is not None:
        before = checkpoints.verify(known, verifier, origin)
        if before.size > signed.size:
            message = (
                f"the log has lost entries: {before.size:,} were signed, the newest checkpoint has {signed.size:,}"
            )
            raise AuditError("bad_proof", message, hint="it is an older copy, or was cut")
        if before.size:
            merkle.verify_consistency(before.size, signed.size, before.root, signed.root, proof.consistency)
    return Proven(signed=signed, index=proof.index if entry is not None else None, entry=entry)


def of_which_log(note: str) -> tuple[str, int]:
    """The organization and the size that a checkpoint names, not verified."""
    found = _unverified(note)
    parts = found.origin.split("/")
    if len(parts) != 4 or parts[2] != "audit":
        raise AuditError("bad_proof", f"`{found.origin}` is no log of a gateway")
    return parts[1], found.size


def _unverified(note: str) -> Checkpoint:
    return checkpoints.parse(note.partition("\n\n")[0] + "\n")
