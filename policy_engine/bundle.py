"""Bundles: a directory, a `.tar.gz` or a tree in a git repository, read into modules and data.

What counts (OPA: docs/management-bundles): `*.rego` are modules; `data.json` and `data.yaml` are data, at the path of
their directory; `.manifest` says which parts of `data` belong to the bundle. Everything else is ignored.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from policy_engine import engine
from policy_engine.codegen.runtime import Limits
from policy_engine.engine import Declaration, Policies
from policy_engine.errors import BUNDLE_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.values import Value, loads

MAX_FILE = 64 * 1024 * 1024
"""Bytes of one file of a bundle; more is refused before it is read."""

DATA_FILES = ("data.json", "data.yaml", "data.yml")

Source = str | Path | tuple[str | Path, str, str]


@dataclass(slots=True)
class Bundle:
    """A bundle's content. `modules` maps file names, relative to the bundle, to sources."""

    modules: dict[str, str] = field(default_factory=dict)
    data: dict[str, Value] = field(default_factory=dict)
    manifest: dict[str, Value] = field(default_factory=dict)


def load(
    source: Source,
    *,
    tests: bool = False,
    limits: Limits | None = None,
    allow_network: bool = False,
    functions: Mapping[str, tuple[Declaration, Callable[..., Value]]] | None = None,
    print: Callable[[str], None] | None = None,  # noqa: A002
) -> Policies:
    """Read and compile a bundle: a directory, a `.tar.gz`, or `(repository, commit, path)`.

    Files named `*_test.rego` are left out unless `tests`. Raises `PolicyError`.
    """
    bundle = read(source, tests=tests)
    return engine.compile(
        bundle.modules,
        bundle.data,
        limits=limits,
        allow_network=allow_network,
        functions=functions,
        print=print,
    )


def read(source: Source, *, tests: bool = True) -> Bundle:
    """Read a bundle without compiling it. Raises `PolicyError` (`bundle_error`)."""
    if isinstance(source, tuple):
        files = _git_files(*source)
    else:
        path = Path(source)
        if path.is_dir():
            files = _directory_files(path)
        elif path.is_file():
            files = _archive_files(path)
        else:
            raise PolicyError(BUNDLE_ERROR, f"there is no bundle at {path}", hint="give a directory or a .tar.gz file")
    return from_files(files, tests=tests)


def from_files(files: Iterable[tuple[str, bytes]], *, tests: bool = True) -> Bundle:
    """A bundle from (relative path, content) pairs. Raises `PolicyError` (`bundle_error`)."""
    bundle = Bundle()
    for name, content in sorted(files):
        directory, _, base = name.rpartition("/")
        path = tuple(directory.split("/")) if directory else ()
        if base.endswith(".rego"):
            if tests or not base.endswith("_test.rego"):
                bundle.modules[name] = read_text(name, content)
        elif base in DATA_FILES:
            merge(bundle.data, path, read_document(name, content), name)
        elif name == ".manifest":
            manifest = _json(name, content)
            if not isinstance(manifest, dict):
                raise PolicyError(BUNDLE_ERROR, "the manifest is not an object", Location(name, 1, 1))
            bundle.manifest = manifest
    _check_roots(bundle)
    return bundle


def _check_roots(bundle: Bundle) -> None:
    """Data outside of the manifest's roots is refused; packages are checked by the compiler's caller's own parse."""
    roots = bundle.manifest.get("roots")
    if roots is None:
        return
    if not isinstance(roots, list) or not all(isinstance(root, str) for root in roots):
        raise PolicyError(BUNDLE_ERROR, "`roots` in the manifest is not a list of strings", Location(".manifest", 1, 1))
    paths = [tuple(part for part in root.split("/") if part) for root in roots]
    for number, path in enumerate(paths):
        for other in paths[:number]:
            short = min(len(path), len(other))
            if path[:short] == other[:short]:
                names = f"{'/'.join(other)!r} and {'/'.join(path)!r}"
                raise PolicyError(BUNDLE_ERROR, f"manifest roots overlap: {names}", Location(".manifest", 1, 1))
    for found in _leaf_paths(bundle.data):
        if not any(found[: len(path)] == path for path in paths):
            raise PolicyError(
                BUNDLE_ERROR,
                f"data at {'/'.join(found)!r} is outside of the manifest's roots",
                Location(".manifest", 1, 1),
                hint="add its path to `roots`, or move the data",
            )


def _leaf_paths(data: Mapping[str, Value], prefix: tuple[str, ...] = ()) -> Iterable[tuple[str, ...]]:
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield from _leaf_paths(value, (*prefix, str(key)))
        else:
            yield (*prefix, str(key))


