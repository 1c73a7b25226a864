"""The last answers of upstreams: failures of theirs, and the newest of all workers wins."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from gateway.dataplane.contacts import Contacts
from gateway.runtime.contacts import open_breakers, read
from gateway.runtime.store import RuntimeStore
from gateway.upstream.providers.rejections import Why


@pytest.mark.parametrize(
    ("outcome", "status", "detail", "rejected", "error"),
    [
        ("ok", 200, "", None, ""),
        ("provider_error", 400, "", None, ""),  # the agent's mistake: the upstream did its part
        ("provider_error", 404, "", None, ""),
        ("provider_error", 401, "the credential was refused", None, "the credential was refused"),
        ("provider_error", 403, "", None, "it answered with status 403"),
        ("provider_error", 403, "flagged", Why.INPUT, ""),
        ("provider_error", 403, "no access", Why.MODEL, ""),
        ("provider_error", 429, "", None, "it answered with status 429"),
        ("provider_error", 400, "no credit", Why.CREDIT, "no credit"),
        ("provider_error", 503, "", None, "it answered with status 503"),
        ("upstream_error", None, "cannot connect", None, "cannot connect"),
        ("upstream_timeout", None, "", None, "it did not answer in time"),
        ("upstream_timeout", None, "x" * 1000, None, "x" * 300),
    ],
)
def test_whose_failure_it_is(
    outcome: str, status: int | None, detail: str, rejected: Why | None, error: str, tmp_path: Path
) -> None:
    contacts = Contacts(RuntimeStore(tmp_path / "runtime.db"), "boot_test")
    contacts.note("ups_1", outcome, status, detail, rejected)
    contacts.close()
    found = read(tmp_path / "runtime.db")["ups_1"]
    assert found.error == error
    assert (found.error_ns > 0, found.success_ns > 0) == (error != "", error == "")


@pytest.mark.parametrize("outcome", ["client_disconnected", "gateway_stopped", "gateway_error"])
def test_what_the_upstream_did_not_end_says_nothing(outcome: str, tmp_path: Path) -> None:
    contacts = Contacts(RuntimeStore(tmp_path / "runtime.db"), "boot_test")
    contacts.note("ups_1", outcome, 200, "")
    contacts.close()
    assert read(tmp_path / "runtime.db") == {}


def test_the_newest_of_all_workers_wins(tmp_path: Path) -> None:
    older, newer = (
        Contacts(RuntimeStore(tmp_path / "runtime.db"), "boot_test"),
        Contacts(RuntimeStore(tmp_path / "runtime.db"), "boot_test"),
    )
    older.note("ups_1", "upstream_error", None, "old")
    newer.note("ups_1", "upstream_error", None, "new")
    newer.note("ups_1", "ok", 200, "")
    newer.close()
    kept = read(tmp_path / "runtime.db")["ups_1"]
    older.close()  # writes what it saw earlier
    assert read(tmp_path / "runtime.db")["ups_1"] == kept
    assert (kept.error, kept.success_ns > kept.error_ns > 0) == ("new", True)


def test_a_file_that_cannot_be_written_is_complained_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    contacts = Contacts(RuntimeStore(tmp_path / "missing" / "runtime.db"), "boot_test")
    for _ in range(3):
        contacts.note("ups_1", "ok", 200, "")
        contacts.close()
    assert [record.message[:37] for record in caplog.records] == ["how upstreams answered cannot be kept"]
    assert read(tmp_path / "missing" / "runtime.db") == {}


def test_an_open_breaker_is_seen_at_every_moment(tmp_path: Path) -> None:
    """It was gone for whoever read between two statements of its worker."""
    contacts = Contacts(RuntimeStore(tmp_path / "runtime.db"), "boot_test")
    contacts.breaker("ups_1", 5, 60.0)
    assert (taken := contacts._take()) is not None
    assert contacts._written(taken)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            assert contacts._written(([], dict(contacts._open)))

    writing = threading.Thread(target=write)
    writing.start()
    try:
        seen = [bool(open_breakers(tmp_path / "runtime.db")) for _ in range(300)]
    finally:
        stop.set()
        writing.join()
    assert all(seen)
