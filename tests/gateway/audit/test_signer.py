"""The signer never contradicts itself: not after a rollback, not after a crash, not beside a second one."""

from __future__ import annotations

import json
import os
import shutil
import stat
from typing import TYPE_CHECKING

import pytest

from gateway.audit import checkpoint as checkpoints
from gateway.audit import note, signer, storage
from gateway.audit.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateway.audit.conftest import Log, Make


def copy_of(log: Log) -> Callable[[], None]:
    """Takes a copy of the database as a backup would; calling the result restores it."""
    log.close()
    saved = log.data.audit_db.read_bytes()

    def restore() -> None:
        log.close()
        for leftover in log.data.path.glob("audit.db-*"):
            leftover.unlink()
        log.data.audit_db.write_bytes(saved)

    return restore


def refused(log: Log) -> str:
    with pytest.raises(AuditError) as caught:
        log.sign()
    assert caught.value.code == "signer_refused"
    return str(caught.value)


def notes(log: Log) -> list[str]:
    return [bytes(text).decode() for (text,) in log.rows("SELECT note FROM checkpoint ORDER BY log_id, size")]


def test_every_log_is_signed_the_system_log_last(log: Log, make: Make) -> None:
    writer = log.writer()
    for organization in ("default", "acme", "acme"):
        writer.write_sync(make.change(organization=organization))
    with signer.HeadSigner(log.data) as each:
        signed = each.sign_all(writer)
        assert [(head.origin, head.size) for head in signed] == [
            ("test/default/audit/1", 1),
            ("test/acme/audit/1", 2),
            ("test/system/audit/1", 2),
        ]
        assert each.sign_all(writer) == [], "nothing has grown"
        writer.write_sync(make.change(organization="acme"))
        assert [(head.origin, head.size) for head in each.sign_all(writer)] == [
            ("test/acme/audit/1", 3),
            ("test/system/audit/1", 4),
        ], "the system log tells of its own checkpoint, too"
        assert each.sign_all(writer) == [], "and not of the last one, or it would never end"
    stored = {checkpoints.verify(text, log.verifier, text.split("\n")[0]) for text in notes(log)}
    assert set(signed) < stored
    assert [(entry["origin"], entry["size"]) for entry in log.entries("system")] == [
        ("test/default/audit/1", 1),
        ("test/acme/audit/1", 2),
        ("test/acme/audit/1", 3),
        ("test/system/audit/1", 2),
    ]
    assert log.verify().status == "valid"


def test_an_empty_log_is_not_signed(log: Log) -> None:
    log.sign()
    assert notes(log) == []
    assert not log.data.signer_state.exists()


def test_a_database_that_was_rolled_back_is_not_signed_any_more(log: Log, make: Make) -> None:
    log.writer().write_sync(make.change())
    log.sign()
    restore = copy_of(log)
    log.writer().write_sync(make.change())
    log.sign()
    restore()
    assert "2 entries are signed, the log has only 1" in refused(log)
    for _ in range(3):
        log.writer().write_sync(make.change())
    assert "is not the beginning of" in refused(log), "nor when it has grown again, with other entries"


def test_the_others_are_signed_all_the_same(log: Log, make: Make) -> None:
    log.writer().write_sync(make.change())
    log.sign()
    restore = copy_of(log)
    log.writer().write_sync(make.change())
    log.sign()
    restore()
    writer = log.writer()
    for _ in range(6):
        writer.write_sync(make.change(organization="acme"))
    refused(log)
    assert any(text.startswith("test/acme/audit/1\n6\n") for text in notes(log))


@pytest.mark.parametrize("column", ["frontier", "size"])
def test_a_head_that_does_not_belong_to_its_tiles_is_not_signed(log: Log, make: Make, column: str) -> None:
    log.writer().write_sync(make.change())
    log.tamper(f"UPDATE log SET {column} = ?", bytes(32) if column == "frontier" else 2)
    refused(log)
    assert notes(log) == []


def test_without_its_memory_it_signs_nothing(log: Log, make: Make) -> None:
    """The database may be an old copy: its newer checkpoints are in somebody's hands, and nobody here knows."""
    writer = log.writer()
    writer.write_sync(make.change())
    log.sign()
    writer.write_sync(make.change())
    before = notes(log)
    log.data.signer_state.unlink()
    for _ in range(2):
        assert "was signed before" in refused(log)
        with signer.HeadSigner(log.data) as each, pytest.raises(AuditError, match="does not say how far"):
            each.check()
    assert notes(log) == before
    assert not log.data.signer_state.exists()


