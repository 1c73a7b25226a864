"""A bundle: its files, its manifest, its content digest, and its place on disk.

`bundles/<digest>/` holds exactly the files that can influence a decision: the manifest, the modules and the data, but
no tests and no READMEs. The digest is computed from them, so a change of a test makes no new revision, and a directory
that was changed is detected when it is read. Nothing here knows git, the registry or the engine.
Specification: architecture.md, sections 6, 11 and 13.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import orjson

from gateway.errors import GatewayError, did_you_mean
from gateway.storage import durable

MANIFEST = ".manifest"
Files: TypeAlias = dict[str, bytes]
"""A bundle's files: contents by path inside the bundle, with slashes."""

_DATA = frozenset({"data.json", "data.yaml", "data.yml"})
_TEST = "_test.rego"
_ROOT = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*", re.ASCII)
_ENTRYPOINT = re.compile(r"data(\.[A-Za-z_][A-Za-z0-9_]*)+", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The part of a `.manifest` that the gateway reads: the parts of `data` that the bundle owns, and the package to
    ask.

    `models` says that the bundle judges every model of `resource.models`, not only `resource.model`; `impossible`, that
    its author means conditions that no call can make true.
    """

    roots: tuple[str, ...]
    entrypoint: str
    models: bool = False
    impossible: bool = False


def belongs(path: str) -> bool:
    """True if a file is part of a bundle: the manifest, modules, tests and data are, READMEs are not."""
    name = path.rpartition("/")[2]
    return path == MANIFEST or name.endswith(".rego") or name in _DATA


def decides(path: str) -> bool:
    """True if a file can influence a decision: then it is published and part of the digest."""
    return belongs(path) and not path.endswith(_TEST)


def check_path(path: str) -> None:
    """Refuse a path from a git tree unless it names a file below its directory on every file system."""
    parts = path.split("/")
    # Bytes that are not UTF-8 arrive as lone surrogates, which are not printable.
    if not path.isprintable() or "\\" in path or any(part in ("", ".", "..") or part[-1] in " ." for part in parts):
        shown = ascii(path)[1:-1][:80]
        raise GatewayError("policies_file", f"the path `{shown}` is not acceptable in a bundle", subject=shown)


def manifest(content: bytes, bundle: str) -> Manifest:
    """The manifest in `content` (schemas/manifest.schema.json). Raises `GatewayError`, which names the wrong member."""
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise _bad_manifest(bundle, f"is not JSON: {error}", _json_hint(content, error)) from error
    if not isinstance(document, dict):
        raise _bad_manifest(bundle, "is not an object")
    version = document.get("rego_version", 1)
    if version.__class__ is not int or version not in (1, 2):
        raise _bad_manifest(bundle, "must have `rego_version` 1 or 2, or leave it out")
    roots = document.get("roots")
    if not isinstance(roots, list) or not roots or not all(isinstance(r, str) and _ROOT.fullmatch(r) for r in roots):
        hint = did_you_mean("roots", document.keys() - {"roots"}, 'write `"roots": ["acme/support"]`')
        problem = "must have a list of paths as `roots`" if "roots" in document else "must list the bundle's `roots`"
        raise _bad_manifest(bundle, problem, hint)
    if any(overlap(one, other) for i, one in enumerate(roots) for other in roots[:i]):
        raise _bad_manifest(bundle, "has `roots` that overlap")
    settings = _settings(document, bundle)
    entrypoint = _entrypoint(settings, roots, bundle)
    models, impossible = (_switch(settings, name, bundle) for name in ("models", "impossible"))
    return Manifest(tuple(roots), entrypoint, models, impossible)


_SETTINGS = frozenset({"entrypoint", "models", "impossible"})
_ENTRYPOINT_HINT = 'write `"metadata": {"gateway": {"entrypoint": "data.acme.support"}}`'


def _settings(document: dict[str, Any], bundle: str) -> dict[str, Any]:
    metadata = document.get("metadata")
    settings = metadata.get("gateway") if isinstance(metadata, dict) else None
    if not isinstance(settings, dict):
        there = metadata.keys() if isinstance(metadata, dict) else document.keys()
        wanted = "gateway" if isinstance(metadata, dict) else "metadata"
        hint = did_you_mean(wanted, there - {wanted}, _ENTRYPOINT_HINT)
        raise _bad_manifest(bundle, "must name the package to evaluate in `metadata.gateway.entrypoint`", hint)
    if unknown := sorted(settings.keys() - _SETTINGS):
        hint = did_you_mean(unknown[0], _SETTINGS, f"it can have {' and '.join(sorted(_SETTINGS))}")
        raise _bad_manifest(bundle, f"has an unknown member `{unknown[0]}` in `metadata.gateway`; {hint}")
    return settings


def _entrypoint(settings: dict[str, Any], roots: list[str], bundle: str) -> str:
    entrypoint = settings.get("entrypoint")
    if entrypoint is None:
        raise _bad_manifest(
            bundle, "must name the package to evaluate in `metadata.gateway.entrypoint`", _ENTRYPOINT_HINT
        )
    if not isinstance(entrypoint, str) or not _ENTRYPOINT.fullmatch(entrypoint):
        hint = "a package is written like `data.acme.support`"
        raise _bad_manifest(bundle, f"names the entrypoint {_shown(entrypoint)}, which is no package", hint)
    path = entrypoint.removeprefix("data.").replace(".", "/")
    if not any(path == root or path.startswith(f"{root}/") for root in roots):
        listed = ", ".join(f"`{root}`" for root in roots[:8])
        hint = did_you_mean(path, roots, "a root is the package's path, or the beginning of it")
        raise _bad_manifest(
            bundle, f"names the entrypoint `{entrypoint}`, which lies in none of its `roots` ({listed})", hint
        )
    return entrypoint


def _switch(settings: dict[str, Any], name: str, bundle: str) -> bool:
    value = settings.get(name, False)
    if value.__class__ is not bool:
        raise _bad_manifest(bundle, f"must have true or false as `metadata.gateway.{name}`")
    return bool(value)


def overlap(one: str, other: str) -> bool:
    """True if one root is or contains the other."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def digest(files: Mapping[str, bytes]) -> str:
    """The SHA-256 of what `sha256sum` prints for the files that influence decisions, in order of their paths."""
    lines = (f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n" for path in sorted(files) if decides(path))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def publish(bundles: Path, files: Mapping[str, bytes]) -> str:
    """Write the files that influence decisions to `bundles/<digest>/` and return the digest.

    The directory gets its name when it is complete. A crash leaves at most a directory with a temporary name, which
    nobody reads. Raises `GatewayError` if it cannot be written.
    """
    name = digest(files)
    try:
        bundles.mkdir(mode=0o700, exist_ok=True)
        _publish(bundles, name, files)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        message = f"cannot write bundle {name[:12]} into `{bundles}`: {reason}"
        raise GatewayError("bundle_not_written", message, subject=name) from error
    return name


def _publish(bundles: Path, name: str, files: Mapping[str, bytes]) -> None:
    target = bundles / name
    if target.exists():
        try:
            read(target)
            return
        except GatewayError:
            shutil.rmtree(target)  # damaged: workers go on with what they have loaded, and load this the next time
    staging = bundles / f".new-{secrets.token_hex(8)}"
    try:
        write(staging, {path: content for path, content in files.items() if decides(path)})
        staging.rename(target)
    except OSError:
        shutil.rmtree(staging, ignore_errors=True)  # otherwise every attempt on a full disk would leave one more
        if not target.exists():
            raise
        read(target)  # another process was faster, which is fine if it wrote the same
    durable.sync(bundles)


def write(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write files durably into a new directory that only this user can read."""
    directory.mkdir(mode=0o700)
    for path, content in files.items():
        target = directory / path
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(target, "xb", opener=_private) as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    for inner in {(directory / path).parent for path in files} | {directory}:
        durable.sync(inner)


def read(directory: Path) -> Files:
    """The files of a published bundle. Raises `GatewayError` (`bundle_damaged`) if their digest is not its name.

    The error names no more of the machine's directories than `bundles/DIGEST`: operators of organizations read it.
    """
    where = "/".join(directory.parts[-2:])
    if not _DIGEST.fullmatch(directory.name):
        raise GatewayError("bundle_missing", f"there is no bundle in `{where}`", subject=where)
    try:
        found = [path for path in sorted(directory.rglob("*")) if not path.is_dir()]
        odd = next((path for path in found if not path.is_file()), None)
        # A process that opens a pipe waits until another one writes into it.
        files = {} if odd else {path.relative_to(directory).as_posix(): path.read_bytes() for path in found}
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise GatewayError("bundle_missing", f"cannot read bundle `{where}`: {reason}", subject=where) from error
    if odd:
        raise GatewayError(
            "bundle_damaged", f"`{where}/{odd.relative_to(directory)}` is not a regular file", subject=where
        )
    if MANIFEST not in files:
        raise GatewayError("bundle_missing", f"there is no bundle in `{where}`", subject=where)
    if not all(map(decides, files)) or digest(files) != directory.name:
        raise GatewayError("bundle_damaged", f"the files in `{where}` are not those that were published", subject=where)
    return files


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _bad_manifest(bundle: str, problem: str, hint: str = "") -> GatewayError:
    return GatewayError("bad_manifest", f"the `{MANIFEST}` of bundle `{bundle}` {problem}", subject=bundle, hint=hint)


def _json_hint(content: bytes, error: orjson.JSONDecodeError) -> str:
    """The advice about a mistake that other formats allow."""
    if content.startswith(b"\xef\xbb\xbf"):
        return "save it without a byte order mark"
    at = error.doc[error.pos :].lstrip() if isinstance(error.doc, str) else ""
    return "JSON has no comments: take them out" if at.startswith(("/", "#")) else ""


def _shown(value: object) -> str:
    return f"`{value[:100]}`" if isinstance(value, str) and value.isprintable() else "that is no text"
