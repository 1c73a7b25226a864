"""Tiles against a log of another implementation, and against the tree that they are cut from."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.audit import checkpoint, merkle, note, tiles
from gateway.audit.errors import AuditError
from gateway.audit.tiles import ENTRIES, WIDTH, Tile

PATHS = [
    (Tile(0, 0), "tile/0/000"),
    (Tile(0, 0, 1), "tile/0/000.p/1"),
    (Tile(0, 1_234_067), "tile/0/x001/x234/067"),
    (Tile(1, 999, 255), "tile/1/999.p/255"),
    (Tile(2, 1000), "tile/2/x001/000"),
    (Tile(63, 5), "tile/63/005"),
    (Tile(ENTRIES, 67, 112), "tile/entries/067.p/112"),
]


@pytest.mark.parametrize(("tile", "path"), PATHS)
def test_paths(tile: Tile, path: str) -> None:
    assert tiles.path(tile) == path
    assert tiles.parse_path(path) == tile


@given(st.integers(-1, 63), st.integers(0, 10**15), st.integers(1, WIDTH))
def test_every_path_is_read_back(level: int, number: int, width: int) -> None:
    tile = Tile(level, number, width)
    assert tiles.parse_path(tiles.path(tile)) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0/0",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/x000/000",
        "tile/0/001/000",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/257",
        "tile/0/000/",
        "tile/entries/x00/000",
        "/tile/0/000",
        "tile/0/000\n",
        "tile/٠/000",
    ],
)
def test_other_spellings_are_refused(path: str) -> None:
    with pytest.raises(AuditError, match="not the path of a tile"):
        tiles.parse_path(path)


def test_the_tiles_of_the_specification() -> None:
    """The example of the specification: 70,000 entries."""
    assert list(tiles.edge(70_000)) == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert tiles.width(0, 272, 70_000) == WIDTH
    assert tiles.width(1, 0, 70_000) == WIDTH
    assert tiles.width(0, 274, 70_000) == 0
    assert list(tiles.edge(256)) == [Tile(1, 0, 1)]


def stored(changes: dict[Tile, bytes], into: dict[tuple[int, int], bytes]) -> None:
    for tile, data in changes.items():
        assert len(data) == tile.width * merkle.HASH_BYTES
        into[tile.level, tile.number] = data


@given(st.lists(st.integers(1, 700), min_size=1, max_size=5))
@example([256])
@example([255, 1, 1])
@example([1, 65_536])
def test_growing_in_any_steps_gives_the_tiles_of_the_tree(steps: list[int]) -> None:
    leaves = [number.to_bytes(32, "big") for number in range(sum(steps))]
    held: dict[tuple[int, int], bytes] = {}
    partial: dict[int, bytes] = {}
    frontier: list[bytes] = []
    size = 0
    for step in steps:
        stored(tiles.grow(partial, size, leaves[size : size + step]), held)
        for index in range(size, size + step):
            merkle.extend(frontier, index, leaves[index])
        size += step
        assert partial == {tile.level: held[tile.level, tile.number] for tile in tiles.edge(size)}
    assert all(len(data) // 32 == tiles.width(*name, size) for name, data in held.items())
    assert b"".join(held[0, number] for number in range(-(-size // WIDTH))) == b"".join(leaves)
    node = tiles.node_reader(size, lambda tile: held[tile.level, tile.number])
    assert merkle.root(size, node) == merkle.frontier_root(frontier)


def test_nodes_that_are_not_complete_are_refused() -> None:
    held: dict[tuple[int, int], bytes] = {}
    stored(tiles.grow({}, 0, [bytes(32)] * 300), held)
    node = tiles.node_reader(290, lambda tile: held[tile.level, tile.number])  # a smaller tree than is stored
    node(5, 8)  # leaves 256 to 287
    with pytest.raises(AuditError, match="no node"):
        node(3, 36)  # leaves 288 to 295
    short = tiles.node_reader(300, lambda tile: held[tile.level, tile.number][:-1])
    with pytest.raises(AuditError, match="too short"):
        short(0, 299)


@given(st.lists(st.binary(max_size=300), max_size=WIDTH))
def test_bundles_are_read_back(leaves: list[bytes]) -> None:
    assert tiles.decode_bundle(tiles.encode_bundle(leaves)) == leaves


@given(st.binary(max_size=80))
def test_what_is_read_as_a_bundle_is_written_the_same(data: bytes) -> None:
    try:
        leaves = tiles.decode_bundle(data)
    except AuditError:
        return
    assert tiles.encode_bundle(leaves) == data


def test_the_longest_leaf_fits_and_a_longer_one_does_not() -> None:
    assert tiles.decode_bundle(tiles.encode_bundle([bytes(65_535)])) == [bytes(65_535)]
    with pytest.raises(AuditError, match="too long"):
        tiles.encode_bundle([bytes(65_536)])


def test_a_log_of_another_implementation(vectors_dir: Path) -> None:
    """Its checkpoints verify, its bundles hash to its tiles, and its tiles to its signed roots."""
    log = json.loads((vectors_dir / "tlog-tiles-log.json").read_text("utf-8"))
    files = {name: base64.b64decode(text) for name, text in log["files"].items()}
    verifier = note.parse_verifier(log["verifier_key"])
    assert str(verifier) == log["verifier_key"]
    leaves = tiles.decode_bundle(files[tiles.path(Tile(ENTRIES, 0, 15))])
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    frontier: list[bytes] = []
    for size in range(16):
        text = files[f"checkpoint.{size}"].decode()
        found = checkpoint.verify(text, verifier, verifier.name)
        assert (found.size, found.root) == (size, merkle.frontier_root(frontier))
        body, _ = note.split(text)
        assert str(checkpoint.parse(body)) == body
        if size:
            assert files[tiles.path(Tile(0, 0, size))] == b"".join(hashes[:size])
            assert files[tiles.path(Tile(ENTRIES, 0, size))] == tiles.encode_bundle(leaves[:size])
        if size < 15:
            merkle.extend(frontier, size, hashes[size])
