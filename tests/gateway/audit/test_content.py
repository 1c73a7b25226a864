"""Kept content in the log: sealed for one place, written with its entry, found by `verify`, erased with an entry."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit import content, content_erasure, storage
from gateway.audit.content import Sealed, seal, unseal
from gateway.audit.draft import draft
from gateway.audit.errors import AuditError
from gateway.audit.intents import Completed, Decided
from gateway.audit.transaction import Transaction
from gateway.identifiers import new_id
from tests.gateway.audit.conftest import Log, decided

KEY = bytes(range(32))
PLACES = st.fixed_dictionaries(
    {
        "organization": st.sampled_from(["default", "acme"]),
        "agent": st.sampled_from(["agt_one", "agt_two"]),
        "decision": st.sampled_from(["dec_1", "dec_2"]),
        "part": st.sampled_from(["request", "answer"]),
    }
)


def kept(text: bytes = b'{"messages":[]}', days: int = 30, decision: str = "dec_1") -> Sealed:
    place = {"organization": "default", "agent": "agt_one", "decision": decision, "part": "request"}
    return Sealed(agent="agt_one", data=seal(KEY, text, **place), days=days)


def call(log: Log, days: int = 30) -> Decided:
    """A call of which both parts are kept."""
    opened = decided(content=kept(days=days))
    writer = log.writer()
    writer.write_sync(opened)
    writer.write_sync(
        Completed(
            organization="default", decision_id=opened.event_id, agent="agt_one", outcome="ok", content=kept(days=days)
        )
    )
    return opened


@given(st.binary(max_size=2000), PLACES, PLACES)
def test_content_opens_in_its_place_only(text: bytes, place: dict[str, str], other: dict[str, str]) -> None:
    sealed = seal(KEY, text, **place)
    assert unseal(KEY, sealed, **place) == text
    if other != place:
        with pytest.raises(AuditError, match="belongs to another entry"):
            unseal(KEY, sealed, **other)


@given(st.binary(min_size=1, max_size=200), st.data())
def test_no_changed_byte_opens(text: bytes, data: st.DataObject) -> None:
    place = {"organization": "default", "agent": "agt_one", "decision": "dec_1", "part": "answer"}
    sealed = bytearray(seal(KEY, text, **place))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(AuditError):
        unseal(KEY, bytes(sealed), **place)


@pytest.mark.parametrize("key", [None, bytes(32)])
def test_without_its_key_content_is_gone(key: bytes | None) -> None:
    place = {"organization": "default", "agent": "agt_one", "decision": "dec_1", "part": "answer"}
    with pytest.raises(AuditError, match="its key was destroyed"):
        unseal(key, seal(KEY, b"text", **place), **place)


def test_a_kept_call_is_verified_and_its_leaves_have_commitments_only(log: Log) -> None:
    opened = call(log)
    log.sign()
    assert log.verify().status == "valid"
    with closing(storage.connect_read_only(log.data.audit_db)) as db:
        assert [part for part, _ in content.rows(db, opened.event_id)] == ["request", "answer"]
    first, end = log.entries()[:2]
    for entry in (first, end):
        assert int(entry["content_expires_ns"]) == int(entry["time"]) + 30 * content.DAY_NS
        assert len(entry["content_commitment"]) == 64


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("UPDATE content SET sealed = x'00' WHERE entry_id = 1", "its content was changed"),
        ("UPDATE content SET salt = zeroblob(32) WHERE entry_id = 1", "its content was changed"),
        ("UPDATE content SET expires_ns = 1 WHERE entry_id = 2", "the columns beside its content"),
        ("UPDATE content SET agent = 'agt_two' WHERE entry_id = 1", "the columns beside its content"),
        ("DELETE FROM content WHERE entry_id = 2", "its content is missing, and no erasure says so"),
        ("UPDATE content SET entry_id = 77 WHERE entry_id = 2", "content belongs to no entry (row 77)"),
    ],
)
def test_what_was_done_to_content_is_found(log: Log, change: str, found: str) -> None:
    call(log)
    log.tamper(change)
    assert any(found in each.message for each in log.verify().findings)


def test_expired_content_is_erased_with_an_entry(log: Log) -> None:
    young, old = call(log, days=30), call(log, days=1)
    writer = log.writer()
    now_ns = int(log.entries()[-1]["time"]) + 2 * content.DAY_NS
    assert content_erasure.expired(writer, now_ns) == 1
    assert content_erasure.expired(writer, now_ns) == 0
    last = log.entries()[-1]
    assert (last["kind"], last["what"], last["why"], last["count"]) == ("erasure", "content", "expired", 1)
    assert last["decisions_json"] == f'["{old.event_id}"]'
    assert {each for (each,) in log.rows("SELECT decision FROM content")} == {young.event_id}
    log.sign()
    assert log.verify().status == "valid"


def test_content_of_a_former_log_of_an_organization_is_erased_once(log: Log) -> None:
    """Its log was begun anew: what is kept of the calls before is found under the organization, and must end there."""
    old = call(log, days=1)
    now_ns = int(log.entries()[-1]["time"]) + 2 * content.DAY_NS
    log.tamper(
        "INSERT INTO log (organization, epoch, origin, size, frontier, time_ns) "
        "VALUES ('default', 2, 'test/default/audit/2', 0, x'', 0)"
    )
    assert content_erasure.expired(log.writer(), now_ns) == 1
    assert log.rows("SELECT count(*) FROM content") == [(0,)]
    erasures = [each for each in log.entries() if each["kind"] == "erasure"]
    assert [each["decisions_json"] for each in erasures] == [f'["{old.event_id}"]']
    assert [each.message for each in log.verify().findings if "content" in each.message] == []


def test_all_content_of_an_agent_is_erased(log: Log) -> None:
    for _ in range(3):
        call(log)
    assert content_erasure.of_agent(log.writer(), "agt_two", "local:0") == 0
    assert content_erasure.of_agent(log.writer(), "agt_one", "local:0") == 3
    assert log.rows("SELECT count(*) FROM content") == [(0,)]
    assert log.entries()[-1]["actor"] == "local:0"
    log.sign()
    assert log.verify().status == "valid"


def test_entry_and_content_are_there_together_or_not_at_all(log: Log) -> None:
    """Stop at every step of the transaction: what is left has both or neither."""
    item = draft(decided(content=kept()), new_id("boot"))
    steps = 0
    while True:
        with closing(storage.connect(log.data.audit_db)) as db:
            allowed = [steps]

            def stop(allowed: list[int] = allowed) -> int:
                allowed[0] -= 1
                return allowed[0] < 0

            db.execute("BEGIN IMMEDIATE")
            db.set_progress_handler(stop, 20)
            try:
                transaction = Transaction(db, "test", lambda: 1_800_000_000_000_000_000)
                transaction.record(item)
                transaction.finish()
                db.set_progress_handler(None, 0)
                db.execute("COMMIT")
                break
            except sqlite3.OperationalError:
                pass  # as if the process had died: the connection is closed without a commit
        assert log.rows("SELECT (SELECT count(*) FROM entry), (SELECT count(*) FROM content)") == [(0, 0)]
        steps += 1
    assert steps > 3
    assert log.rows("SELECT (SELECT count(*) FROM entry), (SELECT count(*) FROM content)") == [(1, 1)]


def test_a_second_attempt_keeps_the_first_ones_content(log: Log) -> None:
    writer = log.writer()
    opened = decided(content=kept(b"one"))
    writer.write_sync(opened)
    again = decided(event_id=opened.event_id, content=kept(b"two"))
    writer.write_sync(again)
    assert log.rows("SELECT sealed FROM content") == [(opened.content and opened.content.data,)]


def test_sealed_content_does_not_show_itself() -> None:
    assert "sealed" not in repr(Sealed(agent="agt_one", data=b"sealed", days=1, salt=os.urandom(32)))
