"""Proposes a change of policies: a commit on a branch of its own, which nobody follows until people merge it.

The objects of the commit are written first, which changes nothing. Then the branch is set under the condition that it
is as it was, which is one atomic step that git's own programs respect too. The working tree, the index and the branch
that the gateway follows are never touched.
"""

from __future__ import annotations

import re
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dulwich import errors as git_errors
from dulwich.file import FileLocked
from dulwich.object_store import commit_tree_changes
from dulwich.objects import Blob, Commit, ObjectID
from dulwich.refs import SYMREF, Ref
from dulwich.repo import Repo

from gateway.errors import ConflictError, GatewayError
from gateway.policy.bundle import MANIFEST, Files, belongs, check_path
from gateway.policy.rollout import git_objects
from gateway.policy.rollout.revisions import (
    MAX_FILE,
    PROPOSALS,
    CommittedFile,
    FileDifference,
    Revisions,
    difference,
)
from gateway.policy.rollout.source import MAX_BYTES, collect, peel
from gateway.registry import names
from gateway.settings import Settings

_BRANCH: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", re.ASCII)
_PLAIN: Final = 0o100644
MAX_FILES: Final = 50
_MAX_MESSAGE: Final = 2000
_MAX_PATH: Final = 500
_MAX_NAME: Final = 200  # bytes, of a file or a directory
_COMMITTER: Final = b"gateway <gateway@localhost>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A change that could be proposed: the bundles as they would be, and how its files differ."""

    branch: str
    base: str
    tip: str | None
    """The commit that the branch names now; None if there is no such branch."""
    contents: Mapping[str, bytes | None]
    modes: Mapping[str, int]
    bundles: Mapping[str, Files] = field(repr=False)
    differences: Sequence[FileDifference] = ()


