"""A start that is refused because the log cannot be trusted changes nothing, however often it is tried."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.audit.writer import AuditWriter
from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.processes.duties import Duties
from gateway.registry import queries
from gateway.registry.database import Registry
from gateway.registry.organizations.changes import create_organization
from gateway.settings import load_settings
from gateway.storage.liveness import Presence
from tests.gateway.audit.conftest import Make

Damage = Callable[[DataDirectory, Path], None]


def start(data: DataDirectory) -> None:
    """The control process' duties, from its start to its end."""
    duties = Duties(load_settings({"data": data.path}, env={}), "boot_test")
    try:
        duties.begin()
    finally:
        duties.close()


def sql(path: Path, statement: str) -> None:
    db = sqlite3.connect(path)
    assert db.execute(statement).rowcount > 0
    db.commit()
    db.close()


def change_an_unsigned_entry(data: DataDirectory, earlier: Path) -> None:
    last = "(SELECT max(id) FROM entry)"
    sql(data.audit_db, f"UPDATE entry SET leaf = CAST(replace(leaf, 'key_one', 'key_two') AS BLOB) WHERE id = {last}")


def cut_the_tail(data: DataDirectory, earlier: Path) -> None:
    sql(data.audit_db, "DELETE FROM entry WHERE id = (SELECT max(id) FROM entry)")


def remove_one_before_it(data: DataDirectory, earlier: Path) -> None:
    before = "(SELECT seq - 1 FROM entry WHERE id = (SELECT max(id) FROM entry))"
    log = "(SELECT log_id FROM entry WHERE id = (SELECT max(id) FROM entry))"
    sql(data.audit_db, f"DELETE FROM entry WHERE seq = {before} AND log_id = {log}")


def remove_a_signed_entry(data: DataDirectory, earlier: Path) -> None:
    sql(data.audit_db, "DELETE FROM entry WHERE seq = 1 AND log_id = (SELECT max(log_id) FROM entry)")


def plant_a_trigger(data: DataDirectory, earlier: Path) -> None:
    db = sqlite3.connect(data.audit_db)
    db.execute("CREATE TRIGGER deaf BEFORE INSERT ON entry BEGIN SELECT RAISE(IGNORE); END")
    db.close()


def restore_an_earlier_copy(data: DataDirectory, earlier: Path) -> None:
    """Sound in itself: only what the signer remembers contradicts it."""
    shutil.copyfile(earlier / "audit.db", data.audit_db)


def dump(data: DataDirectory) -> dict[str, list[str]]:
    """Everything that a start could change: both databases, and what the signer remembers."""
    found = {"signer": [data.signer_state.read_text()]}
    for path in (data.audit_db, data.registry_db):
        db = sqlite3.connect(path)
        found[path.name] = list(db.iterdump())
        db.close()
    return found


DAMAGES = (
    change_an_unsigned_entry,
    cut_the_tail,
    remove_one_before_it,
    remove_a_signed_entry,
    plant_a_trigger,
    restore_an_earlier_copy,
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_it_changes_nothing(damage: Damage, data: DataDirectory, tmp_path: Path) -> None:
    start(data)
    earlier = Path(shutil.copytree(data.path, tmp_path / "earlier"))
    # Work for a start: decisions of a worker that was killed, and an entry in the outbox.
    worker = Presence(data, "boot_dead")
    decide(data)
    start(data)  # signs it, as open as it is
    decide(data)
    decide(data)
    worker.close()
    registry = Registry.open(data)
    create_organization(registry, actor="local:0", name="acme")
    registry.close()
    damage(data, earlier)
    before = dump(data)
    for _ in range(3):  # once it would pass, now that everything after the damage had been signed
        with pytest.raises(GatewayError) as caught:
            start(data)
        assert caught.value.code in ("audit_damaged", "signer_refused")
        assert dump(data) == before


def decide(data: DataDirectory) -> None:
    registry = Registry.open(data)
    writer = AuditWriter(data, boot="boot_dead", deployment=queries.deployment(registry))
    writer.write_sync(Make.decided())
    writer.close()
    registry.close()
