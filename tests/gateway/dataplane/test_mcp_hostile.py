"""Requests at an MCP server's route that two parties could read differently, and servers that mean harm."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from gateway.upstream.providers.mcp.requests import ACTIONS
from tests.gateway.dataplane.conftest import Gateway, Seen, answer, stream
from tests.rigs.dataplane.mcp import CURRENT, TOOLS, ask, event, headers, message, result, serve

CASES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("mcp_hostile.yaml").read_text("utf-8"))
META = orjson.dumps(message("x")["params"]).decode()[1:-1]


def request(gateway: Gateway, case: dict[str, Any]) -> bytes:
    raw = case["body"].replace("META", META)
    asked: dict[str, Any] = {"method": "", "params": {}}
    # As a client would say it that sees what a lenient reader sees first.
    for name in ("method", "name", "uri", "taskId"):
        if found := re.search(rf'"{name}":("[^"]*")', raw):
            try:
                text = orjson.loads(found[1])
            except orjson.JSONDecodeError:
                text = "?"
            (asked if name == "method" else asked["params"])[name] = text
    asked["params"] = {"name": "?", "uri": "?", "taskId": "?", **asked["params"]}
    lines = dict(line.split(": ", 1) for line in headers(asked))
    lines |= case.get("headers", {})
    given = [f"{name}: {text}" for name, text in lines.items() if text is not None]
    return gateway.request(raw.encode(), *given, *case.get("more", ()), path=case.get("path", "/github/mcp"))


async def test_no_request_passes_that_policies_did_not_see(gateway: Gateway) -> None:
    serve(gateway)
    gateway.upstream.handler = answer(result({}))
    assert len(CASES) > 60
    wrong = []
    for case in CASES:
        reply = await gateway.send(request(gateway, case))
        if gateway.upstream.seen or not 400 <= reply.status < 500:
            wrong.append((case["name"], reply.status, reply.body))
            gateway.upstream.seen.clear()
            continue
        error = reply.json["error"]
        told = error["code"], error.get("data", {}).get("reason")
        if case.get("code", told[0]) != told[0] or case.get("reason", told[1]) != told[1]:
            wrong.append((case["name"], reply.status, reply.body))
    assert wrong == []


async def test_no_server_makes_the_gateway_fail(gateway: Gateway) -> None:
    """A list of the size of a book, an answer that is none, a stream that never ends: an error, and a closed record."""
    serve(gateway)
    many = [{**TOOLS["get_issue"], "name": f"tool_{number}"} for number in range(10_001)]
    deep: Any = "x"
    for _ in range(2000):
        deep = [deep]

    async def hang_up(seen: Seen, writer: Any) -> None:
        writer.close()

    handlers = {
        "a huge list": answer(result({"tools": many})),
        "a deep list": answer(b'{"jsonrpc":"2.0","id":1,"result":{"tools":' + b"[" * 2000 + b"]" * 2000 + b"}}"),
        "an answer to nothing": answer(result({"tools": []}, "other")),
        "no JSON": answer(b"<html>"),
        "nothing": answer(b""),
        "accepted": answer(b"", status=202),
        "a list of answers": answer([result({"tools": []}), result({"tools": []}, 2)]),
        "a stream without an answer": stream(b": hi\n\n"),
        "a stream that breaks off": stream(b"data: {", end=False),
        "a stream of another": stream(event(result({"tools": []}, 2))),
        "a stream of no JSON": stream(b"data: x\n\n"),
        "hanging up": hang_up,
    }
    for name, handler in handlers.items():
        gateway.upstream.handler = handler
        reply = await ask(gateway, "tools/list")
        assert reply.status in (200, 202, 502), (name, reply.status)
        assert b"get_issue" not in reply.body, name
    decided = {each["id"] for each in await gateway.entries("decided")}
    assert decided == {each["decision"] for each in await gateway.entries("completed")}
    assert gateway.open_decisions() == 0


VALUES: list[Any] = [
    *(None, True, 0, 2**53, 1.5, "", "x", "get_issue", [], {}, [1], "2025-11-25", {"name": "x"}, {"progressToken": 1}),
    {"io.modelcontextprotocol/protocolVersion": "2026-07-28"},
]
MEMBERS = ("name", "uri", "arguments", "ref", "task", "requestState", "_meta", "protocolVersion", "clientInfo", "level")


def anything(rng: random.Random) -> tuple[dict[str, Any], list[str]]:
    """A message of either era, with members that do not belong there, and its headers."""
    method = rng.choice([*ACTIONS, "notifications/cancelled", "tasks/list"])
    params = {each: rng.choice(VALUES) for each in rng.sample(MEMBERS, rng.randint(0, 3))}
    if rng.random() < 0.6:
        params |= {"name": "get_issue", "uri": "memo://a", "taskId": "t", "protocolVersion": "2025-11-25"}
    of = rng.choice([1, 1, "a", None, 1.5])
    if rng.random() < 0.5:
        body = message(method, params, of)
        return body, [f"MCP-Protocol-Version: {CURRENT}", f"Mcp-Method: {method}"]
    body = {"jsonrpc": "2.0", "method": method, "params": params} | ({} if of is None else {"id": of})
    return body, rng.choice([[], ["MCP-Protocol-Version: 2025-11-25"]])


def answers(rng: random.Random) -> Any:
    """Something that an upstream could send."""
    error = {"jsonrpc": "2.0", "id": rng.choice([1, 2, None]), "error": rng.choice([*VALUES, {"code": -32002}])}
    notice = {
        "jsonrpc": "2.0",
        "method": rng.choice(["ping", "notifications/message", 7]),
        "params": rng.choice(VALUES),
    }
    members = {each: rng.choice(VALUES) for each in ("tools", "_meta", "resultType", "serverInfo", "capabilities")}
    begun = result({"protocolVersion": rng.choice(["2025-11-25", 1]), **members}, rng.choice([1, 2, "1"]))
    found = [error, notice, {**notice, "id": rng.choice(VALUES)}, begun, result(rng.choice(VALUES))]
    if rng.random() < 0.3:
        return stream(*(event(each) for each in rng.sample(found, 3)))
    return answer(rng.choice([*found, *VALUES]), status=rng.choice([200, 200, 202, 400, 404]), Mcp_Session_Id="s")


@pytest.mark.parametrize("speaks", [CURRENT, "2025-11-25"])
async def test_no_message_of_either_era_makes_the_gateway_fail(gateway: Gateway, speaks: str) -> None:
    rng = random.Random(speaks)
    serve(gateway, speaks=speaks, policy="package bot.authz\n\nallow := true\n")

    async def handle(seen: Seen, writer: Any) -> None:
        await answers(rng)(seen, writer)

    gateway.upstream.handler = handle
    for _ in range(100):
        body, lines = anything(rng)
        reply = await gateway.send(gateway.request(body, *lines, path="/github/mcp"))
        assert reply.status < 500 or reply.json["error"]["data"]["reason"] == "upstream_error", (body, reply.body)
    assert (gateway.open_decisions(), gateway.plane.load()[1]) == (0, 0)
