"""Messages and their headers: what is read, what is refused and with which code."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mcp import exchange, messages
from gateway.mcp.exchange import CAPABILITIES_KEY, VERSION_KEY, decoded, encoded
from gateway.mcp.messages import Notification, ProtocolError, Request

META = {VERSION_KEY: "2026-07-28", CAPABILITIES_KEY: {}}
HEADERS = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "list_agents"}


def body(**members: Any) -> dict[str, Any]:
    params = {"name": "list_agents", "arguments": {}, "_meta": META}
    return {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params} | members


def asked(headers: dict[str, str] | list[tuple[str, str]], document: Any) -> exchange.Exchange:
    pairs = headers.items() if isinstance(headers, dict) else headers
    encoded_pairs = [(name.encode(), value.encode("latin-1")) for name, value in pairs]
    return exchange.exchange(encoded_pairs, messages.read(document))


def code_of(headers: dict[str, str] | list[tuple[str, str]], document: Any) -> int:
    with pytest.raises(ProtocolError) as caught:
        asked(headers, document)
    return caught.value.code


def test_a_request_of_the_current_revision() -> None:
    assert messages.read(body()) == Request(7, "tools/call", body()["params"])
    found = asked(HEADERS, body())
    assert (found.version, found.is_current, found.capabilities) == ("2026-07-28", True, {})
    assert found.adapted({"resultType": "complete"}) == {"resultType": "complete"}


@pytest.mark.parametrize(
    "document",
    [
        [body()],
        [],
        "tools/call",
        None,
        body(jsonrpc="1.0"),
        body(method=1),
        body(id=None),
        body(id=1.5),
        body(id=True),
        body(id=[1]),
        body(params=[]),
        body(result={}),
        body(error={}),
        {"jsonrpc": "2.0", "id": 1, "result": {}},
    ],
)
def test_no_message(document: Any) -> None:
    assert code_of(HEADERS, document) == messages.INVALID_REQUEST


@pytest.mark.parametrize(
    "meta", [None, 1, {VERSION_KEY: "2026-07-28"}, {CAPABILITIES_KEY: {}}, META | {CAPABILITIES_KEY: 1}]
)
def test_each_request_says_who_asks(meta: Any) -> None:
    assert code_of(HEADERS, body(params={"name": "list_agents", "_meta": meta})) == messages.INVALID_PARAMS


@pytest.mark.parametrize(
    "changed",
    [
        {"mcp-protocol-version": None},
        {"mcp-protocol-version": "2025-11-25"},
        {"mcp-protocol-version": "v999.0.0"},
        {"mcp-method": None},
        {"mcp-method": "TOOLS/CALL"},
        {"mcp-method": "tools/list"},
        {"mcp-method": encoded(" tools/call")},
        {"mcp-name": None},
        {"mcp-name": "list_keys"},
        {"mcp-name": "list_аgents"},  # a Cyrillic letter
        {"mcp-name": "=?base64?bGlzdF9rZXlz?="},
        {"mcp-name": "=?base64?!?="},
        {"mcp-name": "=?BASE64?bGlzdF9hZ2VudHM=?="},
        {"mcp-name": "=?base64?bGlzdF9hZ2VudHN=?="},
    ],
)
def test_headers_that_differ_from_the_body(changed: dict[str, str | None]) -> None:
    headers = {name: value for name, value in (HEADERS | changed).items() if value is not None}
    pairs = [(name.encode(), value.encode("utf-8")) for name, value in headers.items()]
    with pytest.raises(ProtocolError) as caught:
        exchange.exchange(pairs, messages.read(body()))
    assert (caught.value.code, caught.value.status, caught.value.of) == (messages.HEADER_MISMATCH, 400, 7)


@pytest.mark.parametrize("name", list(HEADERS))
def test_a_header_sent_twice(name: str) -> None:
    assert code_of([*HEADERS.items(), (name, HEADERS[name])], body()) == messages.HEADER_MISMATCH


def test_a_name_where_nothing_is_named() -> None:
    listed = body(method="tools/list", params={"_meta": META})
    headers = HEADERS | {"mcp-method": "tools/list"}
    assert code_of(headers, listed) == messages.HEADER_MISMATCH
    del headers["mcp-name"]
    assert asked(headers, listed).is_current


def test_an_unknown_version_says_which_ones_there_are() -> None:
    params = body()["params"] | {"_meta": META | {VERSION_KEY: "2027-03-30"}}
    with pytest.raises(ProtocolError) as caught:
        asked(HEADERS | {"mcp-protocol-version": "2027-03-30"}, body(params=params))
    assert caught.value.answer() == {
        "jsonrpc": "2.0",
        "id": 7,
        "error": {
            "code": messages.UNSUPPORTED_VERSION,
            "message": "this version of the protocol is not supported",
            "data": {"supported": ["2026-07-28"], "requested": "2027-03-30"},
        },
    }


@pytest.mark.parametrize(("wanted", "offered"), [("2025-06-18", "2025-06-18"), ("2024-11-05", "2025-11-25")])
def test_an_older_client_begins_with_initialize(wanted: str, offered: str) -> None:
    params = {"protocolVersion": wanted, "capabilities": {}, "clientInfo": {"name": "editor", "version": "1"}}
    found = asked({}, body(method="initialize", params=params))
    assert (found.version, found.is_current) == (offered, False)
    assert found.adapted({"resultType": "complete", "ttlMs": 1, "cacheScope": "private", "tools": []}) == {"tools": []}


def test_an_older_client_needs_its_version_and_nothing_else() -> None:
    plain = body(params={"name": "list_agents"})
    assert asked({"mcp-protocol-version": "2025-06-18"}, plain).version == "2025-06-18"
    assert code_of({}, plain) == messages.HEADER_MISMATCH
    assert code_of({"mcp-protocol-version": "2025-03-26"}, plain) == messages.UNSUPPORTED_VERSION
    assert code_of({"mcp-protocol-version": "2025-06-18", "mcp-name": "other"}, plain) == messages.HEADER_MISMATCH
    assert code_of({"mcp-protocol-version": "2025-06-18", "mcp-method": "ping"}, plain) == messages.HEADER_MISMATCH
    assert code_of({"mcp-protocol-version": "2025-06-18"}, body()) == messages.HEADER_MISMATCH


def test_notifications() -> None:
    initialized = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert messages.read(initialized) == Notification("notifications/initialized", {})
    assert not asked({}, initialized).is_current
    assert asked({"mcp-protocol-version": "2026-07-28"}, initialized).is_current
    assert code_of({"mcp-protocol-version": "1999"}, initialized) == messages.UNSUPPORTED_VERSION


@given(st.text())
def test_every_text_gets_into_a_header_and_back(text: str) -> None:
    value = encoded(text)
    assert value.isascii()
    assert decoded(value.strip()) == text
