"""Limits on their way through the data plane: what is reserved and settled, and how a refusal explains itself."""

from __future__ import annotations

import asyncio
import functools
import json
import sqlite3
import time
from typing import Any

import pytest

from gateway.audit.balance import VALUES
from gateway.call import Call
from gateway.registry.limits import usage_limits
from gateway.registry.limits.usage_limits import Part
from gateway.registry.operators import operators
from gateway.registry.organizations.changes import update_organization
from gateway.usage import bounds, limits
from tests.gateway.dataplane.conftest import ACTOR, COMPLETION, ORG, Gateway, Start, answer, chat, stream, until
from tests.rigs.dataplane.limits import balance, limit, proven
from tests.rigs.dataplane.obligations import put_into_force

HOUR = 3600 * 10**9


async def test_every_call_counts_and_is_settled_by_its_usage(gateway: Gateway) -> None:
    for _ in range(3):
        assert (await gateway.chat(max_tokens=20)).status == 200
    [*_, decided, completed] = await gateway.entries()
    reserved = json.loads(decided["reservation_json"])
    assert reserved["tokens"] >= 20 + len("hello")
    assert (completed["settled_requests"], completed["settled_tokens"]) == (1, 10)
    assert completed["settled_nanousd"] == completed["cost_nanousd"]
    for scope in ("agent:agt_", f"organization:{ORG}"):
        row = balance(gateway, scope)
        assert (row["open"], row["requests_day"], row["tokens_month"], row["reserved_tokens_day"]) == (0, 3, 30, 0)
        assert row["spend_nanousd_hour"] == 3 * completed["cost_nanousd"] > 0
    assert proven(gateway) == []


async def test_a_refusal_says_whose_limit_it_is_and_how_to_raise_it(gateway: Gateway) -> None:
    limit(gateway, "requests_per_month", 1)
    limit(gateway, "requests_per_minute", 50, "agent")
    assert (await gateway.chat()).status == 200
    reply = await gateway.chat()
    assert (reply.status, reply.code) == (429, "limit_exceeded")
    assert (reply.headers["x-should-retry"], int(reply.headers["retry-after"]) > 60) == ("false", True)
    error = reply.json["error"]
    assert f"org:{ORG} has 0 requests left of 1 request (requests_per_month)" in error["message"]
    assert f"`gateway limits raise org:{ORG} requests_per_month VALUE --for 2h --reason TEXT`" in error["message"]
    [detail] = error["details"]
    wanted = {"subject": f"org:{ORG}", "limit": "requests_per_month", "value": 1, "spent": 1, "reserved": 0}
    assert wanted.items() <= detail.items()
    assert detail["resets_at"].endswith("-01T00:00:00Z")
    decided = (await gateway.entries("decided"))[-1]
    assert (decided["allow"], decided["open"], decided["reason"]) == (False, False, "limit_exceeded")
    assert decided["id"] == reply.headers["x-decision-id"]
    assert len(gateway.upstream.seen) == 1
    assert balance(gateway, "agent:")["requests_day"] == 1
    # A raised limit holds at once, and falls back by itself.
    usage_limits.raise_limit(
        gateway.registry, actor=ACTOR, organization=ORG, kind="organization", subject=ORG,
        name="requests_per_month", value=2, for_ns=HOUR, reason="a demonstration",
    )  # fmt: skip
    assert (await gateway.chat()).status == 200
    assert (await gateway.chat()).status == 429
    assert proven(gateway) == []


async def test_the_lower_of_the_gateways_and_the_organizations_own_limit_decides(gateway: Gateway) -> None:
    operator = operators.add_operator(gateway.registry, actor=ACTOR, organization=ORG, name="olga", role="admin")
    its_own = functools.partial(limit, gateway, "requests_per_day", actor=f"operator:{operator.id}")

    async def refused() -> dict[str, Any]:
        reply = await gateway.chat()
        assert (reply.status, reply.code) == (429, "limit_exceeded")
        who = "an operator of the whole gateway" if gateways else "an operator"
        assert f"; {who} can raise it" in reply.json["error"]["message"]
        [detail] = reply.json["error"]["details"]
        assert (detail["by_gateway"], detail["set_by"]) == (gateways, "registry")
        return detail  # type: ignore[no-any-return]  # JSON

    limit(gateway, "requests_per_day", 2)
    its_own(value=1)
    assert (await gateway.chat()).status == 200
    gateways = False
    assert (await refused())["value"] == 1
    its_own(value=50)
    assert (await gateway.chat()).status == 200
    gateways = True
    assert (await refused())["value"] == 2
    decided = (await gateway.entries("decided"))[-2]
    assert [read[4] for read in json.loads(decided["reservation_json"])["read"]] == [2, 50]
    told = [entry for entry in await gateway.entries("change") if entry["what"] == "limit.threshold"]
    assert [(entry["value"], entry["percent"]) for entry in told if entry["percent"] != 80] == [
        *((2, 50), (1, 50), (1, 100), (2, 100)),
    ]
    assert proven(gateway) == []


