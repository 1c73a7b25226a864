"""Proofs about a log, checked without it: every entry, every older tree, and nothing that was changed on the way."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.audit import lookup, note, proofs, storage
from gateway.audit.errors import AuditError
from gateway.audit.proofs import Proof
from gateway.cli import main
from tests.gateway.conftest import Done

if TYPE_CHECKING:
    from tests.gateway.audit.conftest import Log, Make

SIZES = (1, 2, 3, 7, 8, 300)
"""Those of the trees that are signed one after the other; the last has more than one tile."""


@pytest.fixture
def kept(log: Log, make: Make) -> dict[int, str]:
    """The checkpoints of a log that grew, by their sizes."""
    found = {}
    for size in SIZES:
        writer = log.writer()
        intents = [make.change() for _ in range(size - max([0, *found]))]
        writer.write_all_sync(intents)
        writer.close()
        log.sign()
        with closing(storage.connect_read_only(log.data.audit_db)) as db:
            found[size] = lookup.checkpoint(db, "default")
    return found


@pytest.fixture
def gateway(log: Log, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Runs `gateway audit prove …` on the log, in this process."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # `main` replaces it
    monkeypatch.setenv("AIG_DATA", str(log.data.path))

    def run(*arguments: str) -> Done:
        code = main(["audit", "prove", *arguments])
        shown = capsys.readouterr()
        return Done(code, shown.out, shown.err)

    return run


def made(log: Log, event_id: str | None = None, since: int | None = None) -> Proof:
    with closing(storage.connect_read_only(log.data.audit_db)) as db:
        return proofs.make(db, "default", event_id, since)


def test_every_entry_and_every_older_tree_is_proven(log: Log, kept: dict[int, str]) -> None:
    entries = log.entries()
    for index in (0, 1, 2, 6, 7, 8, 150, 255, 256, 299):
        asked = entries[index]["id"]
        found = proofs.check(made(log, asked), log.verifier, asked, None)
        assert (found.index, found.entry, found.signed.size) == (index, entries[index], 300)
    for size, text in kept.items():
        assert proofs.of_which_log(text) == ("default", size)
        assert proofs.check(made(log, since=size), log.verifier, None, text).signed.size == 300


def refused(proof: Proof, log: Log, event_id: str | None, known: str | None, **other: Any) -> str:
    with pytest.raises(AuditError) as caught:
        proofs.check(proof, other.get("verifier", log.verifier), event_id, known)
    assert caught.value.code in ("bad_proof", "bad_entry", "bad_key"), caught.value
    return caught.value.message


def test_what_was_changed_on_the_way_proves_nothing(log: Log, kept: dict[int, str]) -> None:
    one, two = log.entries()[5]["id"], log.entries()[6]["id"]
    proof, grown = made(log, one), made(log, since=7)
    assert proof.leaf is not None
    flipped = [bytes(32), *proof.inclusion[1:]]
    for other in (
        {"index": 6},
        {"index": None},
        {"leaf": None},
        {"leaf": proof.leaf.replace(b"default", b"defaulT")},
        {"leaf": b"{}"},
        {"inclusion": flipped},
        {"inclusion": proof.inclusion[1:]},
        {"inclusion": [*proof.inclusion, bytes(32)]},
        {"inclusion": [b"short", *proof.inclusion[1:]]},
        {"organization": "acme"},
        {"checkpoint": kept[8]},
        {"checkpoint": proof.checkpoint.replace("300", "301")},
        {"checkpoint": "nothing"},
    ):
        refused(dataclasses.replace(proof, **other), log, one, None)
    assert "of another entry" in refused(proof, log, two, None)
    stranger = note.NoteSigner.generate("test").verifier
    refused(proof, log, one, None, verifier=stranger)
    for changed in ([], grown.consistency[1:], [bytes(32), *grown.consistency[1:]], made(log, since=3).consistency):
        refused(dataclasses.replace(grown, consistency=changed), log, None, kept[7])
    refused(grown, log, None, kept[8])


def test_a_log_that_was_cut_or_is_an_older_copy_is_found(log: Log, kept: dict[int, str], make: Make) -> None:
    log.tamper("DELETE FROM checkpoint WHERE size > 7")
    assert "the log has lost entries: 300 were signed, the newest checkpoint has 7" in refused(
        made(log, since=300), log, None, kept[300]
    )


def test_an_entry_that_is_not_signed_yet(log: Log, kept: dict[int, str], make: Make) -> None:
    done = log.writer().write_sync(make.change())
    with pytest.raises(AuditError, match="not_signed"):
        made(log, done.event_id)


def test_the_command(log: Log, kept: dict[int, str], make: Make, gateway: Callable[..., Done], tmp_path: Path) -> None:
    asked = log.entries()[5]["id"]
    old = tmp_path / "old.checkpoint"
    old.write_text(kept[3])
    done = gateway(asked, "--known-checkpoint", str(old))
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        f"✓ entry {asked} is number 5 of test/default/audit/1, signed to 300",
        f"✓ test/default/audit/1, signed to 300, begins with {old}",
        f"  checked with the key {log.verifier}",
    ]
    document = gateway(asked, "--json").json
    assert (document["entry"]["index"], document["entry"]["entry"]["id"]) == (5, asked)
    old.write_text(kept[3].replace("\n3\n", "\n2\n"))
    assert gateway("--known-checkpoint", str(old)).code == 1
    assert gateway(asked, "--public-key", str(note.NoteSigner.generate("test").verifier)).code == 1
    assert gateway().code == 2
    assert gateway("dec_nothing").code == 2
    assert gateway(log.writer().write_sync(make.change()).event_id).code == 3


def test_a_proof_in_the_form_that_others_read(log: Log, kept: dict[int, str], gateway: Any, tmp_path: Path) -> None:
    """Read by the rules of C2SP's tlog-proof, RFC 6962 and nothing of ours."""
    asked = log.entries()[150]["id"]
    assert gateway(asked, "--out", str(tmp_path / "one")).code == 0
    leaf = (tmp_path / "one.entry").read_bytes()
    head, _, note = (tmp_path / "one.tlog-proof").read_text().partition("\n\n")
    version, index, *hashes = head.split("\n")
    assert (version, index, note) == ("c2sp.org/tlog-proof@v1", "index 150", kept[300])
    at, last, found = 150, 299, hashlib.sha256(b"\0" + leaf).digest()
    for each in map(base64.b64decode, hashes):  # RFC 9162, section 2.1.3.2
        if at % 2 or at == last:
            found = hashlib.sha256(b"\1" + each + found).digest()
            while not at % 2 and at:
                at, last = at // 2, last // 2
        else:
            found = hashlib.sha256(b"\1" + found + each).digest()
        at, last = at // 2, last // 2
    assert base64.b64encode(found).decode() == note.split("\n")[2]
    assert gateway("--out", str(tmp_path / "none"), "--known-checkpoint", str(tmp_path / "one.entry")).code == 2
