"""Answers with absurd facts in them: whatever a provider reports, its call is closed and holds nothing afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from tests.rigs.dataplane.content import keep
from tests.rigs.dataplane.limits import proven

from .conftest import COMPLETION, Gateway, Reply, answer

MOST = 2**53 - 1
MESSAGE: dict[str, Any] = {"id": "msg_1", "type": "message", "model": "claude", "role": "assistant", "content": []}


async def message(gateway: Gateway, given: Any) -> Reply:
    """The client's answer if a provider of Anthropic's API answers so."""
    if "added" not in gateway.extra:
        gateway.extra["added"] = gateway.add_upstream("claude", "anthropic", "/v1", secret="another secret")
    gateway.upstream.handler = answer(given)
    asked = {"model": "gpt-4o", "max_tokens": 20, "messages": [{"role": "user", "content": "hello"}]}
    return await gateway.send(gateway.request(asked, path="/claude/v1/messages"))


def nested(depth: int) -> bytes:
    return b'{"content":' * depth + b"1" + b"}" * depth


async def test_usage_beyond_what_an_entry_can_hold(gateway: Gateway) -> None:
    """Each count is one that the log can hold, and their sum is not: the decision stayed open until a restart."""
    usage = {"input_tokens": MOST, "output_tokens": 3, "cache_read_input_tokens": MOST}
    reply = await message(gateway, {**MESSAGE, "usage": usage})
    assert (reply.status, reply.json["usage"]) == (200, usage)
    [completed] = await gateway.entries("completed")
    assert (completed["outcome"], completed["input_tokens"], completed["misreported"]) == ("ok", None, "impossible")
    assert completed["settled_tokens"] < 1000
    assert orjson.loads(completed["reported_json"])["input_tokens"] == str(2 * MOST)
    assert gateway.open_decisions() == 0
    assert proven(gateway) == []


async def test_an_answer_that_is_nested_more_deeply_than_calls_can_be(gateway: Gateway) -> None:
    """Reading it failed, and the memory that it took was given back to nobody."""
    deep = b'{"type":"message","text":"%s","content":[%s]}' % (b"x" * 100_000, nested(1000))
    reply = await message(gateway, deep)
    assert (reply.status, reply.body) == (200, deep)
    [completed] = await gateway.entries("completed")
    assert completed["outcome"] == "ok"
    assert gateway.plane.load()[1] == 0


async def test_an_event_of_a_hundred_thousand_lines(gateway: Gateway) -> None:
    """Reading one of 31 MiB stopped the worker for ten seconds and took 650 MiB."""
    await keep(gateway, redact=[])
    gateway.upstream.handler = answer(b"data:\n" * 100_000, content_type="text/event-stream")
    reply = await gateway.chat(stream=True)
    assert reply.status == 200
    assert b"upstream_error" in reply.body
    assert len(reply.body) < 1000
    [completed] = await gateway.entries("completed")
    assert completed["outcome"] == "upstream_error"
    assert completed["detail"] == "an unfinished event of the stream has too many bytes or lines"
    assert gateway.plane.load()[1] == 0


async def test_a_kept_answer_that_is_nested_more_deeply_than_can_be_written(gateway: Gateway) -> None:
    await keep(gateway, redact=["nothing like it"])
    gateway.upstream.handler = answer(b'{"model":"x","arguments":%s}' % nested(300))
    assert (await gateway.chat()).status == 200
    [completed] = await gateway.entries("completed")
    assert (completed["content_omitted"], gateway.open_decisions()) == ("not_json", 0)


@pytest.mark.parametrize(
    ("made", "why"), [(lambda text: text and [text], "TypeError"), (lambda _: "\ud800", "AuditError")]
)
async def test_a_defect_in_what_an_entry_says_of_an_answer_leaves_no_decision_open(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, made: Callable[[Any], Any], why: str
) -> None:
    # No price is found by a list, and no entry can hold half of a character.
    monkeypatch.setattr("gateway.upstream.providers.openai.answers.text", made)
    gateway.upstream.handler = answer(COMPLETION)
    assert (await gateway.chat()).status == 200
    [completed] = await gateway.entries("completed")
    assert (completed["outcome"], completed["status"], completed["input_tokens"]) == ("ok", 200, None)
    assert completed["detail"] == f"the rest of this entry could not be made: {why}"
    assert gateway.open_decisions() == 0
