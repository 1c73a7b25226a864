"""How commands use a data directory, with or without a gateway running on it.

A command is its own process with the rights of its user: it opens the registry itself and acts as `local:<uid>`. A
change is in force as soon as its transaction is committed; a running gateway sees it at its next request, by the epoch.
Specification: docs/architecture.md, sections 8 and 10.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.errors import GatewayError
from gateway.identifiers import new_id
from gateway.settings import DataDirectory
from gateway.storage.file_lock import LOCK_SECONDS

if TYPE_CHECKING:
    from gateway.registry.database import Registry

RESTRICTION_SECONDS: Final = 1.0
"""How long a revocation, which is in force already, waits for the log's lock."""

_OWED_HINT: Final = "a running gateway records it when it can write the log, or the next command or start that can"


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
    """The registry, for one change, whose entry is in the audit log when the block ends.

    Nothing is granted that cannot be recorded: if the log cannot be written, the change is refused beforehand. If
    recording fails after the change, the change stays in force and its entry in the outbox, and the error says so.
    """
    with reading(data) as registry:
        _check_log(DataDirectory(data))
        publish(registry, DataDirectory(data))
        yield registry
        try:
            publish(registry, DataDirectory(data))
        except GatewayError as error:
            raise GatewayError(error.code, _owed(error), subject=error.subject, hint=_OWED_HINT) from error


@contextmanager
def restricting(data: Path, warn: Callable[[str, str], None]) -> Iterator[Registry]:
    """The registry, for one change that takes something away: it succeeds whether the log can be written or not.

    If its entry cannot be recorded within a second, `warn` is given what is wrong and what will happen: the entry
    stays in the outbox.
    """
    with reading(data) as registry:
        yield registry
        try:
            publish(registry, DataDirectory(data), lock_seconds=RESTRICTION_SECONDS)
        except GatewayError as error:
            warn(_owed(error), _OWED_HINT)


def _owed(error: GatewayError) -> str:
    return f"the change is in force, but not in the audit log yet: {error.message}"


def _check_log(data: DataDirectory) -> None:
    """Raise unless an entry could be recorded now. Draining the outbox does not tell: it may be empty."""
    from gateway.audit import storage

    with storage.exclusive(data):
        pass


def publish(registry: Registry, data: DataDirectory, *, lock_seconds: float = LOCK_SECONDS) -> None:
    """Move the entries that wait in the outbox into the audit log.

    `lock_seconds` is how long to wait for the log's lock.
    """
    from gateway.audit.writer import AuditWriter
    from gateway.registry import outbox, queries

    deployment = queries.deployment(registry)
    writer = AuditWriter(data, boot=new_id("boot"), deployment=deployment, lock_seconds=lock_seconds)
    try:
        outbox.drain(registry, writer)
    finally:
        writer.close()
