"""Repositories that are made to fill memory: large objects in every form that git stores them in, and endless trees."""

from __future__ import annotations

import hashlib
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from dulwich.object_format import SHA1
from dulwich.objects import Blob, ObjectID, Tree, hex_to_sha
from dulwich.pack import OFS_DELTA, REF_DELTA, PackData
from dulwich.repo import Repo

from gateway.errors import GatewayError
from gateway.policy.rollout import git_objects
from gateway.policy.rollout.source import MAX_BYTES, GitSource

from .conftest import Repository

BLOB = 3
BASE = b"package b.authz\n\nallow := true\n" * 500
"""Every object here is a number of copies of this."""

HUGE = MAX_BYTES // len(BASE) + 1


def entry(kind: int, content: bytes, base: bytes = b"") -> bytes:
    """One entry of a pack: its header, the base that a delta names, and the compressed content."""
    size = len(content)
    head = bytearray([kind << 4 | size & 15])
    size >>= 4
    while size:
        head[-1] |= 0x80
        head.append(size & 0x7F)
        size >>= 7
    return bytes(head) + base + zlib.compress(content)


def distance(number: int) -> bytes:
    """The distance of a delta's base before it."""
    found = [number & 0x7F]
    while number := number >> 7:
        number -= 1
        found.insert(0, 0x80 | number & 0x7F)
    return bytes(found)


def write_pack(repository: Path, entries: Iterable[bytes]) -> None:
    entries = list(entries)
    content = b"PACK" + struct.pack(">LL", 2, len(entries)) + b"".join(entries)
    content += hashlib.sha1(content).digest()
    name = repository / ".git" / "objects" / "pack" / f"pack-{content[-20:].hex()}"
    name.parent.mkdir(exist_ok=True)
    name.with_suffix(".pack").write_bytes(content)
    with PackData(str(name.with_suffix(".pack")), object_format=SHA1) as data:
        data.create_index(str(name.with_suffix(".idx")))


def delta(copies_before: int, copies_after: int) -> bytes:
    """A delta between two numbers of copies of `BASE`: it copies the first one from its base, again and again."""
    length = len(BASE)
    copy = bytes([0x80 | 0x10 | 0x20, length & 0xFF, length >> 8])
    return number(copies_before * length) + number(copies_after * length) + copy * copies_after


def number(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(0x80 | value & 0x7F)
        value >>= 7
    return bytes([*found, value])


def name_of(copies: int) -> ObjectID:
    return Blob.from_string(BASE * copies).id


def loose(repository: Path, copies: int) -> None:
    with Repo(str(repository)) as repo:
        repo.object_store.add_object(Blob.from_string(BASE * copies))


def packed(repository: Path, copies: int) -> None:
    write_pack(repository, [entry(BLOB, BASE * copies)])


def as_delta(repository: Path, copies: int) -> None:
    """A delta to a small base that stands right before it."""
    base = entry(BLOB, BASE)
    write_pack(repository, [base, entry(OFS_DELTA, delta(1, copies), distance(len(base)))])


def as_named_delta(repository: Path, copies: int) -> None:
    """A delta that names its base by id."""
    write_pack(repository, [entry(BLOB, BASE), entry(REF_DELTA, delta(1, copies), hex_to_sha(name_of(1)))])


def as_delta_of_delta(repository: Path, copies: int) -> None:
    first = entry(BLOB, BASE)
    second = entry(OFS_DELTA, delta(1, 2), distance(len(first)))
    write_pack(repository, [first, second, entry(OFS_DELTA, delta(2, copies), distance(len(second)))])


def beside_a_small_one(repository: Path, copies: int) -> None:
    """A small object that is a delta of the large one."""
    write_pack(
        repository, [entry(BLOB, BASE * copies), entry(REF_DELTA, delta(copies, 1), hex_to_sha(name_of(copies)))]
    )


FORMS = [loose, packed, as_delta, as_named_delta, as_delta_of_delta]


@pytest.mark.parametrize("store", FORMS)
def test_an_object_is_read_in_every_form(repository: Repository, store: Callable[[Path, int], None]) -> None:
    store(repository.path, 5)
    with Repo(str(repository.path)) as repo:
        assert git_objects.read(repo.object_store, name_of(5), 5 * len(BASE)).as_raw_string() == BASE * 5
        with pytest.raises(GatewayError) as error:
            git_objects.read(repo.object_store, name_of(5), 5 * len(BASE) - 1)
    assert error.value.code == "policies_too_large"


@pytest.mark.parametrize(("store", "wanted"), [*((store, HUGE) for store in FORMS), (beside_a_small_one, 1)])
def test_a_large_object_is_never_inflated(
    repository: Repository, store: Callable[[Path, int], None], wanted: int
) -> None:
    store(repository.path, HUGE)
    commit = commit_blob(repository, name_of(wanted))
    tracemalloc.start()
    try:
        with pytest.raises(GatewayError) as error:
            GitSource(repository.path).bundles(commit)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert error.value.code == "policies_too_large"
    assert peak < MAX_BYTES / 8


def commit_blob(repository: Repository, blob: ObjectID) -> str:
    """A commit whose bundle `b` has this blob as its data."""
    with Repo(str(repository.path)) as repo:
        top = repo[repo[repo.head()].tree]
        inner = repo[top[b"b"][1]]
        inner.add(b"data.json", 0o100644, blob)
        top.add(b"b", 0o040000, inner.id)
        repo.object_store.add_object(inner)
        repo.object_store.add_object(top)
        return (
            repo.get_worktree().commit(message=b"Large", author=b"x <x@x>", committer=b"x <x@x>", tree=top.id).decode()
        )


@pytest.mark.slow
@pytest.mark.parametrize(("width", "depth"), [(10, 12), (1, 2000)], ids=["a tree of trees", "a deep tree"])
def test_a_few_objects_with_endless_paths(repository: Repository, width: int, depth: int) -> None:
    with Repo(str(repository.path)) as repo:
        tree = repo[repo[repo.head()].tree]
        for _ in range(depth):
            above = Tree()
            for number in range(width):
                above.add(f"directory{number}".encode(), 0o040000, tree.id)
            repo.object_store.add_object(above)
            tree = above
        made = repo.get_worktree().commit(message=b"Bomb", author=b"x <x@x>", committer=b"x <x@x>", tree=tree.id)
    with pytest.raises(GatewayError) as error:
        GitSource(repository.path).bundles(made.decode())
    assert error.value.code == "policies_too_large"


def test_a_pack_that_is_cut_off(repository: Repository) -> None:
    write_pack(repository.path, [entry(BLOB, BASE)])
    (pack,) = (repository.path / ".git" / "objects" / "pack").glob("*.pack")
    pack.write_bytes(pack.read_bytes()[:12])
    commit = commit_blob(repository, name_of(1))
    with pytest.raises(GatewayError) as error:
        GitSource(repository.path).bundles(commit)
    assert error.value.code == "policies_unreadable"
