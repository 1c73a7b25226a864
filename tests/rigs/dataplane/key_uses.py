"""Shared parts of the tests in `tests/gateway/dataplane/test_key_uses.py`."""

from __future__ import annotations

from gateway.audit import storage
from gateway.audit.writer import AuditWriter
from gateway.processes.key_duties import KeyDuties
from gateway.runtime.store import RuntimeStore
from tests.gateway.conftest import Home


def duties(home: Home) -> KeyDuties:
    if not home.data.audit_db.exists():
        storage.create(home.data)
    writer = AuditWriter(home.data, boot="boot_test", deployment="test")
    return KeyDuties(home.registry, writer, RuntimeStore(home.data.runtime_db), home.data.keys)
