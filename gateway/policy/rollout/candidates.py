"""Bundles that somebody wants to have checked: as they lie in a directory, as they are staged, or as of a commit.

They are read for the author, who wants to know what a gateway will say. In a directory, files that git ignores, other
repositories and data directories are left out: no commit would hold them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from dulwich import errors as git_errors
from dulwich.ignore import IgnoreFilterManager
from dulwich.index import ConflictedIndexEntry, Index
from dulwich.objects import Blob
from dulwich.objectspec import parse_commit
from dulwich.repo import Repo

from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.policy.bundle import MANIFEST, Files, manifest
from gateway.policy.rollout import fetch, git_objects
from gateway.policy.rollout.source import MAX_BYTES, MAX_FILES, GitSource, collect
from gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class Candidate:
    """Bundles to check, and the directory that they are in or would be in. `bundles` raises `GatewayError`.

    For a commit there are also its id and the repository that it is in. `passed_over` has the directories with modules
    that are no bundles, once `bundles` has been asked.
    """

    directory: Path
    bundles: Callable[[], dict[str, Files]]
    commit: str = ""
    source: GitSource | None = None
    passed_over: list[str] = field(default_factory=list)
    before: Callable[[], dict[str, Files]] | None = None
    """The bundles of the commit before the next one, if it is that which is checked."""

    def touched(self, bundles: dict[str, Files]) -> list[str]:
        """The names of those that the next commit changes, or of all."""
        if self.before is None:
            return sorted(bundles)
        try:
            before = self.before()
        except GatewayError:  # there is no commit yet
            return sorted(bundles)
        return sorted(name for name, files in bundles.items() if before.get(name) != files)


def find(
    directory: Path | None, settings: Settings | None = None, commit: str | None = None, *, staged: bool = False
) -> Candidate:
    """The bundles in a directory, or those of its repository's next commit or of another one.

    Without a directory these are the policies of the gateway with these settings, or what is in the working directory.
    Raises `GatewayError` (`nothing_to_check`) if there is no such place.
    """
    if settings is not None and settings.remote is not None and directory is None:
        if why := fetch.missing(settings):
            raise _nothing(why, "start `gateway up`, which fetches")
        path = settings.policies_path.strip("/")
        return _committed(Path(path), settings.repository, path, commit or settings.policies_ref)
    if settings is not None and (directory is None or directory.resolve() == settings.repository.resolve()):
        directory = (directory or settings.repository) / settings.policies_path.strip("/")
    directory = directory or Path()
    loose: list[str] = []
    if not directory.is_dir():
        raise _nothing(f"`{directory}` is not a directory")
    if commit is None and not staged:
        if (directory / MANIFEST).exists():
            parent = directory.parent if directory.name not in ("", "..") else directory / ".."
            raise _nothing(f"`{directory}` is a bundle itself", f"name the directory that holds it: `{parent}`")
        return Candidate(directory, lambda: bundles_in(directory, loose), passed_over=loose)
    found = repository_of(directory)
    if found is None:
        raise _nothing(f"`{directory}` is in no git repository", "leave out --commit and --staged to check its files")
    repository, inner = found
    if staged:
        return Candidate(
            directory,
            lambda: staged_bundles(repository, inner, loose),
            passed_over=loose,
            before=lambda: GitSource(repository, inner).bundles(_resolve(repository, "HEAD")),
        )
    return _committed(directory, repository, inner, commit or "")


def _committed(directory: Path, repository: Path, inner: str, name: str) -> Candidate:
    identifier, source = _resolve(repository, name), GitSource(repository, inner)
    loose: list[str] = []
    return Candidate(directory, lambda: source.bundles(identifier, loose), identifier, source, loose)


def _resolve(repository: Path, name: str) -> str:
    try:
        with Repo(str(repository)) as repo:
            return parse_commit(repo, name).id.decode("ascii")
    except (KeyError, ValueError) as error:
        raise _nothing(f"`{repository}` has no commit, branch or tag `{name}`") from error


def _nothing(message: str, hint: str = "") -> GatewayError:
    return GatewayError("nothing_to_check", message, hint=hint)


def repository_of(directory: Path) -> tuple[Path, str] | None:
    """The repository that a directory is in, and the directory's path inside it; None if there is none."""
    try:
        with Repo.discover(str(directory)) as repo:
            top = Path(repo.path).resolve()
    except git_errors.NotGitRepository:
        return None
    inner = directory.resolve()
    return top, "" if inner == top or top not in inner.parents else inner.relative_to(top).as_posix()


