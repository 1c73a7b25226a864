"""Limits across the border: on calls to a counterparty and from one, by requests and by what an order is worth."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from gateway.audit import signer, verify
from gateway.registry.limits import usage_limits
from gateway.registry.limits.usage_limits import Part
from tests.gateway.dataplane.conftest import ACTOR, ORG, Gateway, Reply, answer
from tests.rigs.dataplane.a2a import OTHER, RECEIVING, ask, message, send, serve, task

DOLLAR = 1_000_000


def limit(
    gateway: Gateway, organization: str, agent: str, name: str, value: int, counterparty: str = "", **more: Any
) -> None:
    usage_limits.set_limit(
        gateway.registry,
        actor=ACTOR,
        organization=organization,
        kind="agent",
        subject=agent,
        name=name,
        value=value,
        part=Part(counterparty=counterparty),
        **more,
    )


async def order(gateway: Gateway, microusd: int | None = None) -> Reply:
    metadata = {} if microusd is None else {"metadata": {"amount_microusd": microusd}}
    return await ask(gateway, params=send(**metadata))


def reason(reply: Reply) -> str:
    return str(reply.json["error"]["data"]["reason"]) if "error" in reply.json else "ok"


def decided(gateway: Gateway, organization: str) -> list[dict[str, Any]]:
    return [each for each in gateway.log(organization) if each["kind"] == "decided"]


async def sound(gateway: Gateway) -> None:
    """Both logs verify, their balances and halves included."""
    await gateway.entries("decided")
    await asyncio.to_thread(gateway.settle)
    signer.create_key(gateway.data, "test")
    key = signer.load_verifier(signer.public_key_path(gateway.data))
    assert [each.message for each in verify.verify(gateway.data.audit_db, key).findings] == []


@pytest.mark.parametrize("counterparty", ["to:globex", "to:globex/sales", "to:*"])
async def test_a_caller_may_order_so_often_from_a_counterparty(gateway: Gateway, counterparty: str) -> None:
    serve(gateway)
    gateway.upstream.handler = answer(task())
    limit(gateway, ORG, "bot", "requests_per_day", 2, counterparty)
    limit(gateway, ORG, "bot", "requests_per_day", 0, "to:initech")
    assert [reason(await order(gateway)) for _ in range(3)] == ["ok", "ok", "limit_exceeded"]
    assert len(gateway.upstream.seen) == 2
    assert len(decided(gateway, OTHER)) == 2, "the other side was not asked about the third"


@pytest.mark.parametrize("counterparty", ["from:default", "from:default/bot", "from:*"])
async def test_an_agent_that_is_called_takes_so_many(gateway: Gateway, counterparty: str) -> None:
    serve(gateway)
    gateway.upstream.handler = answer(task())
    limit(gateway, OTHER, "sales", "requests_per_day", 2, counterparty)
    limit(gateway, OTHER, "sales", "requests_per_day", 0, "from:initech")
    assert [reason(await order(gateway)) for _ in range(3)] == ["ok", "ok", "callee_refused"]
    assert len(gateway.upstream.seen) == 2
    mine, theirs = decided(gateway, ORG)[-1], decided(gateway, OTHER)[-1]
    assert (theirs["allow"], theirs["reason"]) == (False, "limit_exceeded")
    assert (mine["allow"], mine["reason"], mine["other_decision"]) == (False, "callee_refused", theirs["id"])
    assert "requests_per_day" not in mine["reasons_json"], "the caller learns nothing of the limit"
    await sound(gateway)


async def test_calls_that_an_agent_takes_are_not_among_its_own(gateway: Gateway) -> None:
    serve(gateway)
    gateway.upstream.handler = answer(task())
    usage_limits.set_limit(
        gateway.registry,
        actor=ACTOR,
        organization=OTHER,
        kind="agent",
        subject="sales",
        name="requests_per_day",
        value=1,
    )
    assert [reason(await order(gateway)) for _ in range(3)] == ["ok"] * 3


async def test_bundles_that_receive_limit_each_caller(gateway: Gateway) -> None:
    serve(gateway, receiving=f'{RECEIVING}\nlimits := {{"requests_per_hour": 1}}\n')
    gateway.upstream.handler = answer(task())
    assert [reason(await order(gateway)) for _ in range(2)] == ["ok", "callee_refused"]
    [_, theirs] = decided(gateway, OTHER)
    [told] = orjson.loads(theirs["limits_json"])
    assert (told["limit"], told["set_by"]) == ("requests_per_hour", "policy")
    assert told["calls"].startswith("counterparty:from:default/agt_")


async def test_each_message_costs_its_price(gateway: Gateway) -> None:
    serve(gateway, price_microusd=2 * DOLLAR)
    gateway.upstream.handler = answer(task())
    limit(gateway, ORG, "bot", "spend_microusd_per_day", 5 * DOLLAR, "to:globex")
    assert [reason(await order(gateway)) for _ in range(3)] == ["ok", "ok", "limit_exceeded"]
    ends = [each for each in gateway.log(ORG) if each["kind"] == "completed"]
    assert [each["cost_nanousd"] for each in ends] == [2 * DOLLAR * 1000] * 2
    theirs = [each for each in gateway.log(OTHER) if each["kind"] == "completed"]
    assert [each["settled_nanousd"] for each in theirs] == [2 * DOLLAR * 1000] * 2
    assert "cost_nanousd" not in theirs[0], "the caller pays, and the other side does not"
    await sound(gateway)


async def test_an_order_counts_with_what_it_says_it_is_worth(gateway: Gateway) -> None:
    serve(gateway, price_microusd=DOLLAR)
    gateway.upstream.handler = answer(task())
    limit(gateway, OTHER, "sales", "spend_microusd_per_month", 500 * DOLLAR, "from:default")
    asked = [499 * DOLLAR, 2 * DOLLAR, 1, None]
    # An order is never worth less than a message costs.
    assert [reason(await order(gateway, each)) for each in asked] == ["ok", "callee_refused", "ok", "callee_refused"]
    await sound(gateway)


async def test_an_error_of_the_agent_costs_nothing(gateway: Gateway) -> None:
    serve(gateway, price_microusd=DOLLAR)
    error = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32001, "message": "sold out"}}
    gateway.upstream.handler = answer(error)
    limit(gateway, ORG, "bot", "spend_microusd_per_day", DOLLAR, "to:globex")
    assert [(await order(gateway)).json for _ in range(3)] == [error] * 3


async def test_policies_see_price_and_amount(gateway: Gateway) -> None:
    rule = "input.resource.agent.price_microusd == 1000000\n\tinput.resource.params.amount_microusd <= 7000000"
    sending = f"package bot.authz\n\ndefault allow := false\n\nallow if {{\n\t{rule}\n}}\n"
    serve(gateway, sending=sending, price_microusd=DOLLAR)
    gateway.upstream.handler = answer(task())
    assert [reason(await order(gateway, each * DOLLAR)) for each in (7, 8)] == ["ok", "policy_denied"]


@pytest.mark.parametrize("amount", [-1, 1.5, "5", True, None, 2**53])
async def test_an_amount_that_is_none_is_refused(gateway: Gateway, amount: Any) -> None:
    serve(gateway)
    reply = await ask(gateway, params=send(metadata={"amount_microusd": amount}))
    assert (reply.status, reply.json["error"]["code"]) == (400, -32602)
    assert gateway.upstream.seen == []


async def test_calls_at_once_never_go_over_either_limit(gateway: Gateway) -> None:
    serve(gateway)
    gateway.upstream.handler = answer(task())
    limit(gateway, ORG, "bot", "spend_microusd_per_day", 10 * DOLLAR, "to:globex")
    limit(gateway, OTHER, "sales", "spend_microusd_per_day", 7 * DOLLAR, "from:default")
    replies = await asyncio.gather(*(order(gateway, DOLLAR) for _ in range(30)))
    found = [reason(each) for each in replies]
    assert (found.count("ok"), len(gateway.upstream.seen)) == (7, 7)
    assert set(found) <= {"ok", "callee_refused", "limit_exceeded"}
    await sound(gateway)


async def test_a_follow_up_to_a_task_needs_no_bound_of_tokens(gateway: Gateway) -> None:
    serve(gateway)
    gateway.upstream.handler = answer(task())
    limit(gateway, ORG, "bot", "tokens_per_day", 10, mode="hard")
    assert reason(await order(gateway)) == "ok"
    follow = message("SendMessage", send(taskId="task-1"))
    assert reason(await gateway.send(gateway.request(follow, "A2A-Version: 1.0", path="/a2a/globex/sales"))) == "ok"


@pytest.mark.parametrize(
    ("name", "part", "code"),
    [
        ("requests_per_day", Part(counterparty="globex"), "invalid_counterparty"),
        ("requests_per_day", Part(counterparty="to:a/b/c"), "invalid_counterparty"),
        ("requests_per_day", Part(counterparty="from:glo bex"), "invalid_counterparty"),
        ("requests_per_day", Part(model="gpt-5", counterparty="to:globex"), "invalid_limit"),
        ("tokens_per_day", Part(counterparty="to:globex"), "invalid_limit"),
    ],
)
def test_a_counterparty_that_is_none_is_refused(home: Any, name: str, part: Part, code: str) -> None:
    from gateway.errors import GatewayError

    with pytest.raises(GatewayError) as caught:
        usage_limits.set_limit(
            home.registry,
            actor=ACTOR,
            organization=ORG,
            kind="organization",
            subject=ORG,
            name=name,
            value=1,
            part=part,
        )
    assert caught.value.code == code
