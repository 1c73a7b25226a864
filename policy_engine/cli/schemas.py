"""`--schema`: the JSON Schemas that policies are type-checked against, from a file or a directory.

As in OPA, a single file is the schema of `input` in every rule. In a directory each file is a schema that annotations
refer to by its path: `schema["acme"]["user-1"]` is `acme/user-1.json`, `schema.acme.user` is `acme/user.json`.

The name of a schema that this distribution ships (`input`: what the gateway gives its bundles) stands for its file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Final

import typer

from policy_engine.compiler.suggestions import did_you_mean
from policy_engine.documents import read_document
from policy_engine.errors import BUNDLE_ERROR, PolicyError, combine
from policy_engine.values import Value, quote

SUFFIX: Final = ".schema.json"

SchemaPath = Annotated[
    Path | None,
    typer.Option(
        "--schema",
        "-s",
        metavar="PATH",
        show_default=False,
        help="JSON Schemas for the type checker: a file is the schema of input; annotations refer to those of a "
        "directory. `input` is what the gateway gives its bundles.",
    ),
]


def load(path: Path | None) -> dict[str, Value] | None:
    """The schemas by name; None without a path. Raises `PolicyError` with everything that cannot be read."""
    if path is None:
        return None
    if not path.exists() and (shipped := _shipped()) and str(path) in shipped:
        return {"schema": read_document(f"{path}.json", shipped[str(path)].read_bytes())}
    if not path.is_dir():
        return {"schema": _read(path)}
    found: dict[str, Value] = {}
    errors: list[PolicyError] = []
    try:
        for file in _files(path):
            steps = file.relative_to(path).with_suffix("").parts
            try:
                found["schema" + "".join(f"[{quote(step)}]" for step in steps)] = _read(file)
            except PolicyError as error:
                errors.append(error)
    except OSError as error:
        errors.append(PolicyError(BUNDLE_ERROR, f"cannot read `{error.filename}`: {error.strerror}"))
    if errors:
        raise combine(errors)
    return found


def _shipped() -> dict[str, Traversable]:
    """The schemas of this distribution by name; none if the engine is installed alone."""
    try:
        files = (resources.files("gateway") / "schemas").iterdir()
        return {file.name.removesuffix(SUFFIX): file for file in files if file.name.endswith(SUFFIX)}
    except (ModuleNotFoundError, OSError):
        return {}


def _files(directory: Path) -> Iterator[Path]:
    """Every file below a directory, sorted. Of two files that give the same schema name, the later counts."""
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False):
            yield from _files(directory / entry.name)
        else:
            yield directory / entry.name


def _read(file: Path) -> Value:
    try:
        # A file without the suffix `.json` is read as YAML.
        return read_document(str(file), file.read_bytes())
    except OSError as error:
        hint = did_you_mean(str(file), _shipped())
        raise PolicyError(BUNDLE_ERROR, f"cannot read `{file}`: {error.strerror}", hint=hint) from None
