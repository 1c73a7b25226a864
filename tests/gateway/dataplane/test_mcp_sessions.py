"""Clients of 2026-07-28 with older MCP servers: the gateway has the session, one for each agent with each server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from gateway.registry.agents import registration
from gateway.registry.keys.changes import create_key
from gateway.registry.policies import bindings
from gateway.upstream import mcp_sessions
from tests.gateway.dataplane.conftest import ACTOR, ORG, Gateway, Reply, Seen, answer, stream
from tests.rigs.dataplane.mcp import SECRET, TOOLS, ask, event, headers, message, pins, result, serve

OLD = "2025-11-25"
CALL = {"name": "get_issue", "arguments": {"repo": "acme/app", "number": 7}}
SERVER = {"name": "old", "version": "1"}
SERVER_META = {"io.modelcontextprotocol/serverInfo": SERVER}
ALL = "package bot.authz\n\nallow := true\n"

Handler = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


class Older:
    """An older server behind the gateway. `then` answers what is no matter of sessions."""

    def __init__(self, gateway: Gateway, *, named: bool = True, secret: str | None = SECRET) -> None:
        self.secret = secret
        self.named = named
        self.sessions: list[str] = []
        self.made = 0
        self.asked: list[dict[str, Any]] = []
        self.unknown: Handler = answer(b"", status=404)
        self.then: Callable[[dict[str, Any]], Handler] = lambda asked: answer(
            {"jsonrpc": "2.0", "id": asked["id"], "result": {"content": []}}
        )
        gateway.upstream.handler = self.handle

    @property
    def methods(self) -> list[str]:
        return [each.get("method", "(answer)") for each in self.asked]

    async def handle(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        asked = {} if not seen.body else seen.json
        session = seen.headers.get("mcp-session-id", "")
        if seen.head.startswith(b"DELETE"):
            self.sessions.remove(session)
            self.asked.append({"method": "(delete)", "session": session})
            await answer(b"")(seen, writer)
            return
        self.asked.append({**asked, "session": session})
        if asked.get("method") == "initialize":
            assert self.secret is None or seen.headers["authorization"] == f"Bearer {self.secret}"
            self.made += 1
            self.sessions.append(f"s-{self.made}")
            found = {"protocolVersion": OLD, "capabilities": {"tools": {"listChanged": True}, "logging": {}}}
            more = {"Mcp_Session_Id": self.sessions[-1]} if self.named else {}
            begun = result({**found, "serverInfo": SERVER, "instructions": "ask"}, asked["id"])
            await answer(begun, **more)(seen, writer)
        elif self.named and session not in self.sessions:
            await self.unknown(seen, writer)
        elif "id" not in asked or "method" not in asked:
            await answer(b"", status=202)(seen, writer)
        else:
            assert seen.headers["mcp-protocol-version"] == OLD
            assert not any(name.startswith(("mcp-method", "mcp-name", "mcp-param")) for name in seen.headers)
            await self.then(asked)(seen, writer)


@pytest.fixture
def older(gateway: Gateway) -> Older:
    serve(gateway, speaks=OLD)
    return Older(gateway)


async def test_a_server_is_discovered_by_its_session(gateway: Gateway, older: Older) -> None:
    for _ in range(2):
        reply = await ask(gateway, "server/discover", of="a")
        assert (reply.status, reply.json["id"]) == (200, "a")
        assert reply.json["result"] == {
            "supportedVersions": ["2026-07-28", OLD],
            "capabilities": {"tools": {}},
            "instructions": "ask",
            "_meta": SERVER_META,
            "resultType": "complete",
            "ttlMs": 0,
            "cacheScope": "private",
        }
        assert "mcp-session-id" not in reply.headers
    assert older.methods == ["initialize", "notifications/initialized"]
    assert older.asked[0]["params"]["capabilities"] == {}
    assert [each["action"] for each in await gateway.entries("decided")] == ["mcp.discover"] * 2
    assert len(await gateway.entries("completed")) == 2


async def test_a_call_has_a_number_of_its_own_in_the_session(gateway: Gateway, older: Older) -> None:
    """Ids may be used once in a session, and agents' clients all begin with 1."""
    meta = {"progressToken": "p", "x": 1, "io.modelcontextprotocol/logLevel": "info"}
    for _ in range(2):
        body = message("tools/call", CALL | {"requestState": None}, 1, **meta)
        reply = await gateway.send(gateway.request(body, *headers(body), path="/github/mcp"))
        assert reply.json == result({"content": [], "_meta": SERVER_META, "resultType": "complete"})
    first, second = older.asked[2:]
    assert first["params"] == CALL | {"_meta": {"progressToken": first["id"], "x": 1}}
    assert first["session"] == second["session"] == "s-1"
    assert len({older.asked[0]["id"], first["id"], second["id"]}) == 3


