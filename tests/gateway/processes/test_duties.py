"""The control process's duties: none of them can end the others, nor keep the gateway from starting or stopping."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.audit import publication
from gateway.audit.errors import unavailable
from gateway.call import Reference
from gateway.data_directory import DataDirectory
from gateway.policy.rollout import child
from gateway.policy.rollout.source import GitSource
from gateway.processes import duties as module
from gateway.processes import status
from gateway.processes.duties import Duties
from gateway.registry import outbox, queries
from gateway.runtime.handover import Handover
from gateway.runtime.references import References
from gateway.runtime.store import RuntimeStore
from gateway.settings import load_settings
from tests.gateway.dataplane.processes import write_policy


@pytest.fixture
def duties(data: DataDirectory) -> Iterator[Duties]:
    flags = {"data": data.path, "policies_poll": 0.1, "checkpoint_seconds": 0.1}
    made = Duties(load_settings(flags, env={}), "boot_test")
    made.begin()
    yield made
    made.close()


def running(duties: Duties, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test beside the duties, and stop them."""

    async def main() -> None:
        stop = asyncio.Event()
        work = asyncio.create_task(duties.run(stop))
        async with asyncio.timeout(240):
            await test()
            stop.set()
            await work

    asyncio.run(main())


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("a defect")])
def test_a_duty_that_fails_is_done_again(duties: Duties, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """It goes on after any failure: otherwise no new policy would ever come into force, and nobody would be told."""
    healthy: list[bool] = []
    enough = threading.Event()

    def fail() -> None:
        healthy.append(duties.healthy())
        if len(healthy) == 4:
            enough.set()
        if len(healthy) < 3:
            raise error

    monkeypatch.setattr(duties, "_follow", fail)

    async def test() -> None:
        assert await asyncio.to_thread(enough.wait, 200)

    running(duties, test)
    assert healthy[:4] == [True, False, False, True]


def test_policies_that_take_long_keep_nothing_from_starting_or_stopping(
    duties: Duties, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.2)
    followed: list[bool] = []
    monkeypatch.setattr(duties, "_follow", lambda: followed.append(duties._policies._stopped.wait(600)))

    async def test() -> None:
        state = await duties.state()
        assert (state["bundles"], len(state["policies"])) == (1, 1), "it is said that the newest commit is not checked"
        assert followed == []

    running(duties, test)
    assert followed == [True]


def test_a_start_waits_for_the_policies(duties: Duties, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that was made while the gateway was down is in force when the first request comes."""
    looked = threading.Event()

    def look() -> None:
        time.sleep(0.1)
        looked.set()

    monkeypatch.setattr(duties, "_follow", look)

    async def test() -> None:
        await duties.state()
        assert looked.is_set()

    running(duties, test)


def test_a_start_waits_for_a_commit_whose_check_was_killed(duties: Duties, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first requests were answered by the policies of the commit before it."""
    wait, killed = child._await, []

    def kill_the_first(started: subprocess.Popen[bytes], *more: Any) -> tuple[bytes, bytes]:
        if not killed:
            killed.append(started.pid)
            started.kill()
        return wait(started, *more)

    monkeypatch.setattr(child, "_await", kill_the_first)
    repository = duties._settings.repository
    write_policy(repository, "package bot.authz\n\ndefault allow := false\n")

    async def test() -> None:
        assert (await duties.state())["policies"] == []
        active = queries.activation(duties._registry)
        assert active is not None
        assert active.commit == GitSource(repository).head().commit

    running(duties, test)
    assert len(killed) == 1


def test_refusals_of_everything_are_looked_for(duties: Duties, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.outages.Outages, "SECONDS", 0.05)
    looked = threading.Event()
    monkeypatch.setattr(duties, "_look_for_outages", looked.set)

    async def test() -> None:
        assert await asyncio.to_thread(looked.wait, 200)

    running(duties, test)


def test_an_outbox_that_cannot_be_published_is_no_reason_not_to_serve(
    duties: Duties, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise unavailable("it is full")

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "drain", fail)
        duties.begin()
        assert not duties.healthy()
    duties._try("outbox", duties._publish)
    assert duties.healthy()


def test_rows_of_the_past_are_removed(duties: Duties) -> None:
    """Workers that were killed stayed in the table of workers until the policies changed, and references for ever."""
    path = duties._settings.data.runtime_db
    with closing(RuntimeStore(path)) as store:
        handover, references = Handover(store), References(store)
        handover.join("boot_test")
        handover.join("boot_dead")
        handover.answer("boot_dead", {"digest": ""})
        references.remember("acme", "ups_1", "agt_1", [Reference("item", "item-1"), Reference("item", "item-2")])
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE reference SET created_ns = 1 WHERE id = 'item-1'")
        duties._tidy()
        assert db.execute("SELECT boot FROM policy_worker").fetchall() == [("boot_test",)]
        assert db.execute("SELECT count(*) FROM loaded").fetchone() == (0,)
        assert db.execute("SELECT id FROM reference").fetchall() == [("item-2",)]


def test_what_is_signed_is_published(data: DataDirectory, tmp_path: Path) -> None:
    target = tmp_path / "public"
    settings = load_settings({"data": data.path, "publish_to": target, "publish_organizations": ("system",)}, env={})
    with closing(Duties(settings, "boot_test")) as duties:
        duties.begin()
        assert "publishing the log" in [name for name, _, _ in duties._intervals()]
        duties._publish_log()
        verifier = duties._signer.verifier
        facts = status.look(settings)
        assert (facts.logs.unpublished, facts.logs.published_ns is not None) == ([], True)
        size, _ = publication.size_of(target, f"{verifier.name}/system/audit/1") or (0, 0)
        assert size > 0
        shutil.rmtree(target)
        assert status.look(settings).logs.unpublished == ["system"]
