"""Verifying the whole log from a page: in a process of its own, one at a time, with what it has found."""

from __future__ import annotations

import base64
import json
import sqlite3
import time
from contextlib import closing

import pytest

from gateway.audit import proofs, signer, verification_runs
from gateway.audit.proofs import Proof
from gateway.audit.signer import HeadSigner
from gateway.audit.writer import AuditWriter
from gateway.identifiers import new_id
from tests.gateway.control.dashboard.conftest import Person, Served, text_of
from tests.gateway.control.dashboard.test_forms import HERE, fill
from tests.gateway.control.dashboard.test_pages import DECISIONS, Things, both

__all__ = ["both"]

PAGE = f"{HERE}/log/verification"


def finished(served: Served, person: Person) -> str:
    """The page of the result."""
    deadline = time.monotonic() + 60
    while verification_runs.newest(served.home.data).status == "running":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return text_of(person.page(PAGE))


@pytest.mark.slow
def test_the_log_is_verified_from_a_page_and_a_changed_byte_is_found(served: Served, both: dict[str, Things]) -> None:
    person = served.person()
    assert "No verification was asked for" in person.page(PAGE)
    fill(person, f"{PAGE}/begin")
    page = finished(served, person)
    assert "valid" in page, page
    assert "Nothing was found that is wrong" in page
    assert "/default" in page  # one of the heads
    with closing(sqlite3.connect(served.home.data.audit_db)) as db, db:
        triggers = db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:  # whoever edits the file is not held back by them
            db.execute(f"DROP TRIGGER {name}")
        db.execute("UPDATE entry SET leaf = CAST(replace(leaf, 'gpt-4o', 'gpt-4x') AS BLOB) WHERE kind = 'decided'")
    fill(person, f"{PAGE}/begin")
    page = finished(served, person)
    assert "tampered" in page, page


def test_one_verification_runs_at_a_time_and_a_killed_one_is_told(served: Served, both: dict[str, Things]) -> None:
    data, person = served.home.data, served.person()
    data.cache.mkdir(exist_ok=True)
    run = verification_runs.VerificationRun(status="running", begun_ns=time.time_ns(), done=2000, total=9000)
    verification_runs.write(data, run)
    with verification_runs._locked(data) as lock:
        assert lock is not None
        assert "2,000 of 9,000 entries" in person.page(PAGE)
        verification_runs.begin(data, time.time_ns())  # begins none: that one is under way
        assert verification_runs.newest(data).done == 2000
    assert "stopped before its end" in person.page(PAGE)


def test_a_proof_is_a_file_that_leads_to_the_signed_checkpoint(served: Served, both: dict[str, Things]) -> None:
    person, entry = served.person(), DECISIONS["acme"]
    early = person.page(f"/dashboard/o/acme/log/{entry}/proof")
    assert "signed" in text_of(early)
    data = served.home.data
    with HeadSigner(data) as heads, closing(AuditWriter(data, boot=new_id("boot"), deployment="test")) as writer:
        heads.sign_all(writer)
    made = person.get(f"/dashboard/o/acme/log/{entry}/proof")
    assert made.headers["content-type"] == "application/json", text_of(made.text)
    assert f'filename="proof-{entry}.json"' in made.headers["content-disposition"]
    found = json.loads(made.text)
    proof = Proof(
        organization=found["organization"],
        checkpoint=found["checkpoint"],
        index=found["index"],
        leaf=base64.b64decode(found["leaf"]),
        inclusion=[base64.b64decode(each) for each in found["inclusion"]],
        consistency=[],
    )
    proven = proofs.check(proof, signer.load_verifier(signer.public_key_path(data)), entry, None)
    assert proven.entry is not None
    assert proven.entry["id"] == entry
