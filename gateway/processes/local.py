"""Lets commands use a data directory, with or without a gateway running on it.

A command is its own process with the rights of its user: it opens the registry itself and acts as `local:<uid>`. A
change is in force as soon as its transaction is committed; a running gateway sees it at its next request, by the epoch.
Specification: architecture.md, sections 8 and 10.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.data_directory import DataDirectory

if TYPE_CHECKING:
    from gateway.registry.database import Registry


def actor() -> str:
    """The actor that the log names for a command."""
    return f"local:{os.getuid()}"


@contextmanager
def reading(data: Path) -> Iterator[Registry]:
    """The registry in a data directory. Raises `GatewayError` if there is none that can be used."""
    from gateway.registry.database import Registry

    registry = Registry.open(DataDirectory(data))
    try:
        yield registry
    finally:
        registry.close()


@contextmanager
def changing(data: Path) -> Iterator[Registry]:
    """The registry, for one change, whose entry is in the audit log when the block ends (`publication.changing`)."""
    from gateway.registry import publication

    with reading(data) as registry, publication.changing(registry, DataDirectory(data)):
        yield registry
