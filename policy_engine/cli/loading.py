"""From the paths on a command line to what has to be compiled together.

A unit is one set of modules and data. Every bundle is a unit of its own, because the gateway compiles each on its own:
a directory with a `.manifest`, a `.tar.gz`, and every such directory below one that is no bundle itself, so that
`policies/` stands for the bundles in it. All other files given form one unit together, as in OPA: `*.rego` are modules,
every JSON and YAML file is data at the path of its directory. Whoever asks for it has a directory taken for one bundle,
whatever is in it.

With a key, every bundle has to be signed with it, and nothing else is loaded: no signature covers loose files. Without
one, signatures mean nothing here, as in OPA's tools.
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
class Unit:
    """What is compiled together. `modules` are named as a person would find them from here.

    `roots` are the parts of `data` that a bundle's manifest claims; None where it claims all, or where there is none.
    """

    name: str
    modules: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Value] = field(default_factory=dict)
    roots: tuple[str, ...] | None = None


def load(
    paths: Sequence[Path], key: BundleKey | None = None, ignore: Collection[str] = (), *, bundles: bool = False
) -> list[Unit]:
    """The units that `paths` stand for. Raises `PolicyError` with everything that cannot be read.

    With `bundles` every directory is a bundle itself. `ignore` are patterns for the names of files and directories,
    bundles among them, that are left out where they stand below one of `paths`. Nothing is left out of a bundle: it
    would not be the one that the gateway loads.
    """
    units: list[Unit] = []
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
        # Data files alone are nothing to test or check; a directory of bundles has many that are not meant as data.
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
) -> Unit:
    """All of it together, for a query, with `bundles`: directories and archives that are bundles themselves.

    Raises `PolicyError`, also where two units have data at the same place.
    """
    found = [item for path in paths for item in _find(path, key, ignore)]
    units = [_bundle(item, key) for item in (*map(_existing, bundles), *found) if isinstance(item, Path)]
    units.append(_files([item for item in found if not isinstance(item, Path)], key))
    one = Unit(", ".join(str(path) for path in (*bundles, *paths)))
    modules: dict[str, str] = {}
    data: dict[str, Value] = {}
    for unit in units:
        modules.update(unit.modules)
        bundle.merge(data, (), unit.data, unit.name)
    one.modules, one.data = modules, data
    return one


def _find(path: Path, key: BundleKey | None, ignore: Collection[str]) -> Iterator[Path | tuple[Path, str]]:
    """The bundles and loose files that a path stands for; a loose file comes with its name below that path."""
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
    """`marks` are the files that make a directory a bundle."""
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


def _bundle(path: Path, key: BundleKey | None) -> Unit:
    """A bundle, its files named from here."""
    prefix = f"{path}:" if path.name.endswith(ARCHIVES) else f"{path}/"
    try:
        content = bundle.read(path, key=key, skip_verification=key is None)
    except PolicyError as error:
        raise combine(_below(prefix, single) for single in error.errors) from None
    modules = {prefix + name: source for name, source in content.modules.items()}
    roots = content.manifest.get("roots")
    return Unit(str(path), modules, content.data, None if roots is None else tuple(roots))


def _files(loose: Sequence[tuple[Path, str]], key: BundleKey | None) -> Unit:
    if loose and key is not None:
        hint = "name the signed bundle, or leave the key out"
        raise PolicyError(SIGNATURE_ERROR, f"`{loose[0][0]}` is in no bundle, so no signature covers it", hint=hint)
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
    return Unit("", modules, data)


def _below(prefix: str, error: PolicyError) -> PolicyError:
    """An error whose file name is relative to a bundle, with the name from here."""
    where = error.location or Location()
    where = where._replace(file=prefix + where.file if where.file else prefix.rstrip("/:"))
    return PolicyError(error.code, error.message, where, hint=error.hint)