class Proposals(Revisions):
    """The branches of proposals in a gateway's policies repository."""

    def __init__(self, repository: Path, path: str = "", ref: str = "main", remote: str = "") -> None:
        super().__init__(repository, path, ref)
        self._remote = remote

    @classmethod
    def of(cls, settings: Settings) -> Proposals:
        """Those of a gateway. `draft` works with a repository that is elsewhere as well, `write` does not."""
        Revisions.of(settings)
        remote = "" if settings.remote is None else str(settings.policies_repository)
        return cls(settings.repository, settings.policies_path, settings.policies_ref, remote)

    def draft(self, branch: str, base: str | None, files: Mapping[str, bytes | None]) -> Draft:
        """The change of `files`, where None removes one, on a branch that begins at `base`, or on one that is there.

        Without `base` it is built on the branch, or else on what is followed. A draft that is only to be looked at may
        have no branch. Raises `GatewayError` if it cannot be proposed so.
        """
        branch = branch and self._branch(branch)
        tip = self._tip(branch) if branch else None
        found = self.resolve(base) if base else tip or self.head().commit
        if tip is not None and found != tip:
            message = f"the branch `{branch}` is at {tip[:12]} by now, and the change is of {found[:12]}"
            raise ConflictError(
                "proposal_moved", message, subject=branch, hint="begin again from there, or name another"
            )
        before = self.files(found)
        _check(files, before)
        modes = {path: each.mode for path, each in before.items()}
        for path, content in files.items():
            if content is None:
                del modes[path]
            else:
                modes[path] = before[path].mode if path in before else _PLAIN
        with self._open() as repo:

            def read(path: str) -> bytes:
                given = files.get(path)
                return self._blob(repo, before[path]) if given is None else given

            bundles = collect(modes, read, self._path)
            sides = {
                path: (self._content(repo, before[path]) if path in before else None, new)
                for path, new in files.items()
            }
        changed = {path: new for path, (old, new) in sides.items() if old != new}
        if not changed:
            raise GatewayError("nothing_changed", "the files are as they were", hint="change something first")
        return Draft(
            branch=branch,
            base=found,
            tip=tip,
            contents=changed,
            modes=modes,
            bundles=bundles,
            differences=[difference(path, *sides[path]) for path in sorted(changed)],
        )

    def write(self, draft: Draft, *, author: str, message: str) -> str:
        """Write the commit of a draft, on no branch yet, and return its id."""
        self.check_writable(draft)
        with self._writing() as repo:
            store = repo.object_store
            changes: list[tuple[bytes, int | None, ObjectID | None]] = []
            top = f"{self._path}/" if self._path else ""
            for path, content in draft.contents.items():
                name = f"{top}{path}".encode()
                if content is None:
                    changes.append((name, None, None))
                    continue
                blob = Blob.from_string(content)
                store.add_object(blob)
                changes.append((name, draft.modes[path], blob.id))
            commit = Commit()
            commit.tree = commit_tree_changes(store, peel(repo, ObjectID(draft.base.encode())).tree, changes)
            commit.parents = [ObjectID(draft.base.encode())]
            commit.author, commit.committer = _person(author), _COMMITTER
            commit.author_time = commit.commit_time = int(time.time())
            commit.author_timezone = commit.commit_timezone = 0
            commit.encoding = b"UTF-8"
            commit.message = _message(message, draft).encode()
            store.add_object(commit)
            return commit.id.decode("ascii")

    def publish(self, draft: Draft, commit: str) -> None:
        """Set the branch to a commit, unless it is not any more as the draft has seen it."""
        ref, new = _ref(draft.branch), ObjectID(commit.encode())
        with self._writing() as repo:
            # Once more: a link made meanwhile would lead to another branch.
            _check_plain(repo, draft.branch)
            try:
                if draft.tip is None:
                    done = repo.refs.add_if_new(ref, new, committer=_COMMITTER, message=b"proposed")
                else:
                    old = ObjectID(draft.tip.encode())
                    done = repo.refs.set_if_equals(ref, old, new, committer=_COMMITTER, message=b"proposed")
            except FileLocked:
                done = False
        if not done:
            message = f"the branch `{draft.branch}` was changed meanwhile"
            raise ConflictError("proposal_moved", message, subject=draft.branch, hint="look at it, then begin again")

    def withdraw(self, draft: Draft, commit: str) -> None:
        """Take a branch back to where the draft has seen it, if it is still at this commit."""
        ref, made = _ref(draft.branch), ObjectID(commit.encode())
        with suppress(GatewayError, FileLocked), self._writing() as repo:
            if draft.tip is None:
                repo.refs.remove_if_equals(ref, made)
            else:
                repo.refs.set_if_equals(ref, made, ObjectID(draft.tip.encode()))

    def _branch(self, branch: str) -> str:
        name = branch.removeprefix(PROPOSALS)
        if not _BRANCH.fullmatch(name) or ".." in name or name.endswith((".lock", ".")):
            shown = ascii(branch)[1:-1][:80]
            hint = "use letters, digits, `-`, `_` and `.`, at most 80 of them"
            raise GatewayError("invalid_branch", f"`{shown}` is no name of a proposal", subject=shown, hint=hint)
        found = PROPOSALS + name
        if self._ref in (found, f"refs/heads/{found}"):
            message = f"the gateway follows `{found}`, so nothing is proposed there"
            raise ConflictError("branch_followed", message, subject=found, hint="name another branch")
        return found

    def _tip(self, branch: str) -> str | None:
        with self._open() as repo:
            _check_plain(repo, branch)
            ref = _ref(branch)
            return repo.refs[ref].decode("ascii") if ref in repo.refs else None

    def _blob(self, repo: Repo, found: CommittedFile) -> bytes:
        blob = git_objects.read(repo.object_store, found.blob, MAX_BYTES)
        assert isinstance(blob, Blob), "a tree's entry of a file's mode names a blob"
        return blob.data

    def check_writable(self, draft: Draft) -> None:
        """Refuse to write where nobody would find it."""
        if not draft.branch:
            hint = "name the branch that the change is for"
            raise GatewayError("invalid_branch", "the proposal has no name", hint=hint)
        if self._remote:
            message = f"policies come from `{self._remote}`, which the gateway only reads"
            hint = "apply the patch in a clone of it, commit it on a branch there, and push that"
            raise ConflictError("proposals_elsewhere", message, subject=self._remote, hint=hint)

    @contextmanager
    def _writing(self) -> Iterator[Repo]:
        """The repository, for writing."""
        where = str(self._repository)
        try:
            with Repo(where) as repo:
                yield repo
        except (OSError, git_errors.NotGitRepository) as error:
            reason = (getattr(error, "strerror", None) or type(error).__name__).lower()
            raise ConflictError(
                "policies_not_writable",
                f"cannot write into the git repository `{where}`: {reason}",
                subject=where,
                hint="let the gateway's user write there, or apply the patch in a clone and push a branch with it",
            ) from error


