"""The git repository that policies come from, read with dulwich, so that no git program is needed.

Reads commits and makes the first one. `gateway/policy/bundle.py` knows what a bundle's content means, `sync.py` what
happens to a new commit. The control process and the command line use this, data workers never do. Only the object
database is read: what is not committed does not exist for the gateway. Reading is bounded, whatever a commit holds.
Specification: architecture.md, section 11.
"""

from __future__ import annotations

import re
import stat
import zlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from dulwich import errors as git_errors
from dulwich.config import StackedConfig
from dulwich.objects import Blob, Commit, ObjectID, Tag, Tree
from dulwich.refs import Ref
from dulwich.repo import Repo

from gateway.errors import GatewayError, Hint, did_you_mean
from gateway.policy.bundle import MANIFEST, Files, belongs, check_path
from gateway.policy.rollout import git_objects

BRANCH = "main"
MAX_BYTES = 64 * 1024 * 1024
"""The largest size of one commit's bundles together, and of one git object: more is a mistake."""
MAX_FILES = 50_000
"""The most files and directories below the policies' one. Any number of paths may lead to the same few objects."""
MAX_PATH = 1000
_MAX_DIRECTORY = 8 * 1024 * 1024
_MAX_COMMIT = 1024 * 1024
_MAX_TAGS = 10

_AUTHOR = b"gateway init <gateway@localhost>"
_UNREADABLE = (
    OSError,
    KeyError,
    ValueError,
    AssertionError,
    EOFError,
    zlib.error,
    git_errors.ChecksumMismatch,
    git_errors.WrongObjectException,
    git_errors.ObjectMissing,
    git_errors.ApplyDeltaError,
    git_errors.FileFormatException,
    git_errors.RefFormatError,
)


@dataclass(frozen=True, slots=True)
class Revision:
    """A commit: its id in hex, who wrote it, as it says itself, and its message."""

    commit: str
    author: str
    message: str


@dataclass(frozen=True, slots=True)
class SignedCommit:
    """A commit's signature (None if it has none), the bytes that are signed, and its time in seconds since 1970."""

    signature: bytes | None
    payload: bytes
    when: float


