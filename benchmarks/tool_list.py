"""The time to filter one list of 500 tools, beside that of reading and writing the same bytes.

Run it with `python -m benchmarks.tool_list`.

The first list of an agent asks its policies about each tool; further ones remember what they have said, as long as the
agent, its policies and the tools are the same.
"""

from __future__ import annotations

import time
from typing import Any

import orjson

from gateway.call import Call
from gateway.mcp.pins import Pin, tool_digest
from gateway.upstream.guards import Shown
from gateway.upstream.providers.base import Endpoint, Sent
from gateway.upstream.providers.mcp.lists import ToolGuard
from gateway.upstream.providers.mcp.provider import Mcp

TOOLS = 500
ROUNDS = 50


def tool(number: int) -> dict[str, Any]:
    properties = {f"argument_{each}": {"type": "string", "description": "What it is for." * 3} for each in range(6)}
    return {
        "name": f"tool_{number}",
        "description": "It does something that takes a sentence or two to say, and says when to use it." * 2,
        "inputSchema": {"type": "object", "properties": properties, "required": ["argument_0"]},
        "annotations": {"readOnlyHint": True},
    }


def fastest(work: Any) -> float:
    """The milliseconds of the fastest of many rounds."""
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found) * 1000


def main() -> None:
    tools = [tool(each) for each in range(TOOLS)]
    whole = orjson.dumps({"jsonrpc": "2.0", "id": 1, "result": {"tools": tools}})
    pins = {each["name"]: Pin(each["name"], tool_digest(each), "pinned", each) for each in tools}
    provider = Mcp("server", pins)
    known: dict[str, Shown] = {}

    def shown(call: Call) -> Shown:
        assert call.tool is not None
        return known.setdefault(call.tool.name, Shown.YES)

    endpoint = Endpoint("server", provider.routes[0], "/mcp")
    sent = Sent(endpoint, "mcp.tools.list", message_id=1)

    def filtered() -> bytes:
        guard = provider.guard(sent)
        assert isinstance(guard, ToolGuard)
        tap = guard.tap(b"application/json", shown, lambda digest, text: None)
        tap.feed(whole, True)
        return tap.finish()

    passed, plain = fastest(filtered), fastest(lambda: orjson.dumps(orjson.loads(whole)))
    print(f"{TOOLS} tools, {len(whole)} bytes: filtered in {passed:.1f} ms; read and written in {plain:.1f} ms")


if __name__ == "__main__":
    main()
