"""Requests as such: paths, bodies, repeats, and what happens when the log or the registry fails."""

from __future__ import annotations

import asyncio
import copy
import re
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from typing import Any

import pytest
from sqlmodel import select

from gateway.control import operations, repeats
from gateway.control.server import ControlApi
from gateway.registry import publication, queries
from gateway.registry.models import RepeatableRequest
from gateway.registry.organizations.changes import create_organization
from tests.gateway.conftest import ACTOR, ORG
from tests.gateway.control.conftest import Client, Control, Reply, elsewhere
from tests.rigs.control.nouns import recorded

PATHS = [
    ("GET", "/api/v1/nothing", 404),
    ("GET", "/api/v2/agents", 404),
    ("GET", "/api", 404),
    ("OPTIONS", "/api/v1/agents", 405),
    ("HEAD", "/api/v1/agents", 405),
    ("DELETE", "/api/v1/agents", 405),
    ("GET", "/api/v1/agents/%ff", 400),
    ("GET", "/api/v1/agents/a%2Fversions", 404),
    ("GET", "/api/v1//agents", 404),
    ("GET", "/api/v1/agents/..%2f..%2fkeys", 404),
]


def test_paths(owner: Client) -> None:
    for method, path, status in PATHS:
        assert owner(method, path).problem(status), path


def test_a_request_has_one_host(owner: Client) -> None:
    """RFC 9112, section 3.2; the listener leaves it to its applications."""
    sent = [(b"authorization", f"Bearer {owner.token}".encode())]
    for hosts in ([], [b"gateway", b"gateway"], [b"gateway", b"elsewhere"]):
        headers = [*sent, *((b"host", each) for each in hosts)]
        for path in ("/api/v1/me", "/api/v1/"):
            refused = asyncio.run(owner._exchange("GET", path, "", headers, b""))
            assert refused.problem(400) == "bad_request", hosts


def test_an_organization_without_a_name_is_none(control: Control, owner: Client) -> None:
    """A script with an empty variable must not mean another organization, or all of them."""
    mine = control.operator("dora", organization=ORG)
    for client, path in ((owner, "/agents"), (owner, "/operators"), (mine, "/agents")):
        assert client("GET", path, organization="").problem(404) == "unknown_organization"
    stop = owner("POST", "/stops", {"reason": "a test"}, organization="")
    assert stop.problem(404) == "unknown_organization"


@pytest.mark.slow
def test_other_paths_are_not_the_apis(owner: Client) -> None:
    assert owner("GET", "//elsewhere").raw == b"elsewhere"


BODIES = [
    (b'{"name": "a", "name": "b"}', 400, "duplicate_key"),
    (b'{"name": NaN}', 400, "bad_request"),
    (b"[1]", 422, "invalid_body"),
    (b'{"name": 1}', 422, "invalid_body"),
    (b'{"name": "a", "review_days": "7"}', 422, "invalid_body"),
    (b'{"name": "a", "nmae": "b"}', 422, "invalid_body"),
    (b'{"name": "a b"}', 422, "invalid_agent"),
    (b"x" * 300_000, 413, "too_large"),
    (b'{"name": "\xff"}', 400, "bad_request"),
]


def test_bodies(owner: Client) -> None:
    for raw, status, code in BODIES:
        assert owner("POST", "/agents", raw=raw).problem(status) == code, raw[:80]


@pytest.mark.slow
def test_an_unknown_member_is_named(owner: Client) -> None:
    refused = owner("POST", "/agents", {"nmae": "b"})
    assert refused.json["detail"] == "/nmae: there is no such member"
    assert refused.json["hint"] == "did you mean `name`?"
    assert [each["pointer"] for each in refused.json["errors"]] == ["/nmae", "/name"]
    wrong = owner("POST", "/agents", {"name": "b", "expires": "soon"})
    assert (wrong.problem(422), "hint" in wrong.json) == ("invalid_body", False), "its name is right"


@pytest.mark.slow
def test_a_body_must_be_json(owner: Client) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert owner("POST", "/agents", raw=b"name=a", headers=form).problem(415) == "unsupported_media_type"
    packed = {"content-encoding": "gzip"}
    assert owner("POST", "/agents", raw=b"{}", headers=packed).problem(415) == "unsupported_encoding"


