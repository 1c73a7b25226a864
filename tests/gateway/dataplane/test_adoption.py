"""Calls with an old provider key: to whom they are attributed, who counts them, and when they are refused."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from gateway.identity import legacy_keys
from gateway.identity.principals import CredentialRow, Principal, principal_of
from gateway.registry import adoptions, credential_rows, outbox
from gateway.registry.agents.changes import revoke_agent, suspend_agent
from gateway.registry.organizations.changes import suspend_organization
from gateway.registry.policies.bindings import bind
from gateway.registry.reader import RegistryReader
from gateway.runtime import legacy_clients
from gateway.runtime.legacy_clients import MAX_CLIENTS, QUIET_NS, LegacyClient, LegacyClients, hashed, product
from gateway.runtime.store import RuntimeStore
from tests.gateway.conftest import Home, at_once
from tests.gateway.dataplane.conftest import ACTOR, ORG, UPSTREAM_KEY, Gateway, Start
from tests.rigs.dataplane.provider_secret import files_with

OLD = "sk-canary-old-2c9b1f0a77d34e58"
OTHER = "sk-canary-other-6b80e1c5d2f94a17"
HOUR_NS = 3600 * 10**9


def adopt(
    gateway: Gateway, key: str = OLD, upstream: str = "openai", seconds: float = 3600, bound: bool = True
) -> None:
    adoptions.start(
        gateway.registry, gateway.peppers, actor=ACTOR, organization=ORG, upstream=upstream, keys=[key],
        expires_ns=time.time_ns() + int(seconds * 1e9), owner="dana@example.com",
    )  # fmt: skip
    if bound:
        bind(gateway.registry, actor=ACTOR, organization=ORG, kind="agent", subject="legacy", bundle="bot")


def bearer(key: str) -> str:
    return f"Authorization: Bearer {key}"


def clients(gateway: Gateway) -> list[LegacyClient]:
    noted = gateway.plane._clients
    assert noted is not None
    noted.close()
    return legacy_clients.read(gateway.data.runtime_db, ORG)


def refused(gateway: Gateway) -> list[tuple[str, str, bool]]:
    """The refusals in the organization's log: the reason, the detail, and whether an agent is named."""
    gateway.settle()
    entries = [each for each in gateway.log(ORG) if each["kind"] == "refused"]
    return [(each["reason"], each.get("detail", ""), bool(each["agent"])) for each in entries]


async def test_a_call_with_the_old_key_is_the_legacy_agents(gateway: Gateway) -> None:
    before = await gateway.chat("gpt-4o", bearer(OLD))
    assert (before.status, before.code) == (401, "bad_credentials")
    adopt(gateway)
    for header in (bearer(OLD), f"x-api-key: {OLD}"):
        lines = (header,) if header.startswith("Auth") else (header, "Authorization: omit")
        reply = await gateway.chat("gpt-4o", *lines)
        assert reply.status == 200, reply.body
    assert [seen.headers["authorization"] for seen in gateway.upstream.seen] == [f"Bearer {UPSTREAM_KEY}"] * 2
    decided = (await gateway.entries("decided"))[-1]
    agent = changes_of(gateway, "agent.registered")[-1]
    assert (decided["agent"], agent["agent_name"], agent["owner"]) == (agent["agent"], "legacy", "dana@example.com")
    assert decided["key"].startswith("lgk_")
    assert (decided["credential_method"], decided["credential_strength"]) == ("legacy", 0)


def changes_of(gateway: Gateway, what: str) -> list[dict[str, Any]]:
    outbox.drain(gateway.registry, gateway.writer)
    return [each for each in gateway.log(ORG) if each["kind"] == "change" and each["what"] == what]


async def test_a_policy_can_tell_it_and_without_one_it_is_denied(gateway: Gateway) -> None:
    adopt(gateway, bound=False)
    reply = await gateway.chat("gpt-4o", bearer(OLD))
    assert (reply.status, reply.code) == (403, "no_policy")
    (decided,) = await gateway.entries("decided")
    assert decided["reason"] == "no_policy"
    with closing(RegistryReader(gateway.data.registry_db)) as reader:
        found = await reader.legacy([_digest(gateway)])
    assert found is not None
    document = principal_of(found, "", 0, "legacy").document["credential"]
    assert document == {"id": decided["key"], "method": "legacy", "strength": 0}


def _digest(gateway: Gateway) -> bytes:
    return legacy_keys.digest(legacy_keys.check(OLD), gateway.peppers.current)


