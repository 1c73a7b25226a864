"""Copies of a data directory: whole or absent, and a gateway goes on from one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.processes import backup
from tests.gateway.dataplane.processes import Live
from tests.rigs.processes.reload import Clients


def test_what_exists_is_not_overwritten(data: DataDirectory, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    with pytest.raises(GatewayError, match="exists already"):
        backup.copy(data, tmp_path / "copy")
    assert list((tmp_path / "copy").iterdir()) == []


def test_a_copy_is_not_inside_of_what_is_copied(data: DataDirectory) -> None:
    with pytest.raises(GatewayError, match="is inside of what is copied"):
        backup.copy(data, data.policies / "copies" / "monday")
    assert not (data.policies / "copies").exists()


def test_a_copy_with_other_keys_than_its_registry_is_none(
    data: DataDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`gateway vault rotate` replaces the key under which the secrets of the copied registry are."""
    real = backup._copy_repository

    def rotate_first(*arguments: Any) -> None:
        (data.keys / "kek").write_bytes(os.urandom(32))
        real(*arguments)

    monkeypatch.setattr(backup, "_copy_repository", rotate_first)
    with pytest.raises(GatewayError, match="keys were replaced meanwhile") as raised:
        backup.copy(data, tmp_path / "copy")
    assert raised.value.hint == "try again"
    assert [each.name for each in tmp_path.iterdir()] == ["data"]


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    found = Live(tmp_path)
    try:
        yield found
    finally:
        found.close()


@pytest.mark.slow
def test_a_gateway_goes_on_from_a_copy_that_was_made_while_it_ran(live: Live) -> None:
    live.start("--workers", "2")
    clients = [Clients(live, keep=True) for _ in range(3)]
    for each in clients:
        each.start()
    try:
        for number in range(4):
            live.run("agents", "register", f"late-{number}")
            live.run("backup", f"copy-{number}")
    finally:
        for each in clients:
            each.stopped.set()
            each.join()
    assert [failure for each in clients for failure in each.failures] == []
    assert min(each.done for each in clients) > 10
    live.stop()

    for number in range(4):
        live.run("audit", "verify", "--data", f"copy-{number}", code=3)  # the newest entries were not signed yet
    (live.directory / "copy-3" / "bundles").rename(live.directory / "elsewhere")
    live.run("audit", "verify", "--reexecute", "--data", "copy-3", code=2)  # no decision can be judged without them
    listed = live.run("agents", "list", "--data", "copy-2", "--json")
    assert ("late-2" in listed, "late-3" in listed) == (True, False)
    copy = live.directory / "copy-2"
    assert [oct(each.stat().st_mode & 0o77) for each in (copy, copy / "audit.db", copy / "keys" / "kek")] == ["0o0"] * 3

    live.data = copy
    live.start("--data", "copy-2")
    asking = Clients(live, keep=True)
    asking.start()
    while asking.done < 3 and not asking.failures:
        time.sleep(0.05)
    asking.stopped.set()
    asking.join()
    assert asking.failures == []
    live.stop()
    live.run("audit", "verify", "--data", "copy-2", "--reexecute")
