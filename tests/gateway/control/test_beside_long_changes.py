"""Other operators' work while one change takes long: a large fleet file, or its entries on the way to the log."""

from __future__ import annotations

import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest

from gateway.control import places, server
from gateway.registry import outbox, publication, queries
from gateway.registry.organizations.changes import create_organization
from gateway.storage.file_lock import FileLock
from gateway.upstream import check
from tests.gateway.conftest import ACTOR, ORG
from tests.gateway.control.conftest import Client, Control
from tests.rigs.control.fleet import agents, body
from tests.rigs.control.nouns import recorded


@contextmanager
def write_lock(control: Control) -> Iterator[None]:
    """Somebody is changing the registry."""
    with closing(sqlite3.connect(control.home.data.registry_db, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def log_lock(control: Control) -> Iterator[None]:
    """Somebody is writing the log."""
    with closing(FileLock(control.home.data.audit_lock)) as lock:
        assert lock.acquire(5)
        yield
        lock.release()


def until(found: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not found():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_dry_run_waits_for_nobody(control: Control, owner: Client) -> None:
    """It takes neither lock, makes all changes of the file all the same, and leaves nothing behind."""
    with write_lock(control), log_lock(control):
        planned = owner("POST", "/fleet/plan", body(), headers={"idempotency-key": "one"})
        assert len(planned.ok()["steps"]) == 6
        nobody = {"v": 1, "agents": [{"name": "a"}], "bindings": [{"organization": True, "bundle": "none"}]}
        refused = owner("POST", "/fleet/plan", {"document": nobody})
        assert (refused.problem(422), "none" in refused.json["errors"][0]["message"]) == ("invalid_fleet", True)
    assert agents(control) == set()
    # It is of what the registry is, so exactly this plan can be applied.
    assert owner("POST", "/fleet/apply", body(), headers={"if-match": planned.headers["etag"]}).ok()["applied"]


@pytest.mark.slow
def test_while_changes_wait_others_read_and_restrict(
    control: Control, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    control.home.agent("bot")
    monkeypatch.setattr(publication, "RESTRICTION_SECONDS", 0.05)
    monkeypatch.setattr("gateway.audit.storage.LOCK_SECONDS", 60)
    with ThreadPoolExecutor(places.THREADS) as threads, log_lock(control):
        bots = [{"name": f"bot-{number}"} for number in range(places.THREADS)]
        waiting = [threads.submit(owner, "POST", "/agents", each) for each in bots]
        until(lambda: control.api._ordinary.under_way.taken == places.THREADS)
        assert owner("GET", "/agents/bot").ok()["status"] == "active"
        assert owner("POST", "/agents/bot/revoke", {}).ok()["status"] == "revoked"
        assert not any(each.done() for each in waiting)
    assert [each.result().status for each in waiting] == [201] * places.THREADS
    entries = [each["what"] for each in recorded(control.home)]
    assert (entries.count("agent.registered"), entries.count("agent.revoked")) == (places.THREADS + 1, 1)


@pytest.mark.slow
def test_servers_that_do_not_answer_keep_nobody_out(
    control: Control, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody tries an upstream that hangs, as often as he can."""
    control.home.agent("bot")
    create_organization(control.home.registry, actor=ACTOR, name="acme")
    acme = control.operator("ann", organization="acme")
    tries = places.WAITING + 10
    monkeypatch.setattr(check, "ANSWER_SECONDS", 600.0)
    with ThreadPoolExecutor(tries) as threads, closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        asked = {"name": "silent", "provider": "openai-compatible", "base_url": url, "secret": "sk-1"}
        owner("POST", "/upstreams", asked, organization="acme").ok(201)
        waiting = [threads.submit(acme, "POST", "/upstreams/silent/check", {}) for _ in range(tries)]
        share = server.MAX_OUTSIDE // 2  # and the other half is for others
        until(lambda: sum(each.done() for each in waiting) == tries - share)
        assert owner("POST", "/agents/bot/suspend", {"reason": "beside"}).ok()["status"] == "suspended"
        assert owner("POST", "/agents", {"name": "other"}).status == 201
        assert owner("POST", "/fleet/plan", body()).status == 200
    refused = [each.result() for each in waiting if each.result().status != 200]
    assert [each.problem(429) for each in refused] == ["too_many_requests"] * (tries - share)
    acme("POST", "/upstreams/silent/check", {}).ok()


@pytest.mark.slow
def test_a_revocation_does_not_wait_for_the_entries_of_others(
    control: Control, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread is moving very many of them. It is said, and the entry follows."""
    control.home.agent("bot")
    with control.home.registry.write() as session:
        fields = [{"number": number} for number in range(2000)]
        outbox.add_changes(session, queries.find_organization(session, ORG), ACTOR, "test.done", fields)
    monkeypatch.setattr(publication, "RESTRICTION_SECONDS", 0.01)
    with outbox._TURN:
        ended = owner("POST", "/agents/bot/revoke", {})
    assert ended.ok()["status"] == "revoked"
    assert "many other entries are recorded before it" in ended.headers["gateway-warning"]
    owner("POST", "/agents", {"name": "other"}).ok(201)
    assert [each["what"] for each in recorded(control.home)][-2:] == ["agent.revoked", "agent.registered"]


@pytest.mark.slow
def test_revocations_beside_a_large_file(control: Control, owner: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is carried out and recorded once, whether it comes before, during or after the file's transaction."""
    monkeypatch.setattr(publication, "RESTRICTION_SECONDS", 0.05)
    doomed = [f"doomed-{number}" for number in range(200)]
    for name in doomed:
        control.home.agent(name)
    many = {"document": {"v": 1, "agents": [{"name": f"agent-{number}"} for number in range(2000)]}}
    with ThreadPoolExecutor(1) as threads:
        applying = threads.submit(owner, "POST", "/fleet/apply", many, headers={"if-match": "*"})
        ended = []
        for name in doomed:
            ended.append(owner("POST", f"/agents/{name}/revoke", {"reason": "beside"}))
            if applying.done():
                break
    assert applying.result().ok()["applied"]
    assert {each.ok()["status"] for each in ended} == {"revoked"}
    assert len(queries.living_agents(control.home.registry, ORG)) == 2000 + len(doomed) - len(ended)
    publication.publish(control.home.registry, control.home.data)
    entries = [each["what"] for each in recorded(control.home)]
    assert entries.count("agent.registered") == 2000 + len(doomed)
    assert entries.count("agent.revoked") == len(ended)


def test_one_thread_moves_entries_at_a_time(control: Control) -> None:
    """The others find them in the log, where they are once."""
    control.home.agent("bot")
    with ThreadPoolExecutor(4) as threads:
        barrier = threading.Barrier(4)

        def publish() -> None:
            barrier.wait()
            publication.publish(control.home.registry, control.home.data)

        for each in [threads.submit(publish) for _ in range(4)]:
            each.result()
    assert [each["what"] for each in recorded(control.home)] == ["organization.created", "agent.registered"]
