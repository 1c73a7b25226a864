"""The commits of the policies repository as people look at them: who wrote what, which files, what differs.

Reads as `source.py` does, with its bounds. Nothing here says whether a commit is fit: that is the check's.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from dulwich.objects import Commit, ObjectID
from dulwich.objectspec import parse_commit

from gateway.errors import GatewayError, UnknownError
from gateway.policy.rollout import fetch
from gateway.policy.rollout.source import GitSource, peel
from gateway.settings import Settings

PROPOSALS: Final = "proposals/"
"""Branches with changes that somebody proposes begin so. The gateway follows none of them."""
_MAX_NAME: Final = 200
_MAX_MESSAGE: Final = 4000
_MAX_COMPARED: Final = 5000  # lines of a file


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
            raise GatewayError("policies_missing", why, hint="start `gateway up`, which fetches", kind="conflict")
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

    def texts(self, commit: str) -> dict[str, bytes]:
        """The files of all bundles of a commit, by their paths below the policies' directory."""
        return {
            f"{bundle}/{path}": content
            for bundle, files in self.bundles(commit).items()
            for path, content in files.items()
        }


def differences(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> list[FileDifference]:
    """The files that differ, by their paths."""
    found = []
    for file in sorted(before.keys() | after.keys()):
        old, new = before.get(file), after.get(file)
        if old == new:
            continue
        change = "added" if old is None else "removed" if new is None else "changed"
        found.append(FileDifference(file=file, change=change, text=_unified(file, old, new)))
    return found


def _unified(file: str, old: bytes | None, new: bytes | None) -> str:
    sides = [[] if each is None else each.decode("utf-8", "replace").split("\n") for each in (old, new)]
    if max(map(len, sides)) > _MAX_COMPARED:
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
