"""The mock provider as an MCP server, of either era."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.demo import mock_tools

META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}


def ask(method: str, *, stateless: bool, **params: Any) -> tuple[int, Any]:
    given = params | ({"_meta": META} if stateless else {})
    return mock_tools.answer({"jsonrpc": "2.0", "id": 7, "method": method, "params": given})


@pytest.mark.parametrize("stateless", [True, False])
def test_its_tools_are_listed_and_called(stateless: bool) -> None:
    status, answer = ask("tools/list", stateless=stateless)
    names = [each["name"] for each in answer["result"]["tools"]]
    assert (status, answer["id"], names) == (200, 7, ["get_order", "get_invoice", "cancel_order"])
    for name in names:
        status, answer = ask("tools/call", stateless=stateless, name=name, arguments={"order": "A-1"})
        assert (status, "A-1" in answer["result"]["content"][0]["text"]) == (200, True)
        assert ("resultType" in answer["result"]) is stateless


def test_it_says_which_revisions_it_speaks() -> None:
    assert "2026-07-28" in ask("server/discover", stateless=True)[1]["result"]["supportedVersions"]
    assert ask("initialize", stateless=False)[1]["result"]["protocolVersion"] == "2025-11-25"
    assert mock_tools.answer({"jsonrpc": "2.0", "method": "notifications/initialized"}) == (202, None)


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("tools/call", {"name": "drop_tables", "arguments": {"order": "1"}}, -32602),
        ("tools/call", {"name": "get_order"}, -32602),
        ("tasks/list", {}, -32601),
    ],
)
def test_what_it_does_not_know_is_an_error(method: str, params: dict[str, Any], code: int) -> None:
    assert ask(method, stateless=True, **params)[1]["error"]["code"] == code
