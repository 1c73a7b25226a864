"""Logs that are published to a directory, read by a reader that was written from C2SP's texts and has none of our code.

`Reader` knows signed-note, tlog-checkpoint, tlog-tiles and RFC 6962, section 2.1, and takes files and one public key.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.audit import proofs, publication, storage
from gateway.audit.errors import AuditError
from gateway.cli import main
from tests.gateway.conftest import Done

if TYPE_CHECKING:
    from tests.gateway.audit.conftest import Log, Make


def tree(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, of the leaves' hashes."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + tree(leaves[:half]) + tree(leaves[half:])).digest()


class Reader:
    """A log as somebody sees it who has its directory and its key."""

    def __init__(self, directory: Path, key: str) -> None:
        self.directory = directory
        self.name, identifier, encoded = key.split("+", 2)
        raw = base64.b64decode(encoded)
        assert raw[0] == 1
        assert hashlib.sha256(self.name.encode() + b"\n" + raw).hexdigest()[:8] == identifier
        self.key, self.id = Ed25519PublicKey.from_public_bytes(raw[1:]), bytes.fromhex(identifier)

    def checkpoint(self) -> tuple[int, bytes]:
        text, _, signatures = (self.directory / "checkpoint").read_text("utf-8").partition("\n\n")
        text += "\n"
        checked = 0
        for line in signatures.splitlines():
            _, name, encoded = line.split(" ")
            signature = base64.b64decode(encoded)
            if (name, signature[:4]) == (self.name, self.id):
                self.key.verify(signature[4:], text.encode())
                checked += 1
        assert checked == 1
        origin, size, root = text.splitlines()
        assert origin == self.name
        return int(size), base64.b64decode(root)

    def file(self, level: str, number: int, width: int) -> bytes:
        digits = f"{number:03}"
        while len(digits) % 3:
            digits = "0" + digits
        *first, last = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        path = "/".join([*(f"x{each}" for each in first), last])
        return (self.directory / "tile" / level / (path if width == 256 else f"{path}.p/{width}")).read_bytes()

    def leaves(self, size: int) -> list[bytes]:
        found: list[bytes] = []
        for number in range((size + 255) // 256):
            data = self.file("entries", number, min(256, size - number * 256))
            while data:
                length = int.from_bytes(data[:2], "big")
                found.append(data[2 : 2 + length])
                data = data[2 + length :]
        assert len(found) == size
        return found

    def check(self) -> list[bytes]:
        """All leaves, after the root over them and every tile of every level were computed from them."""
        size, root = self.checkpoint()
        leaves = self.leaves(size)
        hashes = [hashlib.sha256(b"\x00" + each).digest() for each in leaves]
        assert tree(hashes) == root
        level, row = 0, hashes
        while row:
            for number in range((len(row) + 255) // 256):
                wanted = row[number * 256 : number * 256 + 256]
                assert self.file(str(level), number, len(wanted)) == b"".join(wanted)
            row = [tree(row[at : at + 256]) for at in range(0, len(row) // 256 * 256, 256)]
            level += 1
        return leaves


def grow(log: Log, make: type[Make], count: int) -> None:
    writer = log.writer()
    writer.write_all_sync([make.change() for _ in range(count)])
    writer.close()
    log.sign()


def publish(log: Log, target: Path, repair: bool = False) -> list[publication.Published]:
    with closing(storage.connect_read_only(log.data.audit_db)) as db:
        return publication.publish(db, log.verifier, target, [publication.ALL], repair=repair)


def reader(log: Log, target: Path, organization: str = "default") -> Reader:
    origin = f"test/{organization}/audit/1"
    return Reader(target / hashlib.sha256(origin.encode()).hexdigest(), str(log.verifier.named(origin)))


def files(target: Path) -> dict[str, bytes]:
    return {str(each.relative_to(target)): each.read_bytes() for each in target.rglob("*") if each.is_file()}


def test_a_foreign_reader_recomputes_every_tree_that_was_published(log: Log, make: type[Make], tmp_path: Path) -> None:
    target, size = tmp_path / "public", 0
    roots: dict[int, bytes] = {}
    for count in (1, 2, 252, 1, 1, 300, 211):
        grow(log, make, count)
        size += count
        publish(log, target)
        found = reader(log, target)
        leaves = found.check()
        assert [json.loads(each)["id"] for each in leaves] == [each["id"] for each in log.entries()]
        roots[size] = found.checkpoint()[1]
        hashes = [hashlib.sha256(b"\x00" + each).digest() for each in leaves]
        for before, root in roots.items():  # an older tree is the beginning of this one
            assert tree(hashes[:before]) == root
    assert size == 768
    reader(log, target, "system").check()
    assert not list(target.rglob("*.p/255")), "a full tile takes the place of narrower ones"


def test_a_second_run_changes_nothing(log: Log, make: type[Make], tmp_path: Path) -> None:
    grow(log, make, 300)
    publish(log, tmp_path / "public")
    before = files(tmp_path / "public")
    assert {each.before for each in publish(log, tmp_path / "public")} == {300, 1}
    assert files(tmp_path / "public") == before


def test_only_what_is_signed_leaves_and_nothing_that_is_private(log: Log, make: type[Make], tmp_path: Path) -> None:
    writer = log.writer()
    decision = make.decided(private=b'{"agent":{"id":"agt_one"},"secret":"mallory@example.com"}')
    writer.write_all_sync([decision, make.completed(decision)])
    log.sign()
    writer.write_sync(make.change(fields={"name": "not-signed-yet"}))
    publish(log, tmp_path / "public")
    everything = b"".join(files(tmp_path / "public").values())
    [(salt, document)] = log.rows("SELECT salt, input FROM private")
    assert b"mallory@example.com" in document
    assert decision.event_id.encode() in everything
    for absent in (salt, salt.hex().encode(), base64.b64encode(salt), b"mallory@example.com", b"not-signed-yet"):
        assert absent not in everything


def refused(log: Log, target: Path) -> str:
    before = files(target)
    with pytest.raises(AuditError) as raised:
        publish(log, target)
    assert raised.value.code == "publish_refused"
    after = files(target)
    assert {name: data for name, data in after.items() if name in before} == before
    return str(raised.value)


def test_an_older_copy_and_another_history_are_refused(
    new_log: Callable[[], Log], make: type[Make], tmp_path: Path
) -> None:
    log, target = new_log(), tmp_path / "public"
    grow(log, make, 5)
    copy = tmp_path / "old"
    shutil.copytree(log.data.path, copy)
    grow(log, make, 5)
    publish(log, target)
    newest = files(target)
    for name in ("audit.db", "signer-state"):
        shutil.copy(copy / name, log.data.path / name)
    for left in ("audit.db-wal", "audit.db-shm"):
        (log.data.path / left).unlink(missing_ok=True)
    assert "10 entries are signed, the log has only 5" in refused(log, target)
    grow(log, make, 7)
    assert "not the beginning" in refused(log, target)
    assert newest.items() <= files(target).items()
    reader(log, target).check()
    other = new_log()
    grow(other, make, 20)
    assert "not signed by a known key" in refused(other, target)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entry SET leaf = CAST(leaf || ' ' AS BLOB) WHERE seq = 100"
        " AND log_id = (SELECT id FROM log WHERE organization = 'default')",
        "UPDATE tile SET hashes = zeroblob(8192) WHERE level = 0 AND number = 0 AND length(hashes) = 8192",
        "UPDATE tile SET hashes = zeroblob(length(hashes)) WHERE level = 1",
        "UPDATE checkpoint SET note = CAST(replace(CAST(note AS TEXT), char(10) || '300' || char(10),"
        " char(10) || '299' || char(10)) AS BLOB) WHERE size = 300",
    ],
)
def test_what_the_signed_root_does_not_cover_is_refused(
    log: Log, make: type[Make], tmp_path: Path, change: str
) -> None:
    grow(log, make, 300)
    log.tamper(change)
    refused(log, tmp_path / "public")
    assert not (reader(log, tmp_path / "public").directory / "checkpoint").exists()


def test_a_run_that_was_cut_off_anywhere_is_continued(
    log: Log, make: type[Make], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, replace, count = tmp_path / "public", os.replace, 0
    grow(log, make, 200)
    publish(log, target)
    grow(log, make, 100)
    start = tmp_path / "start"
    shutil.copytree(target, start)
    for cut in range(20):
        shutil.rmtree(target)
        shutil.copytree(start, target)
        count = 0

        def dies(source: Path, destination: Path, cut: int = cut) -> None:
            nonlocal count
            count += 1
            if count > cut:
                raise OSError("no power")
            replace(source, destination)

        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", dies)
            with suppress(AuditError):
                publish(log, target)
        size, _ = reader(log, target).checkpoint()
        assert len(reader(log, target).check()) == size
        if count <= cut:
            break
        publish(log, target)
        assert len(reader(log, target).check()) == 300
    assert 3 < count < 20


def test_the_command(
    log: Log, make: type[Make], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # `main` replaces it
    monkeypatch.setenv("AIG_DATA", str(log.data.path))

    def run(*arguments: str) -> Done:
        code = main(["audit", "publish", "--org", "*", "--to", str(tmp_path / "public"), *arguments])
        shown = capsys.readouterr()
        return Done(code, shown.out, shown.err)

    assert "nothing to publish" in run().err
    grow(log, make, 3)
    assert "test/default/audit/1: published to 3, 3 new" in run().out
    [first, *_] = json.loads(run("--json").out)
    assert (first["size"], first["before"]) == (3, 3)
    assert len(Reader(Path(first["directory"]), first["public_key"]).check()) == 3


def test_only_the_logs_that_are_named_are_published(log: Log, make: type[Make], tmp_path: Path) -> None:
    grow(log, make, 3)
    with closing(storage.connect_read_only(log.data.audit_db)) as db:
        done = publication.publish(db, log.verifier, tmp_path / "public", ["system"])
    assert [each.origin for each in done] == ["test/system/audit/1"]
    assert publication.size_of(tmp_path / "public", "test/default/audit/1") is None
    size, _ = publication.size_of(tmp_path / "public", "test/system/audit/1") or (0, 0)
    assert size == 1


def test_a_file_that_was_lost_is_written_again(log: Log, make: type[Make], tmp_path: Path) -> None:
    target = tmp_path / "public"
    grow(log, make, 300)
    publish(log, target)
    whole = files(target)
    for lost in [name for name in whole if name.endswith(".p/44")]:
        (target / lost).unlink()
        publish(log, target)  # at the edge it is seen
        assert files(target) == whole
    directory = reader(log, target).directory
    (directory / "tile/0/000").write_bytes(bytes(8192))
    (directory / "tile/entries/000").unlink()
    publish(log, target)
    assert files(target) != whole, "not every file is looked at each time"
    publish(log, target, repair=True)
    assert files(target) == whole


def test_an_organization_without_a_log_is_named(log: Log, make: type[Make], tmp_path: Path) -> None:
    grow(log, make, 3)
    with closing(storage.connect_read_only(log.data.audit_db)) as db, pytest.raises(AuditError, match="`sytem`"):
        publication.publish(db, log.verifier, tmp_path / "public", ["sytem"])


@pytest.mark.slow
@pytest.mark.skipif("FOREIGN_TLOG_PYTHON" not in os.environ, reason="an interpreter that has aics-tlog is not named")
def test_a_client_of_others_verifies_it(log: Log, make: type[Make], tmp_path: Path) -> None:
    target, script = tmp_path / "public", Path(__file__).with_name("foreign_client.py")
    grow(log, make, 100)
    publish(log, target)
    directory = reader(log, target).directory
    older = shutil.copy(directory / "checkpoint", tmp_path / "older")
    grow(log, make, 500)
    publish(log, target)
    with closing(storage.connect_read_only(log.data.audit_db)) as db:
        proof = proofs.make(db, "default", str(log.entries()[150]["id"]), None)
    (tmp_path / "one.tlog-proof").write_text(proofs.tlog_proof(proof))
    (tmp_path / "one.entry").write_bytes(proof.leaf or b"")
    key = str(log.verifier.named("test/default/audit/1"))
    command = [os.environ["FOREIGN_TLOG_PYTHON"], script, directory, key, older]
    command += [tmp_path / "one.tlog-proof", tmp_path / "one.entry"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "600 entries" in done.stdout
    assert "the proof of the entry holds" in done.stdout