async def test_a_day_ends_at_midnight_of_the_organizations_zone(gateway: Gateway) -> None:
    update = functools.partial(update_organization, gateway.registry, actor=ACTOR, organization=ORG)
    update(zone="Asia/Kolkata")
    limit(gateway, "requests_per_day", 1)
    assert (await gateway.chat()).status == 200
    reply = await gateway.chat()
    [detail] = reply.json["error"]["details"]
    assert detail["resets_at"].endswith("T18:30:00Z")
    assert int(reply.headers["retry-after"]) == detail["retry_after_seconds"] <= 86_400
    # The day has begun, so it keeps its end; and what is told of it stays provable.
    update(zone="UTC")
    assert (await gateway.chat()).json["error"]["details"][0]["resets_at"] == detail["resets_at"]
    told = [entry for entry in await gateway.entries("change") if entry["what"] == "limit.threshold"]
    assert {entry["resets_at"] for entry in told} == {detail["resets_at"]}
    first, *_ = await gateway.entries("decided")
    hour, day, month = json.loads(first["reservation_json"])["ends"]
    assert (hour % 60, day % 1440, month % 1440) == (30, 18 * 60 + 30, 18 * 60 + 30)
    assert proven(gateway) == []


@pytest.mark.slow
async def test_the_limits_of_policies_hold_for_the_agent(start: Start) -> None:
    policy = 'package bot.authz\n\nallow := true\n\nlimits := {"requests_per_day": 2, "tokens_per_day": 1000000}\n'
    gateway = await start()
    put_into_force(gateway, policy)
    statuses = [(await gateway.chat(max_tokens=5)).status for _ in range(4)]
    assert statuses == [200, 200, 429, 429]
    first, *_ = await gateway.entries("decided")
    assert json.loads(first["policy_limits_json"]) == {"requests_per_day": 2, "tokens_per_day": 1_000_000}
    reply = await gateway.chat(max_tokens=5)
    assert reply.json["error"]["details"][0]["set_by"] == "policy"
    assert "set by a policy" in reply.json["error"]["message"]


@pytest.mark.slow
async def test_a_call_without_an_output_limit_gets_one_that_fits(start: Start) -> None:
    gateway = await start(default_output_tokens=5000)
    limit(gateway, "tokens_per_day", 100)
    assert (await gateway.chat()).status == 200
    sent = gateway.upstream.seen[-1].json
    decided = (await gateway.entries("decided"))[-1]
    reserved = json.loads(decided["reservation_json"])
    assert sent["max_completion_tokens"] == decided["output_limit"] == decided["max_output_tokens"]
    assert reserved["tokens"] == 100  # all that was left
    assert "max_output_tokens" in decided["edits_json"]
    # Ten are used; a call that asks for more than what is left does not fit, and is told so.
    reply = await gateway.chat(max_tokens=200)
    assert (reply.status, reply.headers["x-should-retry"]) == (429, "false")
    assert "retry-after" not in reply.headers  # it would never fit
    while (await gateway.chat()).status == 200:
        pass
    used = balance(gateway, "organization:")["tokens_day"]
    assert 60 <= used <= 100
    assert proven(gateway) == []


@pytest.mark.slow
async def test_what_has_no_bound_is_refused_under_a_limit_on_tokens(start: Start) -> None:
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}
    gateway = await start()
    body: dict[str, Any] = {"model": "gpt-4o-unheard-of", "messages": [image], "max_tokens": 5}
    assert (await gateway.send(gateway.request(body))).status == 200
    limit(gateway, "tokens_per_day", 1_000_000, mode="hard")
    reply = await gateway.send(gateway.request(body))
    assert (reply.status, reply.code) == (403, "limit_unenforceable")
    told = "for this request: `tokens_per_day` of org:default: the call has content that is not text (image), which"
    assert told in reply.json["error"]["message"]
    body = {"model": "gpt-4o", "input": "x"}
    reply = await gateway.send(gateway.request(body, path="/v1/responses/compact"))
    assert (reply.status, reply.code) == (403, "limit_unenforceable")
    assert "whose length nothing limits" in reply.json["error"]["message"]
    assert (await gateway.chat(max_tokens=5)).status == 200


