"""A revision reaches the workers in steps: announced, loaded, answered, and only then in force."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.errors import GatewayError
from gateway.policy import follower as handover_module
from gateway.policy.bundle import publish
from gateway.policy.cache import PolicyCache
from gateway.policy.follower import Follower
from gateway.registry.policies import activations
from gateway.registry.reader import RegistryReader
from gateway.registry.records import BundleRecord
from gateway.runtime.handover import Handover
from gateway.runtime.store import RuntimeStore

if TYPE_CHECKING:
    from tests.gateway.conftest import Home


@pytest.fixture
def handover(tmp_path: Path) -> Iterator[Handover]:
    with closing(RuntimeStore(tmp_path / "runtime.db")) as store:
        yield Handover(store)


@pytest.fixture
def control(home: Home) -> Iterator[Handover]:
    """The part of a control process beside the workers."""
    with closing(RuntimeStore(home.data.runtime_db)) as store:
        yield Handover(store)


def published(home: Home, rules: str = "allow := true") -> str:
    manifest = {"roots": ["b"], "metadata": {"gateway": {"entrypoint": "data.b.authz"}}}
    files = {".manifest": json.dumps(manifest).encode(), "authz.rego": f"package b.authz\n\n{rules}\n".encode()}
    return publish(home.data.bundles, files)


def activate(home: Home, digest: str, commit: str) -> None:
    record = BundleRecord(name="b", commit=commit, digest=digest, author="x", entrypoint="data.b.authz")
    activations.activate(home.registry, actor="local:0", commit=commit, author="x", bundles=[record])


@contextmanager
def follower(home: Home, boot: str) -> Iterator[tuple[Follower, PolicyCache, Handover]]:
    cache = PolicyCache(home.data.bundles)
    with closing(RuntimeStore(home.data.runtime_db)) as store, closing(RegistryReader(home.data.registry_db)) as reader:
        yield Follower(store, reader, cache, boot), cache, Handover(store)


def test_nobody_to_wait_for(handover: Handover) -> None:
    handover.announce({"1"})
    handover.wait({"1"}, {"boot_1"}, 0)
    assert handover.waiting_for({"1"}, {"boot_1"}) == (set(), [])


def test_a_worker_is_waited_for_until_it_answers(handover: Handover) -> None:
    handover.join("boot_1")
    handover.announce({"1", "2"})
    assert handover.announced() == {"1", "2"}
    handover.answer("boot_1", {"1": ""})
    with pytest.raises(GatewayError) as error:
        handover.wait({"1", "2"}, {"boot_1"}, 0)
    assert error.value.code == "not_loaded"
    handover.answer("boot_1", {"1": "", "2": ""})
    handover.wait({"1", "2"}, {"boot_1"}, 0)


def test_a_dead_worker_is_not_waited_for(handover: Handover) -> None:
    handover.join("boot_1")
    handover.announce({"1"})
    handover.wait({"1"}, set(), 0)
    assert handover.waiting_for({"1"}, {"boot_1"}) == (set(), []), "and is forgotten: its id is never used again"


def test_a_worker_that_left_is_not_waited_for(handover: Handover) -> None:
    handover.join("boot_1")
    handover.leave("boot_1")
    handover.announce({"1"})
    handover.wait({"1"}, {"boot_1"}, 0)
    assert handover.waiting_for({"1"}, {"boot_1"}) == (set(), [])


def test_a_worker_that_cannot_load_is_not_waited_for_either(handover: Handover) -> None:
    handover.join("boot_1")
    handover.join("boot_2")
    handover.announce({"1"})
    handover.answer("boot_1", {"1": "it is damaged"})
    with pytest.raises(GatewayError, match="it is damaged"):
        handover.wait({"1"}, {"boot_1", "boot_2"}, 60)


def test_an_old_answer_is_no_answer_to_a_new_question(handover: Handover) -> None:
    handover.join("boot_1")
    handover.announce({"1"})
    handover.answer("boot_1", {"1": "not yet"})
    handover.announce({"1"})
    assert handover.waiting_for({"1"}, {"boot_1"}) == ({"boot_1"}, [])
    handover.answer("boot_1", {"1": ""})
    assert handover.waiting_for({"1"}, {"boot_1"}) == (set(), [])


def test_a_database_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "runtime.db").write_bytes(b"rubbish" * 1000)
    with pytest.raises(GatewayError) as error:
        RuntimeStore(tmp_path / "runtime.db").open()
    assert error.value.code == "runtime_unavailable"


def test_the_database_is_private(home: Home) -> None:
    RuntimeStore(home.data.runtime_db).open()
    assert home.data.runtime_db.stat().st_mode & 0o077 == 0


def test_a_worker_begins_with_what_is_in_force(home: Home) -> None:
    digest = published(home)
    activate(home, digest, "c" * 40)
    with follower(home, "boot_1") as (worker, cache, _):
        asyncio.run(worker.begin())
        assert cache.loaded == {digest}


def test_a_worker_keeps_what_is_announced_until_it_is_in_force(home: Home) -> None:
    old, new = published(home), published(home, "allow := false")
    activate(home, old, "c" * 40)
    with follower(home, "boot_1") as (worker, cache, control):

        async def switch() -> None:
            await worker.begin()
            control.announce({new})
            await worker.step()
            assert cache.loaded == {old, new}
            control.wait({new}, {"boot_1"}, 0)
            activate(home, new, "d" * 40)
            await worker.step()
            assert new in cache.loaded
            control.announce(())
            await worker.step()
            assert cache.loaded == {new}

        asyncio.run(switch())


def test_a_revision_that_cannot_be_loaded(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    old, bad = published(home), "0" * 64
    activate(home, old, "c" * 40)
    with follower(home, "boot_1") as (worker, cache, control):

        async def meet() -> None:
            await worker.begin()
            control.announce({bad})
            for _ in range(3):
                await worker.step()

        asyncio.run(meet())
        assert cache.loaded == {old}, "what works goes on"
        with pytest.raises(GatewayError, match="cannot load"):
            control.wait({bad}, {"boot_1"}, 60)
        assert len(caplog.records) == 1, "said once, not at every look"


def test_a_registry_that_cannot_be_read(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    digest = published(home)
    activate(home, digest, "c" * 40)
    with follower(home, "boot_1") as (worker, cache, _):
        asyncio.run(worker.begin())
        with closing(sqlite3.connect(home.data.registry_db)) as connection:
            connection.execute("DROP TABLE epoch")
        asyncio.run(worker.step())
        assert cache.loaded == {digest}, "nothing is dropped for want of knowledge"
        assert caplog.records


def test_a_defect_does_not_end_following(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(handover_module, "FOLLOW_SECONDS", 0.01)
    monkeypatch.setattr(handover_module, "RETRY_SECONDS", 0.01)
    digest = published(home)
    activate(home, digest, "c" * 40)
    with follower(home, "boot_1") as (worker, cache, _):
        follow, defects = cache.follow, [RuntimeError("a defect")]
        followed = threading.Event()

        def once_wrong(wanted: set[str]) -> dict[str, str]:
            if defects:
                raise defects.pop()
            failed = follow(wanted)
            followed.set()
            return failed

        monkeypatch.setattr(cache, "follow", once_wrong)

        async def run() -> None:
            running = asyncio.create_task(worker.run())
            assert await asyncio.to_thread(followed.wait, 10)
            running.cancel()

        asyncio.run(run())
        assert cache.loaded == {digest}
        assert "a defect" in caplog.text


def test_two_workers_and_a_waiting_control_process(home: Home, control: Handover) -> None:
    old, new = published(home), published(home, "allow := false")
    activate(home, old, "c" * 40)
    ready = threading.Barrier(3)
    done = threading.Event()

    def work(boot: str) -> None:
        async def run() -> None:
            with follower(home, boot) as (worker, _, _):
                await worker.begin()
                ready.wait(120)
                running = asyncio.create_task(worker.run())
                await asyncio.to_thread(done.wait, 20)
                running.cancel()
                worker.close()

        asyncio.run(run())

    threads = [threading.Thread(target=work, args=(f"boot_{number}",)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    ready.wait(120)
    try:
        control.announce({new})
        control.wait({new}, {"boot_1", "boot_2"}, 10)
        assert control.waiting_for({new}, {"boot_1", "boot_2"}) == (set(), [])
    finally:
        done.set()
        for thread in threads:
            thread.join(120)
    assert control.waiting_for({new}, {"boot_1", "boot_2"}) == (set(), []), "both have left"


def test_requests_go_on_while_another_process_holds_the_file(home: Home, control: Handover) -> None:
    """The worker's event loop stood still for up to a second, just when a policy was activated."""
    digest = published(home)
    activate(home, digest, "c" * 40)

    async def step(following: Follower) -> None:
        writer.execute("BEGIN IMMEDIATE")
        answering = asyncio.create_task(following.step())
        # A thread that waits for the file, and the loop beside it.
        await asyncio.wait([answering], timeout=0.2)
        assert not answering.done(), "the loop turned only when the step was over"
        writer.execute("COMMIT")
        await answering

    with (
        closing(sqlite3.connect(home.data.runtime_db, isolation_level=None)) as writer,
        follower(home, "boot_1") as (following, _, handover),
    ):
        handover.join("boot_1")
        control.announce({digest})
        asyncio.run(asyncio.wait_for(step(following), 50))
    assert control.waiting_for({digest}, {"boot_1"}) == (set(), [])