def test_a_forgotten_log_is_not_signed_either(log: Log, make: Make) -> None:
    log.writer().write_sync(make.change())
    log.sign()
    state = json.loads(log.data.signer_state.read_text())
    del state["notes"]["test/default/audit/1"]
    log.data.signer_state.write_text(json.dumps(state))
    log.writer().write_sync(make.change())
    assert "was signed before" in refused(log)


def test_a_log_that_is_gone_is_noticed(log: Log, make: Make) -> None:
    """Begun anew it would look like one that was never signed."""
    log.writer().write_sync(make.change())
    log.sign()
    for table in ("checkpoint", "tile", "entry", "log"):
        log.tamper(f"DELETE FROM {table} WHERE {'id' if table == 'log' else 'log_id'} = 1")
    assert "the log is missing" in refused(log)
    log.tamper("DELETE FROM log")
    with signer.HeadSigner(log.data) as each, pytest.raises(AuditError, match="the log is missing"):
        each.check()


def test_what_was_adopted_must_be_continued(log: Log, make: Make) -> None:
    writer = log.writer()
    writer.write_sync(make.change())
    log.sign()
    log.data.signer_state.unlink()
    with signer.HeadSigner(log.data) as each:
        forgotten = each.forgotten()
        assert [checkpoint.origin for checkpoint in forgotten] == ["test/default/audit/1", "test/system/audit/1"]
        each.adopt(forgotten)
        assert each.forgotten() == []
    log.sign()
    log.tamper("UPDATE tile SET hashes = zeroblob(32) WHERE log_id = 1")
    log.tamper("UPDATE log SET frontier = zeroblob(32) WHERE id = 1")
    assert "two trees of the same size 1 differ" in refused(log)
    writer.write_sync(make.change())
    assert "is not the beginning of" in refused(log)


def test_what_was_remembered_but_not_stored_is_stored_the_next_time(log: Log, make: Make) -> None:
    """A crash between the two: the checkpoint that nobody has seen is the one that is published, byte for byte."""
    writer = log.writer()
    writer.write_sync(make.change())
    log.sign()
    before = (notes(log), log.data.signer_state.read_bytes())
    log.tamper("DELETE FROM checkpoint")
    log.sign()
    assert (notes(log), log.data.signer_state.read_bytes()) == before
    assert log.verify().status == "valid"


