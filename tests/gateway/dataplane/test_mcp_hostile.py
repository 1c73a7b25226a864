"""Requests at an MCP server's route that two parties could read differently, and servers that mean harm."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import yaml

from tests.gateway.dataplane.conftest import Gateway, Seen, answer, stream
from tests.rigs.dataplane.mcp import TOOLS, ask, event, headers, message, result, serve

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
