"""Checks a published log with a C2SP client that others wrote: `aics-tlog`, which is no dependency.

    python3.12 -m venv foreign && foreign/bin/pip install aics-tlog
    foreign/bin/python tests/gateway/audit/foreign_client.py DIRECTORY KEY [OLDER-CHECKPOINT] [PROOF ENTRY]

It needs Python 3.12, and imports nothing of the gateway.
"""

import base64
import sys
from pathlib import Path

import aics_tlog as foreign


def main(directory: str, key: str, *more: str) -> None:
    vkey = foreign.parse_vkey(key)
    signed = checkpoint(Path(directory, "checkpoint").read_text("utf-8"), vkey)
    reader = foreign.FileSystemTileReader(directory)
    root = foreign.tree_root_from_tiles(reader, signed.size)
    assert root == signed.root, "the tiles are those of the signed root"
    for index in {0, signed.size // 2, signed.size - 1}:
        leaf = foreign.read_entry(reader, index, signed.size)
        proof = foreign.inclusion_proof_from_tiles(reader, index, signed.size)
        assert foreign.verify_leaf_inclusion(leaf, index, signed.size, proof, signed.root), index
    print(f"{signed.size} entries: tiles, leaves and inclusion hold")
    if more:
        older = checkpoint(Path(more[0]).read_text("utf-8"), vkey)
        proof = foreign.consistency_proof_from_tiles(reader, older.size, signed.size)
        assert foreign.verify_consistency(older.size, signed.size, older.root, signed.root, proof)
        print(f"it begins with the tree of {older.size}")
    if more[1:]:
        head, _, note = Path(more[1]).read_text("utf-8").partition("\n\n")
        version, index, *hashes = head.split("\n")
        assert version == "c2sp.org/tlog-proof@v1"
        tree = checkpoint(note, vkey)
        leaf, proof = Path(more[2]).read_bytes(), [base64.b64decode(each) for each in hashes]
        assert foreign.verify_leaf_inclusion(leaf, int(index.removeprefix("index ")), tree.size, proof, tree.root)
        print("the proof of the entry holds")


def checkpoint(text: str, vkey: "foreign.VKey") -> "foreign.Checkpoint":
    note = foreign.parse_note(text)
    found = foreign.verify_checkpoint(note, vkey, expected_origin=vkey.name)
    assert getattr(found, "ok", found), found
    return foreign.parse_checkpoint(note.text)


if __name__ == "__main__":
    main(*sys.argv[1:])
