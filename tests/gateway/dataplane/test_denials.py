"""An agent that is denied without end: its denials are answered alike, and counted instead of filling the log."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import pytest

from gateway.audit import storage
from gateway.dataplane import refusals
from gateway.pace import Rate
from gateway.policy import reexecution
from gateway.policy.input import MAX_KEPT
from tests.gateway.dataplane.conftest import Gateway, Start, chat, without_decision
from tests.rigs.dataplane.limits import limit, proven

ROOM = 3


@pytest.fixture(autouse=True)
def pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "AGENT", Rate(ROOM, 1e-9))


async def judged(gateway: Gateway, reason: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The denials for this reason that have an entry of their own, and the entries that count the others."""
    gateway.plane._recorder._refusals.flush()
    entries = await gateway.entries()
    own = [each for each in entries if each["kind"] == "decided" and each["reason"] == reason]
    return own, [each for each in entries if each["kind"] == "refused"]


async def test_denials_beyond_the_pace_are_answered_alike_and_counted(gateway: Gateway) -> None:
    replies = [await gateway.chat("gpt-secret") for _ in range(10)]
    assert {each.status for each in replies} == {403}
    own, counted = await judged(gateway, "policy_denied")
    assert [each["id"] for each in own] == [each.headers["x-decision-id"] for each in replies[:ROOM]]
    [entry] = counted
    assert entry["count"] + len(own) == len(replies)
    assert (entry["agent"], entry["key"]) == (own[0]["agent"], own[0]["key"])
    assert (entry["reason"], entry["judged"]) == ("policy_denied", True)
    asked = [{"count": 7, "method": "POST", "model": "gpt-secret", "path": "/v1/chat/completions"}]
    assert json.loads(entry["asked_json"]) == asked
    note = f" (one of several counted in {entry['id']})".encode()
    for reply in replies[ROOM:]:
        assert "x-decision-id" not in reply.headers
        assert reply.body.replace(note, b"") == without_decision(replies[0].body)
    assert (await gateway.chat("gpt-4o")).status == 200
    [allowed] = [each for each in await gateway.entries("decided") if each["allow"]]
    assert allowed["model"] == "gpt-4o", "what goes upstream is recorded, whatever was denied before"
    assert proven(gateway) == []


async def test_a_used_up_limit_does_not_fill_the_log(gateway: Gateway) -> None:
    limit(gateway, "requests_per_day", 1, "agent")
    assert (await gateway.chat()).status == 200
    replies = [await gateway.chat() for _ in range(10)]
    assert {(each.status, each.code) for each in replies} == {(429, "limit_exceeded")}
    own, counted = await judged(gateway, "limit_exceeded")
    assert len(own) == ROOM
    assert [each["count"] for each in counted] == [10 - ROOM]
    limit(gateway, "requests_per_day", 100, "agent")
    assert (await gateway.chat()).status == 200, "the log has the last word for each call, not what was before"
    assert proven(gateway) == []


async def test_a_limit_that_is_used_up_is_told_of_beyond_the_pace(gateway: Gateway) -> None:
    """The entry of a threshold names the decision that reached it, so that has an entry of its own."""
    limit(gateway, "tokens_per_day", 65, "agent")  # one call takes 10, and reserves 50 and its input
    for _ in range(ROOM + 1):
        await gateway.chat("gpt-secret")
    answered = [(await gateway.chat(max_tokens=1)).status for _ in range(8)]
    assert 429 in answered
    told = [each for each in await gateway.entries("change") if each.get("percent") == 100]
    own, _ = await judged(gateway, "limit_exceeded")
    assert [each["reached_by"] for each in told] == [each["id"] for each in own]
    assert proven(gateway) == []


async def test_an_endless_list_of_tools_is_not_kept_whole(start: Start) -> None:
    tools = [{"type": "function", "function": {"name": f"tool_{number:05}"}} for number in range(20_000)]
    gateway = await start()
    reply = await gateway.send(gateway.request(chat("gpt-secret", tools=tools)))
    [entry] = await gateway.entries("decided")
    assert entry["id"] == reply.headers["x-decision-id"]
    with closing(storage.connect_read_only(gateway.data.audit_db)) as db:
        [(kept,)] = db.execute(
            "SELECT input FROM private WHERE input IS NOT NULL AND entry_id = "
            "(SELECT id FROM entry WHERE event_id = ?)",
            (entry["id"],),
        )
    assert len(kept) < MAX_KEPT
    document = json.loads(kept)
    left_out = json.loads(entry["left_out_json"])
    assert left_out == {"request.tools": len(tools) - len(document["request"]["tools"])}
    assert document["request"]["tools"][0]["name"] == "tool_00000"
    assert entry["recomputable"] is False
    agrees, _ = reexecution.Court(gateway.data.bundles).again(entry, document)
    assert agrees is not False
    assert proven(gateway) == []
