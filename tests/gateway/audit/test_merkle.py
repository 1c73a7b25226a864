"""The tree against vectors of another implementation, and against the definition of RFC 6962 written down naively."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit import merkle
from gateway.audit.errors import AuditError

# Accepted by the implementation that the vectors come from, refused here.
STRICTER = {
    "consistency/additional/sizes-are-equal-one-and-proof-is-empty": "its roots have 12 bytes: they are no hashes"
}

LEAVES = [merkle.leaf_hash(f"leaf {number}".encode()) for number in range(70)]


def mth(hashes: Sequence[bytes]) -> bytes:
    """RFC 6962 section 2.1, over leaf hashes, word by word."""
    if not hashes:
        return hashlib.sha256().digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return hashlib.sha256(b"\x01" + mth(hashes[:split]) + mth(hashes[split:])).digest()


def node(level: int, index: int) -> bytes:
    return mth(LEAVES[index << level : (index + 1) << level])


def decode(proof: list[str] | None) -> list[bytes]:
    return [base64.b64decode(each) for each in proof or []]


def test_inclusion_vectors(vectors_dir: Path) -> None:
    cases = load(vectors_dir)["inclusion"]
    assert len(cases) > 50
    wrong = []
    for case in cases:
        arguments = (case["leafIdx"], case["treeSize"], base64.b64decode(case["leafHash"]), decode(case["proof"]))
        if accepts(merkle.verify_inclusion, *arguments, base64.b64decode(case["root"])) is case["wantErr"]:
            wrong.append(case["name"])
    assert wrong == []


def test_consistency_vectors(vectors_dir: Path) -> None:
    cases = load(vectors_dir)["consistency"]
    assert len(cases) > 50
    assert {case["name"] for case in cases} >= STRICTER.keys()
    wrong = []
    for case in cases:
        roots = (base64.b64decode(case["root1"]), base64.b64decode(case["root2"]))
        arguments = (case["size1"], case["size2"], *roots, decode(case["proof"]))
        if accepts(merkle.verify_consistency, *arguments) is (case["wantErr"] or case["name"] in STRICTER):
            wrong.append(case["name"])
    assert wrong == []


def load(directory: Path) -> Any:
    return json.loads((directory / "rfc6962-proofs.json").read_text("utf-8"))


def accepts(check: Callable[..., None], *arguments: Any) -> bool:
    try:
        check(*arguments)
    except AuditError:
        return False
    return True


def test_the_frontier_gives_every_root() -> None:
    frontier: list[bytes] = []
    for size, leaf in enumerate(LEAVES):
        assert merkle.frontier_root(frontier) == mth(LEAVES[:size])
        assert merkle.root(size, node) == mth(LEAVES[:size])
        assert frontier == [node(level, index) for level, index in merkle.frontier_nodes(size)]
        merkle.extend(frontier, size, leaf)


def test_every_inclusion_proof_of_small_trees() -> None:
    for size in range(1, 35):
        root = mth(LEAVES[:size])
        for index in range(size):
            proof = merkle.inclusion_proof(index, size, node)
            merkle.verify_inclusion(index, size, LEAVES[index], proof, root)


def test_every_consistency_proof_of_small_trees() -> None:
    for new in range(1, 35):
        for old in range(1, new + 1):
            proof = merkle.consistency_proof(old, new, node)
            merkle.verify_consistency(old, new, mth(LEAVES[:old]), mth(LEAVES[:new]), proof)


@given(st.data())
def test_a_changed_inclusion_proof_is_refused(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, len(LEAVES)), "size")
    index = data.draw(st.integers(0, size - 1), "index")
    proof = merkle.inclusion_proof(index, size, node)
    changed = changed_proof(data, proof)
    with pytest.raises(AuditError):
        merkle.verify_inclusion(index, size, LEAVES[index], changed, mth(LEAVES[:size]))
    other = data.draw(st.integers(0, size - 1).filter(lambda each: each != index), "other index")
    with pytest.raises(AuditError):
        merkle.verify_inclusion(other, size, LEAVES[index], proof, mth(LEAVES[:size]))


@given(st.data())
def test_a_changed_consistency_proof_is_refused(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, len(LEAVES)), "new")
    old = data.draw(st.integers(1, new - 1), "old")
    changed = changed_proof(data, merkle.consistency_proof(old, new, node))
    with pytest.raises(AuditError):
        merkle.verify_consistency(old, new, mth(LEAVES[:old]), mth(LEAVES[:new]), changed)


def changed_proof(data: st.DataObject, proof: list[bytes]) -> list[bytes]:
    """The proof with one bit turned, one hash taken away or one added."""
    changed = list(proof)
    at = data.draw(st.integers(0, len(proof) - 1), "hash")
    match data.draw(st.sampled_from(["flip", "drop", "add"]), "change"):
        case "flip":
            bit = data.draw(st.integers(0, 255), "bit")
            changed[at] = (int.from_bytes(changed[at], "big") ^ 1 << bit).to_bytes(32, "big")
        case "drop":
            del changed[at]
        case _:
            changed.insert(at, data.draw(st.binary(min_size=32, max_size=32), "more"))
    return changed


@pytest.mark.parametrize(("old", "new"), [(0, 5), (6, 5), (-1, 5), (0, 0)])
def test_there_is_no_consistency_proof_between_these(old: int, new: int) -> None:
    with pytest.raises(AuditError):
        merkle.consistency_proof(old, new, node)
    with pytest.raises(AuditError):
        merkle.verify_consistency(old, new, mth(LEAVES[: max(old, 0)]), mth(LEAVES[:new]), [])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (5, 5), (-1, 5)])
def test_there_is_no_inclusion_proof_of_these(index: int, size: int) -> None:
    with pytest.raises(AuditError):
        merkle.inclusion_proof(index, size, node)
    with pytest.raises(AuditError):
        merkle.verify_inclusion(index, size, LEAVES[0], [], mth(LEAVES[:size]))


def test_a_hash_of_another_length_is_refused() -> None:
    with pytest.raises(AuditError, match="32 bytes"):
        merkle.verify_inclusion(0, 2, LEAVES[0], [LEAVES[1] + b"x"], mth(LEAVES[:2]))