@pytest.mark.slow
def test_every_answer_is_guarded_against_browsers(owner: Client) -> None:
    for reply in (owner("GET", "/agents"), owner("GET", "/nothing"), owner("GET", "/api/v1/")):
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["content-security-policy"].startswith("default-src 'none'")
        assert not [name for name in reply.headers if name.startswith("access-control-")]


def test_the_address_alone_leads_a_browser_to_the_dashboard(owner: Client) -> None:
    reply = asyncio.run(owner._exchange("GET", "/", "", [(b"host", b"gateway.example")], b""))
    assert (reply.status, reply.headers["location"]) == (307, "/dashboard/")
    assert asyncio.run(owner._exchange("HEAD", "/", "", [(b"host", b"gateway.example")], b"")).status == 307
    assert owner("HEAD", "/api/v1/").status == 200
    page = owner("GET", "/api/v1/")  # what programs read
    assert page.raw.startswith(b"<!doctype html>")
    sections = set(re.findall(rb' id="([^"]+)"', page.raw))
    assert sections == set(re.findall(rb' href="#([^"]+)"', page.raw)) != set()


def test_a_repeated_request_is_carried_out_once(control: Control, owner: Client) -> None:
    control.home.agent("bot")
    key = {"idempotency-key": "one"}
    first = owner("POST", "/keys", {"agent": "bot"}, headers=key)
    again = owner("POST", "/keys", {"agent": "bot"}, headers=key)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.ok(201) == first.ok(201) | {"key": None}
    assert owner("POST", "/keys", {"agent": "bot", "expires_in": 9}, headers=key).problem(422) == "idempotency_mismatch"
    assert len(owner("GET", "/keys").ok()["items"]) == 1
    with control.home.registry.read() as session:
        me = owner("GET", "/me").ok()["id"]
        row = session.get(RepeatableRequest, (me, "one"))
        assert row is not None
        assert row.answer is not None
        assert first.json["key"].encode() not in row.answer
    other = control.operator("oscar")
    other("POST", "/keys", {"agent": "bot"}, headers=key).ok(201)


def test_a_secret_is_told_although_its_entry_must_wait(control: Control, owner: Client) -> None:
    """The log breaks between a change and its entry. The key is in force, so whoever asked for it must get it."""
    control.home.agent("bot")
    publication.publish(control.home.registry, control.home.data)
    log, away = control.home.data.audit_db, control.home.data.audit_db.with_suffix(".away")

    def breaking(ask: Any) -> Any:
        answer = create.function(ask)
        log.rename(away)
        return answer

    (create,) = [each for each in operations.every() if (each.method, each.path) == ("POST", "/keys")]
    broken = copy.copy(create)
    broken.function = breaking
    api = ControlApi(elsewhere, control.api._context, [broken], "1")
    key = {"idempotency-key": "one"}
    made = Client(api, owner.token)("POST", "/keys", {"agent": "bot"}, headers=key)
    away.rename(log)
    assert "not in the audit log yet" in made.headers["gateway-warning"]
    again = owner("POST", "/keys", {"agent": "bot"}, headers=key)
    assert again.ok(201) == made.ok(201) | {"key": None}
    assert made.json["key"].startswith("aig_sk_")
    publication.publish(control.home.registry, control.home.data)
    assert recorded(control.home)[-1]["what"] == "key.created"


