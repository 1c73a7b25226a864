"""C2SP tlog-tiles: the tree's hashes in tiles of height 8, its entries in bundles (pure: names, bytes, arithmetic).

Tile (level L, number N) holds up to 256 hashes side by side; the i-th is the node of the tree at level 8 * L and index
256 * N + i. A tile that is not full is *partial*: its name ends in its width, and nothing above it exists yet. A
narrower tile is a prefix of a wider one, so whoever holds the widest can serve them all.

    tile/<L>/<N>[.p/<W>]         hashes: 8,192 bytes if full        tile/0/x001/x234/067
    tile/entries/<N>[.p/<W>]     entries, each after its length as a big-endian uint16
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from gateway.audit.errors import AuditError
from gateway.audit.merkle import HASH_BYTES, Node, node_hash

HEIGHT: Final = 8
WIDTH: Final = 1 << HEIGHT
ENTRIES: Final = -1
"""The level that stands for entry bundles in a `Tile`: they lie below the leaf hashes."""


class Tile(NamedTuple):
    """The name of a tile or, at level `ENTRIES`, of an entry bundle."""

    level: int
    number: int
    width: int = WIDTH


Read: TypeAlias = Callable[[Tile], bytes]
"""Fetches the hashes of a tile, at least as wide as asked for; raises where there is none."""

# -- names -------------------------------------------------------------------------------------------------------------

_PATH = re.compile(r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/)*)([0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


def path(tile: Tile) -> str:
    """The address of a tile, below the log's prefix."""
    digits = f"{tile.number:0{(len(str(tile.number)) + 2) // 3 * 3}}"
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    level = "entries" if tile.level == ENTRIES else str(tile.level)
    partial = "" if tile.width == WIDTH else f".p/{tile.width}"
    return f"tile/{level}/{''.join(f'x{group}/' for group in groups[:-1])}{groups[-1]}{partial}"


def parse_path(text: str) -> Tile:
    """The tile that is addressed there; raises `bad_proof` for every other spelling than `path` makes."""
    match = _PATH.fullmatch(text)
    if match:
        level, groups, last, given = match.groups()
        number = int(groups.replace("x", "").replace("/", "") + last)
        tile = Tile(ENTRIES if level == "entries" else int(level), number, int(given or WIDTH))
        if tile.level < 64 and (tile.width < WIDTH or not given) and path(tile) == text:
            return tile
    raise AuditError("bad_proof", f"`{text}` is not the path of a tile")


# -- existing tiles ----------------------------------------------------------------------------------------------------


def width(level: int, number: int, size: int) -> int:
    """The number of hashes of tile (level, number) in the tree of this size: 0 if it does not exist yet."""
    return max(0, min(WIDTH, (size >> HEIGHT * level) - number * WIDTH))


def edge(size: int) -> Iterator[Tile]:
    """The partial tiles of a tree of this size, lowest first: where the next leaf will change something.

    A level whose last tile is full has no partial tile: the next hash there begins a new one.
    """
    level = 0
    while size:
        if size % WIDTH:
            yield Tile(level, size // WIDTH, size % WIDTH)
        size //= WIDTH
        level += 1


def grow(partial: dict[int, bytes], size: int, leaves: Sequence[bytes]) -> dict[Tile, bytes]:
    """Append leaf hashes to the tree of this size: every tile that changes, as it is afterwards.

    `partial` maps levels to the hashes of the tiles of `edge(size)`; it is updated to those of the new size.
    """
    changed: dict[Tile, bytes] = {}
    hashes: list[bytes] = list(leaves)
    level, before = 0, size
    while hashes:
        above: list[bytes] = []
        number = before // WIDTH
        data = partial.pop(level, b"")
        for start in range(0, len(data) // HASH_BYTES + len(hashes), WIDTH):
            taken = WIDTH - len(data) // HASH_BYTES if start == 0 else WIDTH
            data += b"".join(hashes[:taken])
            del hashes[:taken]
            tile = Tile(level, number, len(data) // HASH_BYTES)
            changed[tile] = data
            if tile.width == WIDTH:
                above.append(subtree(data, 0, HEIGHT))
                data, number = b"", number + 1
        if data:
            partial[level] = data
        hashes, before, level = above, before // WIDTH, level + 1
    return changed


# -- hashes out of tiles -----------------------------------------------------------------------------------------------


def subtree(data: bytes, start: int, height: int) -> bytes:
    """The root over the 2**height hashes of a tile that begin at `start`."""
    end = start + (1 << height)
    hashes = [data[at * HASH_BYTES : (at + 1) * HASH_BYTES] for at in range(start, end)]
    while len(hashes) > 1:
        hashes = [node_hash(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
    return hashes[0]


def node_reader(size: int, read: Read) -> Node:
    """The nodes of the tree of this size, computed from its tiles; each tile is fetched once."""
    fetched: dict[tuple[int, int], bytes] = {}

    def node(level: int, index: int) -> bytes:
        tile_level, height = divmod(level, HEIGHT)
        tile_number, start = divmod(index << height, WIDTH)
        data = fetched.get((tile_level, tile_number))
        if data is None:
            tile = Tile(tile_level, tile_number, width(tile_level, tile_number, size))
            data = read(tile)
            if len(data) < tile.width * HASH_BYTES:
                raise AuditError("bad_proof", f"`{path(tile)}` is too short")
            data = fetched[tile_level, tile_number] = data[: tile.width * HASH_BYTES]
        if (start + (1 << height)) * HASH_BYTES > len(data):
            raise AuditError("bad_proof", f"a tree of size {size} has no node {index} at level {level}")
        return subtree(data, start, height)

    return node


# -- entry bundles -----------------------------------------------------------------------------------------------------


def encode_bundle(leaves: Iterable[bytes]) -> bytes:
    try:
        return b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in leaves)
    except OverflowError as error:
        raise AuditError("bad_proof", "an entry is too long for a bundle") from error


def decode_bundle(data: bytes) -> list[bytes]:
    leaves: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if end > len(data) or at + 2 > len(data):
            raise AuditError("bad_proof", "an entry bundle ends inside an entry")
        leaves.append(data[at + 2 : end])
        at = end
    return leaves