async def test_a_list_of_an_older_server(gateway: Gateway) -> None:
    serve(gateway, pins("pinned", "get_issue"), speaks=OLD)
    older = Older(gateway, named=False)
    older.then = lambda asked: answer(result({"tools": [*TOOLS.values()], "nextCursor": "2"}, asked["id"]))
    reply = await ask(gateway, "tools/list", {"cursor": "1"})
    found = reply.json["result"]
    assert (found["tools"], found["nextCursor"]) == ([TOOLS["get_issue"]], "2")
    assert (found["resultType"], found["ttlMs"], found["cacheScope"]) == ("complete", 0, "private")
    assert older.asked[-1]["params"] == {"cursor": "1"}
    assert {each["session"] for each in older.asked} == {""}
    await gateway.plane.close()
    assert "(delete)" not in older.methods


@pytest.mark.parametrize(
    "forgotten",
    [
        answer(b"", status=404),
        answer(
            {"jsonrpc": "2.0", "id": "server-error", "error": {"code": -32600, "message": "Session not found"}}, 404
        ),
        answer({"jsonrpc": "2.0", "error": {"code": -32000, "message": "Bad Request: No valid session ID"}}, 400),
    ],
)
async def test_a_session_that_the_server_has_forgotten_is_begun_anew(
    gateway: Gateway, older: Older, forgotten: Handler
) -> None:
    older.unknown = forgotten
    assert (await ask(gateway, "tools/call", CALL)).status == 200
    older.sessions.clear()
    replies = await asyncio.gather(*(ask(gateway, "tools/call", CALL, of=number) for number in range(5)))
    assert [(each.status, each.json["id"]) for each in replies] == [(200, number) for number in range(5)]
    assert older.made <= 6
    assert len(await gateway.entries("completed")) == 6


async def test_a_server_that_knows_no_session_of_its_own_is_asked_twice(gateway: Gateway, older: Older) -> None:
    older.then = lambda asked: answer(b"", status=404)
    reply = await ask(gateway, "tools/call", CALL)
    assert reply.status == 404
    assert older.methods.count("tools/call") == 2
    older.then = lambda asked: answer({"error": {"code": -1, "message": "no such colour"}, "id": None}, status=400)
    assert (await ask(gateway, "tools/call", CALL)).json["error"]["message"] == "no such colour"
    assert older.methods.count("tools/call") == 3


async def test_sessions_are_of_one_agent(gateway: Gateway, older: Older) -> None:
    agent = registration.register_agent(gateway.registry, actor=ACTOR, organization=ORG, name="other")
    bindings.bind(gateway.registry, actor=ACTOR, organization=ORG, kind="agent", subject=agent.id, bundle="bot")
    other = create_key(gateway.registry, gateway.peppers, actor=ACTOR, organization=ORG, agent=agent.id)
    for key in (gateway.key, other.text, gateway.key):
        body = message("tools/call", CALL)
        lines = *headers(body), f"Authorization: Bearer {key}"
        assert (await gateway.send(gateway.request(body, *lines, path="/github/mcp"))).status == 200
    assert [each["session"] for each in older.asked if each.get("method") == "tools/call"] == ["s-1", "s-2", "s-1"]
    await gateway.plane.close()
    assert older.sessions == []
    assert all("s-1" not in str(each) for each in await gateway.entries())


