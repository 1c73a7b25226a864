"""The control process' work on keys: revoke reported ones, move hashes to the newest pepper, remind, and remove.

Keys are those of agents; what is removed are keys of tokens that were replaced.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Final

from gateway.audit.errors import AuditError
from gateway.audit.intents import Changed
from gateway.audit.writer import AuditWriter
from gateway.identity.credentials import Peppers
from gateway.registry import outbox
from gateway.registry.database import Registry
from gateway.registry.keys import leaked as leaked_keys
from gateway.registry.keys import retiring
from gateway.registry.secret_keys import peppers, token_keys
from gateway.runtime import key_uses, leaks
from gateway.runtime.store import RuntimeStore

logger = logging.getLogger("gateway.processes.key_duties")

ACTOR: Final = "gateway"
REPORTER: Final = "leak-report"
MOVE_SECONDS: Final = 10.0
REMIND_SECONDS: Final = 60.0
_AT_ONCE: Final = 500  # hashes that move in one transaction, so that a command never waits long


class KeyDuties:
    """Owned by the control process's duties, which call each function from a thread of its own."""

    def __init__(self, registry: Registry, writer: AuditWriter, store: RuntimeStore, keys: Path) -> None:
        self._registry = registry
        self._writer = writer
        self._store = store
        self._keys = keys
        self._reminded: set[str] = set()

    def revoke_reported(self) -> None:
        """Revoke the keys that were reported to a worker, whether it can be recorded or not."""
        reports = leaks.waiting(self._store.path)
        if not reports:
            return
        for each in leaked_keys.revoke_reported(self._registry, actor=REPORTER, reports=reports):
            if each.fate == "revoked":
                logger.warning("key %s of agent %s was reported as leaked, and is revoked", each.key_id, each.holder)
        leaks.forget(self._store, [credential for credential, _ in reports])
        outbox.drain(self._registry, self._writer)

    def move_hashes(self) -> None:
        moved = key_uses.waiting(self._store.path, _AT_ONCE)
        if moved:
            peppers.move(self._registry, Peppers.load(self._keys), moved, ACTOR)
            key_uses.forget(self._store, moved)
            outbox.drain(self._registry, self._writer)

    def remove_replaced(self) -> None:
        """Remove the keys that sign no tokens any more, once their last tokens have expired."""
        for each in token_keys.remove_replaced(self._registry, self._keys, actor=ACTOR):
            logger.info("key %d of tokens was replaced, and is removed now", each.number)
        outbox.drain(self._registry, self._writer)

    def remind(self) -> None:
        """Record once of each retiring key that it is still used although it will end soon."""
        with self._registry.read() as session:
            found = retiring.in_last_hours(session, time.time_ns())
        used = key_uses.of(self._store.path, [each.id for each in found]) if found else {}
        for each in found:
            if each.id in self._reminded or used.get(each.id, 0) < each.since_ns:
                continue
            # The id follows from the key's, so that it is recorded once, also if this process starts again.
            event = "chg_" + each.id.removeprefix("key_")
            entry = Changed(
                organization=each.organization,
                event_id=event,
                actor=ACTOR,
                what="key.retiring_in_use",
                fields=each.fields,
            )
            try:
                self._writer.write_sync(entry)
            except AuditError as error:
                if error.code != "event_conflict":
                    raise
            self._reminded.add(each.id)
            logger.warning("key %s of agent %s is still used, and will end soon", each.key_id, each.agent)
