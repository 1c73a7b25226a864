from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from policy_engine.cli.loading import load, load_as_one
from policy_engine.errors import PolicyError


def write(root: Path, **files: str) -> Path:
    """Files below `root`, by path."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")
    return root


BUNDLES = {
    "p/support/.manifest": '{"roots": ["support"]}',
    "p/support/authz.rego": "package support.authz",
    "p/support/support/data.json": '{"limit": 1}',
    "p/deep/er/base/.manifest": '{"roots": ["base"]}',
    "p/deep/er/base/guard.rego": "package base",
}


def test_a_directory_of_bundles_stands_for_each_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(tmp_path, **BUNDLES))
    base, support = load([Path("p")])
    assert (base.name, list(base.modules)) == ("p/deep/er/base", ["p/deep/er/base/guard.rego"])
    assert (support.name, list(support.modules)) == ("p/support", ["p/support/authz.rego"])
    assert support.data == {"support": {"limit": 1}}


def test_files_beside_bundles_need_a_policy_to_be_a_unit(tmp_path: Path) -> None:
    write(tmp_path, **BUNDLES, **{"p/settings.json": '{"x": 1}'})
    assert len(load([tmp_path / "p"])) == 2
    write(tmp_path, **{"p/extra.rego": "package extra"})
    extra = load([tmp_path / "p"])[0]
    assert [Path(name).name for name in extra.modules] == ["extra.rego"]
    assert extra.data == {"x": 1}


def test_files_and_directories_without_a_manifest_are_one_unit(tmp_path: Path) -> None:
    write(
        tmp_path,
        **{
            "authz.rego": "package authz",
            "tests/authz_test.rego": "package authz_test",
            "tests/cases/any.yaml": "a: 1",
            "tests/cases/other.json": '{"b": 2}',
            "tests/.hidden/secret.json": '{"c": 3}',
            "tests/README.md": "no policy",
            "root.json": '{"top": true}',
        },
    )
    (unit,) = load([tmp_path / "authz.rego", tmp_path / "tests", tmp_path / "root.json"])
    assert sorted(Path(name).name for name in unit.modules) == ["authz.rego", "authz_test.rego"]
    assert unit.data == {"cases": {"a": 1, "b": 2}, "top": True}


def test_what_is_ignored_is_not_even_read(tmp_path: Path) -> None:
    files = {
        "authz/authz.rego": "package authz",
        "authz/fixtures/one.json": '{"name": 1}',
        "authz/fixtures/two.json": '{"name": 2}',
        "authz/example.yaml": "{ no yaml",
        "authz/data.json": '{"limit": 1}',
        "authz/old/.manifest": "no manifest",
    }
    write(tmp_path, **files)
    with pytest.raises(PolicyError):
        load([tmp_path / "authz"])
    ignore = ["fixtures", "*.yaml", "ol?", "authz", "data"]
    (unit,) = load([tmp_path / "authz"], ignore=ignore)
    assert [Path(name).name for name in unit.modules] == ["authz.rego"], "a path that is given is not ignored"
    assert unit.data == {"limit": 1}, "a pattern is for the whole name"
    assert load_as_one([tmp_path / "authz"], ignore=ignore).data == unit.data
    assert load([tmp_path / "authz/fixtures/one.json", tmp_path / "authz/authz.rego"], ignore=["*"])[0].data


def test_the_bundle_option_makes_any_directory_a_bundle(tmp_path: Path) -> None:
    files = {
        "authz/authz.rego": "package authz",
        "authz/limits/data.yaml": "most: 1",
        "authz/fixtures/one.json": '{"name": 1}',
        "authz/fixtures/two.json": '{"name": 2}',
        "more/data.json": '{"m": 2}',
    }
    write(tmp_path, **files)
    one, two = load([tmp_path / "authz", tmp_path / "more"], bundles=True)
    assert (list(one.modules), one.data) == ([f"{tmp_path}/authz/authz.rego"], {"limits": {"most": 1}})
    assert (two.modules, two.data) == ({}, {"m": 2})
    unit = load_as_one([tmp_path / "authz/fixtures/one.json"], bundles=[tmp_path / "authz", tmp_path / "more"])
    assert unit.data == {"limits": {"most": 1}, "m": 2, "name": 1}
    with pytest.raises(PolicyError, match="overlap"):
        load_as_one([], bundles=[tmp_path / "more", tmp_path / "more"])
    with pytest.raises(PolicyError, match="no such file or directory"):
        load_as_one([], bundles=[tmp_path / "less"])


def test_an_archive_is_a_bundle(tmp_path: Path) -> None:
    write(tmp_path, **BUNDLES)
    archive = tmp_path / "support.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "p/support", arcname="/")
    (unit,) = load([archive])
    assert list(unit.modules) == [f"{archive}:authz.rego"]


def test_for_a_query_all_is_one(tmp_path: Path) -> None:
    write(tmp_path, **BUNDLES, **{"more.json": '{"more": 1}'})
    unit = load_as_one([tmp_path / "p", tmp_path / "more.json"])
    assert len(unit.modules) == 2
    assert unit.data == {"support": {"limit": 1}, "more": 1}
    with pytest.raises(PolicyError, match="overlap"):
        load_as_one([tmp_path / "more.json", tmp_path / "more.json"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.rego", None, "no such file or directory"),
        ("notes.txt", b"x", "neither a policy nor data"),
        ("latin.rego", b"package p\n# \xe9", "not UTF-8"),
        ("bad.json", b"{", "not JSON"),
        ("bad.yaml", b"a: [", "not YAML"),
        ("bad.tar.gz", b"x", "not a .tar.gz bundle"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    (tmp_path / "p.rego").write_text("package p")
    with pytest.raises(PolicyError, match=message) as caught:
        load([tmp_path / "p.rego", path])
    where = caught.value.location.file if caught.value.location else ""
    assert str(path) in where + caught.value.message


def test_an_error_in_a_bundle_names_the_file_from_here(tmp_path: Path) -> None:
    write(tmp_path, **BUNDLES)
    (tmp_path / "p/support/authz.rego").write_bytes(b"package support\n\xff")
    with pytest.raises(PolicyError) as caught:
        load([tmp_path / "p"])
    assert str(caught.value) == f"{tmp_path}/p/support/authz.rego:2: bundle_error: the file is not UTF-8 text"


def test_a_link_to_itself_is_an_error_of_the_caller(tmp_path: Path) -> None:
    (tmp_path / "x.rego").symlink_to("x.rego")
    with pytest.raises(PolicyError, match="cannot read") as caught:
        load_as_one([tmp_path])
    assert caught.value.code == "bundle_error"
