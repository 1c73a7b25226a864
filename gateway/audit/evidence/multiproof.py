"""One proof that many entries are in a tree, and the drawing of a sample from a tree (pure).

The proof of RFC 6962 for each entry repeats most hashes. Here they are shared: going down the tree from its root, left
before right, a part without any of the entries is given by its hash, a part of one entry by the entry itself. The
hashes in this order are the proof. Specification: docs/reference/evidence-bundle.md.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Sequence

from gateway.audit import merkle
from gateway.audit.errors import AuditError


def make(indices: Sequence[int], size: int, node: merkle.Node) -> list[bytes]:
    """The hashes that lead from the leaves at these indices, in ascending order, to the root of the tree."""
    proof: list[bytes] = []
    parts = [(0, size)] if size else []
    while parts:
        start, end = parts.pop()
        if bisect.bisect_left(indices, start) == bisect.bisect_left(indices, end):
            proof.append(merkle.range_hash(start, end, node))
        elif end - start > 1:
            middle = start + (1 << ((end - start - 1).bit_length() - 1))
            parts += [(middle, end), (start, middle)]
    return proof


def root(indices: Sequence[int], leaves: Sequence[bytes], size: int, proof: Sequence[bytes]) -> bytes:
    """The root that these leaf hashes have together with a proof. Raises `bad_proof` if it does not fit them."""
    hashes = iter(proof)

    def part(start: int, end: int, first: int, last: int) -> bytes:
        if first == last:
            return next(hashes)
        if end - start == 1:
            return leaves[first]
        middle = start + (1 << ((end - start - 1).bit_length() - 1))
        between = bisect.bisect_left(indices, middle, first, last)
        left = part(start, middle, first, between)
        return merkle.node_hash(left, part(middle, end, between, last))

    try:
        found = part(0, size, 0, len(indices)) if size else merkle.EMPTY_ROOT
    except StopIteration:
        raise AuditError("bad_proof", "the shared proof is too short") from None
    if next(hashes, None) is not None:
        raise AuditError("bad_proof", "the shared proof is too long")
    return found


def drawn(seed: str, origin: str, size: int, root_hash: bytes, count: int) -> list[int]:
    """`count` different indices of a tree, drawn by a seed, in ascending order; all of them if there are not more.

    Number n of the draw is the first 8 bytes of SHA-256 over the seed and the checkpoint, modulo the size. Numbers that
    would favour small indices, and those drawn before, are passed over.
    """
    count = min(count, size)
    begin = hashlib.sha256(f"gateway sample 1\n{seed}\n{origin}\n{size}\n{root_hash.hex()}\n".encode()).digest()
    fair = 2**64 - 2**64 % size if size else 0
    found: set[int] = set()
    number = 0
    while len(found) < count:
        value = int.from_bytes(hashlib.sha256(begin + number.to_bytes(8, "big")).digest()[:8], "big")
        number += 1
        if value < fair:
            found.add(value % size)
    return sorted(found)
