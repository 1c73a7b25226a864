"""A worker's counts of real requests, and the number of series that there can be."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.call import Usage
from gateway.dataplane.held_bytes import Holding, Turn
from gateway.dataplane.measures import MAX_ACTIONS, MAX_MODELS, Measures
from gateway.dataplane.phases import Observed, Request
from gateway.identity.principals import Principal
from gateway.registry.agents.changes import suspend_agent
from gateway.shares import Shares
from gateway.telemetry import collection
from gateway.telemetry.catalogue import KINDS, MAX_LIMITED, OUTCOMES
from gateway.upstream.providers.base import Endpoint, Route
from gateway.upstream.routes import PROVIDERS
from gateway.upstream.routing import Destination, Match
from tests.gateway.conftest import ACTOR, ORG
from tests.gateway.dataplane.conftest import COMPLETION, Gateway, answer, read_reply, stream
from tests.rigs.dataplane.limits import limit
from tests.rigs.dataplane.measures import counted, numbers

Run = Callable[..., None]


def test_whose_limit_refused_is_counted_and_bounded(run: Run) -> None:
    async def test(gateway: Gateway) -> None:
        limit(gateway, "requests_per_day", 1)
        limit(gateway, "tokens_per_day", 500, "agent")
        for _ in range(3):
            await gateway.chat(max_tokens=30)
        refused = counted(gateway, "limit")
        assert refused[("default", "org:default", "requests_per_day")] == [2]
        # The other limit had room.
        assert set(refused) == {("default", "org:default", "requests_per_day")}

    run(test)
    measures = Measures(None, 0)
    for number in range(MAX_LIMITED + 50):
        measures.limited("default", [{"subject": f"agent:bot-{number}", "limit": "requests_per_day"}])
    assert len(measures._limits) == MAX_LIMITED + 1
    other = measures._limits["", "other", "requests_per_day"]
    assert measures._numbers[other] == 50


async def test_every_way_to_end_is_counted_once(gateway: Gateway) -> None:
    for _ in range(3):
        assert (await gateway.chat()).status == 200
    assert (await gateway.chat("gpt-secret")).status == 403
    assert (await gateway.chat("gpt-4o", "Authorization: Bearer aig_sk_wrong")).status == 401
    assert (await gateway.send(gateway.request(b"{", path="/v1/chat/completions"))).status == 400
    gateway.upstream.handler = answer({"error": {}}, 500)
    assert (await gateway.chat()).status == 500
    gateway.upstream.handler = stream(b"data: {}\n\n", end=False)
    await gateway.chat(stream=True)
    chat, upstream = "chat.completions", ("default", "openai")
    assert counted(gateway, "request") == {
        (*upstream, chat, "gpt-4o", "ok", "ok"): [3],
        (*upstream, chat, "other", "denied", "policy_denied"): [1],
        ("", "", "", "", "refused", "bad_credentials"): [1],
        (*upstream, chat, "", "refused", "bad_request"): [1],
        (*upstream, chat, "gpt-4o", "failed", "provider_error"): [1],
        (*upstream, chat, "gpt-4o", "failed", "upstream_error"): [1],
    }
    assert counted(gateway, "refusal") == {("bad_credentials",): [1], ("bad_request",): [1]}
    assert counted(gateway, "call") == {
        (*upstream, "ok"): [3],
        (*upstream, "provider_error"): [1],
        (*upstream, "upstream_error"): [1],
    }
    by_outcome = numbers(gateway, "agent", "aig_agent_requests", "default", "bot")
    assert dict(zip(OUTCOMES, by_outcome, strict=True)) == {
        "ok": 3, "denied": 1, "refused": 1, "failed": 2, "disconnected": 0,
    }  # fmt: skip
    assert numbers(gateway, "agent", "aig_agent_tokens", "default", "bot") == [21, 9]
    assert numbers(gateway, "model", "aig_tokens", *upstream, "gpt-4o")[:2] == [21, 9]


async def test_a_known_agent_that_is_refused_is_counted_as_itself(gateway: Gateway) -> None:
    """Its requests counted for nobody, so `gateway top` showed none of an agent that kept trying."""
    suspend_agent(gateway.registry, actor=ACTOR, organization=ORG, agent="bot")
    for _ in range(3):
        assert (await gateway.chat()).status == 403
    wrong = gateway.key[:-7] + ("A" if gateway.key[-7] != "A" else "B") + gateway.key[-6:]
    for presented in (wrong, "aig_sk_wrong"):
        assert (await gateway.chat("gpt-4o", f"Authorization: Bearer {presented}")).status == 401
    by_outcome = numbers(gateway, "agent", "aig_agent_requests", "default", "bot")
    assert dict(zip(OUTCOMES, by_outcome, strict=True))["refused"] == sum(by_outcome) == 3


async def test_latencies_are_those_of_the_requests(gateway: Gateway) -> None:
    """A slow upstream is slow, and the time that it takes is not the gateway's."""
    gateway.upstream.handler = stream(0.3, b"data: [DONE]\n\n")
    await gateway.chat(stream=True)
    *buckets, total = numbers(gateway, "upstream", "aig_upstream_call_duration_seconds", "default", "openai")
    assert sum(buckets) == 1
    assert total >= 300_000
    *buckets, total = numbers(gateway, "worker", "aig_added_latency_seconds")
    assert sum(buckets) == 1
    closed = (await gateway.entries("completed"))[0]
    assert 0 < total <= closed["duration_us"] + 1_000_000
    *buckets, _ = numbers(gateway, "worker", "aig_policy_duration_seconds")
    assert sum(buckets) == 1
    *buckets, _ = numbers(gateway, "worker", "aig_audit_commit_duration_seconds")
    *groups, entries = numbers(gateway, "worker", "aig_audit_commit_entries")
    assert sum(buckets) == sum(groups) >= 2
    assert entries >= 2