class GitSource:
    """The bundles under `path` in `repository` as of `ref`. Opens the repository for each call, and keeps nothing."""

    def __init__(self, repository: Path, path: str = "", ref: str = BRANCH) -> None:
        self._repository = repository
        self._path = path.strip("/")
        self._ref = ref

    def head(self) -> Revision:
        """The commit that the ref names now: a branch, a tag, a full ref name or a commit id, in this order."""
        with self._open() as repo:
            name = self._ref.encode()
            for candidate in (Ref(b"refs/heads/" + name), Ref(b"refs/tags/" + name), Ref(name)):
                if candidate in repo.refs:
                    commit = peel(repo, repo.refs[candidate])
                    break
            else:
                if not _is_commit_id(self._ref) or ObjectID(name) not in repo.object_store:
                    raise GatewayError(
                        "policies_ref",
                        f"`{self._repository}` has no branch or tag `{self._ref}`",
                        subject=self._ref,
                        hint=did_you_mean(
                            self._ref,
                            [
                                each.decode("utf-8", "replace").split("/", 2)[2]
                                for each in repo.refs
                                if each.count(b"/") > 1
                            ],
                            "commit the policies there, or set policies_ref to the branch to follow",
                        ),
                    )
                commit = peel(repo, ObjectID(name))
            author = commit.author.decode("utf-8", "replace")
            shown = "".join(filter(str.isprintable, author))[:200]
            return Revision(commit.id.decode("ascii"), shown, commit.message.decode("utf-8", "replace"))

    def bundles(self, commit: str, passed_over: list[str] | None = None) -> dict[str, Files]:
        """Every bundle of a commit by name, with its files' contents by path inside the bundle. As for `collect`."""
        with self._open() as repo:
            files = self._files(repo, commit)

            def content(path: str) -> bytes:
                blob = git_objects.read(repo.object_store, files[path][1], MAX_BYTES)
                assert isinstance(blob, Blob), "a tree's entry of a file's mode names a blob"
                return blob.data

            return collect({path: mode for path, (mode, _) in files.items()}, content, self._path, passed_over)

    def signed(self, commit: str) -> SignedCommit:
        """A commit's signature, and what it is a signature of."""
        with self._open() as repo:
            found = peel(repo, ObjectID(commit.encode()))
            return SignedCommit(found.gpgsig, found.raw_without_sig(), float(found.commit_time))

    def branches_with(self, bundle: str) -> list[str]:
        """The other branches whose newest commit has a bundle of this name."""
        with self._open() as repo:
            heads = {
                each.removeprefix(b"refs/heads/"): repo.refs[each]
                for each in repo.refs
                if each.startswith(b"refs/heads/")
            }
        found = []
        for name, commit in sorted(heads.items()):
            with suppress(GatewayError):  # one without the directory
                if name.decode() != self._ref and bundle in self.names(commit.decode("ascii")):
                    found.append(name.decode())
        return found

    def is_followed(self, commit: str) -> bool:
        """True if a commit is the one that the ref names now, or one before it."""
        with self._open() as repo:
            waiting, seen = [ObjectID(self.head().commit.encode())], set[ObjectID]()
            while waiting and len(seen) < MAX_FILES:
                identifier = waiting.pop()
                if identifier.decode("ascii") == commit:
                    return True
                if identifier not in seen:
                    seen.add(identifier)
                    with suppress(KeyError):  # a shallow clone lacks the parents of its oldest commits
                        waiting += peel(repo, identifier).parents
            return False

    def names(self, commit: str) -> list[str]:
        """The names of a commit's bundles; their contents are not read."""
        with self._open() as repo:
            return bundle_names(self._files(repo, commit), self._path)

    def _files(self, repo: Repo, commit: str) -> dict[str, tuple[int, ObjectID]]:
        """Mode and id of every file by path under the policies' directory. Links and submodules are files here."""
        files: dict[str, tuple[int, ObjectID]] = {}
        directories = [("", self._top(repo, peel(repo, ObjectID(commit.encode())).tree))]
        entries = 0
        while directories:
            prefix, identifier = directories.pop()
            for entry in _tree(repo, identifier).iteritems():
                path = prefix + entry.path.decode("utf-8", "surrogateescape")
                entries += 1
                if entries > MAX_FILES:
                    raise _too_large(f"the policies' directory has more than {MAX_FILES} files")
                if len(path) > MAX_PATH:
                    raise _too_large(f"the policies' directory has a path of more than {MAX_PATH} characters")
                if stat.S_ISDIR(entry.mode):
                    directories.append((f"{path}/", entry.sha))
                else:
                    files[path] = entry.mode, entry.sha
        return files

    def _top(self, repo: Repo, tree: ObjectID) -> ObjectID:
        """The tree of the policies' directory."""
        for step in filter(None, self._path.split("/")):
            above = _tree(repo, tree)
            name = step.encode()
            if name not in above or not stat.S_ISDIR(above[name][0]):
                raise GatewayError(
                    "policies_path",
                    f"the policies' commit has no directory `{self._path}`",
                    subject=self._path,
                    hint="set policies_path to the directory that holds the bundles",
                )
            tree = above[name][1]
        return tree

    @contextmanager
    def _open(self) -> Iterator[Repo]:
        where = str(self._repository)
        try:
            with Repo(where) as repo:
                yield repo
        except git_errors.NotGitRepository as error:
            raise GatewayError(
                "policies_missing",
                f"`{where}` is not a git repository",
                subject=where,
                hint="set policies_repository to the repository that holds the policies",
            ) from error
        except _UNREADABLE as error:
            message = f"cannot read the git repository `{where}`: {type(error).__name__}: {error}"
            raise GatewayError("policies_unreadable", message, subject=where) from error


def bundle_names(paths: Iterable[str], top: str = "") -> list[str]:
    """The directories that are bundles, out of the paths of all files. `top` is where they are, for errors."""
    names = []
    for path in sorted(path for path in paths if path.rpartition("/")[2] == MANIFEST):
        name = path.removesuffix(MANIFEST).removesuffix("/")
        if not name or "/" in name:
            raise _misplaced(name, top)
        names.append(name)
    return names


def collect(
    modes: Mapping[str, int],
    content: Callable[[str], bytes],
    top: str = "",
    passed_over: list[str] | None = None,
) -> dict[str, Files]:
    """Every bundle by name, with its files by path inside the bundle. `modes` are those of all files, as git has them.

    `passed_over` gets the directories that have modules and no manifest, and so are none. Raises `GatewayError` if a
    bundle holds what none can, if they are too large together, or if a directory that is none has rules of a decision.
    """
    found: dict[str, Files] = {name: {} for name in bundle_names(modes, top)}
    left = MAX_BYTES
    for path in _loose(modes, found):
        rule = _DECIDING.search(content(path)) if stat.S_ISREG(modes[path]) else None
        if rule is not None:
            raise _no_manifest(path, rule[1].decode())
        if passed_over is not None and (name := path.rpartition("/")[0].partition("/")[0]) not in passed_over:
            passed_over.append(name)
    for path, mode in modes.items():
        name, _, inner = path.partition("/")
        if name not in found or not belongs(inner):
            continue
        check_path(path)
        if not stat.S_ISREG(mode):
            raise GatewayError("policies_file", f"`{path}` is not a plain file", subject=path)
        found[name][inner] = content(path)
        left -= len(found[name][inner])
        if left < 0:
            raise _too_large(f"the policies have more than {MAX_BYTES} bytes")
    return found