def test_remembering_comes_before_publishing(log: Log, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    log.writer().write_sync(make.change())

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", no_space)
    assert "no space left" in refused(log).lower()
    assert notes(log) == []
    assert log.entries("system") == []
    monkeypatch.undo()
    log.sign()
    assert log.verify().status == "valid"


@pytest.mark.parametrize("content", [b"", b"{}", b'{"v":2,"notes":{}}', b'{"v":1,"notes":{"a":1}}', b"\xff"])
def test_a_memory_that_cannot_be_read_is_not_replaced(log: Log, make: Make, content: bytes) -> None:
    log.writer().write_sync(make.change())
    log.data.signer_state.write_bytes(content)
    refused(log)
    assert log.data.signer_state.read_bytes() == content


def test_a_memory_that_was_forged_is_refused(log: Log, make: Make) -> None:
    log.writer().write_sync(make.change())
    log.sign()
    state = json.loads(log.data.signer_state.read_text())
    forger = note.NoteSigner.generate("test")
    [origin, *_] = state["notes"]
    state["notes"][origin] = checkpoints.sign(checkpoints.Checkpoint(origin, 1, bytes(32)), forger)
    log.data.signer_state.write_text(json.dumps(state))
    assert "cannot be trusted" in refused(log)


def test_only_one_process_signs(log: Log) -> None:
    with signer.HeadSigner(log.data):
        assert "another process signs" in refused(log)
    log.sign()


def test_a_key_signs_only_the_logs_of_its_deployment(log: Log, make: Make) -> None:
    log.writer(deployment="other").write_sync(make.change())
    assert "the key is for the logs of `test`" in refused(log)
    assert notes(log) == []


# -- keys --------------------------------------------------------------------------------------------------------------


def test_keys_are_created_once_and_for_their_owner_only(log: Log) -> None:
    assert stat.S_IMODE(signer.key_path(log.data).stat().st_mode) == 0o600
    assert signer.load_verifier(signer.public_key_path(log.data)) == log.verifier
    assert signer.load_verifier(str(log.verifier)) == log.verifier
    with pytest.raises(AuditError) as caught:
        signer.create_key(log.data, "test")
    assert caught.value.code == "audit_exists"
    assert signer.load_verifier(signer.public_key_path(log.data)) == log.verifier


def test_a_key_that_others_may_read_is_not_used(log: Log) -> None:
    signer.key_path(log.data).chmod(0o640)
    with pytest.raises(AuditError, match="open to other users"):
        signer.HeadSigner(log.data)
    signer.key_path(log.data).chmod(0o600)
    signer.HeadSigner(log.data).close()


def test_a_deployment_that_cannot_begin_an_origin_gets_no_key(log: Log) -> None:
    shutil.rmtree(log.data.keys)
    log.data.keys.mkdir()
    with pytest.raises(AuditError):
        signer.create_key(log.data, "my gateway")
    assert list(log.data.keys.iterdir()) == []


@pytest.mark.parametrize("content", [None, b"", b"PRIVATE+KEY+test", b"\xff\xfe"])
def test_a_key_that_cannot_be_read(log: Log, content: bytes | None) -> None:
    for path in (signer.key_path(log.data), signer.public_key_path(log.data)):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
    with pytest.raises(AuditError) as caught:
        signer.HeadSigner(log.data)
    assert caught.value.code == "bad_key"
    with pytest.raises(AuditError) as caught:
        signer.load_verifier(signer.public_key_path(log.data))
    assert caught.value.code == "bad_key"


# -- the database file -------------------------------------------------------------------------------------------------


def test_a_new_database_is_as_the_design_has_it(log: Log) -> None:
    db = storage.connect(log.data.audit_db)
    settings = {
        name: db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "auto_vacuum", "secure_delete", "page_size")
    }
    db.close()
    assert settings == {
        "journal_mode": "wal",
        "synchronous": 2,
        "auto_vacuum": 2,
        "secure_delete": 1,
        "page_size": storage.PAGE_SIZE,
    }
    assert stat.S_IMODE(log.data.audit_db.stat().st_mode) == 0o600
    with pytest.raises(AuditError) as caught:
        storage.create(log.data)
    assert caught.value.code == "audit_exists"


def test_a_database_of_another_version_is_refused(log: Log, make: Make) -> None:
    log.writer().write_sync(make.change())
    log.tamper(f"UPDATE meta SET schema = {storage.SCHEMA + 1}")
    for opens in (log.writer, log.verify, lambda: storage.connect(log.data.audit_db)):
        with pytest.raises(AuditError, match=f"has schema {storage.SCHEMA + 1}") as caught:
            opens()
        assert caught.value.code == "audit_schema"


@pytest.mark.parametrize("content", [b"", b"not a database" * 100, None])
def test_a_file_that_is_no_log_is_refused(log: Log, content: bytes | None) -> None:
    log.data.audit_db.unlink()
    if content is not None:
        log.data.audit_db.write_bytes(content)
    for opens in (log.writer, log.verify):
        with pytest.raises(AuditError) as caught:
            opens()
        assert caught.value.code == ("audit_missing" if content is None else "audit_schema")


def test_a_signer_that_was_stopped_halfway_tells_of_that_checkpoint_first(
    log: Log, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after the system log was told, before the checkpoint was stored; then the log has grown."""
    writer = log.writer()
    writer.write_sync(make.change())
    with signer.HeadSigner(log.data) as each:
        monkeypatch.setattr(each, "_store", lambda signed: signed and 1 / 0)
        with pytest.raises(ZeroDivisionError):
            each.sign_all(writer)
    assert log.rows("SELECT count(*) FROM checkpoint") == [(0,)]
    assert log.verify().findings == []
    writer.write_sync(make.change())
    with signer.HeadSigner(log.data) as each:
        each.sign_all(writer)
    sizes = "SELECT size FROM checkpoint WHERE log_id = 1 ORDER BY size"
    assert log.rows(sizes) == [(1,), (2,)]
    assert log.verify().findings == []


def test_a_system_log_that_once_did_not_tell_of_its_own_checkpoints_is_valid(
    log: Log, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = log.writer()
    with signer.HeadSigner(log.data) as each:
        with monkeypatch.context() as earlier:
            earlier.setattr(each, "_before_growth", list)
            for _ in range(3):
                writer.write_sync(make.change())
                each.sign_all(writer)
        assert log.verify().findings == []
        for _ in range(3):
            writer.write_sync(make.change())
            each.sign_all(writer)
    assert log.verify().findings == []
