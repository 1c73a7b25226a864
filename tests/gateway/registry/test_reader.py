"""The worker's view of the registry: what it costs, and what it says when it cannot be read.

The values that are read are tested where they matter: principals in `identity/`, activations and upstreams in
`test_changes.py`.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from gateway.errors import Denied
from gateway.registry import credential_rows
from gateway.registry import reader as module
from gateway.registry.port import Epochs
from gateway.registry.reader import RegistryReader
from gateway.storage.opened_file import write_ahead_log
from tests.gateway.conftest import Home, at_once


def test_a_credential_is_found_without_scanning(home: Home) -> None:
    """The cost of a request must not grow with the number of agents, keys and bindings."""
    plans: list[list[str]] = []
    with home.registry.read() as session:
        above = {"organization": "x", "team": "y"}
        for statement, values in ((credential_rows.CREDENTIAL, ("x",)), (credential_rows.SHARED, above)):
            rows = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            plans.append([row[3] for row in rows])
    own, shared = ([step for step in plan if step.startswith("SCAN")] for plan in plans)
    assert (own, shared) == (["SCAN epoch"], ["SCAN epoch", *["SCAN 2-ROW VALUES CLAUSE"] * 2])
    # Key, agent, its bindings, its limits. Organization, bindings, limits, team, a stop of all, one of the
    # organization, an old key adopted.
    assert [sum(step.startswith("SEARCH") for step in plan) for plan in plans] == [4, 7]


def test_pinned_revisions_are_found_without_looking_at_all_bindings(home: Home) -> None:
    """Every worker asks for them several times a second, and waits meanwhile."""
    with home.registry.read() as session:
        plan = [row[3] for row in session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {module._PINNED}")]
    assert plan[0] == "SCAN g USING INDEX binding_pinned"


def test_the_epochs_are_one_statement(home: Home) -> None:
    """Every request asks for them twice: no transaction around them, no statement for each part."""
    reader = RegistryReader(home.data.registry_db)
    statements: list[str] = []
    reader._epochs.set_trace_callback(statements.append)
    at_once(reader.epochs())
    assert statements == [module._EPOCHS]
    reader.close()


LOOPS = pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


@LOOPS
def test_one_read_serves_a_turn_of_the_loop(home: Home, make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    reader = RegistryReader(home.data.registry_db)
    statements: list[str] = []
    reader._epochs.set_trace_callback(statements.append)

    async def request() -> None:
        await reader.epochs()
        await reader.epochs()

    async def turns() -> None:
        await asyncio.gather(*(request() for _ in range(10)))
        assert len(statements) == 1
        await asyncio.sleep(0)
        await request()
        assert len(statements) == 2

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(turns())
    reader.close()


@LOOPS
def test_a_request_that_arrives_after_a_change_sees_it(
    home: Home, make_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """The change and the request both come in the turn that has read the epochs before."""
    reader = RegistryReader(home.data.registry_db)

    async def changed() -> None:
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        answers: asyncio.Queue[asyncio.Task[Epochs]] = asyncio.Queue()

        def arrived() -> None:
            here.recv(1)
            answers.put_nowait(loop.create_task(reader.epochs()))

        loop.add_reader(here, arrived)
        for way in ("received", "queued"):
            before = await reader.epochs()
            home.agent(f"agent-{way}")
            assert await reader.epochs() == before  # still the same turn
            if way == "received":
                there.send(b"x")
            else:
                loop.call_soon_threadsafe(lambda: answers.put_nowait(loop.create_task(reader.epochs())))
            assert (await (await answers.get())).authority > before.authority
        loop.remove_reader(here)
        here.close()
        there.close()

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(changed())
    reader.close()


def test_a_closed_registry_denies(home: Home) -> None:
    reader = RegistryReader(home.data.registry_db)
    reader.close()
    for read in (reader.epochs, reader.active_bundles, reader.upstreams, reader.deployment):
        with pytest.raises(Denied) as caught:
            at_once(read())
        assert caught.value.code == "registry_unavailable"


def test_a_registry_that_was_replaced_denies(home: Home, tmp_path: Path) -> None:
    """A backup that is restored beside a running gateway is another file from then on."""
    path = home.data.registry_db
    reader = RegistryReader(path)
    away = tmp_path / "away.db"
    path.rename(away)
    for replaced in (False, True):
        if replaced:
            shutil.copyfile(away, path)
        for read in (reader.epochs, reader.active_bundles):
            with pytest.raises(Denied, match="registry_unavailable") as caught:
                at_once(read())
            assert "restart the gateway" in caught.value.detail
    away.replace(path)
    assert at_once(reader.epochs()).value >= 1  # the same file is back
    reader.close()


def test_a_registry_without_its_write_ahead_log_denies(home: Home) -> None:
    """Somebody has cleaned up beside a running gateway: what others commit from then on is never seen here."""
    path = home.data.registry_db
    reader = RegistryReader(path)
    home.registry.close()
    reader.close()
    reader = RegistryReader(path)  # SQLite removed it when nobody was connected, and made it again
    assert at_once(reader.epochs()).value >= 1
    write_ahead_log(path).unlink()
    with pytest.raises(Denied, match="registry_unavailable"):
        at_once(reader.epochs())
    reader.close()


def test_the_deployments_name(home: Home) -> None:
    reader = RegistryReader(home.data.registry_db)
    assert at_once(reader.deployment()) == "test"
    reader.close()


def test_a_path_with_odd_characters(home: Home, tmp_path: Path) -> None:
    """The path becomes a URI, in which `?`, `#` and `%` mean something."""
    odd = tmp_path / "a?b#c%20d é"
    home.registry.close()
    home.data.path.rename(odd)
    reader = RegistryReader(odd / "registry.db")
    assert at_once(reader.epochs()).value >= 1
    reader.close()