def _ref(branch: str) -> Ref:
    return Ref(f"refs/heads/{branch}".encode())


def _check_plain(repo: Repo, branch: str) -> None:
    """Refuse a branch that leads to another one, or that somebody has checked out: its files would seem changed."""
    ref = _ref(branch)
    if (repo.refs.read_ref(ref) or b"").startswith(SYMREF):
        message = f"`{branch}` is a link to another branch"
        raise ConflictError("branch_followed", message, subject=branch, hint="name another branch")
    trees = [Path(repo.controldir()) / "HEAD", *Path(repo.controldir()).glob("worktrees/*/HEAD")]
    for head in trees if not repo.bare else trees[1:]:
        with suppress(OSError):
            if head.read_bytes().strip() == SYMREF + ref:
                message = f"`{branch}` is checked out in the repository"
                raise ConflictError(
                    "branch_checked_out", message, subject=branch, hint="commit there, or name another branch"
                )


def _check(files: Mapping[str, bytes | None], before: Mapping[str, CommittedFile]) -> None:
    """Refuse files that no proposal may have."""
    if not 0 < len(files) <= MAX_FILES:
        raise GatewayError("invalid_file", f"a proposal has 1 to {MAX_FILES} files", hint="make several")
    for path, content in files.items():
        bundle, _, inner = path.partition("/")
        check_path(path)
        names.check_name("bundle", bundle)
        hidden = any(part.startswith(".") for part in inner.split("/")) and inner != MANIFEST
        if len(path) > _MAX_PATH or any(len(part.encode()) > _MAX_NAME for part in path.split("/")):
            raise GatewayError("invalid_file", f"the path `{path[:60]}…` is too long", hint="give it a shorter one")
        if not inner or hidden or not (belongs(inner) or inner.endswith(".md")):
            hint = f"`{MANIFEST}`, `.rego`, `data.json`, `data.yaml` and `.md` files are, in the bundle's directory"
            raise GatewayError("invalid_file", f"`{path[:200]}` is no file of a bundle", subject=path[:200], hint=hint)
        there = before.get(path)
        if there is not None and not stat.S_ISREG(there.mode):
            raise GatewayError("invalid_file", f"`{path}` is a link", subject=path, hint="change it with git")
        if content is None and there is None:
            raise GatewayError("unknown_file", f"there is no `{path}` to remove", subject=path)
        if content is not None and len(content) > MAX_FILE:
            message = f"`{path}` has {len(content):,} bytes, and at most {MAX_FILE:,} are taken"
            raise GatewayError("invalid_file", message, subject=path, hint="commit it with git")
        folders = {path[:at] for at, each in enumerate(path) if each == "/"}
        if content is not None and (folders & before.keys() or any(each.startswith(f"{path}/") for each in before)):
            message = f"`{path}` cannot be a file and a directory at once"
            raise GatewayError("invalid_file", message, subject=path, hint="name another file")


def _person(name: str) -> bytes:
    """A person as commits name one."""
    kept = "".join(each for each in name if each.isprintable() and each not in "<>").strip() or "somebody"
    address = kept if re.fullmatch(r"[^\s@]+@[^\s@]+", kept) else f"{re.sub(r'[^A-Za-z0-9._-]+', '-', kept)}@gateway"
    return f"{kept[:100]} <{address[:100]}>".encode()


def _message(message: str, draft: Draft) -> str:
    kept = "".join(each for each in message if each.isprintable() or each == "\n").strip()
    return f"{kept[:_MAX_MESSAGE] or 'Change ' + ', '.join(sorted(draft.contents))}\n"
