"""Verification finds any change of anything that is stored, and names the entry.

The log of these tests has two organizations, full and partial tiles on two levels, checkpoints at several sizes,
decisions and private rows. `TAMPERING` is a table of what somebody could do to it with SQL; after it, single bytes are
changed wherever a blob or text is stored, and at random places of the file itself.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import sqlite3
import time
from collections.abc import Container
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.audit import checkpoint as checkpoints
from gateway.audit import entry as entries
from gateway.audit import merkle, note, signer, storage, tiles, verify
from gateway.audit.errors import AuditError
from gateway.audit.intents import SYSTEM
from gateway.audit.report import Report
from gateway.audit.transaction import Transaction
from gateway.audit.writer import AuditWriter
from gateway.data_directory import DataDirectory
from gateway.identifiers import uuid7
from gateway.storage.opened_file import write_ahead_log

if TYPE_CHECKING:
    from tests.gateway.audit.conftest import Log, Make

DEFAULT = 1  # the id of the log `test/default/audit/1`
SIZE = 600  # entries in it: two full tiles and a partial one, and so two hashes on level 1
CHANGES = 520


class Original:
    """One good log for all tests of this file; each works on a copy."""

    def __init__(self, path: Path, make: Make) -> None:
        self.data = DataDirectory(path)
        self.data.create()
        storage.create(self.data)
        self.verifier = signer.create_key(self.data, "test")
        writer = AuditWriter(self.data, boot="boot_one", deployment="test")
        with signer.HeadSigner(self.data) as each:
            for count in (100, 156, CHANGES - 256):
                for waiting in [writer.submit(make.change()) for _ in range(count)]:
                    waiting.result(10)
                writer.write_sync(make.change(organization="acme"))
                each.sign_all(writer)
            self.decisions = [make.decided(reservation=make.at_most(100)) for _ in range(40)]
            for decision in self.decisions:
                writer.write_sync(decision)
                writer.write_sync(make.completed(decision))
            each.sign_all(writer)
        writer.close()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, make: Make) -> Original:
    return Original(tmp_path_factory.mktemp("verify") / "data", make)


class Copy:
    """A copy to tamper with."""

    def __init__(self, path: Path, original: Original) -> None:
        self.path = path
        self._verifier = original.verifier
        shutil.copyfile(original.data.audit_db, path)

    def tamper(self, query: str, *parameters: object) -> None:
        db = sqlite3.connect(self.path)
        try:
            assert db.execute(query, parameters).rowcount > 0, "nothing was changed"
            db.commit()
        finally:
            db.close()

    def value(self, query: str, *parameters: object) -> Any:
        db = sqlite3.connect(self.path)
        try:
            return db.execute(query, parameters).fetchone()[0]
        finally:
            db.close()

    def verify(self, **options: Any) -> Report:
        return verify.verify(self.path, self._verifier, **options)


@pytest.fixture
def copy(original: Original, tmp_path: Path) -> Copy:
    return Copy(tmp_path / "audit.db", original)


def found(report: Report) -> set[tuple[str, int | None]]:
    return {(each.origin.split("/")[1] if each.origin else "", each.index) for each in report.findings}


def test_the_log_is_valid(copy: Copy) -> None:
    report = copy.verify()
    assert report.findings == []
    assert (report.status, report.exit_code) == ("valid", 0)
    sizes = {each.organization: (each.size, each.signed, each.checkpoints) for each in report.logs}
    assert sizes == {"default": (SIZE, SIZE, 4), "acme": (3, 3, 3), "system": (10, 10, 4)}
    assert report.entries == SIZE + 3 + 10
    assert report.private_rows == 40


def leaf_of(copy: Copy, index: int) -> dict[str, Any]:
    leaf = copy.value("SELECT leaf FROM entry WHERE log_id = ? AND seq = ?", DEFAULT, index)
    found: dict[str, Any] = json.loads(leaf)
    return found


ENTRY = f"log_id = {DEFAULT} AND seq = 7"
LOG = f"id = {DEFAULT}"

# The damage, and the entry that must be named (`None` where no entry is concerned).
TAMPERING: list[tuple[str, int | None]] = [
    (f"DELETE FROM entry WHERE {ENTRY}", 7),
    (f"DELETE FROM entry WHERE log_id = {DEFAULT} AND seq = 0", 0),
    (f"DELETE FROM entry WHERE log_id = {DEFAULT} AND seq = {SIZE - 1}", SIZE - 1),
    (f"DELETE FROM entry WHERE log_id = {DEFAULT} AND seq >= 300", 300),
    (f"DELETE FROM entry WHERE log_id = {DEFAULT}", 0),
    (f"UPDATE entry SET seq = 100000 WHERE {ENTRY}", 7),
    (f"UPDATE entry SET log_id = 2, seq = 77 WHERE {ENTRY}", 7),
    (f"UPDATE entry SET log_id = 99 WHERE {ENTRY}", 7),
    (f"UPDATE entry SET event_id = 'chg_x' WHERE {ENTRY}", 7),
    (f"UPDATE entry SET kind = 'refused' WHERE {ENTRY}", 7),
    (f"UPDATE entry SET time_ns = time_ns + 1 WHERE {ENTRY}", 7),
    (f"UPDATE entry SET agent = 'agt_other' WHERE {ENTRY}", 7),
    (f"UPDATE entry SET agent = NULL WHERE log_id = {DEFAULT} AND kind = 'decided'", CHANGES),
    (f"UPDATE entry SET leaf = zeroblob(0) WHERE {ENTRY}", 7),
    (f"UPDATE entry SET leaf = (SELECT leaf FROM entry WHERE log_id = {DEFAULT} AND seq = 8) WHERE {ENTRY}", 7),
    (f"DELETE FROM tile WHERE log_id = {DEFAULT} AND level = 0 AND number = 1", 256),
    (f"DELETE FROM tile WHERE log_id = {DEFAULT} AND level = 0 AND number = 2", 512),
    (f"DELETE FROM tile WHERE log_id = {DEFAULT} AND level = 1", 0),
    (f"INSERT INTO tile VALUES ({DEFAULT}, 2, 0, zeroblob(32))", None),
    ("INSERT INTO tile VALUES (99, 0, 0, zeroblob(32))", None),
    (f"UPDATE tile SET number = 3 WHERE log_id = {DEFAULT} AND level = 0 AND number = 2", 512),
    (f"UPDATE log SET size = {SIZE - 1} WHERE {LOG}", SIZE - 1),
    (f"UPDATE log SET size = {SIZE + 1} WHERE {LOG}", SIZE),
    (f"UPDATE log SET time_ns = time_ns + 1 WHERE {LOG}", SIZE - 1),
    (f"UPDATE log SET frontier = zeroblob(32) WHERE {LOG}", 0),
    (f"UPDATE log SET organization = 'other' WHERE {LOG}", 0),
    (f"UPDATE log SET epoch = 2 WHERE {LOG}", None),
    (f"UPDATE log SET origin = 'test/other/audit/1' WHERE {LOG}", 99),
    (f"UPDATE log SET id = 50 WHERE {LOG}", None),
    (f"DELETE FROM log WHERE {LOG}", None),
    (f"UPDATE checkpoint SET size = 101 WHERE log_id = {DEFAULT} AND size = 100", 100),
    (f"UPDATE checkpoint SET log_id = 2 WHERE log_id = {DEFAULT} AND size = 100", 99),
    ("INSERT INTO checkpoint VALUES (99, 1, zeroblob(5))", None),
    (f"INSERT INTO open_decision VALUES ('dec_x', {DEFAULT}, 'boot_one', NULL, NULL)", None),
    ("DELETE FROM private WHERE entry_id IN (SELECT max(entry_id) FROM private)", SIZE - 2),
    ("UPDATE private SET input = NULL WHERE entry_id IN (SELECT max(entry_id) FROM private)", SIZE - 2),
    ("UPDATE private SET salt = zeroblob(32) WHERE entry_id IN (SELECT max(entry_id) FROM private)", SIZE - 2),
    ("INSERT INTO private VALUES (1, zeroblob(32), NULL)", 0),
    ("INSERT INTO private VALUES (999999, zeroblob(32), NULL)", None),
]


@pytest.mark.parametrize(("query", "index"), TAMPERING)
def test_tampering(copy: Copy, query: str, index: int | None) -> None:
    copy.tamper(query)
    report = copy.verify()
    assert (report.status, report.exit_code) == ("tampered", 1)
    assert index in {where for _, where in found(report)}, report.findings


# Every column that holds text or bytes, each value of which is changed in one byte.
STORED = [
    ("entry", "leaf"),
    ("entry", "event_id"),
    ("entry", "kind"),
    ("entry", "agent"),
    ("tile", "hashes"),
    ("checkpoint", "note"),
    ("log", "frontier"),
    ("log", "organization"),
    ("log", "origin"),
    ("private", "salt"),
    ("private", "input"),
]


@pytest.mark.parametrize(("table", "column"), STORED)
def test_one_changed_byte_anywhere(copy: Copy, table: str, column: str) -> None:
    """Rows and bytes drawn at random, the same ones in every run; each change is taken back again."""
    draw = random.Random(f"{table}.{column}")
    key = {"entry": "id", "log": "id", "private": "entry_id"}.get(table, "rowid")
    key = "(log_id, size)" if table == "checkpoint" else key
    keys = "log_id, size" if table == "checkpoint" else key
    db = sqlite3.connect(copy.path)
    rows = db.execute(f"SELECT {keys} FROM {table} WHERE length({column}) > 0").fetchall()
    for row in draw.sample(rows, min(len(rows), 12)):
        where = f"{key} = (VALUES ({', '.join(map(str, row))}))" if table == "checkpoint" else f"{key} = {row[0]}"
        kind, value = db.execute(
            f"SELECT typeof({column}), CAST({column} AS BLOB) FROM {table} WHERE {where}"
        ).fetchone()
        changed = bytearray(value)
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(7)
        update = f"UPDATE {table} SET {column} = CAST(? AS {kind}) WHERE {where}"
        db.execute(update, (bytes(changed),))
        db.commit()
        report = copy.verify()
        assert report.status == "tampered", (row, value, bytes(changed))
        if table in ("entry", "tile", "checkpoint", "private"):
            expected = expected_index(db, table, row, value, changed)
            assert expected in {where for _, where in found(report)}, (expected, report.findings)
        db.execute(update, (value,))
        db.commit()
    db.close()
    assert copy.verify().findings == []


def expected_index(db: sqlite3.Connection, table: str, row: tuple[int, ...], value: bytes, changed: bytearray) -> int:
    """The entry that a changed byte of this row concerns."""
    if table == "checkpoint":
        return row[1] - 1
    if table == "tile":
        level, number = db.execute("SELECT level, number FROM tile WHERE rowid = ?", row).fetchone()
        at = next(at for at in range(len(value)) if value[at] != changed[at])
        first: int = (number * tiles.WIDTH + at // merkle.HASH_BYTES) << tiles.HEIGHT * level
        return first
    (seq,) = db.execute("SELECT seq FROM entry WHERE id = ?", row).fetchone()
    return int(seq)


@pytest.mark.slow
def test_changed_bytes_of_the_file_itself(copy: Copy) -> None:
    """Wherever a byte of the file is changed: it is found, or it was in a place that holds nothing."""
    draw = random.Random(6962)
    good = copy.path.read_bytes()
    contents = dump(copy.path)
    unnoticed = 0
    for _ in range(150):
        at = draw.randrange(100, len(good))
        copy.path.write_bytes(good[:at] + bytes([good[at] ^ 1 << draw.randrange(8)]) + good[at + 1 :])
        try:
            status = copy.verify().status
        except AuditError:
            continue
        if status == "valid":
            assert dump(copy.path) == contents, f"byte {at} was changed unnoticed"
            unnoticed += 1
    assert unnoticed < 75, "most bytes hold something"


def dump(path: Path) -> list[str]:
    db = sqlite3.connect(path)
    try:
        return list(db.iterdump())
    finally:
        db.close()


def test_a_rewritten_entry_with_a_matching_tree_contradicts_the_signature(copy: Copy) -> None:
    """By somebody who can write everything but has no key: all that is stored agrees, the signed root does not."""
    rewrite(copy, DEFAULT, 200, what="agent.forged")
    report = copy.verify()
    assert report.exit_code == 1
    assert ("default", 100) in found(report), "the first entry after the last checkpoint that is right"
    assert "up to entry 255" in str(report.findings[0])


def test_a_rewritten_tail_is_found_by_a_checkpoint_that_was_kept(copy: Copy, original: Original) -> None:
    """Without its checkpoints a log only looks unsigned; a checkpoint kept elsewhere shows that they were deleted."""
    kept = bytes(copy.value("SELECT note FROM checkpoint WHERE log_id = ? ORDER BY size DESC", DEFAULT)).decode()
    rewrite(copy, DEFAULT, 590, outcome="client_disconnected")
    copy.tamper("DELETE FROM checkpoint WHERE log_id = ? AND size > 520", DEFAULT)
    report = copy.verify()
    assert ("default", SIZE - 1) in found(report), "the system log remembers it"
    copy.tamper("DELETE FROM entry WHERE log_id = (SELECT id FROM log WHERE organization = 'system')")
    copy.tamper("DELETE FROM tile WHERE log_id = (SELECT id FROM log WHERE organization = 'system')")
    copy.tamper("DELETE FROM checkpoint WHERE log_id = (SELECT id FROM log WHERE organization = 'system')")
    copy.tamper("DELETE FROM log WHERE organization = 'system'")
    copy.tamper("UPDATE balanced SET entry_id = (SELECT max(id) FROM entry)")
    assert found(copy.verify()) == {(SYSTEM, 0)}, "it tells of every checkpoint of the others"
    report = copy.verify(known=[kept])
    assert ("default", CHANGES) in found(report)
    state = list(signer.load_state(original.data).values())
    assert (SYSTEM, 0) in found(copy.verify(known=state)), "and a whole log that is missing"


def system_id(copy: Copy) -> int:
    return int(copy.value("SELECT id FROM log WHERE organization = ?", SYSTEM))


def cut(copy: Copy, log_id: int, size: int) -> None:
    """End a log at an earlier size, with all that belongs to what is gone: everything stored agrees."""
    db = sqlite3.connect(copy.path)
    leaves = [leaf for (leaf,) in db.execute("SELECT leaf FROM entry WHERE log_id = ? ORDER BY seq", (log_id,))][:size]
    for table in ("private WHERE entry_id IN (SELECT id FROM entry", "entry WHERE id IN (SELECT id FROM entry"):
        db.execute(f"DELETE FROM {table} WHERE log_id = ? AND seq >= ?)", (log_id, size))
    db.execute("DELETE FROM checkpoint WHERE log_id = ? AND size > ?", (log_id, size))
    db.execute("DELETE FROM tile WHERE log_id = ?", (log_id,))
    frontier: list[bytes] = []
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    for count, each in enumerate(hashes):
        merkle.extend(frontier, count, each)
    for tile, data in tiles.grow({}, 0, hashes).items():
        db.execute("INSERT INTO tile VALUES (?, ?, ?, ?)", (log_id, tile.level, tile.number, data))
    time_ns = int(entries.decode(leaves[-1])["time"])  # type: ignore[arg-type]
    where = (size, b"".join(frontier), time_ns, log_id)
    db.execute("UPDATE log SET size = ?, frontier = ?, time_ns = ? WHERE id = ?", where)
    db.execute("UPDATE balanced SET entry_id = min(entry_id, (SELECT max(id) FROM entry))")
    db.commit()
    db.close()


@pytest.mark.parametrize("size", [100, 256, 520])
def test_a_checkpoint_that_is_gone_is_named_by_a_copy_alone(copy: Copy, size: int) -> None:
    copy.tamper("DELETE FROM checkpoint WHERE log_id = ? AND size = ?", DEFAULT, size)
    report = copy.verify()
    assert found(report) == {("default", size - 1)}
    assert "is gone" in str(report.findings[0])


def test_the_newest_checkpoint_that_is_gone_is_named_too(copy: Copy) -> None:
    copy.tamper("DELETE FROM checkpoint WHERE log_id = ? AND size = ?", DEFAULT, SIZE)
    assert found(copy.verify()) == {("default", SIZE - 1)}


def test_a_checkpoint_of_the_system_log_that_is_gone_is_named(copy: Copy) -> None:
    sizes = [
        size for (size,) in rows(copy, "SELECT size FROM checkpoint WHERE log_id = ? ORDER BY size", system_id(copy))
    ]
    copy.tamper("DELETE FROM checkpoint WHERE log_id = ? AND size = ?", system_id(copy), sizes[1])
    assert found(copy.verify()) == {(SYSTEM, sizes[1] - 1)}


def test_a_system_log_that_was_cut_back_is_found_by_what_it_no_longer_tells(copy: Copy) -> None:
    sizes = [
        size for (size,) in rows(copy, "SELECT size FROM checkpoint WHERE log_id = ? ORDER BY size", system_id(copy))
    ]
    cut(copy, system_id(copy), sizes[1])
    report = copy.verify()
    assert found(report) == {("default", CHANGES - 1), ("acme", 2)}
    assert "does not tell" in str(report.findings[0])


def test_two_roots_at_one_size_are_named_equivocation(copy: Copy, original: Original) -> None:
    key = note.parse_signer(signer.key_path(original.data).read_text())
    origin = "test/default/audit/1"
    other = checkpoints.sign(checkpoints.Checkpoint(origin, 256, bytes(32)), key)
    report = copy.verify(known=[other])
    assert found(report) == {("default", 255)}
    assert "equivocation" in str(report.findings[0])


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_log_without_entries_is_named(copy: Copy, epoch: int) -> None:
    origin = f"test/empty/audit/{epoch}"
    statement = (
        "INSERT INTO log (organization, epoch, origin, size, frontier, time_ns) VALUES ('empty', ?, ?, 0, x'', 0)"
    )
    copy.tamper(statement, epoch, origin)
    assert found(copy.verify()) == {("empty", 0)}


def test_a_log_of_a_later_epoch_says_so_in_its_first_entry(copy: Copy) -> None:
    copy.tamper("UPDATE log SET epoch = 2, origin = 'test/acme/audit/2' WHERE organization = 'acme'")
    said = " ".join(map(str, copy.verify().findings))
    assert "the log of the epoch before it is missing" in said
    assert "its first entry does not say why" in said


def rows(copy: Copy, query: str, *parameters: object) -> list[Any]:
    db = sqlite3.connect(copy.path)
    try:
        return db.execute(query, parameters).fetchall()
    finally:
        db.close()


def rewrite(copy: Copy, log_id: int, index: int, **members: Any) -> None:
    """Change an entry and make everything that needs no key fit again."""
    db = sqlite3.connect(copy.path)
    leaves = [leaf for (leaf,) in db.execute("SELECT leaf FROM entry WHERE log_id = ? ORDER BY seq", (log_id,))]
    leaves[index] = entries.encode(json.loads(leaves[index]) | members)
    db.execute("UPDATE entry SET leaf = ? WHERE log_id = ? AND seq = ?", (leaves[index], log_id, index))
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    frontier: list[bytes] = []
    for size, each in enumerate(hashes):
        merkle.extend(frontier, size, each)
    db.execute("UPDATE log SET frontier = ? WHERE id = ?", (b"".join(frontier), log_id))
    for tile, data in tiles.grow({}, 0, hashes).items():
        where = (data, log_id, tile.level, tile.number)
        db.execute("UPDATE tile SET hashes = ? WHERE log_id = ? AND level = ? AND number = ?", where)
    db.commit()
    db.close()


@pytest.mark.parametrize(
    ("kind", "verdict"), [("leaf", "its leaf was changed"), ("tile", "the hash in its tile was changed")]
)
def test_it_says_which_of_leaf_and_tile_was_changed(copy: Copy, kind: str, verdict: str) -> None:
    if kind == "leaf":
        leaf = entries.encode(leaf_of(copy, 130) | {"what": "agent.forged"})
        copy.tamper("UPDATE entry SET leaf = ? WHERE log_id = ? AND seq = 130", leaf, DEFAULT)
    else:
        hashes = bytearray(copy.value("SELECT hashes FROM tile WHERE log_id = ? AND number = 0 AND level = 0", DEFAULT))
        hashes[130 * 32] ^= 1
        copy.tamper("UPDATE tile SET hashes = ? WHERE log_id = ? AND number = 0 AND level = 0", bytes(hashes), DEFAULT)
    [problem] = copy.verify().findings
    assert problem.index == 130
    assert verdict in problem.message


@pytest.mark.parametrize(("level", "number", "last"), [(0, 1, 511), (0, 2, SIZE - 1), (1, 0, 256)])
def test_a_tile_that_is_too_long_is_found(copy: Copy, level: int, number: int, last: int) -> None:
    where = (DEFAULT, level, number)
    hashes = copy.value("SELECT hashes FROM tile WHERE log_id = ? AND level = ? AND number = ?", *where)
    query = "UPDATE tile SET hashes = ? WHERE log_id = ? AND level = ? AND number = ?"
    copy.tamper(query, hashes + b"x", *where)
    assert found(copy.verify()) == {("default", last)}


def test_another_key_verifies_nothing(copy: Copy) -> None:
    other = note.NoteSigner.generate("test").verifier
    report = verify.verify(copy.path, other)
    assert report.exit_code == 1
    assert ("default", 99) in found(report)
    renamed = verify.verify(copy.path, note.NoteSigner.generate("other").verifier)
    assert any("not a log of `other`" in each.message for each in renamed.findings)


def test_a_checkpoint_that_this_key_did_not_sign_is_no_evidence(copy: Copy) -> None:
    head = checkpoints.Checkpoint("test/default/audit/1", 5, bytes(32))
    forged = checkpoints.sign(head, note.NoteSigner.generate("test"))
    with pytest.raises(AuditError):
        copy.verify(known=[forged])


def test_a_long_list_of_findings_is_cut(copy: Copy) -> None:
    copy.tamper("UPDATE entry SET kind = 'x'")
    report = copy.verify()
    assert len(report.findings) == 100
    assert report.more_findings >= 500


def test_progress_is_reported(copy: Copy) -> None:
    seen: list[tuple[int, int]] = []
    copy.verify(progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (SIZE + 13, SIZE + 13)


# -- logs that are not finished ----------------------------------------------------------------------------------------


def test_an_unsigned_tail_is_said_and_is_no_tampering(log: Log, make: Make) -> None:
    log.writer().write_sync(make.change())
    log.sign()
    log.writer().write_sync(make.change())
    report = log.verify()
    assert (report.status, report.exit_code, report.findings) == ("incomplete", 3, [])
    assert {each.organization: each.unsigned for each in report.logs} == {"default": 1, "system": 0}


@pytest.mark.parametrize(
    ("live", "status", "alive"),
    [({"boot_a"}, "valid", True), ({"boot_b"}, "incomplete", False), (None, "incomplete", None)],
)
def test_an_open_decision_is_reported(
    log: Log, make: Make, live: set[str] | None, status: str, alive: bool | None
) -> None:
    decision = make.decided()
    log.writer(boot="boot_a").write_sync(decision)
    log.sign()
    report = log.verify(live_boots=live)
    assert (report.status, report.findings) == (status, [])
    [[opened]] = [each.open for each in report.logs if each.open]
    assert (opened.event_id, opened.index, opened.boot, opened.alive) == (decision.event_id, 0, "boot_a", alive)


OPEN_TAMPERING = [
    "DELETE FROM open_decision",
    "UPDATE open_decision SET event_id = 'dec_other'",
    "UPDATE open_decision SET log_id = 2",
    "UPDATE open_decision SET boot = 'boot_b'",
    "UPDATE open_decision SET agent = NULL",
    "UPDATE open_decision SET reservation = '{\"tokens\":1}'",
]


@pytest.mark.parametrize("query", OPEN_TAMPERING)
def test_tampering_with_an_open_decision(log: Log, make: Make, query: str) -> None:
    writer = log.writer(boot="boot_a")
    writer.write_sync(make.change())
    writer.write_sync(make.decided(reservation=make.at_most(100)))
    log.sign()
    log.tamper(query)
    report = log.verify(live_boots={"boot_a", "boot_b"})
    assert report.exit_code == 1
    assert ("default", 1) in found(report)


def test_without_a_log_nothing_is_verified(log: Log) -> None:
    with pytest.raises(AuditError, match="holds no log") as caught:
        log.verify()
    assert caught.value.code == "audit_missing"


def test_a_database_whose_logs_were_dropped_is_not_valid(copy: Copy, original: Original) -> None:
    for table in ("private", "entry", "tile", "checkpoint", "log", "balance"):
        copy.tamper(f"DELETE FROM {table}")
    copy.tamper("UPDATE balanced SET entry_id = 0")
    with pytest.raises(AuditError, match="holds no log"):
        copy.verify()
    report = copy.verify(known=signer.load_state(original.data).values())
    assert (report.exit_code, found(report)) == (1, {("default", 0), ("acme", 0), ("system", 0)})


# -- private rows ------------------------------------------------------------------------------------------------------


def erase(log: Log, decisions: list[str], count: int | None = None) -> None:
    """The entry that erasing private rows leaves in the log: nothing in the gateway does so yet."""
    erasure = {
        "v": 1,
        "id": "ers_" + uuid7(),
        "kind": "erasure",
        "time": entries.PLACEHOLDER_TIME,
        "org": "default",
        "boot": "boot_one",
        "actor": "local:0",
        "epoch": 0,
        "decisions_json": entries.document(decisions),
        "count": len(decisions) if count is None else count,
    }
    with storage.exclusive(log.data) as db:
        transaction = Transaction(db, "test", time.time_ns)
        tree = transaction._log("default")
        assert transaction._append(tree, erasure, {}, transaction._time(tree)) is not None
        transaction.finish()


def test_a_private_row_may_go_only_with_an_erasure(log: Log, make: Make) -> None:
    writer = log.writer()
    decisions = [make.decided(allow=False, open=False) for _ in range(3)]
    for each in decisions:
        writer.write_sync(each)
    log.tamper("DELETE FROM private WHERE entry_id <> 2")
    assert found(log.verify()) == {("default", 0), ("default", 2)}
    erase(log, [decisions[0].event_id])
    assert found(log.verify()) == {("default", 2)}
    erase(log, [decisions[2].event_id])
    log.sign()
    report = log.verify()
    assert (report.status, report.private_rows) == ("valid", 1)


def test_an_erasure_says_what_it_erased(log: Log, make: Make) -> None:
    log.writer().write_sync(make.change())
    erase(log, ["dec_1"], count=2)
    assert found(log.verify()) == {("default", 1)}


# -- values of another type, which only a changed file can hold --------------------------------------------------------

RETYPED = [
    ("entry", "leaf", "TEXT", f"log_id = {DEFAULT} AND seq = 130", 130),
    ("entry", "event_id", "BLOB", f"log_id = {DEFAULT} AND seq = 130", 130),
    ("entry", "time_ns", "TEXT", f"log_id = {DEFAULT} AND seq = 130", 130),
    ("entry", "agent", "BLOB", f"log_id = {DEFAULT} AND seq = {SIZE - 2}", SIZE - 2),
    ("entry", "seq", "BLOB", f"log_id = {DEFAULT} AND seq = 130", 130),
    ("private", "salt", "TEXT", "entry_id = (SELECT max(entry_id) FROM private)", SIZE - 2),
    ("private", "input", "TEXT", "entry_id = (SELECT max(entry_id) FROM private)", SIZE - 2),
    ("tile", "hashes", "TEXT", f"log_id = {DEFAULT} AND level = 0 AND number = 1", 256),
    ("checkpoint", "note", "TEXT", f"log_id = {DEFAULT} AND size = 100", 99),
    ("checkpoint", "size", "TEXT", f"log_id = {DEFAULT} AND size = 100", None),
    ("log", "frontier", "TEXT", f"id = {DEFAULT}", None),
    ("log", "size", "TEXT", f"id = {DEFAULT}", None),
]


@pytest.mark.parametrize(("table", "column", "kind", "where", "index"), RETYPED)
def test_a_value_of_another_type_is_named(
    copy: Copy, table: str, column: str, kind: str, where: str, index: int | None
) -> None:
    """Everything else is verified all the same."""
    db = sqlite3.connect(copy.path, isolation_level=None)
    (strict,) = db.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    db.execute("PRAGMA writable_schema = ON")
    # Without a type the column keeps what it is given.
    loose = re.sub(rf"\b{column} (TEXT|INTEGER|BLOB)", column, strict).replace("STRICT, WITHOUT", "WITHOUT")
    db.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (loose.replace(") STRICT", ")"), table))
    db.close()
    copy.tamper(f"UPDATE {table} SET {column} = CAST({column} AS {kind}) WHERE {where}")
    db = sqlite3.connect(copy.path, isolation_level=None)
    db.execute("PRAGMA writable_schema = ON")
    db.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (strict, table))
    db.close()
    report = copy.verify()
    assert report.exit_code == 1
    assert ("default", index) in found(report), report.findings
    if table != "log":
        assert (report.entries, len(report.logs)) == (SIZE + 13, 3)


def test_a_copy_on_a_read_only_disk_is_verified(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that SQLite's readers share cannot be made here; unless there is one with entries in it.

    Root can write everywhere, so that the disk is read-only is played here.
    """
    ways: list[bool] = []
    open_as, check_version = storage._open, storage.check_version

    def opening(path: Path, mode: str, *, immutable: bool = False) -> sqlite3.Connection:
        ways.append(immutable)
        return open_as(path, mode, immutable=immutable)

    def checking(db: sqlite3.Connection, path: Path, schemas: Container[int]) -> None:
        if not ways[-1]:
            raise sqlite3.OperationalError("unable to open database file")
        check_version(db, path, schemas)

    monkeypatch.setattr(storage, "_open", opening)
    monkeypatch.setattr(storage, "check_version", checking)
    assert copy.verify().status == "valid"
    copy.path.with_name("audit.db-wal").write_bytes(b"entries")
    with pytest.raises(AuditError, match=r"together with `audit\.db-wal`"):
        copy.verify()