@pytest.mark.slow
async def test_a_model_without_a_price_is_refused_under_a_limit_on_money(gateway: Gateway) -> None:
    limit(gateway, "spend_microusd_per_day", 1000, "agent")
    assert (await gateway.chat("gpt-4o", max_tokens=50)).status == 200
    reply = await gateway.chat("gpt-nobodys", max_tokens=5)
    assert (reply.status, reply.code) == (403, "limit_unenforceable")
    assert "the model `gpt-nobodys` has no price: `gateway prices`" in reply.json["error"]["message"]
    reply = await gateway.chat("gpt-4o", max_tokens=1000)
    assert (reply.status, reply.code) == (429, "limit_exceeded")
    assert "this call may use up to $0.01" in reply.json["error"]["message"]


@pytest.mark.parametrize(
    ("pattern", "model", "wanted"),
    [
        ("gpt-4o", "gpt-4o", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-4o*", "gpt-4o-mini", True),
        ("gpt-4o", "GPT-4o", True),  # some providers make the same model of both
        ("Llama*", "llama-3", True),
    ],
)
def test_the_models_of_a_limit(pattern: str, model: str, wanted: bool) -> None:
    assert limits.matches(pattern, model) is wanted


@pytest.mark.slow
async def test_limits_of_one_model_and_one_upstream(gateway: Gateway) -> None:
    limit(gateway, "requests_per_day", 1, part=Part("", "gpt-4o-mini*"))
    limit(gateway, "requests_per_day", 0, part=Part("openai", "gpt-5*"))
    statuses = [
        (await gateway.chat(model)).status for model in ("gpt-4o", "gpt-4o-mini-2024-07-18", "gpt-4o-mini", "gpt-5")
    ]
    assert statuses == [200, 200, 429, 429]
    assert balance(gateway, f"organization:{ORG} model:gpt-4o-mini*")["requests_day"] == 1


async def test_concurrent_requests_and_what_a_client_that_leaves_costs(gateway: Gateway) -> None:
    limit(gateway, "concurrent_requests", 1)
    gateway.upstream.handler = stream(b"data: {}\n\n", 60.0)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(gateway.request(chat(stream=True, max_tokens=30)))
    await reader.readuntil(b"data: {}")
    gateway.upstream.handler = answer(COMPLETION)
    reply = await gateway.chat()
    assert (reply.status, reply.headers["x-should-retry"], reply.headers["retry-after"]) == (429, "true", "1")
    writer.close()
    await until(lambda: not gateway.open_decisions())
    assert (await gateway.chat()).status == 200
    cut = (await gateway.entries("completed"))[0]
    reserved = json.loads((await gateway.entries("decided"))[0]["reservation_json"])
    assert (cut["outcome"], cut["settled_tokens"]) == ("client_disconnected", reserved["tokens"])
    assert cut["settled_nanousd"] == reserved["spend_nanousd"] > 0
    assert proven(gateway) == []


@pytest.mark.slow
@pytest.mark.parametrize(("status", "settled"), [(400, 0), (429, 0), (529, 0), (500, 25)])
async def test_what_an_error_of_the_provider_costs(gateway: Gateway, status: int, settled: int) -> None:
    gateway.upstream.handler = answer({"error": {"message": "no"}}, status)
    await gateway.chat(max_tokens=25)
    [completed] = await gateway.entries("completed")
    assert (completed["settled_tokens"] >= settled, completed["settled_tokens"] > 0) == (True, settled > 0)


@pytest.mark.slow
async def test_policies_see_what_their_agent_has_used(start: Start) -> None:
    policy = "package bot.authz\n\nallow if input.usage.tokens.day < 25\n"
    gateway = await start()
    put_into_force(gateway, policy)
    statuses = [(await gateway.chat()).status for _ in range(4)]
    assert statuses == [200, 200, 200, 403]


@pytest.mark.parametrize(
    ("condition", "filled"),
    [
        ("input.usage.tokens.day < 25", True),
        ('some name; input[name] == "chat.completions"', True),
        ('input.action == "chat.completions"', False),
    ],
)
async def test_usage_is_looked_up_for_policies_that_can_read_it(gateway: Gateway, condition: str, filled: bool) -> None:
    put_into_force(gateway, f"package bot.authz\n\nallow if {{ {condition} }}\n")
    assert (await gateway.chat()).status == 200
    await gateway.entries()
    db = sqlite3.connect(gateway.data.audit_db)
    [(kept,)] = db.execute("SELECT input FROM private WHERE input IS NOT NULL").fetchall()
    db.close()
    assert bool(json.loads(kept)["usage"]) == filled


@pytest.mark.slow
async def test_a_balance_that_was_changed_by_hand_is_found(gateway: Gateway) -> None:
    await gateway.chat()
    await gateway.entries()
    db = sqlite3.connect(gateway.data.audit_db, isolation_level=None)
    place = VALUES.index("tokens_month")
    change = f"UPDATE balance SET amounts = json_set(amounts, '$[{place}]', 0) WHERE scope LIKE 'organization:%'"
    await until(lambda: db.execute(change).rowcount > 0)  # when the gateway has nothing else to do
    db.close()
    [finding] = proven(gateway)
    scope = f"the balance of `organization:{ORG}` in `{ORG}` was changed"
    assert finding.message == f"{scope}: tokens in the month: 0 is stored, the entries make 10"


REPORTED = {
    "a negative number": ({"prompt_tokens": 5, "completion_tokens": -3, "total_tokens": 2}, "invalid"),
    "a fraction": ({"prompt_tokens": 5, "completion_tokens": 2.5}, "invalid"),
    "a text": ({"prompt_tokens": "5", "completion_tokens": 2}, "invalid"),
    "no output": ({"prompt_tokens": 5}, "invalid"),
    "a part that is larger than the whole": (
        {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 9}},
        "invalid",
    ),
    "a part that is none": (
        {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"audio_tokens": "9"}},
        "invalid",
    ),
    "more than this model has": ({"prompt_tokens": 2**20, "completion_tokens": 2}, "impossible"),
    "more than any model has": ({"prompt_tokens": 2**52, "completion_tokens": 2}, "impossible"),
}