async def test_a_session_ends_when_nobody_uses_it(
    gateway: Gateway, older: Older, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask(gateway, "tools/call", CALL)
    monkeypatch.setattr(mcp_sessions, "IDLE_SECONDS", -1.0)
    await ask(gateway, "tools/call", CALL)
    await gateway.plane.close()
    assert (older.made, older.sessions) == (2, [])


async def test_the_server_asks_and_is_told_that_nobody_can_be_asked(gateway: Gateway, older: Older) -> None:
    asks = {"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": {"message": "your password?"}}
    ping = {"jsonrpc": "2.0", "id": "p", "method": "ping"}
    older.then = lambda asked: stream(event(asks), event(ping), 0.1, event(result({"content": []}, asked["id"])))
    reply = await ask(gateway, "tools/call", CALL)
    assert b"password" not in reply.body
    assert orjson.loads(reply.body.removeprefix(b"event: message\ndata: "))["id"] == 1
    answers = [each for each in older.asked if "method" not in each]
    assert answers[0]["error"]["code"] == -32601
    assert (answers[0]["id"], answers[1]["id"], answers[1]["result"]) == (1, "p", {})
    assert {each["session"] for each in answers} == {"s-1"}


async def test_a_flood_of_questions_is_not_answered_by_one(gateway: Gateway, older: Older) -> None:
    asks = [event({"jsonrpc": "2.0", "id": number, "method": "ping"}) for number in range(500)]
    older.then = lambda asked: stream(b"".join(asks), 0.1, event(result({"content": []}, asked["id"])))
    assert (await ask(gateway, "tools/call", CALL)).status == 200
    await gateway.plane.close()
    assert older.methods.count("(answer)") == 16


async def test_no_answer_is_too_deep_or_too_large(gateway: Gateway, older: Older) -> None:
    deep = b'{"jsonrpc":"2.0","id":%d,"result":{"content":' + b"[" * 300 + b"]" * 300 + b"}}"
    older.then = lambda asked: answer(deep % asked["id"])
    reply = await ask(gateway, "tools/call", CALL)
    assert (reply.status, reply.json["id"]) == (502, 1)
    older.then = lambda asked: stream(b"data: " + deep % asked["id"] + b"\n\n")
    assert b"upstream_error" in (await ask(gateway, "tools/call", CALL)).body
    older.then = lambda asked: answer(b'{"x":"' + b"x" * 17_000_000 + b'"}')
    reply = await ask(gateway, "tools/call", CALL)
    assert (reply.status, reply.json["id"]) == (502, 1)
    large = {"name": "get_issue", "arguments": {"repo": "acme/app", "text": "x" * 1_100_000}}
    reply = await ask(gateway, "tools/call", large)
    assert (reply.status, reply.json["error"]["data"]["reason"]) == (413, "too_large")
    assert gateway.plane.load()[1] == 0
    assert gateway.open_decisions() == 0
    small = {"name": "get_issue", "arguments": {"repo": "acme/app", "text": "x" * 900_000}}
    older.then = lambda asked: answer(result(asked["params"]["arguments"], asked["id"]))
    assert len((await ask(gateway, "tools/call", small)).json["result"]["text"]) == 900_000


async def test_only_what_belongs_into_the_answer_is_passed_on(gateway: Gateway, older: Older) -> None:
    def note(method: str, **params: Any) -> bytes:
        return event({"jsonrpc": "2.0", "method": f"notifications/{method}", "params": params})

    def then(asked: dict[str, Any]) -> Handler:
        number = asked["id"]
        return stream(
            note("progress", progressToken=number, progress=1),
            note("progress", progressToken=number + 1, progress=2),
            note("message", level="info", data="a"),
            note("message", level="error", data="b"),
            note("message", level=7, data="c"),
            note("tools/list_changed"),
            note("cancelled", requestId=number),
            b": hi\n\n",
            event(result({"content": []}, number)),
        )

    older.then = then
    passed = []
    for meta in ({}, {"progressToken": "mine", "io.modelcontextprotocol/logLevel": "warning"}):
        body = message("tools/call", CALL, **meta)
        reply = await gateway.send(gateway.request(body, *headers(body), path="/github/mcp"))
        lines = [line[6:] for line in reply.body.split(b"\n") if line.startswith(b"data: ")]
        passed.append([orjson.loads(line).get("params") for line in lines])
    assert passed == [
        [None],
        [{"progressToken": "mine", "progress": 1}, {"level": "error", "data": "b"}, None],
    ]


async def test_an_answer_under_a_clients_id_is_anothers(gateway: Gateway, older: Older) -> None:
    """In the session the call has another number: a server that mixes its clients up must not reach one of them."""
    for found in (1, "1", True, 99, None):
        older.then = lambda _, of=found: answer(result({"content": ["secret"]}, of))  # type: ignore[misc]
        reply = await ask(gateway, "tools/call", CALL)
        assert (reply.json["id"], reply.json["error"]["code"]) == (1, -32603)
        older.then = lambda _, of=found: stream(event(result({"content": ["secret"]}, of)))  # type: ignore[misc]
        reply = await ask(gateway, "tools/call", CALL)
        assert b"secret" not in reply.body
    assert {each["outcome"] for each in await gateway.entries("completed")} == {"upstream_error"}


async def test_errors_have_the_codes_of_the_newer_revision(gateway: Gateway, older: Older) -> None:
    for code, (status, expected) in {
        -32601: (404, -32601),
        -32002: (200, -32602),
        -32042: (200, -32603),
        -32022: (200, -32603),
        -32602: (200, -32602),
        7: (200, 7),
    }.items():
        error = {"code": code, "message": "no", "data": {"x": 1}}
        older.then = lambda asked, error=error: answer(  # type: ignore[misc]
            {"jsonrpc": "2.0", "id": asked["id"], "error": error}
        )
        reply = await ask(gateway, "tools/call", CALL)
        assert (reply.status, reply.json["id"], reply.json["error"]["code"]) == (status, 1, expected)
    older.then = lambda asked: answer(result({"task": {"taskId": "t"}}, asked["id"]))
    reply = await ask(gateway, "tools/call", CALL)
    assert "a task of an older revision" in reply.json["error"]["message"]


async def test_what_an_older_server_does_not_have_is_refused_by_name(gateway: Gateway) -> None:
    serve(gateway, speaks=OLD, policy=ALL)
    older = Older(gateway)
    for method in ("subscriptions/listen", "initialize", "ping", "logging/setLevel"):
        reply = await ask(gateway, method)
        assert (reply.status, reply.json["error"]["code"], reply.json["id"]) == (404, -32601, 1)
        assert f"`{method}` cannot be passed on" in reply.json["error"]["message"]
    version = "MCP-Protocol-Version: 2026-07-28"
    for method in ("GET", "DELETE"):
        assert (await gateway.send(gateway.request(None, version, path="/github/mcp", method=method))).status == 405
    note = message("notifications/cancelled", {"requestId": 1}, None)
    assert (await gateway.send(gateway.request(note, *headers(note), path="/github/mcp"))).status == 202
    assert older.asked == []


@pytest.mark.parametrize(
    ("refuses", "status", "reason"),
    [
        (answer(b"{}", status=401), 502, "upstream_unavailable"),
        (answer({"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "no"}}), 200, "upstream_error"),
        (answer(b"", status=500), 500, "upstream_error"),
        (answer(b"<html>"), 502, "upstream_error"),
        (answer({"jsonrpc": "2.0", "id": 1, "result": {"protocolVersion": "2099-01-01"}}), 502, "upstream_error"),
    ],
)
async def test_a_server_that_begins_no_session(gateway: Gateway, refuses: Handler, status: int, reason: str) -> None:
    serve(gateway, speaks=OLD)
    gateway.upstream.handler = refuses
    reply = await ask(gateway, "tools/call", CALL)
    assert (reply.status, reply.json["id"], reply.json["error"]["data"]["reason"]) == (status, 1, reason)
    assert all(SECRET not in str(each) for each in await gateway.entries())
    older = Older(gateway)
    assert (await ask(gateway, "tools/call", CALL)).status == 200
    assert older.methods == ["initialize", "notifications/initialized", "tools/call"]


async def test_the_server_hears_that_a_client_has_left(gateway: Gateway, older: Older) -> None:
    older.then = lambda asked: stream(b": hi\n\n", 30.0)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    body = message("tools/call", CALL)
    writer.write(gateway.request(body, *headers(body), path="/github/mcp"))
    await reader.readuntil(b"hi")
    writer.close()
    for _ in range(100):
        if older.methods[-1] == "notifications/cancelled":
            break
        await asyncio.sleep(0.05)
    assert older.asked[-1]["params"]["requestId"] == older.asked[-2]["id"]
    reply: Reply = await ask(gateway, "server/discover")
    assert reply.status == 200  # the session goes on