def test_verifying_beside_a_writer(log: Log, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log grows and is signed between any two transactions of the verification, and a new log is begun."""
    monkeypatch.setattr(verify, "STEP", 50)
    writer = log.writer()
    for _ in range(600):
        waiting = writer.submit(make.change())
    waiting.result(20)
    log.sign()
    decision = make.decided()
    turns = 0

    def go_on(done: int, total: int) -> None:
        nonlocal turns
        turns += 1
        if turns == 2:
            writer.write_sync(decision)
            writer.write_sync(make.change(organization="acme"))
        if turns == 4:
            writer.write_sync(make.completed(decision))
        if turns < 12:
            writer.write_sync(make.change())
            log.sign()  # at a size that the verification has not reached, and later one that it has passed

    report = log.verify(progress=go_on, known=signer.load_state(log.data).values())
    assert report.findings == []
    assert {each.organization for each in report.logs} == {"default", "system", "acme"}
    assert report.status in ("valid", "incomplete")
    assert report.entries > 620
    assert log.verify().status == "valid"


def test_a_log_that_grows_faster_than_it_is_read_is_verified_nevertheless(
    log: Log, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "STEP", 20)
    writer = log.writer()
    writer.write_sync(make.change())

    def grow(done: int, total: int) -> None:
        waiting = [writer.submit(make.change()) for _ in range(30)]
        waiting[-1].result(10)

    assert log.verify(progress=grow).findings == []


def test_a_long_verification_lets_the_write_ahead_log_be_reused(
    log: Log, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite cannot begin it anew while somebody reads an old state; it would grow with everything that is written."""
    monkeypatch.setattr(verify, "STEP", 100)
    writer = log.writer()
    for _ in range(1500):
        waiting = writer.submit(make.change())
    waiting.result(20)
    written = 0

    def write(done: int, total: int) -> None:
        nonlocal written
        if written < 24_000_000:
            last = [writer.submit(make.change(fields={"text": "x" * 4000})) for _ in range(400)][-1]
            last.result(10)
            written += 400 * 4000

    assert log.verify(progress=write).findings == []
    assert written >= 24_000_000
    assert write_ahead_log(log.data.audit_db).stat().st_size < written / 2
