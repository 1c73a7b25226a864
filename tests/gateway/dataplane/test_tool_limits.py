"""Limits on calls of one tool and of one MCP server: exact under concurrency, of operators and of policies."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import orjson
import pytest

from gateway.errors import GatewayError
from gateway.policy import reexecution
from gateway.registry.limits import states, usage_limits
from gateway.usage.limits import Part
from tests.gateway.dataplane.conftest import ACTOR, ORG, Gateway, Handler, Seen, answer, until
from tests.gateway.dataplane.test_a2a import kept
from tests.gateway.dataplane.test_a2a_limits import sound
from tests.rigs.dataplane.mcp import ask, result, serve
from tests.rigs.dataplane.tokens import another

ALL = "package bot.authz\n\nallow := true\n"
DONE = result({"content": [], "resultType": "complete"})


def limit(gateway: Gateway, name: str, value: int, *, subject: str = "bot", kind: Any = "agent", **part: str) -> None:
    usage_limits.set_limit(
        gateway.registry, actor=ACTOR, organization=ORG, kind=kind, subject=subject, name=name, value=value,
        part=Part(**part),
    )  # fmt: skip


async def call(gateway: Gateway, tool: str = "get_issue") -> str:
    """`ok`, or the reason code of the refusal."""
    reply = await ask(gateway, "tools/call", {"name": tool, "arguments": {"repo": "acme/app"}})
    return str(reply.json["error"]["data"]["reason"]) if "error" in reply.json else "ok"


def offer(gateway: Gateway, policy: str = ALL) -> None:
    """A server that answers at once."""
    serve(gateway, policy=policy)
    gateway.upstream.handler = answer(DONE)


async def test_a_tool_may_be_called_so_often(gateway: Gateway) -> None:
    offer(gateway)
    limit(gateway, "requests_per_day", 2, upstream="github", tool="get_issue")
    assert [await call(gateway) for _ in range(3)] == ["ok", "ok", "limit_exceeded"]
    assert await call(gateway, "list_issues") == "ok"
    assert (await ask(gateway, "tools/list")).status == 200
    assert len([each for each in gateway.upstream.seen if b"get_issue" in each.body]) == 2
    refused = next(each for each in await gateway.entries("decided") if not each["allow"])
    [told] = orjson.loads(refused["limits_json"])
    assert (told["calls"], told["spent"], told["value"]) == ("upstream:github tool:get_issue", 2, 2)
    assert "--upstream github --tool get_issue --for 2h" in refused["reasons_json"]
    found = states.applying(gateway.registry, ORG, "agent", "bot")
    [state] = states.states(gateway.data, found)
    assert (state.tool, state.upstream, state.spent, state.left) == ("get_issue", "github", 2, 0)
    await sound(gateway)


@pytest.mark.parametrize(
    ("part", "wanted"),
    [
        ({"tool": "get_*"}, ["limit_exceeded", "ok", "ok"]),
        ({"tool": "*"}, ["limit_exceeded", "limit_exceeded", "limit_exceeded"]),
        ({"upstream": "github"}, ["limit_exceeded", "limit_exceeded", "limit_exceeded"]),
        ({"tool": "get_issue", "upstream": "openai"}, ["ok", "ok", "ok"]),
        ({"tool": "GET_ISSUE"}, ["ok", "ok", "ok"]),
        ({"tool": "get_issu"}, ["ok", "ok", "ok"]),
    ],
)
async def test_which_calls_a_limit_is_for(gateway: Gateway, part: dict[str, str], wanted: list[str]) -> None:
    offer(gateway)
    limit(gateway, "requests_per_minute", 0, **part)
    assert [await call(gateway, tool) for tool in ("get_issue", "list_issues", "delete_repo")] == wanted
    chats = (await gateway.chat("gpt-4o")).status
    assert chats == (429 if part.get("upstream") == "openai" and "tool" not in part else 200)


async def test_many_callers_at_once_never_go_over(gateway: Gateway) -> None:
    offer(gateway)
    another(gateway, "other")
    limit(gateway, "requests_per_hour", 7, upstream="github", tool="get_issue")
    limit(gateway, "requests_per_hour", 11, kind="organization", subject=ORG, tool="*")
    found = Counter(await asyncio.gather(*(call(gateway) for _ in range(20))))
    assert found == {"ok": 7, "limit_exceeded": 13}
    found = Counter(await asyncio.gather(*(call(gateway, "list_issues") for _ in range(20))))
    assert found == {"ok": 4, "limit_exceeded": 16}
    assert len(gateway.upstream.seen) == 11
    await sound(gateway)


def held(gateway: Gateway) -> tuple[asyncio.Event, list[int]]:
    """An upstream that answers when the event is set; and how many calls it has had at a time, after each."""
    go, running = asyncio.Event(), [0]

    async def handle(seen: Seen, writer: asyncio.StreamWriter) -> None:
        running.append(running[-1] + 1)
        await go.wait()
        done: Handler = answer(DONE)
        await done(seen, writer)

    gateway.upstream.handler = handle
    return go, running


async def test_so_many_calls_of_a_tool_run_at_a_time(gateway: Gateway) -> None:
    offer(gateway)
    limit(gateway, "concurrent_requests", 2, tool="get_issue")
    go, running = held(gateway)
    first = [asyncio.create_task(call(gateway)) for _ in range(6)]
    await until(lambda: sum(each.done() for each in first) == 4 and max(running) == 2)
    assert max(running) == 2
    other = asyncio.create_task(call(gateway, "list_issues"))
    await until(lambda: max(running) == 3)
    go.set()
    assert Counter(await asyncio.gather(*first)) == {"ok": 2, "limit_exceeded": 4}
    assert await other == "ok"
    assert await call(gateway) == "ok"
    await sound(gateway)


def priced(gateway: Gateway, **tools: str) -> None:
    """Say what calls of these tools of `github` cost, in dollars."""
    models = {
        name: {"names": [name], "prices": [{"input": 0, "output": 0, "request": usd}]} for name, usd in tools.items()
    }
    own = {"v": 1, "version": "ours", "upstreams": {"github": {"models": models}}}
    gateway.data.prices.write_text(json.dumps(own), "utf-8")
    gateway.prices.refresh()


async def test_a_tool_that_costs_something_counts_in_limits_on_money(gateway: Gateway) -> None:
    offer(gateway)
    priced(gateway, get_issue="0.25")
    limit(gateway, "spend_microusd_per_day", 1_000_000, upstream="github", tool="get_*")
    limit(gateway, "spend_microusd_per_month", 1_500_000)
    found = Counter(await asyncio.gather(*(call(gateway) for _ in range(10))))
    assert found == {"ok": 4, "limit_exceeded": 6}
    assert await call(gateway, "list_issues") == "ok"  # costs nothing
    done = await gateway.entries("completed")
    assert sorted(each.get("cost_nanousd", 0) for each in done) == [0, *[250_000_000] * 4]
    [price] = {each["price"] for each in done if "price" in each}
    assert price.startswith("github/get_issue@ours")
    refused = next(each for each in await gateway.entries("decided") if not each["allow"])
    assert "--upstream github --tool get_*" in refused["reasons_json"]
    await sound(gateway)


async def test_a_server_that_refuses_a_call_is_not_paid(gateway: Gateway) -> None:
    offer(gateway)
    priced(gateway, get_issue="0.25")
    limit(gateway, "spend_microusd_per_day", 300_000, tool="get_issue")
    failed = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": "no such issue"}}
    gateway.upstream.handler = answer(failed, status=400)
    reply = await ask(gateway, "tools/call", {"name": "get_issue", "arguments": {}})
    assert (reply.status, reply.json) == (400, failed)
    gateway.upstream.handler = answer(DONE)
    assert [await call(gateway) for _ in range(2)] == ["ok", "limit_exceeded"]
    await sound(gateway)


PER_TOOL = """package bot.authz

