"""Sources of bundles: files that are read, and files that are refused because they might be left out or misplaced."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import policy_engine as pe
from policy_engine import bundle, bundle_files
from policy_engine.syntax.versions import RegoV2

MODULE = "package t\np := 1\n"


def directory(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")
    return root


def archive(path: Path, *members: tuple[str, str] | tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1].encode())
                tar.addfile(info, io.BytesIO(member[1].encode()))
    return path


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def refused(source: Any, match: str) -> None:
    with pytest.raises(pe.PolicyError, match=match) as caught:
        bundle.read(source)
    assert caught.value.code == "bundle_error"


# ---- files that are read


def test_data_is_put_together_by_directory(tmp_path: Path) -> None:
    files = {
        "data.json": '{"a": {"b": {"x": 1}}}',
        "a/data.yaml": "z: 1",
        "a/b/data.json": '{"c": 6}',
        "s/data.json": "5",
    }
    assert bundle.read(directory(tmp_path, files)).data == {"a": {"b": {"x": 1, "c": 6}, "z": 1}, "s": 5}


@pytest.mark.parametrize(
    ("files", "where"),
    [
        ({"a/data.json": "5", "a/b/data.json": "6"}, "'a'"),
        ({"a/data.json": '{"b": 1}', "a/b/data.json": '{"c": 2}'}, "'a/b'"),
        ({"a/b/data.json": '{"c": 2}', "data.json": '{"a": {"b": {"c": 3}}}'}, "'a/b/c'"),
        ({"data.json": '{"1": 2}', "data.yaml": "1: a"}, "'1'"),
    ],
)
def test_data_is_not_overwritten(tmp_path: Path, files: dict[str, str], where: str) -> None:
    refused(directory(tmp_path, files), f"data files overlap at {where}")


def test_hidden_directories_mean_nothing(tmp_path: Path) -> None:
    files = {"t.rego": MODULE, ".git/x.rego": "nonsense", "a/.b/data.json": "nonsense", "a/.manifest": "nonsense"}
    found = bundle.read(directory(tmp_path / "d", files))
    assert (list(found.modules), found.data) == (["t.rego"], {})
    found = bundle.read(archive(tmp_path / "x.tar.gz", *files.items()))
    assert (list(found.modules), found.data) == (["t.rego"], {})


def test_names_in_archives_may_begin_as_opa_writes_them(tmp_path: Path) -> None:
    found = bundle.read(
        archive(tmp_path / "x.tar.gz", ("/t.rego", MODULE), ("./a/data.json", "1"), ("/.manifest", "{}"))
    )
    assert (list(found.modules), found.data) == (["t.rego"], {"a": 1})


# ---- roots


@pytest.mark.parametrize(
    ("manifest", "match"),
    [
        ("[]", "not an object"),
        ('{"roots": "a"}', "not a list of strings"),
        ('{"roots": ["a", "a/b"]}', "overlap"),
        ('{"roots": ["", "a"]}', "overlap"),
        ('{"roots": ["t"]}', "data at 'a/x' is outside"),
        ('{"roots": []}', "data at 'a/x' is outside"),
        ('{"roots": ["a"]}', "package `data.t` is outside"),
        ('{"roots": ["a/x", "t/u"]}', "package `data.t` is outside"),
    ],
)
def test_roots(tmp_path: Path, manifest: str, match: str) -> None:
    files = {"t.rego": MODULE, "a/data.json": '{"x": 1}', ".manifest": manifest}
    with pytest.raises(pe.PolicyError, match=match):
        pe.load(directory(tmp_path, files))


@pytest.mark.parametrize("manifest", ["{}", '{"roots": [""]}', '{"roots": null}', '{"roots": ["t", "a/x"]}'])
def test_roots_that_hold_everything(tmp_path: Path, manifest: str) -> None:
    files = {"t.rego": MODULE, "a/data.json": '{"x": 1}', ".manifest": manifest}
    assert pe.load(directory(tmp_path, files)).entrypoint("data.t.p")() == 1


# ---- versions of Rego


@pytest.mark.parametrize(
    ("manifest", "v2"),
    [
        ("{}", []),
        ('{"rego_version": 1}', []),
        ('{"rego_version": 0}', []),
        ('{"rego_version": 2}', ["a/s.rego", "a/t.rego", "u.rego"]),
        ('{"rego_version": 2, "file_rego_versions": {"/a/*.rego": 1}}', ["u.rego"]),
        ('{"file_rego_versions": {"/a/t.rego": 2, "u.rego": 2}}', ["a/t.rego", "u.rego"]),
        ('{"file_rego_versions": {"*/t.rego": 2, "/a/*": 1, "/*": 2}}', ["a/s.rego", "a/t.rego", "u.rego"]),
        ('{"file_rego_versions": {"/gone.rego": 2}}', []),
    ],
)
def test_versions(tmp_path: Path, manifest: str, v2: list[str]) -> None:
    """Patterns and their order are those of OPA (v1/bundle/bundle.go, `numericRegoVersionForFile`)."""
    files = {"a/s.rego": MODULE, "a/t.rego": MODULE, "u.rego": MODULE, ".manifest": manifest}
    found = bundle.read(directory(tmp_path, files))
    assert sorted(name for name, source in found.modules.items() if isinstance(source, RegoV2)) == v2
    assert set(found.modules.values()) == {MODULE}


@pytest.mark.parametrize(
    ("manifest", "match"),
    [
        ('{"rego_version": 3}', "unknown version 3 of Rego"),
        ('{"rego_version": "2"}', 'unknown version "2" of Rego'),
        ('{"rego_version": true}', "unknown version true of Rego"),
        ('{"rego_version": null}', "unknown version null of Rego"),
        ('{"file_rego_versions": {"/gone.rego": -1}}', "unknown version -1 of Rego"),
        ('{"file_rego_versions": {"/t.rego": "2"}}', "not an object of numbers"),
        ('{"file_rego_versions": [2]}', "not an object of numbers"),
        ('{"file_rego_versions": {"[": 2}}', r"invalid pattern `\[`"),
    ],
)
def test_versions_that_are_refused(tmp_path: Path, manifest: str, match: str) -> None:
    refused(directory(tmp_path, {"t.rego": MODULE, ".manifest": manifest}), match)


def test_the_version_is_that_of_decisions(tmp_path: Path) -> None:
    """The same text is an error as v1. A compiled text of one version is not found for the other."""
    module = "package t\n\nq if not { input.a }\n\np if { or := input.or; or }\n"
    files = {"t.rego": module.replace("or", "other"), ".manifest": '{"rego_version": 2}'}
    answers = []
    for number in (2, 1, 2):
        files[".manifest"] = f'{{"rego_version": {number}}}'
        policies = pe.load(directory(tmp_path / "b", files), cache=tmp_path / "cache")
        answers.append(policies.entrypoint("data.t")({"other": 1}))
    # `not { … }` of v1 negates a set, whose undefined member makes the rule undefined.
    assert answers == [{"p": True, "q": True}, {"p": True}, {"p": True, "q": True}]
    with pytest.raises(pe.PolicyError, match=r"t\.rego:5: rego_parse_error"):
        pe.load(directory(tmp_path / "b", {"t.rego": module, ".manifest": '{"rego_version": 2}'}))


# ---- directories


def test_links(tmp_path: Path) -> None:
    root = directory(tmp_path / "b", {"t.rego": MODULE, "sub/s.rego": "package s"})
    directory(tmp_path, {"outside.rego": "package o"})
    (root / "in.rego").symlink_to("t.rego")
    assert list(bundle.read(root).modules) == ["in.rego", "sub/s.rego", "t.rego"]
    for name, target, match in (
        ("deny.rego", "nowhere.rego", "cannot read deny.rego"),
        ("deny.rego", tmp_path / "outside.rego", "outside the bundle"),
        ("more", "sub", "more is a link to a directory"),
    ):
        (root / name).symlink_to(target)
        refused(root, match)
        (root / name).unlink()


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "x.rego").symlink_to("x.rego")
    refused(tmp_path, "x.rego is a broken link")
    refused(tmp_path / ("a" * 10_000), "cannot read")


def test_directories_that_are_very_deep(tmp_path: Path) -> None:
    def walk(top: Path, prefix: str = "") -> Any:
        return walk(top, prefix)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle_files, "_below", lambda *_: walk(tmp_path))
        refused(tmp_path, "nested too deeply")


def test_a_mounted_configuration_map(tmp_path: Path) -> None:
    """Kubernetes: the files are links into a hidden directory, through a link that is swapped."""
    root = directory(tmp_path, {"..2026_01/t.rego": MODULE})
    (root / "..data").symlink_to("..2026_01")
    (root / "t.rego").symlink_to("..data/t.rego")
    assert pe.load(root).entrypoint("data.t.p")() == 1


def test_special_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "deny.rego")
    refused(tmp_path, "deny.rego is not a regular file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir(mode=0)
    refused(tmp_path, "cannot read sub")
    (tmp_path / "sub").chmod(0o700)
    (tmp_path / "deny.rego").touch(mode=0)
    refused(tmp_path, "cannot read deny.rego")


def test_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_files, "MAX_FILE", 100)
    root = directory(tmp_path / "d", {"a.rego": "#" * 101})
    refused(root, "a.rego is larger than 100 bytes")
    refused(archive(tmp_path / "x.tar.gz", ("a.rego", "#" * 101)), "a.rego is larger than 100 bytes")
    with monkeypatch.context() as patch:
        patch.setattr(bundle_files, "MAX_MODULE", 50)
        refused(archive(tmp_path / "x.tar.gz", ("a.rego", "#" * 51)), "a.rego is larger than 50 bytes")
    monkeypatch.setattr(bundle_files, "MAX_BUNDLE", 2000)
    root = directory(tmp_path / "e", {f"{i}.rego": "#" * 90 for i in range(30)})
    refused(root, "larger than 2000 bytes")


# ---- archives


@pytest.mark.parametrize(
    ("members", "match"),
    [
        ([("../t.rego", MODULE)], "not a valid file name"),
        ([("a/../../data.json", "{}")], "not a valid file name"),
        ([("a//t.rego", MODULE)], "not a valid file name"),
        ([("a\\t.rego", MODULE)], "not a valid file name"),
        ([("a\nt.rego", MODULE)], "not a valid file name"),
        ([("t.rego", MODULE), ("t.rego", "package t\np := 2")], "t.rego occurs twice"),
        ([("t.rego", MODULE), ("./t.rego", "package t\np := 2")], "t.rego occurs twice"),
        ([(".manifest", '{"roots": ["a"]}'), ("/.manifest", "{}")], ".manifest occurs twice"),
        ([("t.rego", MODULE), link("deny.rego", "t.rego")], "deny.rego is a link"),
        ([("t.rego", MODULE), link("deny.rego", "t.rego", tarfile.LNKTYPE)], "deny.rego is a link"),
    ],
)
def test_archives_with_tricks(tmp_path: Path, members: list[Any], match: str) -> None:
    refused(archive(tmp_path / "x.tar.gz", *members), match)


def test_archives_that_are_none(tmp_path: Path) -> None:
    good = archive(tmp_path / "x.tar.gz", ("t.rego", MODULE * 200)).read_bytes()
    spoilt = bytearray(good)
    spoilt[len(good) // 2] ^= 0xFF
    for content in (b"", b"nonsense", gzip.compress(b"nonsense"), good[:60], bytes(spoilt)):
        (tmp_path / "y.tar.gz").write_bytes(content)
        refused(tmp_path / "y.tar.gz", "is not a .tar.gz bundle")


def test_archives_that_unpack_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_files, "MAX_BUNDLE", 1_000_000)
    long_name = tarfile.TarInfo("x")
    long_name.type, long_name.size = tarfile.XHDTYPE, 5_000_000
    ignored = tarfile.TarInfo("junk.bin")
    ignored.size = 5_000_000
    for info in (long_name, ignored):
        with gzip.open(tmp_path / "x.tar.gz", "wb") as file:
            file.write(info.tobuf() + bytes(5_000_000))
        refused(tmp_path / "x.tar.gz", "unpacks to more than 1000000 bytes")


# ---- git


@pytest.fixture
def repository(tmp_path: Path) -> tuple[Path, Callable[[dict[str, tuple[int, bytes]]], str]]:
    """A bare repository, and a function that commits a flat tree: name → (mode, content)."""
    from dulwich.objects import Blob, Commit, Tree
    from dulwich.repo import Repo

    path = tmp_path / "r.git"
    repo = Repo.init_bare(str(path), mkdir=True)

    def commit(files: dict[str, tuple[int, bytes]]) -> str:
        inner, outer = Tree(), Tree()
        for name, (mode, content) in files.items():
            blob = Blob.from_string(content)
            if mode != 0o160000:
                repo.object_store.add_object(blob)
            inner.add(name.encode(), mode, blob.id)
        repo.object_store.add_object(inner)
        outer.add(b"b", 0o040000, inner.id)
        repo.object_store.add_object(outer)
        made = Commit()
        made.tree, made.author, made.committer = outer.id, b"a <a@example.org>", b"a <a@example.org>"
        made.author_time = made.commit_time = made.author_timezone = made.commit_timezone = 0
        made.message = b"m"
        repo.object_store.add_object(made)
        repo.refs[b"refs/heads/main"] = made.id
        return made.id.decode()

    return path, commit


def test_a_tree_in_git(repository: tuple[Path, Callable[[dict[str, tuple[int, bytes]]], str]]) -> None:
    from dulwich.objects import Commit, Tag
    from dulwich.repo import Repo

    path, commit = repository
    first = commit({"t.rego": (0o100644, MODULE.encode())})
    commit({"t.rego": (0o100755, b"package t\np := 2")})
    assert pe.load((path, first, "b")).entrypoint("data.t.p")() == 1
    assert pe.load((str(path), "refs/heads/main", "/b/")).entrypoint("data.t.p")() == 2
    assert list(bundle.read((path, first, "")).modules) == ["b/t.rego"]

    repo, tag = Repo(str(path)), Tag()
    tag.object, tag.name, tag.tagger, tag.message = (Commit, first.encode()), b"v1", b"a <a@example.org>", b"m"
    tag.tag_time = tag.tag_timezone = 0
    repo.object_store.add_object(tag)
    repo.refs[b"refs/tags/v1"] = tag.id
    assert pe.load((path, "refs/tags/v1", "b")).entrypoint("data.t.p")() == 1

    tree = repo[first.encode()].tree.decode()  # type: ignore[attr-defined]
    for where in (
        (path, tree, "b"),
        (path, "0" * 40, "b"),
        (path, "nope", "b"),
        (path, first, "c"),
        (path, first, ".."),
    ):
        refused(where, "there is no bundle in")
    refused((path, first, "b/t.rego"), "is not a directory")
    refused((path.parent, first, "b"), "there is no bundle in")


@pytest.mark.parametrize(
    ("name", "mode", "match"),
    [("deny.rego", 0o120000, "deny.rego is a link"), ("sub", 0o160000, "sub is a submodule")],
)
def test_what_a_tree_in_git_does_not_hold(
    repository: tuple[Path, Callable[[dict[str, tuple[int, bytes]]], str]], name: str, mode: int, match: str
) -> None:
    path, commit = repository
    refused((path, commit({"t.rego": (0o100644, MODULE.encode()), name: (mode, b"t.rego")}), "b"), match)
