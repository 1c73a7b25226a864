"""Nothing that the gateway does beside an open database drops the locks of that connection.

SQLite's locks are POSIX locks: they belong to the process, and closing *any* descriptor of the file drops all of them.
Without its lock another process takes itself for the only one, and removes the write-ahead log when it closes.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.audit import recovery, signer, storage
from gateway.audit.verify import verify
from gateway.audit.writer import AuditWriter
from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.registry.database import Registry
from gateway.registry.organizations.changes import create_organization
from gateway.registry.reader import RegistryReader
from gateway.runtime.handover import Handover
from gateway.runtime.store import RuntimeStore
from gateway.storage import opened_file
from gateway.storage.database_files import create
from gateway.storage.opened_file import OpenedFile
from tests.gateway.conftest import ACTOR

PROBE = """
import fcntl, os, sys
file = os.open(sys.argv[1], os.O_RDWR)
try:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)  # SQLite's shared locks
except OSError:
    print("locked")
"""


def is_locked(path: Path) -> bool:
    """True if another process sees this one's lock."""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", PROBE, path], capture_output=True, text=True, check=True)
    return done.stdout == "locked\n"


@pytest.fixture
def data(tmp_path: Path, new_registry: Path) -> Iterator[DataDirectory]:
    """A data directory with a connection to each of its three databases."""
    data = DataDirectory(tmp_path / "data")
    data.create()
    storage.create(data)
    signer.create_key(data, "test")
    shutil.copy(new_registry, data.registry_db)
    hand_over(data)
    kept = []
    for path in (data.audit_db, data.registry_db, data.runtime_db):
        kept.append(sqlite3.connect(path))
        kept[-1].execute("SELECT count(*) FROM sqlite_master").fetchone()
        assert is_locked(path)
    yield data
    for each in kept:
        each.close()


def write(data: DataDirectory) -> None:
    writer = AuditWriter(data, boot="boot_a", deployment="test")
    with closing(Registry.open(data)) as registry:
        create_organization(registry, actor=ACTOR, name="acme")
    with signer.HeadSigner(data) as each:
        each.sign_all(writer)
    recovery.recover(writer, ())
    writer.close()


def read(data: DataDirectory) -> None:
    RegistryReader(data.registry_db).close()
    storage.connect_read_only(data.audit_db).close()
    recovery.check(data, signer.load_verifier(signer.public_key_path(data)))
    with pytest.raises(GatewayError):  # there is no log yet
        verify(data.audit_db, signer.load_verifier(signer.public_key_path(data)))


def open_files(data: DataDirectory) -> None:
    for path in (data.audit_db, data.registry_db, data.runtime_db):
        OpenedFile(path).close()


def hand_over(data: DataDirectory) -> None:
    with closing(RuntimeStore(data.runtime_db)) as store:
        Handover(store).announce(["a"])


def create_again(data: DataDirectory) -> None:
    for path in (data.audit_db, data.registry_db, data.runtime_db):
        with pytest.raises(FileExistsError):
            create(path)
    with pytest.raises(GatewayError):
        storage.create(data)


@pytest.mark.parametrize("action", [write, read, open_files, hand_over, create_again])
@pytest.mark.parametrize("has_path_descriptors", [True, False])
def test_the_locks_stay(
    data: DataDirectory,
    action: Callable[[DataDirectory], None],
    has_path_descriptors: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not has_path_descriptors:  # as on systems other than Linux
        monkeypatch.setattr(opened_file, "_PATH_ONLY", None)
    action(data)
    unlocked = [path.name for path in (data.audit_db, data.registry_db, data.runtime_db) if not is_locked(path)]
    assert unlocked == []


def test_a_created_file_is_its_owners(tmp_path: Path) -> None:
    create(tmp_path / "a")
    assert os.stat(tmp_path / "a").st_mode & 0o777 == 0o600
