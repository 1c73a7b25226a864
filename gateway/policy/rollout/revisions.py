"""The commits of the policies repository as people look at them: who wrote what, which files, what differs.

Reads as `source.py` does, with its bounds. Nothing here says whether a commit is fit: that is the check's.
"""

from __future__ import annotations

import difflib
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from dulwich.objects import Blob, Commit, ObjectID
from dulwich.objectspec import parse_commit
from dulwich.repo import Repo

from gateway.errors import GatewayError, Hint, UnknownError
from gateway.policy.rollout import fetch, git_objects
from gateway.policy.rollout.source import GitSource, peel
from gateway.settings import Settings

PROPOSALS: Final = "proposals/"
"""Branches with changes that somebody proposes begin so. The gateway follows none of them."""
_MAX_NAME: Final = 200
_MAX_MESSAGE: Final = 4000
_MAX_COMPARED: Final = 5000  # lines of a file
_MAX_CHANGED: Final = 200
MAX_FILE: Final = 256 * 1024
"""The largest file that is shown, compared or written: policies are texts that people read."""
_TOO_LONG: Final = b"\0too long"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitRecord:
    """A commit, as it says of itself. Texts have only characters that can be seen."""

    commit: str
    author: str
    time_ns: int
    subject: str
    message: str
    parents: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A branch with a change that somebody proposes."""

    branch: str
    newest: CommitRecord


@dataclass(frozen=True, slots=True)
class CommittedFile:
    """A file of a commit: its mode and the id of its content."""

    mode: int
    blob: ObjectID


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDifference:
    """A file that two commits have differently. `text` is a unified diff; empty if the file is too long to compare."""

    file: str
    change: str
    text: str


class Revisions(GitSource):
    """The commits of a policies repository."""

    @classmethod
    def of(cls, settings: Settings) -> Revisions:
        """Those of a gateway. Raises `GatewayError` if there is no repository to read yet."""
        if why := fetch.missing(settings):
            raise GatewayError("policies_missing", why, hint=Hint("start `gateway up`, which fetches"), kind="conflict")
        return cls(settings.repository, settings.policies_path, settings.policies_ref)

    def resolve(self, name: str) -> str:
        """The full id of a commit, which a branch, a tag or at least seven of its digits name."""
        with self._open() as repo:
            if 0 < len(name) <= _MAX_NAME and name.isprintable():
                with suppress(KeyError, ValueError):
                    return parse_commit(repo, name).id.decode("ascii")
        message = f"the policies repository has no commit, branch or tag `{name[:_MAX_NAME]}`"
        hint = "name a branch, or at least 7 digits of a commit that is pushed"
        raise UnknownError("commit", message, subject=name[:_MAX_NAME], hint=hint)

    def record(self, commit: str) -> CommitRecord:
        """A commit by its full id."""
        with self._open() as repo:
            return _record(peel(repo, ObjectID(commit.encode())))

    def newest(self, limit: int) -> list[CommitRecord]:
        """At most so many commits of the branch that is followed, newest first; of a merge only what it came into."""
        found: list[CommitRecord] = []
        with self._open() as repo:
            following = [self.head().commit]
            while following and len(found) < limit:
                try:
                    found.append(_record(peel(repo, ObjectID(following[0].encode()))))
                except KeyError:  # a shallow clone lacks the parents of its oldest commits
                    break
                following = found[-1].parents
        return found

    def proposals(self, limit: int) -> list[Proposal]:
        """At most so many branches of proposals, the newest first."""
        prefix = f"refs/heads/{PROPOSALS}".encode()
        found = []
        with self._open() as repo:
            for ref in repo.refs:
                if ref.startswith(prefix):
                    branch = ref.removeprefix(b"refs/heads/").decode("utf-8", "replace")
                    with suppress(GatewayError):
                        found.append(Proposal(branch=branch, newest=_record(peel(repo, repo.refs[ref]))))
        return sorted(found, key=lambda each: (-each.newest.time_ns, each.branch))[:limit]

    def files(self, commit: str) -> dict[str, CommittedFile]:
        """The files under the policies' directory, by their paths there."""
        with self._open() as repo:
            found = self._files(repo, commit)
            return {path: CommittedFile(mode, identifier) for path, (mode, identifier) in found.items()}

    def read(self, commit: str, path: str) -> bytes:
        """A file of a commit. Raises `GatewayError` if there is none, or if it is too long to be looked at."""
        found = self.files(commit).get(path)
        if found is None or not stat.S_ISREG(found.mode):
            raise UnknownError(
                "file", f"commit {commit[:12]} has no file `{path[:_MAX_NAME]}`", subject=path[:_MAX_NAME]
            )
        with self._open() as repo:
            return self._content(repo, found)

    def differences(self, before: str | None, after: str) -> list[FileDifference]:
        """The files that differ between two commits; without the first one all files are new."""
        old = {} if before is None else self.files(before)
        new = self.files(after)
        changed = sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))
        if len(changed) > _MAX_CHANGED:
            message = f"{len(changed):,} files differ, and at most {_MAX_CHANGED} are compared"
            raise GatewayError("too_many_differences", message, hint="compare them with git")
        with self._open() as repo:
            return [
                difference(path, *(self._side(repo, side.get(path)) for side in (old, new)))
                for path in changed
                if path.isprintable()
            ]

    def _side(self, repo: Repo, found: CommittedFile | None) -> bytes | None:
        if found is None:
            return None
        if not stat.S_ISREG(found.mode):
            return b"(a link)\n"
        try:
            return self._content(repo, found)
        except GatewayError:
            return _TOO_LONG

    def _content(self, repo: Repo, found: CommittedFile) -> bytes:
        blob = git_objects.read(repo.object_store, found.blob, MAX_FILE)
        assert isinstance(blob, Blob), "a tree's entry of a file's mode names a blob"
        return blob.data


def difference(file: str, old: bytes | None, new: bytes | None) -> FileDifference:
    """A file as it was and as it is; None where there is none."""
    change = "added" if old is None else "removed" if new is None else "changed"
    return FileDifference(file=file, change=change, text=_unified(file, old, new))


def _unified(file: str, old: bytes | None, new: bytes | None) -> str:
    sides = [[] if each is None else each.decode("utf-8", "replace").split("\n") for each in (old, new)]
    if _TOO_LONG in (old, new) or max(map(len, sides)) > _MAX_COMPARED:
        return ""
    names = ("/dev/null" if old is None else f"a/{file}", "/dev/null" if new is None else f"b/{file}")
    old_lines, new_lines = map(_ended, sides)
    return "".join(difflib.unified_diff(old_lines, new_lines, *names))


def _ended(lines: list[str]) -> list[str]:
    """Lines with their ends, as a patch has them."""
    if not lines or lines[-1] == "":
        return [f"{each}\n" for each in lines[:-1]]
    return [f"{each}\n" for each in lines[:-1]] + [f"{lines[-1]}\n\\ No newline at end of file\n"]


def _record(commit: Commit) -> CommitRecord:
    message = commit.message.decode("utf-8", "replace")
    kept = "".join(each for each in message if each.isprintable() or each == "\n")[:_MAX_MESSAGE].strip()
    author = "".join(filter(str.isprintable, commit.author.decode("utf-8", "replace")))
    return CommitRecord(
        commit=commit.id.decode("ascii"),
        author=author[:200],
        time_ns=max(0, commit.author_time) * 1_000_000_000,
        subject=kept.partition("\n")[0][:200],
        message=kept,
        parents=[each.decode("ascii") for each in commit.parents],
    )