async def test_a_report_that_cannot_be_charged_by_costs_the_reservation(gateway: Gateway) -> None:
    """2**52 tokens took what an organization may use in a month, and what cannot be read counted as nothing."""
    limit(gateway, "tokens_per_day", 100_000)
    reserved = 0
    for usage, wanted in REPORTED.values():
        gateway.upstream.handler = answer({**COMPLETION, "usage": usage})
        assert (await gateway.chat(max_tokens=20)).status == 200
        completed = (await gateway.entries("completed"))[-1]
        decided = json.loads((await gateway.entries("decided"))[-1]["reservation_json"])
        assert (completed["outcome"], completed.get("misreported")) == ("ok", wanted), usage
        assert completed["settled_tokens"] == decided["tokens"] > 20
        assert completed["settled_nanousd"] == decided["spend_nanousd"]
        assert (completed["input_tokens"], "cost_nanousd" in completed) == (None, False)
        reserved += decided["tokens"]
    assert json.loads(completed["reported_json"]) == {"input_tokens": 2**52, "output_tokens": 2}
    assert balance(gateway, "organization:")["tokens_day"] == reserved
    assert proven(gateway) == []


async def test_a_prediction_counts_as_output(gateway: Gateway) -> None:
    """Its rejected tokens are billed as output beside the limit: one of $1.00 was passed by $1.85."""
    limit(gateway, "spend_microusd_per_day", 1_000_000)
    prediction = {"type": "content", "content": "x" * 100_000}
    reply = await gateway.chat(max_tokens=16, prediction=prediction)
    assert (reply.status, reply.code) == (429, "limit_exceeded")
    assert reply.json["error"]["details"][0]["needed"] > 100_000 * (2_500 + 10_000) / 1000
    assert (await gateway.chat(max_tokens=16, prediction={**prediction, "content": "x"})).status == 200
    # An answer may have the rest of the limit besides.
    assert (await gateway.chat(prediction={**prediction, "content": "x" * 70_000})).status == 200
    [*_, decided] = await gateway.entries("decided")
    assert json.loads(decided["reservation_json"])["spend_nanousd"] <= 1_000_000_000
    assert decided["output_limit"] < 4096 * 4


@pytest.mark.parametrize(("rejected", "outcome"), [(60, "ok"), (40, "cap_exceeded")])
async def test_what_of_a_prediction_was_rejected_is_no_answer_beyond_its_cap(
    start: Start, rejected: int, outcome: str
) -> None:
    details = {"rejected_prediction_tokens": rejected}
    usage = {"prompt_tokens": 5, "completion_tokens": 100, "total_tokens": 105, "completion_tokens_details": details}
    gateway = await start()
    gateway.upstream.handler = answer({**COMPLETION, "usage": usage})
    await gateway.chat("gpt-capped", prediction={"type": "content", "content": "x"})
    assert (await gateway.entries("completed"))[-1]["outcome"] == outcome


async def test_the_bound_of_a_long_text_takes_nothing_of_the_policies_deadline(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time was counted as theirs: under a limit on tokens a text of 2 MB was refused as `policy_deadline`."""
    measure, looked = bounds._input, []

    def long(call: Call, body: dict[str, Any] | None) -> int:
        if not looked:
            time.sleep(1.2)  # as for tens of megabytes
        looked.append(call)
        return measure(call, body)

    monkeypatch.setattr(bounds, "_input", long)
    gateway = await start(policy_deadline_ms=1000)
    limit(gateway, "tokens_per_day", 100_000_000, mode="hard")
    assert (await gateway.chat()).status == 200
    assert looked
