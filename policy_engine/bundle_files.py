"""The files of a bundle, from a directory, a `.tar.gz` or a tree in a git repository: names and contents, checked.

All three follow the same rules about which files belong to a bundle; callers that need more (a signature covers every
file) pass `wanted`. Leaving a file out silently would be worse than an error, because it may hold the rule that denies.
So these are rejected: broken links, links out of the bundle or to directories, special files, submodules, duplicate
names, names that could mean another place, and unreadable files. Files in hidden directories and of other types are
ignored. `bundle` reads the contents.
"""

from __future__ import annotations

import errno
import gzip
import io
import os
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

from policy_engine.errors import BUNDLE_ERROR, PolicyError

MAX_FILE: Final = 64 * 1024 * 1024
"""Largest file in bytes; larger ones are rejected before they are read."""

MAX_MODULE: Final = 16 * 1024 * 1024
"""Largest module in bytes; its tokens and syntax tree take up to a hundred times as much memory."""

MAX_BUNDLE: Final = 256 * 1024 * 1024
"""Largest total of all files in bytes; for an archive, of everything in it."""

DATA_FILES: Final = ("data.json", "data.yaml", "data.yml")
MANIFEST: Final = ".manifest"
SIGNATURES: Final = ".signatures.json"

File = tuple[str, bytes]
"""A name, relative to the bundle with `/` as separator, and the content."""

Wanted = Callable[[str], bool]
"""Tells whether a file of this name is to be read."""

Source = str | Path | tuple[str | Path, str, str]
"""A directory, a `.tar.gz`, or a repository with a commit and a path in it."""


def belongs(name: str) -> bool:
    """True if a file is part of a bundle: modules, data files, and the manifest at the top."""
    *directories, base = name.split("/")
    if any(part.startswith(".") and part not in (".", "..") for part in directories):
        return False
    return base.endswith(".rego") or base in DATA_FILES or name == MANIFEST


def source_files(source: Source, wanted: Wanted) -> Iterator[File]:
    """The files of a bundle from any kind of source. Raises `PolicyError`."""
    if isinstance(source, tuple):
        return git_files(*source, wanted)
    path = Path(source)
    try:
        if path.is_dir():
            return directory_files(path, wanted)
        if path.is_file():
            return archive_files(path, wanted)
    except OSError as error:  # the name is too long, or a directory is not accessible
        _refuse(f"cannot read {path}: {error.strerror}")
    _refuse(f"there is no bundle at {path}", "give a directory or a .tar.gz file")


def checked(files: Iterable[File], wanted: Wanted = belongs) -> list[File]:
    """The wanted files, sorted by name. Raises `PolicyError` for duplicate and invalid names, and for too much data."""
    found: dict[str, bytes] = {}
    total = 0
    for name, content in files:
        if not wanted(name):
            continue
        if any(part in ("", ".", "..") for part in name.split("/")) or "\\" in name or not name.isprintable():
            _refuse(f"{name!a} is not a valid file name in a bundle")
        if name in found:
            _refuse(f"{name} occurs twice")
        if name.endswith(".rego") and len(content) > MAX_MODULE:
            _refuse(f"{name} is larger than {MAX_MODULE} bytes", "split it into several modules")
        total += len(content)
        if total > MAX_BUNDLE:
            _refuse(f"the files of the bundle are larger than {MAX_BUNDLE} bytes in total")
        found[name] = content
    return sorted(found.items())


def _refuse(text: str, hint: str = "") -> NoReturn:
    raise PolicyError(BUNDLE_ERROR, text, hint=hint)


# ---- directories


def directory_files(root: Path, wanted: Wanted = belongs) -> Iterator[File]:
    """The files below a directory. A link to a file inside the bundle is read as that file."""
    try:
        yield from _below(root, root.resolve(), "", wanted)
    except RecursionError:
        _refuse("the directories of the bundle are nested too deeply")


def _below(directory: Path, top: Path, prefix: str, wanted: Wanted) -> Iterator[File]:
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError as error:
        _refuse(f"cannot read {prefix or directory}: {error.strerror}")
    for entry in entries:
        name, path = prefix + entry.name, directory / entry.name
        if entry.is_dir(follow_symlinks=False):
            if _wants_below(wanted, name):
                yield from _below(path, top, f"{name}/", wanted)
        elif entry.is_symlink() and _wants_below(wanted, name) and path.is_dir():
            _refuse(
                f"{name} is a link to a directory", "replace the link by the files; only links to files are followed"
            )
        elif wanted(name):
            if not _target(path, name).is_relative_to(top):
                _refuse(f"{name} is a link to a file outside the bundle")
            yield name, _content(path, name)


