"""C2SP tlog-checkpoint: a tree head as text, and as a signed note (pure).

    <origin>          names the log; here `<deployment>/<organization>/audit/<epoch>`
    <size>            decimal, no leading zeros
    <root hash>       base64

The key that signs a log's checkpoints is named after its origin. Extension lines are not written; those of others are
kept as they are, because they are signed with the rest.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.audit import merkle, note
from gateway.audit.errors import AuditError
from gateway.audit.merkle import HASH_BYTES

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: which log, how many entries, and the root over all of them."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions)
        return "".join(f"{line}\n" for line in lines)


def origin(deployment: str, organization: str, epoch: int) -> str:
    """The name of a log. Raises `bad_entry` unless its parts can stand in one."""
    for what, part in (("deployment", deployment), ("organization", organization)):
        if not _PART.fullmatch(part):
            raise AuditError(
                "bad_entry",
                f"`{part}` cannot name a log's {what}",
                hint="use up to 100 letters, digits and `.`, `_`, `:`, `-`, beginning with a letter or digit",
            )
    return f"{deployment}/{organization}/audit/{epoch}"


def parse(text: str) -> Checkpoint:
    """The checkpoint in a note's text."""
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
        raise AuditError("bad_proof", "a checkpoint has three lines or more, none of them empty")
    name, size, encoded, *extensions = lines[:-1]
    if not _SIZE.fullmatch(size):
        raise AuditError("bad_proof", f"`{size}` is not the size of a tree")
    try:
        root = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise AuditError("bad_proof", "the checkpoint's root hash is not base64") from error
    checkpoint = Checkpoint(name, int(size), root, tuple(extensions))
    if len(root) != HASH_BYTES or str(checkpoint) != text:
        raise AuditError("bad_proof", f"the checkpoint's root hash is not the base64 of {HASH_BYTES} bytes")
    return checkpoint


def check_head(size: int, root: bytes, node: merkle.Node, earlier: Iterable[Checkpoint | None]) -> None:
    """Raise `bad_proof` unless the tree of these nodes has this root, and continues each of the earlier ones."""
    if merkle.root(size, node) != root:
        raise AuditError("bad_proof", "its head and its tiles disagree")
    for each in earlier:
        if each is None:
            continue
        if each.size > size:
            raise AuditError("bad_proof", f"{each.size} entries are signed, the log has only {size}")
        proof = merkle.consistency_proof(each.size, size, node)
        merkle.verify_consistency(each.size, size, each.root, root, proof)


def sign(checkpoint: Checkpoint, signer: note.NoteSigner) -> str:
    """The checkpoint as a note, signed under the log's own name."""
    return note.sign(str(checkpoint), [signer.named(checkpoint.origin)])


def verify(text: str, verifier: note.Verifier, origin: str) -> Checkpoint:
    """The checkpoint of the log `origin` in a note that this key signed under that name."""
    checkpoint = parse(note.verify(text, [verifier.named(origin)]))
    if checkpoint.origin != origin:
        raise AuditError("bad_proof", f"the checkpoint is of `{checkpoint.origin}`, not of `{origin}`")
    return checkpoint
