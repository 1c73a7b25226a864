"""The version of this program, the commit that it was made of, and the versions of its formats."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path


def version() -> str:
    try:
        return installed_version("agent-identity-gateway")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "(not installed)"


def commit() -> str:
    """The commit of the source, with `+` if that had changes; empty if nothing tells it.

    A build writes it beside the code (`setup.py`); a source tree has its repository.
    """
    package = Path(str(resources.files("gateway")))
    try:
        return (package / "COMMIT").read_text("utf-8").strip()
    except OSError:
        pass
    if not (package.parent / ".git").exists():
        return ""
    from dulwich.errors import NotGitRepository
    from dulwich.repo import Repo

    try:
        with Repo(str(package.parent)) as repository:
            return repository.head().decode()
    except (OSError, KeyError, ValueError, NotGitRepository):  # the program has a version all the same
        return ""


def schemas() -> Iterator[tuple[str, str]]:
    """The formats that this program reads and writes, by name, each with its version."""
    from gateway.registry.port import REVISION

    yield "registry", REVISION
    for each in sorted(resources.files("gateway").joinpath("schemas").iterdir(), key=lambda each: each.name):
        if each.name.endswith(".schema.json"):
            *_, name, number = json.loads(each.read_text("utf-8"))["$id"].split(":")
            yield name, number