def merge(target: dict[str, Value], path: tuple[str, ...], value: Value, name: str) -> None:
    """Put a data file's document at its directory's path."""
    if not path and not isinstance(value, dict):
        raise PolicyError(BUNDLE_ERROR, "data at the top of a bundle is not an object", Location(name, 1, 1))
    node: Any = target
    for step in path[:-1] if not isinstance(value, dict) else path:
        node = node.setdefault(step, {}) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            raise PolicyError(BUNDLE_ERROR, f"data files overlap at {'/'.join(path)!r}", Location(name, 1, 1))
    items = value.items() if isinstance(value, dict) else [(path[-1], value)]
    for key, item in items:
        if isinstance(item, dict) and isinstance(node.get(key), dict):
            merge(node, (key,), item, name)
        elif key in node:
            raise PolicyError(BUNDLE_ERROR, f"data files overlap at {'/'.join((*path, key))!r}", Location(name, 1, 1))
        else:
            node[key] = item


def read_document(name: str, content: bytes) -> Value:
    """The value of a JSON or YAML file. Raises `PolicyError`."""
    return _json(name, content) if name.endswith(".json") else _yaml(name, content)


def read_text(name: str, content: bytes) -> str:
    """The text of a file. Raises `PolicyError` if it is not UTF-8."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        row = content[: error.start].count(b"\n") + 1
        raise PolicyError(BUNDLE_ERROR, "the file is not UTF-8 text", Location(name, row, 1)) from None


def _json(name: str, content: bytes) -> Value:
    try:
        return loads(read_text(name, content))
    except ValueError as error:
        row = getattr(error, "lineno", 1)
        raise PolicyError(BUNDLE_ERROR, f"the file is not JSON: {error}", Location(name, row, 1)) from None
    except RecursionError:
        raise PolicyError(BUNDLE_ERROR, "the file is nested too deeply", Location(name, 1, 1)) from None


def _yaml(name: str, content: bytes) -> Value:
    from policy_engine.builtins import goyaml

    try:
        return goyaml.read(read_text(name, content))
    except goyaml.YAMLError as error:
        line = re.search(r"line (\d+)", str(error))
        where = Location(name, int(line[1]) if line else 1, 1)
        raise PolicyError(BUNDLE_ERROR, f"the file is not YAML: {error}", where) from None


# ---- where files come from


def _directory_files(root: Path) -> Iterable[tuple[str, bytes]]:
    """The files below a directory. Hidden directories (`.git`) and links that lead out of it are left out."""
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if any(part.startswith(".") for part in name.split("/")[:-1]) or not path.is_file():
            continue
        if not _counts(name):
            continue
        if not path.resolve().is_relative_to(root.resolve()):
            raise PolicyError(BUNDLE_ERROR, f"{name} is a link to a file outside of the bundle")
        try:
            if path.stat().st_size > MAX_FILE:
                raise PolicyError(BUNDLE_ERROR, f"{name} is larger than {MAX_FILE} bytes")
            yield name, path.read_bytes()
        except OSError as error:
            raise PolicyError(BUNDLE_ERROR, f"cannot read {name}: {error.strerror}") from None


def _archive_files(path: Path) -> Iterable[tuple[str, bytes]]:
    try:
        with tarfile.open(fileobj=io.BytesIO(path.read_bytes()), mode="r:gz") as archive:
            for member in archive:
                name = member.name.removeprefix("./").removeprefix("/")
                if not member.isfile() or not _counts(name):
                    continue
                if member.size > MAX_FILE:
                    raise PolicyError(BUNDLE_ERROR, f"{name} is larger than {MAX_FILE} bytes")
                content = archive.extractfile(member)
                assert content is not None
                yield name, content.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise PolicyError(BUNDLE_ERROR, f"{path} is not a .tar.gz bundle: {error}") from None


def _git_files(repository: str | Path, commit: str, path: str) -> Iterable[tuple[str, bytes]]:
    from dulwich.errors import NotGitRepository
    from dulwich.objects import Blob, Tree
    from dulwich.repo import Repo

    try:
        with Repo(str(repository)) as repo:
            store = repo.object_store
            tree: Any = store[repo[commit.encode()].tree]  # type: ignore[attr-defined]
            for step in [part for part in path.split("/") if part and part != "."]:
                tree = store[tree[step.encode()][1]]
            found: list[tuple[str, bytes]] = []
            pending: list[tuple[str, Any]] = [("", tree)]
            while pending:
                prefix, node = pending.pop()
                for entry in node.items():
                    name = prefix + entry.path.decode()
                    item = store[entry.sha]
                    if isinstance(item, Tree):
                        pending.append((name + "/", item))
                    elif isinstance(item, Blob) and _counts(name):
                        found.append((name, item.data))
            return found
    except (KeyError, NotGitRepository, ValueError) as error:
        where = f"{repository} at {commit}, path {path or '.'}"
        raise PolicyError(BUNDLE_ERROR, f"there is no bundle in {where}: {error}") from None


def _counts(name: str) -> bool:
    base = name.rpartition("/")[2]
    return base.endswith(".rego") or base in DATA_FILES or name == ".manifest"
