"""Limits that are exact, and limits that work by estimates where a call has no bound: what they reserve and settle."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.audit import balance_check
from gateway.audit.entry import Entry
from gateway.identity.credentials import Peppers
from gateway.registry.agents.registration import register_agent
from gateway.registry.keys.changes import create_key
from gateway.registry.limits.usage_limits import Part
from gateway.registry.policies.bindings import bind
from gateway.usage.estimates import UNKNOWN_TOKENS, Estimates
from tests.rigs.dataplane.limits import balance, limit, proven
from tests.rigs.dataplane.obligations import put_into_force
from tests.rigs.usage.media_bounds import png, url

from .conftest import ACTOR, COMPLETION, ORG, Gateway, Reply, Start, answer

# Nothing is known of how this model sees images, nor of its window.
UNKNOWN = "gpt-4o-unheard-of"


def image(model: str, max_tokens: int = 50) -> dict[str, Any]:
    content = [{"type": "text", "text": "what is it"}, {"type": "image_url", "image_url": {"url": url(png(512, 512))}}]
    return {"model": model, "max_tokens": max_tokens, "messages": [{"role": "user", "content": content}]}


def uses(gateway: Gateway, tokens: int) -> None:
    usage = {"prompt_tokens": tokens - 3, "completion_tokens": 3, "total_tokens": tokens}
    gateway.upstream.handler = answer({**COMPLETION, "usage": usage})


async def ask(gateway: Gateway, body: dict[str, Any], path: str = "") -> Reply:
    return await gateway.send(gateway.request(body, path=path))


async def last(gateway: Gateway) -> tuple[dict[str, Any], Entry]:
    decided = json.loads((await gateway.entries("decided"))[-1]["reservation_json"])
    return decided, (await gateway.entries("completed"))[-1]


async def test_an_image_with_a_bound_is_reserved_exactly_in_each_mode(gateway: Gateway) -> None:
    for mode in ("hard", "estimate"):
        limit(gateway, "spend_microusd_per_day", 1_000_000, mode=mode)
        assert (await ask(gateway, image("gpt-4o"))).status == 200
        decided, completed = await last(gateway)
        assert "estimated" not in decided
        assert 765 < decided["tokens"] < 1000
        assert (decided["read"][0][6:] == ["estimate"]) is (mode == "estimate")
        assert completed["settled_tokens"] == 10
    assert proven(gateway) == []


async def test_a_call_without_a_bound_reserves_what_its_like_have_used(gateway: Gateway) -> None:
    limit(gateway, "tokens_per_day", 100_000)
    # The first is a guess, and says so.
    uses(gateway, 20_000)
    assert (await ask(gateway, image(UNKNOWN))).status == 200
    decided, completed = await last(gateway)
    assert decided["estimated"] == "content that is not text (image)"
    assert UNKNOWN_TOKENS < decided["tokens"] < UNKNOWN_TOKENS + 200
    assert completed["settled_tokens"] == 20_000
    assert completed["beyond_tokens"] == 20_000 - decided["tokens"]
    # The next ones reserve the highest that there was.
    uses(gateway, 10)
    for _ in range(2):
        assert (await ask(gateway, image(UNKNOWN))).status == 200
        decided, completed = await last(gateway)
        assert (decided["tokens"], completed["settled_tokens"]) == (20_000, 10)
        assert "beyond_tokens" not in completed
    # A limit is passed by what was beyond, and then nothing goes through.
    uses(gateway, 90_000)
    assert (await ask(gateway, image(UNKNOWN))).status == 200
    _, completed = await last(gateway)
    used = balance(gateway, "organization:")["tokens_day"]
    assert used == 110_020
    assert 0 < used - 100_000 <= completed["beyond_tokens"] == 70_000
    reply = await ask(gateway, image(UNKNOWN))
    assert (reply.status, reply.code) == (429, "limit_exceeded")
    assert proven(gateway) == []


async def test_a_guess_is_at_most_half_of_a_limit(gateway: Gateway) -> None:
    """Else the first call could never go through, and nothing would be known of its like."""
    limit(gateway, "tokens_per_day", 2000)
    assert (await ask(gateway, image(UNKNOWN))).status == 200
    assert (await last(gateway))[0]["tokens"] == 1000
    reply = await ask(gateway, image(UNKNOWN, max_tokens=3000))
    assert (reply.status, reply.code) == (429, "limit_exceeded")


async def test_a_call_that_used_a_whole_limit_is_not_the_last_of_its_kind(gateway: Gateway) -> None:
    limit(gateway, "tokens_per_day", 1_000_000)
    uses(gateway, 20_000)
    assert (await ask(gateway, image(UNKNOWN))).status == 200
    # Nothing is used of this limit yet, as at the beginning of a day.
    limit(gateway, "tokens_per_day", 10_000, part=Part("openai", UNKNOWN))
    assert (await ask(gateway, image(UNKNOWN))).status == 200
    decided, completed = await last(gateway)
    assert (decided["tokens"], completed["beyond_tokens"]) == (5_000, 15_000)
    assert (await ask(gateway, image(UNKNOWN))).status == 429
    assert proven(gateway) == []


async def test_an_estimate_is_of_like_calls_alone(gateway: Gateway) -> None:
    """Only calls of the same agent, action and model count: others say nothing of this one."""
    limit(gateway, "tokens_per_day", 10_000_000)
    other = register_agent(gateway.registry, actor=ACTOR, organization=ORG, name="other")
    common: dict[str, Any] = {"actor": ACTOR, "organization": ORG}
    bind(gateway.registry, **common, kind="agent", subject=other.id, bundle="bot")
    key = create_key(gateway.registry, Peppers.load(gateway.data.keys), **common, agent=other.id)
    put_into_force(gateway, 'package bot.authz\n\nallow := true\n\nreferences := "allowed"\n')
    uses(gateway, 20_000)
    assert (await ask(gateway, image(UNKNOWN))).status == 200
    response = {"model": UNKNOWN, "max_output_tokens": 50, "input": "x", "tools": [{"type": "web_search"}]}
    for body, path, *line in (
        (image(UNKNOWN), "", f"Authorization: Bearer {key.text}"),
        (image(f"{UNKNOWN}-2"), ""),
        (response, "/v1/responses"),
    ):
        reply = await gateway.send(gateway.request(body, *line, path=path))
        assert reply.status == 200, reply.body
        decided, _ = await last(gateway)
        assert UNKNOWN_TOKENS < decided["tokens"] < 20_000
    await ask(gateway, image(UNKNOWN))
    assert (await last(gateway))[0]["tokens"] == 20_000


async def test_an_estimate_is_between_what_has_a_bound_and_the_window(start: Start) -> None:
    document = {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0x"}
    body = {"model": "gpt-4o", "max_output_tokens": 50, "input": [{"role": "user", "content": [document]}]}
    gateway = await start()
    limit(gateway, "spend_microusd_per_day", 20_000_000)
    used = []
    for tokens in (4, 400_000, 10):
        usage = {"input_tokens": tokens - 3, "output_tokens": 3, "total_tokens": tokens}
        gateway.upstream.handler = answer({**RESPONSE, "usage": usage})
        reply = await ask(gateway, body, "/v1/responses")
        assert reply.status == 200, reply.body
        used.append((await last(gateway))[0])
    # After a call that used next to nothing: the output alone may cost so much, at $10 a million.
    assert used[1]["tokens"] >= 50
    assert used[1]["spend_nanousd"] >= 500_000
    # After one that used more than the model's window holds.
    assert used[2]["tokens"] <= 128_000 + 50


async def test_one_exact_limit_refuses_what_has_no_bound(gateway: Gateway) -> None:
    limit(gateway, "tokens_per_day", 1_000_000)
    limit(gateway, "tokens_per_month", 1_000_000, "agent", mode="hard")
    reply = await ask(gateway, image(UNKNOWN))
    assert (reply.status, reply.code) == (403, "limit_unenforceable")
    assert "`gateway limits set agent:bot tokens_per_month VALUE --mode estimate`" in reply.json["error"]["message"]
    limit(gateway, "tokens_per_month", 1_000_000, "agent", mode="estimate")
    assert (await ask(gateway, image(UNKNOWN))).status == 200
    # Limits of policies are always exact.
    put_into_force(gateway, 'package bot.authz\n\nallow := true\n\nlimits := {"tokens_per_day": 1000000}\n')
    reply = await ask(gateway, image(UNKNOWN))
    assert (reply.status, reply.code) == (403, "limit_unenforceable")
    assert "limits of policies are always exact" in reply.json["error"]["message"]


RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "gpt-4o",
    "output": [],
    "usage": {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10},
}


@pytest.mark.parametrize("mode", ["hard", "estimate"])
async def test_what_agents_send_goes_through_under_a_limit_on_money(start: Start, mode: str) -> None:
    """A PDF, a search and an earlier response, each of a model whose window is known."""
    document = {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0x"}
    gateway = await start()
    limit(gateway, "spend_microusd_per_day", 20_000_000, mode=mode)
    gateway.upstream.handler = answer(RESPONSE)
    for members in (
        {"input": [{"role": "user", "content": [document]}]},
        {"input": "x", "tools": [{"type": "web_search"}], "max_tool_calls": 2},
        {"input": "x", "previous_response_id": "resp_1"},
    ):
        body = {"model": "gpt-4o", "max_output_tokens": 50, **members}
        reply = await ask(gateway, body, "/v1/responses")
        assert reply.status == 200, reply.body
        decided, completed = await last(gateway)
        # Only a hard limit reserves the window of the model: nearly all of it is never used.
        whole = mode == "hard" and "previous_response_id" not in members
        assert (decided["tokens"] >= 128_000) is whole
        assert ("estimated" in decided) is (mode == "estimate" and "previous_response_id" not in members)
        assert completed["settled_tokens"] == 10
    # Without a cap a search has no bound.
    body = {"model": "gpt-4o", "max_output_tokens": 50, "input": "x", "tools": [{"type": "web_search"}]}
    reply = await ask(gateway, body, "/v1/responses")
    assert reply.status == (403 if mode == "hard" else 200)
    assert proven(gateway) == []


async def test_what_a_response_has_used_bounds_what_continues_it(gateway: Gateway) -> None:
    """Its input and its output may be input again, and no more; of another model nothing is known."""
    limit(gateway, "tokens_per_day", 1_000_000, mode="hard")

    async def reserved(number: int, **members: Any) -> int:
        used = {"input_tokens": 7, "output_tokens": 993, "total_tokens": 1000}
        gateway.upstream.handler = answer({**RESPONSE, "id": f"resp_{number}", "usage": used})
        body = {"model": "gpt-4o", "max_output_tokens": 50, "input": "x", **members}
        assert (await ask(gateway, body, "/v1/responses")).status == 200
        return int((await last(gateway))[0]["tokens"])

    first, window = await reserved(1), 128_000 + 50
    for number, members in ((2, {}), (3, {"truncation": "auto"})):
        assert 1000 < await reserved(number, previous_response_id="resp_1", **members) - first < 1050
    # The text that it was charged for may have been cut off what it continues.
    assert await reserved(4, previous_response_id="resp_3") == window
    assert await reserved(5, previous_response_id="resp_2", model="gpt-4o-mini") == window
    assert proven(gateway) == []


def test_the_verification_finds_an_estimate_under_an_exact_limit_and_a_wrong_excess() -> None:
    made: dict[str, Any] = {"minute": 1, "scopes": ["agent:a"], "spend_nanousd": 0, "tokens": 10}
    read: list[Any] = ["agent:a", "tokens_day", 0, 0, 100, "lim_1"]

    def opened(check: balance_check.BalanceCheck, text: dict[str, Any]) -> str:
        return check.opened({"org": "o", "id": "dec_1", "reservation_json": json.dumps(made | text)})

    assert opened(balance_check.BalanceCheck(), {"estimated": "x", "read": [[*read, "estimate"]]}) == ""
    assert "does not allow" in opened(balance_check.BalanceCheck(), {"estimated": "x", "read": [read]})
    closing: Entry = {"org": "o", "settled_requests": 1, "settled_tokens": 15, "settled_nanousd": 0}
    for beyond, fault in ((5, ""), (4, "it says that it is beyond its reservation by")):
        check = balance_check.BalanceCheck()
        text = {"read": [read]}
        assert opened(check, text) == ""
        decision: Entry = {"id": "dec_1", "reservation_json": json.dumps(made | text)}
        assert check.closed(decision, {**closing, "beyond_tokens": beyond}).startswith(fault)
        assert bool(fault) is (beyond == 4)


def test_the_memory_of_estimates_has_a_bound() -> None:
    estimates = Estimates()
    for number in range(10_000):
        estimates.note(("o", "a", "chat", str(number)), number, 0)
    assert estimates.of(("o", "a", "chat", "0")) is None
    assert estimates.of(("o", "a", "chat", "9999")) == (9999, 0)