def test_whoever_is_answered_much_forgets_its_own_answers(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of other operators, of its organization and of others, stay."""
    monkeypatch.setattr(repeats, "PIECES", 16)
    create_organization(control.home.registry, actor=ACTOR, name="acme")
    olga, ben = control.operator("olga"), control.operator("ben", organization="acme")
    greedy = [control.operator(name, organization="acme") for name in ("ann", "cid")]

    def ask(client: Client, name: str) -> Reply:
        return client("POST", "/teams", {"name": name}, headers={"idempotency-key": name}, organization="acme")

    def replayed(client: Client, name: str) -> bool:
        return "idempotency-replayed" in ask(client, name).headers

    ask(olga, "of-olga").ok(201)
    for number in range(10):
        ask(greedy[0], f"a-{number}").ok(201)
    assert [replayed(greedy[0], f"a-{number}") for number in (0, 9)] == [False, True], "an operator has half at most"
    ask(ben, "of-ben").ok(201)
    for number in range(10):
        ask(greedy[1], f"c-{number}").ok(201)
    assert replayed(olga, "of-olga")
    assert replayed(greedy[1], "c-9")
    with control.home.registry.read() as session:
        kept = Counter(session.exec(select(RepeatableRequest.operator_id)).all())
    assert sum(kept.values()) <= 13, "an organization has three quarters at most"


@pytest.mark.slow
def test_a_refused_request_may_be_repeated(control: Control, owner: Client) -> None:
    key = {"idempotency-key": "one"}
    assert owner("POST", "/keys", {"agent": "bot"}, headers=key).problem(422) == "unknown_agent"
    control.home.agent("bot")
    assert owner("POST", "/keys", {"agent": "bot"}, headers=key).ok(201)


@pytest.mark.slow
def test_the_same_request_many_times_at_once(control: Control, owner: Client) -> None:
    replies: list[Any] = []

    def ask() -> None:
        replies.append(owner("POST", "/agents", {"name": "bot"}, headers={"idempotency-key": "k"}))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {reply.status for reply in replies} <= {201, 409}
    assert any(reply.status == 201 for reply in replies)
    assert {reply.json["code"] for reply in replies if reply.status == 409} <= {"already_carried_out"}
    assert len(queries.agents(control.home.registry, ORG)) == 1


@pytest.mark.slow
def test_two_changes_of_one_version(control: Control, owner: Client) -> None:
    control.home.agent("bot")
    replies: list[Any] = []

    def ask(number: int) -> None:
        replies.append(owner("PATCH", "/agents/bot", {"owner": f"o{number}"}, headers={"if-match": '"1"'}))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(reply.status for reply in replies) == [200] + [412] * 2


@pytest.mark.slow
def test_a_revocation_takes_effect_without_the_log(
    control: Control, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is granted that cannot be recorded."""
    control.home.agent("bot")
    publication.publish(control.home.registry, control.home.data)
    with monkeypatch.context() as patch, _held(control):
        patch.setattr(publication, "RESTRICTION_SECONDS", 0.05)
        patch.setattr("gateway.audit.storage.LOCK_SECONDS", 0.05)
        assert owner("POST", "/agents", {"name": "other"}).problem(503) == "audit_unavailable"
        ended = owner("POST", "/agents/bot/revoke", {})
    assert ended.ok()["status"] == "revoked"
    assert "not in the audit log yet" in ended.headers["gateway-warning"]
    assert [each.name for each in queries.agents(control.home.registry, ORG)] == ["bot"]
    owner("POST", "/agents", {"name": "other"}).ok(201)
    assert [each["what"] for each in recorded(control.home)][-2:] == ["agent.revoked", "agent.registered"]


def _held(control: Control) -> Any:
    """Somebody else holds the lock of the log."""
    from contextlib import contextmanager

    from gateway.storage.file_lock import FileLock

    @contextmanager
    def held() -> Any:
        lock = FileLock(control.home.data.audit_lock)
        assert lock.acquire(5)
        try:
            yield
        finally:
            lock.release()
            lock.close()

    return held()


@pytest.mark.slow
def test_an_unreadable_registry_is_503(control: Control, owner: Client) -> None:
    with closing(sqlite3.connect(control.home.data.registry_db)) as db, db:
        db.execute("PRAGMA foreign_keys = OFF")
        db.execute("ALTER TABLE operator_token RENAME TO gone")
    assert owner("GET", "/agents").problem(503) == "registry_unavailable"


@pytest.mark.slow
def test_an_operator_who_loses_the_right_meanwhile(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the check of the token and the change, the operator is revoked."""
    from gateway.registry.operators import operators

    client = control.operator("rita")
    real = publication.changing

    def revoke_first(*arguments: Any, **more: Any) -> Any:
        operators.revoke_operator(control.home.registry, actor="local:0", organization=None, operator="rita")
        return real(*arguments, **more)

    monkeypatch.setattr(publication, "changing", revoke_first)
    assert client("POST", "/agents", {"name": "bot"}).problem(401) == "bad_credentials"
    assert queries.agents(control.home.registry, ORG) == []


def test_the_document_and_the_page(control: Control, owner: Client) -> None:
    document = control.client(None)("GET", "/openapi.json").ok()
    assert document["openapi"] == "3.1.0"
    ids = [each["operationId"] for methods in document["paths"].values() for each in methods.values()]
    assert len(ids) == len(set(ids)) > 40
    page = control.client(None)("GET", "/api/v1/")
    assert page.headers["content-type"].startswith("text/html")
    for path in document["paths"]:
        assert path.encode() in page.raw
    assert b"http://" not in page.raw
    assert b"<script" not in page.raw
