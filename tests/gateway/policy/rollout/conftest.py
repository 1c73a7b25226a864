"""A policies repository for tests, changed as its users change it: by commits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from dulwich.config import StackedConfig
from dulwich.objects import Blob
from dulwich.repo import Repo

from gateway.policy.rollout.source import GitSource, create_repository

AUTHOR = "Dana Example <dana@acme.example>"


class Repository:
    """A repository with a working tree; `commit` writes files, removes those given as None, and commits."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.first = GitSource(path).head().commit

    def commit(self, files: Mapping[str, bytes | str | None], branch: str = "main") -> str:
        with Repo(str(self.path)) as repo:
            ref = f"refs/heads/{branch}".encode()
            repo.refs.set_symbolic_ref(b"HEAD", ref)
            tree = repo.get_worktree()
            settings = StackedConfig([])
            for name, content in files.items():
                target = self.path / name
                if content is None:
                    target.unlink()
                else:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(content.encode() if isinstance(content, str) else content)
            tree.stage(list(files), config=settings)
            author = AUTHOR.encode()
            made = tree.commit(
                message=b"Change", author=author, committer=author, sign=False, config=settings, no_verify=True
            )
            return made.decode()

    def commit_entry(self, name: bytes, mode: int, content: bytes = b"x") -> str:
        """Commit a top-level directory `b` with one more entry that no ordinary tool would write."""
        with Repo(str(self.path)) as repo:
            head = repo[repo.head()]
            top = repo[head.tree]
            inner = repo[top[b"b"][1]]
            blob = Blob.from_string(content)
            inner.add(name, mode, blob.id)
            top.add(b"b", 0o040000, inner.id)
            for each in (blob, inner, top):
                repo.object_store.add_object(each)
            made = repo.get_worktree().commit(message=b"Odd", author=b"x <x@x>", committer=b"x <x@x>", tree=top.id)
            return made.decode()


@pytest.fixture
def bundle() -> dict[str, str]:
    """The files of a small bundle `b` that allows everything to a grant."""
    return {
        "b/.manifest": '{"roots": ["b"], "metadata": {"gateway": {"entrypoint": "data.b.authz"}}}',
        "b/authz.rego": "package b.authz\n\nallow := true\n",
        "b/authz_test.rego": "package b.authz_test\n\nimport data.b.authz\n\ntest_allowed if authz.allow\n",
        "b/README.md": "# b\n",
    }


@pytest.fixture
def repository(tmp_path: Path, bundle: dict[str, str]) -> Repository:
    create_repository(tmp_path / "policies", {name: text.encode() for name, text in bundle.items()}, "Start")
    return Repository(tmp_path / "policies")


@pytest.fixture
def open_repository() -> type[Repository]:
    """Make a `Repository` of one that exists."""
    return Repository