@pytest.mark.slow
async def test_an_upload_is_not_added_latency(gateway: Gateway) -> None:
    whole = gateway.request({"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]})
    head, _, body = whole.partition(b"\r\n\r\n")
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(head + b"\r\n\r\n" + body[:5])
    await asyncio.sleep(2.0)
    writer.write(body[5:])
    assert (await read_reply(reader)).status == 200
    writer.close()
    *_, total = numbers(gateway, "worker", "aig_added_latency_seconds")
    (closed,) = await gateway.entries("completed")
    assert closed["duration_us"] >= 1_000_000
    assert total <= closed["duration_us"] - 1_000_000


@pytest.mark.slow
async def test_costs_are_counted(gateway: Gateway) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
    gateway.upstream.handler = answer({**COMPLETION, "model": "gpt-4o", "usage": usage})
    await gateway.chat()
    (closed,) = await gateway.entries("completed")
    assert closed["cost_nanousd"] > 0
    assert numbers(gateway, "model", "aig_cost_usd", "default", "openai", "gpt-4o") == [closed["cost_nanousd"]]
    assert numbers(gateway, "agent", "aig_agent_cost_usd", "default", "bot") == [closed["cost_nanousd"]]


def observed_of(number: int, upstream: str = "ups_1", **changed: Any) -> Observed:
    destination = Destination(upstream, "default", upstream, PROVIDERS["openai"], "http://x", True, None)
    route = Route("POST", "/x", "chat.completions", "json")
    budget = Shares("bytes", 1)
    request = Request(1_000, "POST", b"/x", None, Holding(budget), Holding(budget), Turn(budget, 1))
    found = Observed(request, f"dec_{number}", 1_000)
    found.principal, found.match = _principal(number), Match(destination, Endpoint(upstream, route, "/x"))
    found.action, found.outcome, found.recorded, found.upstream_status = "chat.completions", "ok", True, 200
    found.report.usage = Usage(10, 5)
    for name, value in changed.items():
        setattr(found, name, value)
    return found


_NAMES = [item.name for item in dataclasses.fields(Principal) if item.init]


def _principal(number: int) -> Principal:
    known = {"organization": "default", "agent_id": f"agt_{number}", "name": f"bot-{number}"}
    values: list[Any] = [known.get(name, "") for name in _NAMES]
    return Principal(*values)


def test_the_series_are_bounded_with_100_000_agents_and_any_model(tmp_path: Path) -> None:
    """Agents, models, actions and combinations of them without end: the file is never full and the page stays small."""
    measures = Measures(tmp_path / "boot_1", agents=200)
    at = [observed_of(number, f"ups_{number}") for number in range(3)]
    for number in range(100_000):
        found = at[number % 3]
        found.principal, found.model, found.action = _principal(number), f"model-{number}", f"op-{number % 1000}"
        found.upstream_status = 200 if number % 2 else 404
        measures.called(found, at[number % 3].match.destination, "ok")
        measures.finished(found)
    totals = collection.collect(tmp_path, {"boot_1"})
    kinds = [kind for kind, _ in totals.blocks]
    assert kinds.count("agent") == 201
    assert kinds.count("model") == 3 * (MAX_MODELS + 1)
    assert 0 < kinds.count("request") <= 3 * (MAX_MODELS + 1) * (MAX_ACTIONS + 1)
    assert len(measures._requests) + len(measures._models) + len(measures._agents) < 10_000
    count = sum(numbers[0] for (kind, _), numbers in totals.blocks.items() if kind == "request")
    requests = sum(sum(n[: len(OUTCOMES)]) for (kind, _), n in totals.blocks.items() if kind == "agent")
    lost = totals.blocks["worker", ()][KINDS["worker"].offset("aig_metrics_lost")]
    assert (count, requests, lost) == (100_000, 100_000, 0)


def test_no_agent_is_a_label_if_none_may_be(tmp_path: Path) -> None:
    measures = Measures(tmp_path / "boot_1", agents=0)
    measures.finished(observed_of(1))
    assert "agent" not in {kind for kind, _ in collection.collect(tmp_path, {"boot_1"}).blocks}
