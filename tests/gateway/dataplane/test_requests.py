"""One request through the nine steps: what reaches the upstream, what comes back, and what the log says of it."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
from collections.abc import Callable
from contextlib import closing

import orjson
import pytest

from gateway.audit.entry import commitment
from gateway.registry.agents.changes import revoke_agent
from gateway.registry.keys.changes import revoke_key
from gateway.registry.upstreams.changes import remove_upstream
from tests.rigs.dataplane.requests import DONE, HELLO, USAGE

from .conftest import ACTOR, COMPLETION, ORG, UPSTREAM_KEY, Gateway, Start, answer, chat, stream


async def test_an_allowed_call(gateway: Gateway) -> None:
    body = b'{"model": "gpt-4o",  "messages":[{"role":"user","content":"\\u0068i"}], "temperature": 1e0}'
    reply = await gateway.send(gateway.request(body))
    assert (reply.status, reply.json) == (200, COMPLETION)
    # Unchanged, to the byte; with the upstream's credential and nothing of the agent's.
    (seen,) = gateway.upstream.seen
    assert seen.body == body
    assert seen.head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert seen.headers["authorization"] == f"Bearer {UPSTREAM_KEY}"
    assert gateway.key[10:30] not in seen.head.decode()
    decided, completed = await gateway.entries()
    assert decided["id"] == completed["decision"] == reply.headers["x-decision-id"]
    assert (decided["allow"], decided["reason"], decided["open"]) == (True, "allowed", True)
    assert (decided["model"], decided["action"], decided["upstream"]) == ("gpt-4o", "chat.completions", "openai")
    assert "forwarded_commitment" not in decided
    assert (completed["outcome"], completed["status"], completed["upstream_status"]) == ("ok", 200, 200)
    assert (completed["input_tokens"], completed["output_tokens"]) == (7, 3)
    assert completed["response_model"] == "gpt-4o-2024"
    assert completed["response_bytes"] == len(reply.body)
    assert gateway.open_decisions() == 0


async def test_the_commitments_can_be_checked(gateway: Gateway) -> None:
    body = orjson.dumps(chat())
    reply = await gateway.send(gateway.request(body))
    decided, completed = await gateway.entries()
    with closing(sqlite3.connect(gateway.data.audit_db)) as db:
        ((salt, document),) = db.execute("SELECT salt, input FROM private").fetchall()
    assert decided["request_commitment"] == commitment(salt, "request_body", body)
    assert completed["response_commitment"] == commitment(salt, "response_body", reply.body)
    # All of the input, but for what the agent wrote.
    kept = orjson.loads(document)
    assert kept.keys() == {"agent", "action", "resource", "request", "usage", "time"}
    assert (kept["agent"]["name"], kept["resource"]["model"], kept["request"]["roles"]) == (
        "bot",
        "gpt-4o",
        ["user"],
    )
    assert b"hello" not in document
    assert decided["input_commitment"] == commitment(salt, "input", document)


async def test_the_list_of_models(gateway: Gateway) -> None:
    gateway.upstream.handler = answer({"object": "list", "data": []})
    for path in ("/v1/models", "/openai/v1/models"):
        reply = await gateway.send(gateway.request(path=path))
        assert (reply.status, reply.json) == (200, {"object": "list", "data": []})
    assert [seen.head.split(b"\r\n")[0] for seen in gateway.upstream.seen] == [b"GET /v1/models HTTP/1.1"] * 2
    assert "content-length" not in gateway.upstream.seen[0].headers
    assert [entry["kind"] for entry in await gateway.entries()] == ["decided", "completed"] * 2


async def test_one_model(gateway: Gateway) -> None:
    gateway.upstream.handler = answer({"id": "gpt-4o", "object": "model"})
    reply = await gateway.send(gateway.request(path="/openai/v1/models/gpt-4o"))
    assert (reply.status, reply.json) == (200, {"id": "gpt-4o", "object": "model"})
    assert gateway.upstream.seen[0].head.startswith(b"GET /v1/models/gpt-4o HTTP/1.1\r\n")
    assert (await gateway.send(gateway.request(path="/v1/models/o3"))).code == "policy_denied"
    decided, _, denied = await gateway.entries()
    assert (decided["action"], decided["model"], denied["model"]) == ("models.retrieve", "gpt-4o", "o3")


async def test_a_call_of_several_models_needs_a_policy_that_judges_them_all(gateway: Gateway) -> None:
    reply = await gateway.chat(models=["gpt-4o", "o3"])
    assert (reply.status, reply.code) == (403, "policy_denied")
    assert "judges only one" in reply.json["error"]["message"]
    assert (await gateway.chat(models=["gpt-4o"])).status == 200
    denied, *_ = await gateway.entries("decided")
    assert (denied["model"], denied["models_json"]) == ("gpt-4o", '["gpt-4o","o3"]')
    assert len(gateway.upstream.seen) == 1


async def test_a_stream_that_asked_for_usage(gateway: Gateway) -> None:
    gateway.upstream.handler = stream(HELLO, USAGE, DONE)
    body = orjson.dumps(chat(stream=True, stream_options={"include_usage": True}))
    reply = await gateway.send(gateway.request(body))
    assert (reply.status, reply.complete, reply.body) == (200, True, HELLO + USAGE + DONE)
    assert reply.headers["content-type"] == "text/event-stream"
    assert gateway.upstream.seen[0].body == body
    decided, completed = await gateway.entries()
    assert (decided["stream"], "edits_json" in decided) == (True, False)
    assert (completed["outcome"], completed["input_tokens"], completed["output_tokens"]) == ("ok", 7, 3)


async def test_a_stream_that_did_not_ask_for_usage(gateway: Gateway) -> None:
    gateway.upstream.handler = stream(HELLO, USAGE[:20], 0.01, USAGE[20:], DONE)
    reply = await gateway.chat(stream=True, n=1)
    assert reply.body == HELLO + DONE
    assert gateway.upstream.seen[0].json == chat(stream=True, n=1, stream_options={"include_usage": True})
    decided, completed = await gateway.entries()
    assert decided["edits_json"] == '["stream_options.include_usage"]'
    assert decided["request_commitment"] != decided["forwarded_commitment"]
    assert (completed["input_tokens"], completed["output_tokens"]) == (7, 3)


async def test_bytes_come_as_they_come_and_the_end_comes_after_the_record(gateway: Gateway) -> None:
    go = asyncio.Event()

    async def handle(seen: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        writer.write(b"%x\r\n%s\r\n" % (len(HELLO), HELLO))
        await go.wait()
        writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(DONE), DONE))

    gateway.upstream.handler = handle
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(gateway.request(chat(stream=True)))
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"x-decision-id: dec_" in head
    assert await reader.readuntil(HELLO) is not None
    # The first event is here, the decision is recorded, and it is open.
    assert [entry["kind"] for entry in await gateway.entries()] == ["decided"]
    assert gateway.open_decisions() == 1
    go.set()
    await reader.readuntil(DONE)
    assert gateway.open_decisions() == 0
    assert [entry["kind"] for entry in gateway.log(ORG)] == ["decided", "completed"]
    writer.close()


@pytest.mark.parametrize(
    ("model", "code", "says"),
    [
        ("o3", "policy_denied", "no policy allows chat.completions of o3 ("),
        ("gpt-secret", "policy_denied", "no secrets, please"),
    ],
)
async def test_a_denial(gateway: Gateway, model: str, code: str, says: str) -> None:
    reply = await gateway.chat(model)
    assert (reply.status, reply.code) == (403, code)
    assert says in reply.json["error"]["message"]
    assert reply.json["error"]["message"].endswith(f" (decision {reply.headers['x-decision-id']})")
    assert reply.headers["x-should-retry"] == "false"
    assert gateway.upstream.connections == 0
    (decided,) = await gateway.entries()
    assert (decided["id"], decided["allow"], decided["reason"], decided["open"]) == (
        reply.headers["x-decision-id"],
        False,
        code,
        False,
    )
    assert gateway.open_decisions() == 0


async def test_a_cap_is_written_into_the_body(gateway: Gateway) -> None:
    for members, wanted in [
        ({}, {"max_completion_tokens": 50}),
        ({"max_tokens": 500}, {"max_tokens": 50}),
        ({"max_tokens": 20}, {"max_tokens": 20}),
    ]:
        reply = await gateway.chat("gpt-capped", **members)
        assert reply.status == 200
        assert gateway.upstream.seen[-1].json == chat("gpt-capped", **wanted)
    first, _, second, _, third, _ = await gateway.entries()
    assert first["edits_json"] == second["edits_json"] == '["max_output_tokens"]'
    assert "edits_json" not in third
    assert first["max_output_tokens"] == 50


async def test_state_of_the_provider_is_foreign(gateway: Gateway) -> None:
    part = {"type": "file", "file": {"file_id": "file-of-somebody"}}
    reply = await gateway.send(gateway.request({"model": "gpt-4o", "messages": [{"role": "user", "content": [part]}]}))
    assert (reply.status, reply.code) == (403, "foreign_reference")
    (decided,) = await gateway.entries()
    assert (decided["allow"], decided["reason"]) == (False, "foreign_reference")
    assert gateway.upstream.seen == []


async def test_a_revoked_key_is_refused_at_the_next_request(gateway: Gateway) -> None:
    assert (await gateway.chat()).status == 200
    (key,) = await asyncio.to_thread(_keys, gateway)
    await asyncio.to_thread(lambda: revoke_key(gateway.registry, actor=ACTOR, organization=ORG, key=key))
    reply = await gateway.chat()
    assert (reply.status, reply.code) == (401, "bad_credentials")
    assert "x-decision-id" not in reply.headers
    assert "dec_" not in reply.json["error"]["message"]
    (refused,) = await gateway.entries("refused")
    assert (refused["reason"], refused["detail"], refused["count"], refused["key"]) == (
        "bad_credentials",
        "revoked",
        1,
        key,
    )
    assert len(gateway.upstream.seen) == 1


def _keys(gateway: Gateway) -> list[str]:
    from gateway.registry import queries

    return [row.id for row in queries.keys(gateway.registry, ORG)]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (functools.partial(revoke_agent, agent="bot"), b"401"),
        (functools.partial(remove_upstream, name="openai"), b"404"),
    ],
    ids=["agent", "upstream"],
)
async def test_what_is_taken_away_while_the_body_is_on_its_way(
    gateway: Gateway, change: Callable[..., object], status: bytes
) -> None:
    """Step 5 looks again: what was true when the head came is not enough."""
    data = gateway.request(chat())
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(data[:-10])
    await asyncio.sleep(0.1)
    await asyncio.to_thread(change, gateway.registry, actor=ACTOR, organization=ORG)
    writer.write(data[-10:])
    assert (await reader.readline()).startswith(b"HTTP/1.1 " + status)
    writer.close()
    assert gateway.upstream.seen == []


async def test_only_known_headers_go_upstream_and_all_but_the_operators_come_back(gateway: Gateway) -> None:
    gateway.upstream.handler = answer(
        COMPLETION,
        set_cookie="a=b",
        x_request_id="req_1",
        openai_version="1",
        x_internal="y",
        server="z",
        openai_organization="org-of-the-operator",
        openai_project="proj-of-the-operator",
    )
    reply = await gateway.chat(
        "gpt-4o",
        "Accept: application/json",
        "Cookie: a=b",
        "X-Agent-Id: agt_root",
        "X_Agent_Id: agt_root",
        "X-Forwarded-For: 10.0.0.1",
        "OpenAI-Organization: org-x",
        "OpenAI-Project: proj-x",
        "Idempotency-Key: k",
        "Accept-Encoding: gzip",
        "User-Agent: secret-agent",
    )
    assert reply.status == 200
    assert set(gateway.upstream.seen[0].headers) == {
        "host",
        "accept",
        "accept-encoding",
        "idempotency-key",
        "user-agent",
        "authorization",
        "content-type",
        "content-length",
    }
    assert gateway.upstream.seen[0].headers["accept-encoding"] == "identity"
    assert gateway.upstream.seen[0].headers["user-agent"] == "agent-identity-gateway"
    assert set(reply.headers) == {
        "date",
        "content-type",
        "content-length",
        "x-request-id",
        "openai-version",
        "x-internal",
        "server",
        "x-decision-id",
    }


@pytest.mark.parametrize("name", ["x-api-key", "api-key", "x-goog-api-key"])
async def test_the_other_places_for_a_key(gateway: Gateway, name: str) -> None:
    reply = await gateway.chat("gpt-4o", "Authorization: omit", f"{name}: {gateway.key}")
    assert reply.status == 200
    assert name not in gateway.upstream.seen[0].headers


async def test_connections_are_kept_on_both_sides(gateway: Gateway) -> None:
    from .conftest import read_reply

    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    for model, status in [("gpt-4o", 200), ("o3", 403), ("gpt-4o", 200)]:
        writer.write(gateway.request(chat(model)))
        assert (await read_reply(reader)).status == status
    gateway.upstream.handler = stream(HELLO, DONE)
    for _ in range(2):
        writer.write(gateway.request(chat(stream=True)))
        assert (await read_reply(reader)).body == HELLO + DONE
    writer.write(gateway.request(chat())[:-5])
    writer.write(b"}]}} ")
    assert (await read_reply(reader)).status == 400
    assert gateway.upstream.connections == 1
    writer.close()


async def test_a_large_body_passes_unchanged(gateway: Gateway) -> None:
    body = orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "ä" * 1_500_000}]})
    assert (await gateway.send(gateway.request(body))).status == 200
    assert gateway.upstream.seen[0].body == body


async def test_an_idle_upstream_connection_is_not_cut_by_the_limit_of_pauses(start: Start) -> None:
    gateway = await start(upstream_idle_timeout=0.5)
    gateway.upstream.handler = stream(HELLO, 0.01, DONE)
    for _ in range(3):
        assert (await gateway.chat(stream=True)).complete
        await asyncio.sleep(0.7)
    assert gateway.upstream.connections == 1


async def test_health(gateway: Gateway) -> None:
    reply = await gateway.send(gateway.request(None, "Authorization: omit", path="/healthz"))
    assert (reply.status, reply.json) == (200, {"status": "ok"})
