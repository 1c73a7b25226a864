"""From the paths on a command line to units: sets of modules and data that are compiled together.

Each bundle is a unit, because the gateway compiles each bundle separately. A directory with a `.manifest` and a
`.tar.gz` are bundles; a directory without one is searched, so `policies/` means all bundles in it. All other files form
one more unit, as in OPA: `*.rego` are modules, every JSON and YAML file is data at the path of its directory. With
`bundles` every directory given is one bundle, whatever it contains.

With a key, every bundle must be signed with it, and loose files are rejected: no signature covers them. Without a key,
signatures are ignored, as OPA's tools do.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from policy_engine import bundle
from policy_engine.bundle_files import MANIFEST, SIGNATURES
from policy_engine.bundle_signatures import BundleKey
from policy_engine.documents import read_document, read_text
from policy_engine.errors import BUNDLE_ERROR, SIGNATURE_ERROR, PolicyError, combine
from policy_engine.location import Location
from policy_engine.values import Value

DATA = (".json", ".yaml", ".yml")
ARCHIVES = (".tar.gz", ".tgz")


@dataclass(slots=True)
class LoadedUnit:
    """Modules and data that are compiled together. `modules` have paths relative to the working directory.

    `roots` are the parts of `data` that a bundle's manifest claims; None if it claims all or there is no manifest.
    `for_gateway`: the manifest has settings of the gateway.
    """

    name: str
    modules: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Value] = field(default_factory=dict)
    roots: tuple[str, ...] | None = None
    for_gateway: bool = False


def load(
    paths: Sequence[Path], key: BundleKey | None = None, ignore: Collection[str] = (), *, bundles: bool = False
) -> list[LoadedUnit]:
    """The units at `paths`. Raises `PolicyError` with everything that cannot be read.

    With `bundles` every directory is one bundle. `ignore` are patterns: files and directories below `paths` with a
    matching name are left out, bundles too. Files inside a bundle are never left out: the gateway would load them.
    """
    units: list[LoadedUnit] = []
    loose: list[tuple[Path, str]] = []
    errors: list[PolicyError] = []
    for path in paths:
        try:
            for found in [path] if bundles and path.is_dir() else _find(path, key, ignore):
                if isinstance(found, Path):
                    units.append(_bundle(found, key))
                else:
                    loose.append(found)
        except PolicyError as error:
            errors.append(error)
    try:
        # Without a module there is nothing to test or check, and a directory of bundles holds many other JSON files.
        if any(path.suffix == ".rego" for path, _ in loose):
            units.insert(0, _files(loose, key))
    except PolicyError as error:
        errors.append(error)
    if errors:
        raise combine(errors)
    return units


def load_as_one(
    paths: Sequence[Path],
    key: BundleKey | None = None,
    ignore: Collection[str] = (),
    *,
    bundles: Sequence[Path] = (),
) -> LoadedUnit:
    """Everything at `paths`, and `bundles` (directories and archives read as one bundle each), merged for one query.

    Raises `PolicyError`, also if two units have data at the same path.
    """
    found = [item for path in paths for item in _find(path, key, ignore)]
    units = [_bundle(item, key) for item in (*map(_existing, bundles), *found) if isinstance(item, Path)]
    units.append(_files([item for item in found if not isinstance(item, Path)], key))
    one = LoadedUnit(", ".join(str(path) for path in (*bundles, *paths)))
    modules: dict[str, str] = {}
    data: dict[str, Value] = {}
    for unit in units:
        modules.update(unit.modules)
        bundle.merge(data, (), unit.data, unit.name)
    one.modules, one.data = modules, data
    return one


def _find(path: Path, key: BundleKey | None, ignore: Collection[str]) -> Iterator[Path | tuple[Path, str]]:
    """The bundles and loose files at a path; a loose file comes with its name relative to that path."""
    if path.name.endswith(ARCHIVES):
        yield _existing(path)
    elif _existing(path).is_dir():
        yield from _walk(path, path, (MANIFEST,) if key is None else (MANIFEST, SIGNATURES), ignore)
    elif path.suffix == ".rego" or path.suffix in DATA:
        yield path, path.name
    else:
        hint = "give .rego, .json or .yaml files, directories, or .tar.gz bundles"
        raise PolicyError(BUNDLE_ERROR, f"`{path}` is neither a policy nor data", hint=hint)


def _existing(path: Path) -> Path:
    if not path.exists():
        raise PolicyError(BUNDLE_ERROR, f"no such file or directory: `{path}`")
    return path


def _walk(
    directory: Path, top: Path, marks: tuple[str, ...], ignore: Collection[str]
) -> Iterator[Path | tuple[Path, str]]:
    """Like `_find` for a directory. A directory that contains one of the files `marks` is a bundle."""
    if any((directory / mark).is_file() for mark in marks):
        yield directory
        return
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError as error:
        raise PolicyError(BUNDLE_ERROR, f"cannot read `{directory}`: {error.strerror}") from None
    for entry in entries:
        path = directory / entry.name
        if entry.name.startswith(".") or any(fnmatch.fnmatchcase(entry.name, pattern) for pattern in ignore):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(path, top, marks, ignore)
        elif path.suffix in (".rego", *DATA) and _is_file(entry):
            yield path, path.relative_to(top).as_posix()


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError as error:  # a link to itself
        raise PolicyError(BUNDLE_ERROR, f"cannot read `{entry.path}`: {error.strerror}") from None


def _bundle(path: Path, key: BundleKey | None) -> LoadedUnit:
    """A bundle, its files named relative to the working directory."""
    prefix = f"{path}:" if path.name.endswith(ARCHIVES) else f"{path}/"
    try:
        content = bundle.read(path, key=key, skip_verification=key is None)
    except PolicyError as error:
        raise combine(_below(prefix, single) for single in error.errors) from None
    modules = {prefix + name: source for name, source in content.modules.items()}
    roots = content.manifest.get("roots")
    metadata = content.manifest.get("metadata")
    for_gateway = isinstance(metadata, dict) and "gateway" in metadata
    return LoadedUnit(str(path), modules, content.data, None if roots is None else tuple(roots), for_gateway)


def _files(loose: Sequence[tuple[Path, str]], key: BundleKey | None) -> LoadedUnit:
    if loose and key is not None:
        hint = "name the signed bundle, or leave the key out"
        raise PolicyError(SIGNATURE_ERROR, f"`{loose[0][0]}` is not in a bundle, so no signature covers it", hint=hint)
    modules: dict[str, str] = {}
    data: dict[str, Value] = {}
    errors: list[PolicyError] = []
    for path, name in loose:
        shown = str(path)
        try:
            content = path.read_bytes()
            if path.suffix == ".rego":
                modules[shown] = read_text(shown, content)
            else:
                bundle.merge(data, tuple(name.split("/")[:-1]), read_document(shown, content), shown)
        except OSError as error:
            errors.append(PolicyError(BUNDLE_ERROR, f"cannot read `{path}`: {error.strerror}"))
        except PolicyError as error:
            errors.append(error)
    if errors:
        raise combine(errors)
    return LoadedUnit("", modules, data)


def _below(prefix: str, error: PolicyError) -> PolicyError:
    """An error whose file name is relative to a bundle, with the name relative to the working directory."""
    where = error.location or Location()
    where = where._replace(file=prefix + where.file if where.file else prefix.rstrip("/:"))
    return PolicyError(error.code, error.message, where, hint=error.hint)
