"""The Merkle tree of RFC 6962, section 2.1: hashes, roots, and both proofs in both directions (pure).

Functions over hashes only; where hashes are kept is a matter of `tiles.py` and `storage.py`. A *node* (level, index) is
the root of the perfect subtree over the leaves [index * 2**level, (index + 1) * 2**level). A *frontier* is the smallest
list of nodes that covers a tree, left to right: it is all one must know to append to it or to name its root.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias

from gateway.audit.errors import AuditError

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()

Node: TypeAlias = Callable[[int, int], bytes]
"""Looks up the hash of the node (level, index); the node is complete in the tree that is asked about."""


def leaf_hash(leaf: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


# -- frontiers ---------------------------------------------------------------------------------------------------------


def extend(frontier: list[bytes], size: int, leaf: bytes) -> None:
    """Append one leaf hash to the tree of this size, in place."""
    # Every trailing one bit of the size is a perfect subtree that the new leaf completes into one of twice its size.
    while size & 1:
        leaf = node_hash(frontier.pop(), leaf)
        size >>= 1
    frontier.append(leaf)


def frontier_root(frontier: Sequence[bytes]) -> bytes:
    """The root of the tree with this frontier."""
    if not frontier:
        return EMPTY_ROOT
    root = frontier[-1]
    for left in reversed(frontier[:-1]):
        root = node_hash(left, root)
    return root


def frontier_nodes(size: int) -> Iterator[tuple[int, int]]:
    """The nodes (level, index) of the frontier of a tree of this size, left to right."""
    return _cover(0, size)


def _cover(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The fewest nodes that cover the leaves [start, end), left to right."""
    while start < end:
        level = (end - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        yield level, start >> level
        start += 1 << level


def range_hash(start: int, end: int, node: Node) -> bytes:
    """MTH(D[start:end]) where `start` is a multiple of the largest power of two below the range's length."""
    return frontier_root([node(level, index) for level, index in _cover(start, end)])


def root(size: int, node: Node) -> bytes:
    """The root of the tree of this size."""
    return range_hash(0, size, node)


# -- making proofs -----------------------------------------------------------------------------------------------------


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """PATH(index, D[0:size]): proves that the leaf is in the tree of this size."""
    if not 0 <= index < size:
        raise AuditError("bad_proof", f"there is no entry {index} in a tree of size {size}")
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(range_hash(middle, end, node))
            end = middle
        else:
            proof.append(range_hash(start, middle, node))
            start = middle
    return proof[::-1]


def consistency_proof(old: int, new: int, node: Node) -> list[bytes]:
    """PROOF(old, D[0:new]): proves that the tree of size `old` is the beginning of the one of size `new`."""
    if not 0 < old <= new:
        raise AuditError("bad_proof", f"there is no consistency proof from size {old} to size {new}")
    proof: list[bytes] = []
    start, end = 0, new
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            proof.append(range_hash(middle, end, node))
            end = middle
        else:
            proof.append(range_hash(start, middle, node))
            start = middle
    if start:  # otherwise the verifier knows this hash: it is the old root
        proof.append(range_hash(start, end, node))
    return proof[::-1]


def _split(length: int) -> int:
    """The largest power of two smaller than `length`."""
    return 1 << ((length - 1).bit_length() - 1)


# -- checking proofs: RFC 9162 sections 2.1.3.2 and 2.1.4.2, whose trees and proofs are those of RFC 6962 --------------


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root_hash: bytes) -> None:
    """Raise `bad_proof` unless the leaf hash is at `index` of the tree with this size and root."""
    if not 0 <= index < size:
        raise AuditError("bad_proof", f"there is no entry {index} in a tree of size {size}")
    _check_hashes(leaf, root_hash, *proof)
    position, last, running = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise AuditError("bad_proof", "the inclusion proof is too long")
        if position & 1 or position == last:
            running = node_hash(sibling, running)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            running = node_hash(running, sibling)
        position >>= 1
        last >>= 1
    if last:
        raise AuditError("bad_proof", "the inclusion proof is too short")
    if running != root_hash:
        raise AuditError("bad_proof", f"entry {index} is not in the tree with this root")


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Raise `bad_proof` unless the tree `old` is the beginning of the tree `new`. From size 0 nothing can be proven."""
    if not 0 < old <= new:
        raise AuditError("bad_proof", f"there is no consistency proof from size {old} to size {new}")
    _check_hashes(old_root, new_root, *proof)
    if old == new:
        if proof or old_root != new_root:
            raise AuditError("bad_proof", f"two trees of the same size {old} differ, or their proof is not empty")
        return
    hashes = list(proof)
    if old & (old - 1) == 0:  # a perfect tree: its root is the node the proof starts from
        hashes.insert(0, old_root)
    if not hashes:
        raise AuditError("bad_proof", "the consistency proof is empty")
    position, last = old - 1, new - 1
    while position & 1:
        position >>= 1
        last >>= 1
    old_running = new_running = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise AuditError("bad_proof", "the consistency proof is too long")
        if position & 1 or position == last:
            old_running = node_hash(sibling, old_running)
            new_running = node_hash(sibling, new_running)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            new_running = node_hash(new_running, sibling)
        position >>= 1
        last >>= 1
    if last:
        raise AuditError("bad_proof", "the consistency proof is too short")
    if old_running != old_root or new_running != new_root:
        raise AuditError("bad_proof", f"the tree of size {old} is not the beginning of the tree of size {new}")


def _check_hashes(*hashes: bytes) -> None:
    if any(len(each) != HASH_BYTES for each in hashes):
        raise AuditError("bad_proof", f"a hash has {HASH_BYTES} bytes")
