"""Reading git objects only after their size is known: no commit may fill the memory of the process that reads it.

dulwich inflates an object before anybody can ask how large it is. Its header says so beforehand: the first bytes of a
loose object, or an entry's header in a pack. A delta needs its base (which may be a delta too) and makes a result, so
all of their sizes count. dulwich itself stops where an object is larger than its header says.
Formats: gitformat-pack(5), and "Git Internals - Git Objects" in the Git Book.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator

from dulwich.object_store import BaseObjectStore, DiskObjectStore
from dulwich.objects import ObjectID, RawObjectID, ShaFile, sha_to_hex
from dulwich.pack import OFS_DELTA, REF_DELTA, Pack

from gateway.errors import GatewayError

# Enough for the header of any entry, and for the first bytes of the compressed delta behind it.
_HEADER_BYTES = 1024
# git itself makes chains of 50 deltas, and none longer than 4,095.
_LONGEST_CHAIN = 4095


def read(store: BaseObjectStore, identifier: ObjectID, limit: int) -> ShaFile:
    """The object with this id. Raises `GatewayError` (`policies_too_large`) before anything above `limit` is inflated.

    Raises `KeyError` if there is no such object, and what dulwich raises for a damaged one.
    """
    for size in _sizes(store, identifier):
        if size > limit:
            name = identifier.decode("ascii", "replace")[:12]
            message = f"object {name} of the policies' repository has {size} bytes, and at most {limit} are read"
            raise GatewayError("policies_too_large", message, subject=name)
    return store[identifier]


def _sizes(store: BaseObjectStore, identifier: ObjectID) -> Iterator[int]:
    """The sizes of everything that may be inflated in order to read this object, from whichever copy of it."""
    if not isinstance(store, DiskObjectStore):
        raise ValueError(f"a {type(store).__name__} is no store on disk")
    for pack in store.packs:
        if identifier in pack:
            yield from _packed_sizes(store, pack, pack.index.object_offset(identifier))
    yield from _loose_sizes(store, identifier)
    for alternate in store.alternates:
        yield from _sizes(alternate, identifier)


def _loose_sizes(store: DiskObjectStore, identifier: ObjectID) -> Iterator[int]:
    """The size of the loose object's file and what its header says, if there is one."""
    name = identifier.decode("ascii")
    try:
        with open(os.path.join(os.fspath(store.path), name[:2], name[2:]), "rb") as stream:
            yield os.fstat(stream.fileno()).st_size
            head = zlib.decompressobj().decompress(stream.read(_HEADER_BYTES), 64)
    except FileNotFoundError:
        return
    kind_and_size, end, _ = head.partition(b"\0")
    if not end:
        raise ValueError(f"object {name} has no header")
    size = int(kind_and_size.split(b" ")[1])
    yield size
    store.loose_object_size_limit = len(kind_and_size) + 1 + size


def _packed_sizes(store: BaseObjectStore, pack: Pack, offset: int) -> Iterator[int]:
    """The sizes of a pack's entry at `offset` and of all that it is made from."""
    with open(pack.data.path, "rb") as stream:
        for _ in range(_LONGEST_CHAIN + 1):
            stream.seek(offset)
            head = stream.read(_HEADER_BYTES)
            kind, size, used = _entry_header(head)
            yield size
            if kind == OFS_DELTA:
                distance, used = _distance(head, used)
                if not 0 < distance <= offset:
                    raise ValueError("the base of a delta lies outside of its pack")
                offset -= distance
            elif kind == REF_DELTA:
                end = used + store.object_format.oid_length
                base, used = sha_to_hex(RawObjectID(head[used:end])), end
                if base not in pack:
                    yield from _delta_sizes(head[used:])
                    yield from _sizes(store, base)
                    return
                offset = pack.index.object_offset(base)
            else:
                return
            yield from _delta_sizes(head[used:])
    raise ValueError("a chain of deltas has no end")


def _entry_header(head: bytes) -> tuple[int, int, int]:
    """Kind and inflated size of a pack's entry, and how many bytes say so."""
    first = _byte(head, 0)
    kind, size = first >> 4 & 7, first & 15
    if not first & 0x80:
        return kind, size, 1
    more, used = _number(head, 1)
    return kind, size | more << 4, used


def _distance(head: bytes, at: int) -> tuple[int, int]:
    """The distance of a base before its delta, and the place after that number."""
    byte = _byte(head, at)
    found = byte & 0x7F
    while byte & 0x80:
        at += 1
        byte = _byte(head, at)
        found = (found + 1) << 7 | byte & 0x7F
    return found, at + 1


def _delta_sizes(compressed: bytes) -> tuple[int, int]:
    """The sizes of a delta's base and of its result, which are its first two numbers."""
    delta = zlib.decompressobj().decompress(compressed, 32)
    base, used = _number(delta, 0)
    result, _ = _number(delta, used)
    return base, result


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and where what follows it begins."""
    found = shift = 0
    while True:
        byte = _byte(data, at)
        found |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if not byte & 0x80:
            return found, at


def _byte(data: bytes, at: int) -> int:
    if at >= len(data):
        raise ValueError("a pack's entry is cut off")
    return data[at]