def bundles_in(directory: Path, passed_over: list[str] | None = None) -> dict[str, Files]:
    """The bundles of a commit that held what is in a directory now. Raises `GatewayError`."""
    try:
        modes = dict(_walk(directory))

        def content(path: str) -> bytes:
            return (directory / path).read_bytes()

        return collect(modes, content, passed_over=passed_over)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise GatewayError("policies_unreadable", f"cannot read `{error.filename or directory}`: {reason}") from error


def roots_in(directory: Path) -> list[str]:
    """The roots of the bundles in a directory, as far as their manifests can be read."""
    found: list[str] = []
    for path in sorted(directory.glob(f"*/{MANIFEST}")):
        with suppress(OSError, GatewayError):
            found += manifest(path.read_bytes(), path.parent.name).roots
    return found


def staged_bundles(repository: Path, path: str = "", passed_over: list[str] | None = None) -> dict[str, Files]:
    """The bundles under `path` that the next commit would hold. Raises `GatewayError`."""
    prefix = f"{path}/" if path else ""
    with Repo(str(repository)) as repo:
        # While `git commit` runs, its hooks find the index of that very commit here.
        named = os.environ.get("GIT_INDEX_FILE")
        index = Index(os.path.join(repo.path, named)) if named else repo.open_index()
        entries = {}
        for name, entry in index.items():
            shown = name.decode("utf-8", "surrogateescape")
            if not shown.startswith(prefix):
                continue
            if isinstance(entry, ConflictedIndexEntry):
                raise GatewayError(
                    "policies_file", f"`{shown}` has a conflict", hint="resolve it and `git add` the file"
                )
            entries[shown.removeprefix(prefix)] = entry

        def content(inner: str) -> bytes:
            blob = git_objects.read(repo.object_store, entries[inner].sha, MAX_BYTES)
            assert isinstance(blob, Blob), "the index names blobs"
            return blob.data

        return collect({inner: entry.mode for inner, entry in entries.items()}, content, path, passed_over)


def _walk(top: Path) -> Iterator[tuple[str, int]]:
    """The paths of all files below a directory, and their modes."""
    found = 0
    with _ignored(top) as ignored:
        directories = [""]
        while directories:
            prefix = directories.pop()
            for entry in sorted(os.scandir(top / prefix), key=lambda each: each.name):
                path = f"{prefix}{entry.name}"
                is_directory = entry.is_dir(follow_symlinks=False)
                if entry.name == ".git" or ignored(f"{path}/" if is_directory else path):
                    continue
                found += 1
                if found > MAX_FILES:
                    raise GatewayError("policies_too_large", f"`{top}` has more than {MAX_FILES} files")
                if not is_directory:
                    yield path, entry.stat(follow_symlinks=False).st_mode
                elif not _is_apart(Path(entry.path)):
                    directories.append(f"{path}/")


def _is_apart(directory: Path) -> bool:
    """True if a directory has a history of its own, or is a gateway's."""
    return (directory / ".git").exists() or DataDirectory(directory).registry_db.exists()


@contextmanager
def _ignored(top: Path) -> Iterator[Callable[[str], bool]]:
    """True if git ignores a path below a directory; paths of directories end with a slash."""
    found = repository_of(top)
    if found is None:
        yield lambda _: False
        return
    repository, inner = found
    with Repo(str(repository)) as repo:
        manager = IgnoreFilterManager.from_repo(repo)
        prefix = f"{inner}/" if inner else ""
        yield lambda path: bool(manager.is_ignored(prefix + path))