@pytest.mark.parametrize(
    "end",
    [
        "stop",
        "time",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("suspended", "revoked", "organization")),
    ],
)
async def test_after_its_end_it_is_refused_like_any_unknown_key(
    end: str, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    adopt(gateway)
    assert (await gateway.chat("gpt-4o", bearer(OLD))).status == 200
    here: dict[str, Any] = {"actor": ACTOR, "organization": ORG}
    if end == "stop":
        adoptions.stop(gateway.registry, **here)
    elif end == "suspended":
        suspend_agent(gateway.registry, agent="legacy", **here)
    elif end == "revoked":
        revoke_agent(gateway.registry, agent="legacy", **here)
    elif end == "organization":
        suspend_organization(gateway.registry, **here)
    else:
        # Only there: for everybody else, above all for the log, it is as late as it is.
        later = SimpleNamespace(time_ns=lambda: time.time_ns() + 2 * HOUR_NS)
        monkeypatch.setattr("gateway.identity.principals.time", later)
    reply = await gateway.chat("gpt-4o", bearer(OLD))
    stranger = await gateway.chat("gpt-4o", bearer(OLD[::-1]))
    assert (reply.status, reply.code) == (401, "bad_credentials")
    assert (reply.body, set(reply.headers)) == (stranger.body, set(stranger.headers))
    details = {
        "stop": "legacy_revoked",
        "time": "legacy_expired",
        "suspended": "legacy_suspended",
        "revoked": "legacy_revoked",
        "organization": "legacy_organization_suspended",
    }
    assert refused(gateway) == [("bad_credentials", details[end], True)]


@pytest.mark.slow
async def test_it_opens_nothing_but_its_upstream_and_no_token(gateway: Gateway) -> None:
    gateway.add_upstream("spare", "openai-compatible", "/v1", secret="sk-other")
    adopt(gateway)
    reply = await gateway.send(
        gateway.request({"model": "gpt-4o", "messages": []}, bearer(OLD), path="/spare/v1/chat/completions")
    )
    assert (reply.status, reply.code) == (401, "bad_credentials")
    assert refused(gateway)[-1] == ("bad_credentials", "legacy_other_upstream", True)
    body = b"grant_type=client_credentials"
    form = "Content-Type: application/x-www-form-urlencoded"
    reply = await gateway.send(gateway.request(body, bearer(OLD), form, path="/oauth/token"))
    assert reply.status == 401
    reply = await gateway.send(
        gateway.request(body + b"&client_secret=" + OLD.encode(), "Authorization: omit", form, path="/oauth/token")
    )
    assert reply.status == 401
    assert gateway.upstream.seen == []


@pytest.mark.slow
async def test_the_old_key_may_be_the_upstreams_own_and_is_nowhere(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    gateway = await start()
    gateway.add_upstream("openai", "openai", "/v1", secret=OLD, replace=True)
    adopt(gateway)
    adopt(gateway, OTHER, bound=False)
    replies = [await gateway.chat("gpt-4o", bearer(key)) for key in (OLD, OTHER)]
    assert {seen.headers["authorization"] for seen in gateway.upstream.seen} == {f"Bearer {OLD}"}
    replies += [await gateway.chat("llama", bearer(OLD)), await gateway.chat("gpt-4o", bearer(OLD + "x"))]
    assert [each.status for each in replies] == [200, 200, 403, 401]
    found = clients(gateway)
    told = b"".join(orjson.dumps(each.headers) + each.body for each in replies)
    entries = orjson.dumps(await gateway.entries()) + orjson.dumps(changes_of(gateway, "adoption.started"))
    shown = [gateway.plane._principals, vars(gateway.plane._principals), found]
    shown += list(gateway.plane._principals._entries.items())
    shown += [adoptions.adoptions(gateway.registry, ORG)]
    for key in (OLD, OTHER):
        assert key.encode() not in told + entries
        assert key not in repr(shown)
        assert key not in caplog.text
        assert files_with(gateway.data.path, key) == []


async def test_a_program_appears_and_disappears_when_it_has_its_own_key(gateway: Gateway) -> None:
    adopt(gateway)
    agent = "User-Agent: OpenAI/Python 2.8.0"
    for model in ("gpt-4o", "gpt-4o-mini", "llama"):
        await gateway.chat(model, bearer(OLD), agent)
    await gateway.chat("gpt-4o", bearer(OLD), "User-Agent: curl/8.5.0")
    await gateway.chat("gpt-4o", agent.replace("Python", "Node"))  # never used the old key
    found = {each.product: each for each in clients(gateway)}
    assert set(found) == {"OpenAI/Python", "curl"}
    python = found["OpenAI/Python"]
    assert (python.calls, orjson.loads(python.models)) == (3, ["gpt-4o", "gpt-4o-mini", "llama"])
    assert python.peer == hashed("127.0.0.1", gateway.peppers) != "127.0.0.1"
    now_ns = time.time_ns()
    assert not python.moved(now_ns)
    await gateway.chat("gpt-4o", agent)
    found = {each.product: each for each in clients(gateway)}
    assert found["OpenAI/Python"].moved(now_ns)
    assert found["OpenAI/Python"].agent == "bot"
    assert not found["curl"].moved(now_ns)


@pytest.mark.slow
async def test_nothing_is_noted_where_nobody_moves(gateway: Gateway) -> None:
    assert (await gateway.chat("gpt-4o")).status == 200
    noted = gateway.plane._clients
    assert noted is not None
    assert (noted._calls, noted._moved) == ({}, {})
    adopt(gateway)
    assert (await gateway.chat("gpt-4o")).status == 200
    assert len(noted._moved) == 1
    adoptions.stop(gateway.registry, actor=ACTOR, organization=ORG)
    noted._moved.clear()
    assert (await gateway.chat("gpt-4o")).status == 200
    assert noted._moved == {}


# --- the counters alone -----------------------------------------------------------------------------------------------


def principal(upstream: str | None = "openai", name: str = "legacy") -> Principal:
    row = CredentialRow(
        "lgk_1", b"", 1, None, None, "agt_1", ORG, name, 1, "", "", "", "active", "[]", "{}", "[]",
        adopting=True, upstream=upstream,
    )  # fmt: skip
    return principal_of(row, "", 0, "legacy" if upstream else "api_key")


def test_counts_survive_a_restart_and_add_up_over_workers(home: Home) -> None:
    first, second = (LegacyClients(RuntimeStore(home.data.runtime_db), home.peppers) for _ in range(2))
    for worker in (first, second, first):
        worker.note(principal(), "curl/8.5.0", "10.0.0.1", "gpt-4o")
    first.close()
    second.close()
    again = LegacyClients(RuntimeStore(home.data.runtime_db), home.peppers)
    again.note(principal(), "curl/9.0.0", "10.0.0.1", "gpt-5")
    again.close()
    (found,) = legacy_clients.read(home.data.runtime_db, ORG)
    assert (found.calls, found.product, found.models) == (4, "curl", '["gpt-4o","gpt-5"]')
    assert found.first_ns < found.last_ns


def test_clients_beyond_the_cap_are_counted_together(home: Home) -> None:
    noted = LegacyClients(RuntimeStore(home.data.runtime_db), home.peppers)
    for batch in range(3):
        for number in range(MAX_CLIENTS + 10):
            noted.note(principal(), "curl/8", f"10.{batch}.{number // 256}.{number % 256}", "m")
        assert len(noted._calls) <= MAX_CLIENTS + 1
        noted.close()
    found = legacy_clients.read(home.data.runtime_db)
    assert len(found) <= MAX_CLIENTS + 1
    assert found[-1].others
    assert sum(each.calls for each in found) == 3 * (MAX_CLIENTS + 10)
    noted.note(principal(), "curl/8", "10.0.0.0", "m")
    noted.close()
    assert sum(each.calls for each in legacy_clients.read(home.data.runtime_db)) == 3 * (MAX_CLIENTS + 10) + 1


def test_several_programs_behind_one_client_have_moved_after_a_quiet_day(home: Home) -> None:
    noted = LegacyClients(RuntimeStore(home.data.runtime_db), home.peppers)

    def call(upstream: str | None, name: str = "legacy") -> LegacyClient:
        noted.note(principal(upstream, name), "curl/8", "10.0.0.1", "m")
        noted.close()
        (found,) = legacy_clients.read(home.data.runtime_db)
        return found

    call("openai")
    assert call(None, "bot").moved(time.time_ns())
    assert not call("openai").moved(time.time_ns())  # the other program
    found = call(None, "bot")
    assert not found.moved(time.time_ns())
    assert found.moved(time.time_ns() + QUIET_NS + 1)


def test_what_cannot_be_written_is_kept(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    home.data.runtime_db.mkdir()
    noted = LegacyClients(RuntimeStore(home.data.runtime_db), home.peppers)
    noted.note(principal(), "curl/8", "10.0.0.1", "m")
    taken = noted._take()
    assert taken is not None
    assert not noted._written(taken)
    noted.note(principal(), "curl/8", "10.0.0.1", "n")
    noted._put_back(taken)
    home.data.runtime_db.rmdir()
    noted.close()
    (found,) = legacy_clients.read(home.data.runtime_db)
    assert (found.calls, found.models) == (2, '["m","n"]')
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        ("OpenAI/Python 2.8.0", "OpenAI/Python"),
        ("Anthropic/Python 0.70.0", "Anthropic/Python"),
        ("curl/8.5.0", "curl"),
        ("python-requests/2.32.3", "python-requests"),
        ("", "-"),
        ("<script>", "-"),
        ("a" * 200, "a" * 64),
    ],
)
def test_the_product_has_no_version(agent: str, name: str) -> None:
    assert product(agent) == name


def test_the_lookup_uses_an_index(home: Home) -> None:
    statement = credential_rows.LEGACY.replace("<digests>", "?, ?")
    with closing(RegistryReader(home.data.registry_db)) as reader:
        plan = " ".join(row[3] for row in reader._rows.execute("EXPLAIN QUERY PLAN " + statement, (b"a", b"b")))
        assert "legacy_key USING INDEX legacy_key_digest" in plan
        assert "SCAN legacy_key" not in plan
        assert at_once(reader.legacy([b"a"])) is None
