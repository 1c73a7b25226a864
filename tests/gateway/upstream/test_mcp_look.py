"""Looking at MCP servers of every revision, and at servers that answer what they should not."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from gateway.errors import GatewayError
from gateway.registry.port import UpstreamRow
from gateway.upstream import mcp_conversation, mcp_look
from tests.gateway.upstream.mcp_servers import STATELESS, FakeServer, serving

TOOLS: list[Any] = [{"name": f"tool{number}", "inputSchema": {"type": "object"}} for number in range(5)]


def row(server: FakeServer) -> UpstreamRow:
    headers = '{"x-team":"search"}'
    return UpstreamRow("ups_1", "acme", "tracker", "mcp", server.url, False, None, 1, None, headers, "anywhere")


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("protocol", [STATELESS, *mcp_conversation.SESSIONS])
def test_a_server_of_any_revision_says_its_tools(protocol: str, streams: bool) -> None:
    with serving(FakeServer(TOOLS, protocol, streams, page=2)) as server:
        found = mcp_look.look(row(server), None)
        assert (found.protocol, found.tools) == (protocol, TOOLS)
        assert server.sessions == set()
        assert all(headers["x-team"] == "search" for _, headers in server.asked)


def test_a_server_of_both_eras_says_so() -> None:
    with serving(FakeServer(TOOLS, also="2025-06-18")) as server:
        assert mcp_look.look(row(server), None).protocol == "2026-07-28, 2025-06-18"
        assert server.sessions == set()
    with serving(FakeServer(TOOLS, also="2099-01-01")) as server:
        assert mcp_look.look(row(server), None).protocol == "2026-07-28"


def test_the_key_goes_along_and_is_in_no_message() -> None:
    with serving(FakeServer(TOOLS, key="s3cret")) as server:
        assert mcp_look.look(row(server), "s3cret").tools == TOOLS
        with pytest.raises(GatewayError) as caught:
            mcp_look.look(row(server), "wrong-s3cret")
        assert "status 401" in caught.value.message
        assert "s3cret" not in str(caught.value)


def test_a_server_without_tools_has_none() -> None:
    missing = b'{"jsonrpc":"2.0","id":2,"error":{"code":-32601,"message":"no"}}'
    with serving(FakeServer([], instead={"tools/list": (404, "application/json", missing)})) as server:
        assert mcp_look.look(row(server), None).tools == []


def listed(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 2, "result": members}).encode()


@pytest.mark.parametrize(
    ("body", "kind", "says"),
    [
        (b"", "application/json", "status 200"),
        (b"no JSON", "application/json", "cannot be read"),
        (b'{"id":2,"result":{"tools":[{"name":"a","name":"b"}]}}', "application/json", "cannot be read"),
        (b"[" * 100_000, "application/json", "cannot be read"),
        (listed(tools={}), "application/json", "no list of tools"),
        (listed(tools=["find"]), "application/json", "no list of tools"),
        (listed(tools=[], nextCursor="again"), "application/json", "more than 50 pages"),
        (listed(tools=[{"name": "a"}] * 2001), "application/json", "more than 2000 tools"),
        (b" " * (8 * 1024 * 1024 + 1), "application/json", "more than"),
        (listed(tools=[]), "text/html", "status 200"),
        (b'data: {"id":7,"result":{"tools":[]}}\n\n', "text/event-stream", "status 200"),
        (b'data: {"id":2,"method":"tools/list","result":{"tools":[]}}\n\n', "text/event-stream", "status 200"),
    ],
)
def test_a_hostile_answer_is_an_error_with_a_reason(body: bytes, kind: str, says: str) -> None:
    with serving(FakeServer([], instead={"tools/list": (200, kind, body)})) as server:
        with pytest.raises(GatewayError) as caught:
            mcp_look.look(row(server), None)
        assert (caught.value.code, says in caught.value.message) == ("mcp_server", True), caught.value.message


def test_a_revision_that_nobody_knows_is_refused() -> None:
    with serving(FakeServer([], protocol="2099-01-01")) as server, pytest.raises(GatewayError) as caught:
        mcp_look.look(row(server), None)
    assert "none of the revisions" in caught.value.message


def test_a_server_that_is_not_there_is_named() -> None:
    with serving(FakeServer([])) as server:
        pass
    with pytest.raises(GatewayError) as caught:
        mcp_look.look(row(server), None)
    assert "`tracker`" in caught.value.message


def test_a_look_that_takes_too_long_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_look, "SECONDS", 0.2)
    go_on = threading.Event()

    class Slow(FakeServer):
        def answer(self, message: dict[str, Any], session: str | None) -> tuple[int, Any, dict[str, str]]:
            go_on.wait(5)
            return super().answer(message, session)

    with serving(Slow(TOOLS)) as server:
        with pytest.raises(GatewayError) as caught:
            mcp_look.look(row(server), None)
        go_on.set()
    assert "no answer within" in caught.value.message