def _loose(paths: Iterable[str], bundles: Container[str]) -> list[str]:
    """The modules that are in no bundle, but for tests and what is hidden."""
    return [
        path
        for path in sorted(paths)
        if path.endswith(".rego")
        and not path.endswith("_test.rego")
        and path.partition("/")[0] not in bundles
        and not path.startswith(".")
    ]


_DECIDING: Final = re.compile(rb"^(?:default\s+)?(allow|deny)\b(?!\()", re.MULTILINE)


def _no_manifest(path: str, rule: str) -> GatewayError:
    name, _, inner = path.partition("/")
    where = f"`{name}` has no `{MANIFEST}`" if inner else f"`{path}` is in no bundle"
    return GatewayError(
        "policies_layout",
        f"{where}, so nobody asks its rule `{rule}` ({path})",
        subject=name,
        hint=Hint(f"give it a `{MANIFEST}`, as `gateway policies new` does, or move it out of policies_path"),
    )


def create_repository(path: Path, files: Mapping[str, bytes], message: str) -> Revision:
    """Make a repository at `path` whose branch `main` has one commit with `files`, which are also checked out."""
    try:
        with Repo.init(path, mkdir=not path.exists(), default_branch=BRANCH.encode()) as repo:
            for name, content in files.items():
                target = path / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            tree = repo.get_worktree()
            # Nothing of the user's own git settings may matter here: hooks, signing, an identity that is not set.
            settings = StackedConfig([])
            tree.stage(list(files), config=settings)
            commit = tree.commit(
                message=message.encode(),
                author=_AUTHOR,
                committer=_AUTHOR,
                encoding=b"utf-8",
                no_verify=True,
                sign=False,
                signoff=False,
                config=settings,
            )
            return Revision(commit.decode("ascii"), _AUTHOR.decode(), message)
    except OSError as error:
        where = str(path)
        reason = (error.strerror or type(error).__name__).lower()
        raise GatewayError("policies_not_writable", f"cannot create `{where}`: {reason}", subject=where) from error


def packaged_files(directory: Traversable, prefix: str = "") -> dict[str, bytes]:
    """The files of a directory that ships with this package, by their paths below it."""
    found: dict[str, bytes] = {}
    for item in sorted(directory.iterdir(), key=lambda each: each.name):
        if item.is_dir():
            found |= packaged_files(item, f"{prefix}{item.name}/")
        else:
            found[prefix + item.name] = item.read_bytes()
    return found


def _tree(repo: Repo, identifier: ObjectID) -> Tree:
    found = git_objects.read(repo.object_store, identifier, _MAX_DIRECTORY)
    assert isinstance(found, Tree), "a commit, and an entry of a directory's mode, name a tree"
    return found


def peel(repo: Repo, identifier: ObjectID) -> Commit:
    """The commit with this id, or the one that the tag with it names."""
    found = git_objects.read(repo.object_store, identifier, _MAX_COMMIT)
    for _ in range(_MAX_TAGS):
        if isinstance(found, Tag):
            found = git_objects.read(repo.object_store, found.object[1], _MAX_COMMIT)
    if not isinstance(found, Commit):
        shown = identifier.decode("ascii", "replace")
        raise GatewayError("policies_ref", f"`{shown}` is not a commit", subject=shown)
    return found


def _is_commit_id(text: str) -> bool:
    return len(text) == 40 and all(digit in "0123456789abcdef" for digit in text)


def _too_large(message: str) -> GatewayError:
    return GatewayError(
        "policies_too_large", message, hint="set policies_path to the directory that holds the bundles and little else"
    )


def _misplaced(name: str, path: str) -> GatewayError:
    where = f"`{path}`" if path else "the repository's top directory"
    return GatewayError(
        "policies_layout",
        f"there is a `{MANIFEST}` in `{name or '.'}`, but a bundle is a directory directly under {where}",
        subject=name,
        hint="set policies_path to the directory that holds the bundles",
    )