def _target(path: Path, name: str) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # the type depends on the version of Python
        _refuse(f"{name} is a broken link")


def _wants_below(wanted: Wanted, directory: str) -> bool:
    return wanted(f"{directory}/{DATA_FILES[0]}")


def _content(path: Path, name: str) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # checked before opening, because opening a pipe blocks
            _refuse(f"{name} is not a regular file")
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except OSError as error:
        if error.errno == errno.ELOOP:  # from Python 3.13 on, nothing has found that out before
            _refuse(f"{name} is a broken link")
        _refuse(f"cannot read {name}: {error.strerror}")
    if len(content) > MAX_FILE:
        _refuse(f"{name} is larger than {MAX_FILE} bytes")
    return content


# ---- archives


def archive_files(path: Path, wanted: Wanted = belongs) -> Iterator[File]:
    """The files in a `.tar.gz`. Names may begin with `/` or `./`, as in archives made by OPA."""
    try:
        with gzip.open(path) as packed, tarfile.open(fileobj=_Bounded(packed), mode="r|") as archive:
            for member in archive:
                name = member.name.removeprefix("./").removeprefix("/")
                if member.isdir() or not wanted(name):
                    continue
                if not member.isreg():
                    _refuse(f"{name} is a link or a special file", "archive the file itself")
                if member.size > MAX_FILE:
                    _refuse(f"{name} is larger than {MAX_FILE} bytes")
                content = archive.extractfile(member)
                assert content is not None
                yield name, content.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, IndexError) as error:
        _refuse(f"{path} is not a .tar.gz bundle: {error}")


class _Bounded(io.RawIOBase):
    """A stream that raises an error after `MAX_BUNDLE` bytes: an archive's unpacked size is not known before."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream = stream
        self._left = MAX_BUNDLE

    def read(self, size: int = -1) -> bytes:
        content = self._stream.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(content)
        if self._left < 0:
            _refuse(f"the archive unpacks to more than {MAX_BUNDLE} bytes")
        return content


# ---- git


def git_files(repository: str | Path, commit: str, path: str, wanted: Wanted = belongs) -> Iterator[File]:
    """The files of a tree in a git repository. `commit` is an id or the name of a branch or tag."""
    try:
        from dulwich import errors
    except ModuleNotFoundError:
        _refuse("git repositories are read with dulwich, which is not installed", "install it: the extra `git`")

    failures = (
        errors.NotGitRepository, errors.ObjectFormatException, errors.ObjectMissing, errors.ChecksumMismatch,
        KeyError, ValueError, OSError, zlib.error,
    )  # fmt: skip
    try:
        yield from _tree_files(repository, commit, path, wanted)
    except failures as error:
        _refuse(f"there is no bundle in {repository} at {commit}, path {path or '.'}: {error}")


def _tree_files(repository: str | Path, commit: str, path: str, wanted: Wanted) -> Iterator[File]:
    from dulwich.objects import Blob, Commit, Tag, Tree
    from dulwich.repo import Repo

    with Repo(str(repository)) as repo:
        store = repo.object_store
        found: Any = repo[commit.encode()]
        while isinstance(found, Tag):
            found = store[found.object[1]]
        if not isinstance(found, Commit):
            raise ValueError("it is not a commit")
        tree: Any = store[found.tree]
        for step in [part for part in path.split("/") if part and part != "."]:
            tree = store[tree[step.encode()][1]]
            if not isinstance(tree, Tree):
                raise ValueError(f"`{step}` is not a directory")
        pending: list[tuple[str, Any]] = [("", tree)]
        while pending:
            prefix, tree = pending.pop()
            for entry in tree.items():
                name = prefix + entry.path.decode()
                if stat.S_ISDIR(entry.mode):
                    pending.append((f"{name}/", store[entry.sha]))
                elif entry.mode == _SUBMODULE and _wants_below(wanted, name):
                    _refuse(f"{name} is a submodule", "replace it by its files")
                elif wanted(name):
                    blob = store[entry.sha]
                    if not stat.S_ISREG(entry.mode) or not isinstance(blob, Blob):
                        _refuse(f"{name} is a link", "commit the file itself")
                    if blob.raw_length() > MAX_FILE:
                        _refuse(f"{name} is larger than {MAX_FILE} bytes")
                    yield name, blob.data


_SUBMODULE: Final = 0o160000
