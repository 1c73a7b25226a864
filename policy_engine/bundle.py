"""Bundles: a directory, a `.tar.gz` or a tree in a git repository, read into modules and data.

In a bundle (OPA: docs/management-bundles) `*.rego` are modules; `data.json` and `data.yaml` are data at the path of
their directory; `.manifest` says which parts of `data` belong to the bundle, and which version of Rego its modules are
written in. Other files are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import NoReturn

from policy_engine import engine
from policy_engine.builtins import glob
from policy_engine.bundle_files import DATA_FILES, MANIFEST, SIGNATURES, Source, belongs, checked, source_files
from policy_engine.bundle_signatures import BundleKey
from policy_engine.codegen.context import Limits
from policy_engine.documents import read_document, read_text
from policy_engine.engine import Declaration, Policies
from policy_engine.errors import BUNDLE_ERROR, SIGNATURE_ERROR, BuiltinError, PolicyError
from policy_engine.location import Location
from policy_engine.syntax.versions import RegoV2
from policy_engine.values import Value, dumps


@dataclass(slots=True)
class Bundle:
    """A bundle's content. `modules` maps file names, relative to the bundle, to sources.

    The source of a module in Rego v2 is a `RegoV2`.
    """

    modules: dict[str, str] = field(default_factory=dict)
    data: dict[str, Value] = field(default_factory=dict)
    manifest: dict[str, Value] = field(default_factory=dict)

    @property
    def roots(self) -> list[tuple[str, ...]]:
        """The paths below `data` that the bundle owns: everything if the manifest does not list any."""
        roots = self.manifest.get("roots")
        return [tuple(part for part in root.split("/") if part) for root in ([""] if roots is None else roots)]

    def owns(self, path: tuple[str, ...]) -> bool:
        return any(path[: len(root)] == root for root in self.roots)


def load(
    source: Source,
    *,
    tests: bool = False,
    key: BundleKey | None = None,
    skip_verification: bool = False,
    limits: Limits | None = None,
    allow_network: bool = False,
    functions: Mapping[str, tuple[Declaration, Callable[..., Value]]] | None = None,
    print: Callable[[str], None] | None = None,  # noqa: A002
    cache: str | PathLike[str] | None = None,
) -> Policies:
    """Read and compile a bundle: a directory, a `.tar.gz`, or `(repository, commit, path)`.

    Files named `*_test.rego` are left out unless `tests`. `key` and `skip_verification` are as for `read`,
    `cache` as for `compile`. Raises `PolicyError`.
    """
    bundle = read(source, tests=tests, key=key, skip_verification=skip_verification)
    policies = engine.compile(
        bundle.modules,
        bundle.data,
        limits=limits,
        allow_network=allow_network,
        functions=functions,
        print=print,
        cache=cache,
    )
    for file, package in policies.packages().items():
        if not bundle.owns(package):
            text = f"package `{'.'.join(('data', *package))}` is outside the manifest's roots"
            raise PolicyError(
                BUNDLE_ERROR, text, Location(file, 1, 1), hint="rename the package, or add its path to `roots`"
            )
    return policies


def read(
    source: Source, *, tests: bool = True, key: BundleKey | None = None, skip_verification: bool = False
) -> Bundle:
    """Read a bundle without compiling it. Raises `PolicyError` (`bundle_error`, `bundle_signature_error`).

    With a `key` the bundle must be signed and every file unchanged since. Without a key a signed bundle is rejected,
    because its signer expects verification, unless `skip_verification` is set.
    """
    if key is not None:
        return from_files(key.verified(source_files(source, lambda _: True)), tests=tests)
    files = checked(source_files(source, _wanted), _wanted)
    if not skip_verification and any(name == SIGNATURES for name, _ in files):
        raise PolicyError(
            SIGNATURE_ERROR, "the bundle is signed, but there is no key to verify it", hint="pass the verification key"
        )
    return from_files(files, tests=tests)


def _wanted(name: str) -> bool:
    return belongs(name) or name == SIGNATURES


def from_files(files: Iterable[tuple[str, bytes]], *, tests: bool = True) -> Bundle:
    """A bundle from (relative path, content) pairs. Raises `PolicyError` (`bundle_error`)."""
    bundle = Bundle()
    for name, content in checked(files):
        directory, _, base = name.rpartition("/")
        path = tuple(directory.split("/")) if directory else ()
        if base.endswith(".rego"):
            if tests or not base.endswith("_test.rego"):
                bundle.modules[name] = read_text(name, content)
        elif base in DATA_FILES:
            merge(bundle.data, path, read_document(name, content), name)
        elif name == MANIFEST:
            manifest = read_document(name, content)
            if not isinstance(manifest, dict):
                raise PolicyError(BUNDLE_ERROR, "the manifest is not an object", Location(name, 1, 1))
            bundle.manifest = manifest
    _check_roots(bundle)
    _read_versions(bundle)
    return bundle


def _read_versions(bundle: Bundle) -> None:
    """Mark the modules that the manifest declares to be Rego v2. Raise `PolicyError` if it names no known version.

    As in OPA, `rego_version` is for the whole bundle, and `file_rego_versions` maps patterns for paths (`/a/*.rego`) to
    the versions of single files. Of several patterns that match a file, the first in alphabetical order decides. A
    module of version 0 is read as version 1: it either means the same there or is rejected.
    """
    general, single = bundle.manifest.get("rego_version", 1), bundle.manifest.get("file_rego_versions")
    single = {} if single is None else single
    if not isinstance(single, dict) or any(number.__class__ is not int for number in single.values()):
        _bad_version("`file_rego_versions` in the manifest is not an object of numbers")
    for number in (general, *single.values()):
        if number.__class__ is not int or not 0 <= number <= 2:
            _bad_version(f"the manifest asks for the unknown version {dumps(number)} of Rego")
    patterns = sorted(single)
    for name, source in bundle.modules.items():
        found = next((single[pattern] for pattern in patterns if _fits(pattern, name)), general)
        if found == 2:
            bundle.modules[name] = RegoV2(source)


def _fits(pattern: str, name: str) -> bool:
    try:  # files of an archive can have a slash in front or not, so OPA's patterns can have it or not
        return glob.fits(pattern, f"/{name}") or glob.fits(pattern, name)
    except BuiltinError:
        _bad_version(f"`file_rego_versions` in the manifest has the invalid pattern `{pattern}`")


def _bad_version(text: str) -> NoReturn:
    raise PolicyError(BUNDLE_ERROR, text, Location(MANIFEST, 1, 1), hint="the versions are 0, 1 and 2")


def _check_roots(bundle: Bundle) -> None:
    """Raise `PolicyError` if the manifest's roots are malformed or data lies outside them. `load` checks packages."""
    roots = bundle.manifest.get("roots")
    if roots is None:
        return
    if not isinstance(roots, list) or not all(isinstance(root, str) for root in roots):
        raise PolicyError(BUNDLE_ERROR, "`roots` in the manifest is not a list of strings", Location(MANIFEST, 1, 1))
    for number, path in enumerate(bundle.roots):
        for other in bundle.roots[:number]:
            short = min(len(path), len(other))
            if path[:short] == other[:short]:
                names = f"{'/'.join(other)!r} and {'/'.join(path)!r}"
                raise PolicyError(BUNDLE_ERROR, f"manifest roots overlap: {names}", Location(MANIFEST, 1, 1))
    pending: list[tuple[tuple[str, ...], Value]] = [((), bundle.data)]
    while pending:
        found, value = pending.pop()
        if not found or (isinstance(value, dict) and value and not bundle.owns(found)):
            pending.extend(((*found, key), item) for key, item in value.items())
        elif not bundle.owns(found):
            raise PolicyError(
                BUNDLE_ERROR,
                f"data at {'/'.join(found)!r} is outside the manifest's roots",
                Location(MANIFEST, 1, 1),
                hint="add its path to `roots`, or move the data",
            )


def merge(target: dict[str, Value], path: tuple[str, ...], value: Value, name: str) -> None:
    """Insert a data file's document at the path of its directory. Objects are merged; other values must not overlap."""
    if path:
        for step in reversed(path):
            value = {step: value}
    elif not isinstance(value, dict):
        raise PolicyError(BUNDLE_ERROR, "data at the top of a bundle is not an object", Location(name, 1, 1))
    _merge(target, value, name, ())


def _merge(target: dict[str, Value], value: dict[str, Value], name: str, path: tuple[str, ...]) -> None:
    for key, item in value.items():
        here = (*path, key)
        if key not in target:
            target[key] = item
        elif isinstance(item, dict) and isinstance(target[key], dict):
            _merge(target[key], item, name, here)
        else:
            raise PolicyError(BUNDLE_ERROR, f"data files overlap at {'/'.join(here)!r}", Location(name, 1, 1))