allow := true

limits := {"tool_requests_per_day": 2, "requests_per_day": 5}
"""


async def test_a_bundle_limits_each_tool_for_itself(gateway: Gateway) -> None:
    offer(gateway, PER_TOOL)
    assert [await call(gateway) for _ in range(3)] == ["ok", "ok", "limit_exceeded"]
    assert [await call(gateway, "list_issues") for _ in range(3)] == ["ok", "ok", "limit_exceeded"]
    assert (await ask(gateway, "tools/list")).status == 200  # names no tool, and is the fifth of all
    assert await call(gateway, "delete_repo") == "limit_exceeded"
    third, sixth, last = [each for each in await gateway.entries("decided") if not each["allow"]]
    [told] = orjson.loads(third["limits_json"])
    assert (told["calls"], told["set_by"]) == ("upstream:github tool:get_issue", "policy")
    assert orjson.loads(sixth["limits_json"])[0]["calls"] == "upstream:github tool:list_issues"
    assert [each["limit"] for each in orjson.loads(last["limits_json"])] == ["requests_per_day"]
    found = reexecution.judge_again(gateway.data.bundles, third, kept(gateway, third["id"]))
    assert (found.agrees, "was used up" in found.problem) == (None, True)
    await sound(gateway)


async def test_a_bundle_limits_one_tool_alone(gateway: Gateway) -> None:
    policy = """package bot.authz

    allow := true

    limits := {"tool_concurrent_requests": 1} if input.resource.tool.name == "get_issue"
    """
    offer(gateway, policy)
    go, running = held(gateway)
    calls = [asyncio.create_task(call(gateway, each)) for each in ("get_issue", "list_issues") * 2]
    await until(lambda: max(running) == 3 and any(each.done() for each in calls))
    go.set()
    assert sorted(await asyncio.gather(*calls)) == ["limit_exceeded", "ok", "ok", "ok"]


@pytest.mark.parametrize(
    "limits", ['{"tool_tokens_per_day": 1}', '{"tool_requests_per_year": 1}', '{"tool_requests_per_day": -1}']
)
async def test_other_names_are_none(gateway: Gateway, limits: str) -> None:
    offer(gateway, f"package bot.authz\n\nallow := true\n\nlimits := {limits}\n")
    assert await call(gateway) == "policy_bad_decision"


@pytest.mark.parametrize(
    ("name", "part", "why"),
    [
        ("tokens_per_day", {"tool": "get_issue"}, "no tokens"),
        ("requests_per_day", {"tool": "get issue"}, "not the name of a tool"),
        ("requests_per_day", {"tool": "*_issue"}, "not the name of a tool"),
        ("requests_per_day", {"tool": "get:issue"}, "not the name of a tool"),
        ("requests_per_day", {"tool": "get_issue", "model": "gpt-4o"}, "names no model"),
        ("requests_per_day", {"tool": "get_issue", "counterparty": "to:globex"}, "for all calls"),
        ("requests_per_day", {"tool": "get_issue", "upstream": "nowhere"}, "unknown upstream"),
    ],
)
async def test_limits_that_are_none(gateway: Gateway, name: str, part: dict[str, str], why: str) -> None:
    with pytest.raises(GatewayError, match=why):
        limit(gateway, name, 1, **part)


async def test_a_limit_of_a_tool_is_raised_and_removed_as_others(gateway: Gateway) -> None:
    offer(gateway)
    limit(gateway, "requests_per_day", 1, tool="get_*")
    limit(gateway, "requests_per_day", 100)
    assert [await call(gateway) for _ in range(2)] == ["ok", "limit_exceeded"]
    which: dict[str, Any] = {"actor": ACTOR, "organization": ORG, "kind": "agent", "subject": "bot"}
    named = which | {"name": "requests_per_day", "part": Part(tool="get_*")}
    usage_limits.raise_limit(gateway.registry, **named, value=2, for_ns=10**12, reason="a release")
    assert [await call(gateway) for _ in range(2)] == ["ok", "limit_exceeded"]
    usage_limits.remove_limit(gateway.registry, **named)
    assert await call(gateway) == "ok"
    assert [each.tool for each in usage_limits.limits(gateway.registry, ORG)] == [""]
