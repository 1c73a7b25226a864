"""Reading bundles out of git: which commit, which files, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dulwich.objects import Tag
from dulwich.repo import Repo

from gateway.demo.demonstration import demo_files
from gateway.errors import GatewayError
from gateway.policy.rollout.source import GitSource, create_repository
from gateway.processes.creation import starter_files

if TYPE_CHECKING:
    from .conftest import Repository

AUTHOR = "Dana Example <dana@acme.example>"


def code(error: pytest.ExceptionInfo[GatewayError]) -> str:
    return error.value.code


def test_a_branch_is_followed(repository: Repository) -> None:
    source = GitSource(repository.path)
    assert source.head().commit == repository.first
    second = repository.commit({"b/authz.rego": "package b.authz\n"})
    assert source.head().commit == second != repository.first
    assert source.head().author == AUTHOR


def test_another_branch_is_not(repository: Repository) -> None:
    other = repository.commit({"b/authz.rego": "package b.authz\n"}, branch="proposal")
    assert GitSource(repository.path).head().commit == repository.first
    assert GitSource(repository.path, ref="proposal").head().commit == other


@pytest.mark.parametrize("annotated", [True, False])
def test_a_tag_may_be_followed(repository: Repository, annotated: bool) -> None:
    with Repo(str(repository.path)) as repo:
        target = repository.first.encode()
        if annotated:
            tag = Tag()
            tag.name, tag.tagger, tag.message = b"v1", AUTHOR.encode(), b"Release"
            tag.tag_time = tag.tag_timezone = 0
            tag.object = (type(repo[target]), target)
            repo.object_store.add_object(tag)
            target = tag.id
        repo.refs[b"refs/tags/v1"] = target
    repository.commit({"b/authz.rego": "package b.authz\n"})
    assert GitSource(repository.path, ref="v1").head().commit == repository.first


def test_a_commit_may_be_followed(repository: Repository) -> None:
    repository.commit({"b/authz.rego": "package b.authz\n"})
    assert GitSource(repository.path, ref=repository.first).head().commit == repository.first


@pytest.mark.parametrize("ref", ["nowhere", "0" * 40, "refs/heads/nowhere", "../../../etc/passwd", "ä"])
def test_a_ref_that_does_not_exist(repository: Repository, ref: str) -> None:
    with pytest.raises(GatewayError) as error:
        GitSource(repository.path, ref=ref).head()
    assert code(error) == "policies_ref"
    assert error.value.hint


def test_a_ref_that_is_no_commit(repository: Repository) -> None:
    with Repo(str(repository.path)) as repo:
        repo.refs[b"refs/tags/tree"] = repo[repository.first.encode()].tree
    with pytest.raises(GatewayError) as error:
        GitSource(repository.path, ref="tree").head()
    assert code(error) == "policies_ref"


def test_a_place_without_a_repository(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(GatewayError) as error:
            GitSource(path).head()
        assert code(error) == "policies_missing"


def test_a_damaged_repository(repository: Repository) -> None:
    objects = repository.path / ".git" / "objects"
    for path in [path for path in objects.rglob("*") if path.is_file()]:
        path.chmod(0o600)
        path.write_bytes(b"rubbish")
    with pytest.raises(GatewayError) as error:
        GitSource(repository.path).head()
    assert code(error) == "policies_unreadable"


def test_what_is_read_of_a_bundle(repository: Repository, bundle: dict[str, str]) -> None:
    (repository.path / "b" / "authz.rego").write_text("uncommitted")
    wanted = {path.removeprefix("b/"): text.encode() for path, text in bundle.items() if path != "b/README.md"}
    assert GitSource(repository.path).bundles(repository.first) == {"b": wanted}


def test_bundles_below_a_directory(tmp_path: Path, repository: Repository) -> None:
    commit = repository.commit({"ops/policies/c/.manifest": "{}", "ops/policies/c/lists/data.json": "[]", "ops/x": "x"})
    found = GitSource(repository.path, path="/ops/policies/").bundles(commit)
    assert found == {"c": {".manifest": b"{}", "lists/data.json": b"[]"}}


@pytest.mark.parametrize("path", ["nowhere", "b/authz.rego", "b/nowhere"])
def test_a_directory_that_does_not_exist(repository: Repository, path: str) -> None:
    with pytest.raises(GatewayError) as error:
        GitSource(repository.path, path=path).bundles(repository.first)
    assert code(error) == "policies_path"


@pytest.mark.parametrize("place", [".manifest", "b/inner/.manifest", "teams/support/.manifest"])
def test_a_manifest_where_no_bundle_can_be(repository: Repository, place: str) -> None:
    commit = repository.commit({place: "{}"})
    with pytest.raises(GatewayError) as error:
        GitSource(repository.path).bundles(commit)
    assert code(error) == "policies_layout"


def test_a_link_in_a_bundle(repository: Repository) -> None:
    os.symlink("/etc/passwd", repository.path / "b" / "data.json")
    with Repo(str(repository.path)) as repo:
        repo.get_worktree().stage(["b/data.json"])
    commit = repository.commit({})
    with pytest.raises(GatewayError) as error:
        GitSource(repository.path).bundles(commit)
    assert code(error) == "policies_file"


@pytest.mark.parametrize("name", [b"..\\x.rego", b"\xff.rego", b"a\nb.rego", b"../../x.rego", b"x/.. /y.rego"])
def test_a_name_that_could_mean_another_place(repository: Repository, name: bytes) -> None:
    commit = repository.commit_entry(name, 0o100644)
    with pytest.raises(GatewayError) as error:
        GitSource(repository.path).bundles(commit)
    assert code(error) in ("policies_file", "policies_unreadable")


def test_a_name_that_matters_to_nobody(repository: Repository) -> None:
    commit = repository.commit_entry(b"caf\xe9.txt", 0o100644)
    assert set(GitSource(repository.path).bundles(commit)) == {"b"}


def test_too_much(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.policy.rollout.source.MAX_BYTES", 100)
    with pytest.raises(GatewayError) as error:
        GitSource(repository.path).bundles(repository.first)
    assert code(error) == "policies_too_large"


def test_a_repository_is_made_without_the_users_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[commit]\n gpgsign = true\n[init]\n defaultBranch = trunk\n[user]\n name = <>\n")
    monkeypatch.setenv("HOME", str(home))
    made = create_repository(tmp_path / "policies", {"a/b/data.json": b"1", "README.md": b"x"}, "Start")
    assert GitSource(tmp_path / "policies").head() == made
    assert (tmp_path / "policies" / "a" / "b" / "data.json").read_bytes() == b"1"


def test_a_repository_cannot_be_made_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GatewayError) as error:
        create_repository(tmp_path / "file" / "policies", {"x": b""}, "Start")
    assert code(error) == "policies_not_writable"


@pytest.mark.parametrize(("files", "names"), [(starter_files, {"starter"}), (demo_files, {"support", "analytics"})])
def test_the_packaged_repositories(tmp_path: Path, files: object, names: set[str]) -> None:
    made = create_repository(tmp_path / "policies", files(), "Start")  # type: ignore[operator]
    found = GitSource(tmp_path / "policies").bundles(made.commit)
    assert set(found) == names
    for content in found.values():
        assert {".manifest", "authz.rego", "authz_test.rego", "data.yaml"} <= set(content)
