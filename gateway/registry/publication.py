"""Changes and their audit entries: how a change is made so that its entry is in the log afterwards.

A change that grants something is refused if it could not be recorded. A restriction takes effect whether the log can be
written or not; its entry then waits in the outbox. Specification: architecture.md, sections 8 and 10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

from gateway.audit import storage
from gateway.audit.writer import AuditWriter
from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.identifiers import new_id
from gateway.registry import outbox, queries
from gateway.registry.database import Registry
from gateway.storage.file_lock import LOCK_SECONDS

RESTRICTION_SECONDS: Final = 1.0
"""The time that a revocation, which is in force already, waits for the log's lock, and for entries before its own."""

OWED_HINT: Final = "a running gateway records it when it can write the log, or the next command or start that can"


Warn: TypeAlias = Callable[[str, str], None]


@contextmanager
def changing(
    registry: Registry, data: DataDirectory, *, writer: AuditWriter | None = None, warn: Warn | None = None
) -> Iterator[None]:
    """For one change, whose entry is in the audit log when the block ends.

    If the log cannot be written, the change is refused beforehand. If recording fails after the change, the change
    stays in force and its entry in the outbox, and the error says so; or `warn` is told, if the caller has an answer
    that must not be lost. `writer` is the one of this process, if it has one.
    """
    _check_log(data)
    publish(registry, data, writer=writer)
    yield
    try:
        publish(registry, data, writer=writer)
    except GatewayError as error:
        if warn is None:
            raise GatewayError(
                error.code, _owed(error), subject=error.subject, hint=OWED_HINT, kind=error.kind
            ) from error
        warn(_owed(error), OWED_HINT)


@contextmanager
def restricting(
    registry: Registry, data: DataDirectory, warn: Warn, *, writer: AuditWriter | None = None
) -> Iterator[None]:
    """For one change that takes something away.

    If its entry cannot be recorded within a second, `warn` is given what is wrong and what will happen.
    """
    yield
    try:
        publish(registry, data, writer=writer, seconds=RESTRICTION_SECONDS)
    except GatewayError as error:
        warn(_owed(error), OWED_HINT)


def publish(
    registry: Registry, data: DataDirectory, *, writer: AuditWriter | None = None, seconds: float | None = None
) -> None:
    """Move the entries that wait in the outbox into the audit log.

    `seconds` is how long it may take, because the log's lock is taken or because they are many.
    """
    if writer is not None:
        outbox.drain(registry, writer, seconds)
        return
    deployment = queries.deployment(registry)
    patience = LOCK_SECONDS if seconds is None else seconds
    writer = AuditWriter(data, boot=new_id("boot"), deployment=deployment, lock_seconds=patience)
    try:
        outbox.drain(registry, writer, seconds)
    finally:
        writer.close()


def _owed(error: GatewayError) -> str:
    return f"the change is in force, but not in the audit log yet: {error.message}"


def _check_log(data: DataDirectory) -> None:
    """Raise unless an entry could be recorded now. Draining the outbox does not tell: it may be empty."""
    with storage.exclusive(data):
        pass
