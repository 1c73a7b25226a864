"""How commands use a data directory, with or without a gateway running on it.

A command is its own process with the rights of its user: it opens the registry itself and acts as `local:<uid>`. A
change is in force as soon as its transaction is committed; a running gateway sees it at its next request, by the epoch.
Specification: docs/architecture.md, sections 8 and 10.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import GatewayError
from gateway.identifiers import new_id
from gateway.settings import DataDirectory

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
def changing(data: Path, *, restriction: bool = False) -> Iterator[Registry]:
    """The registry, for one change, whose entry is in the audit log when the block ends.

    Nothing is granted that cannot be recorded: if the log cannot be written, the change is refused beforehand. A
    `restriction` takes effect all the same. If recording fails after the change, the change stays in force and its
    entry in the outbox, and the error says so.
    """
    with reading(data) as registry:
        if not restriction:
            _check_log(DataDirectory(data))
            publish(registry, DataDirectory(data))
        yield registry
        try:
            publish(registry, DataDirectory(data))
        except GatewayError as error:
            raise GatewayError(
                error.code,
                f"the change is in force, but not in the audit log yet: {error.message}",
                subject=error.subject,
                hint="it is recorded by the next command, or start of the gateway, that can write the log",
            ) from error


def _check_log(data: DataDirectory) -> None:
    """Raise unless an entry could be recorded now. Draining the outbox does not tell: it may be empty."""
    from gateway.audit import storage

    with storage.exclusive(data):
        pass


def publish(registry: Registry, data: DataDirectory) -> None:
    """Move the entries that wait in the outbox into the audit log."""
    from gateway.audit.writer import AuditWriter
    from gateway.registry import outbox, queries

    writer = AuditWriter(data, boot=new_id("boot"), deployment=queries.deployment(registry))
    try:
        outbox.drain(registry, writer)
    finally:
        writer.close()
