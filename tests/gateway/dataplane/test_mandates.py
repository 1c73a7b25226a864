"""Mandates: an agent acts for one of another organization, and both pay for it, exactly."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.audit import search, signer, storage, verify
from gateway.audit.framework_report import FrameworkReport
from gateway.audit.log_files import opened_log
from gateway.audit.search import Filters
from gateway.audit.writer import AuditWriter
from gateway.registry import mandates, outbox, queries
from gateway.registry.agents import changes as agent_changes
from gateway.registry.agents import registration
from gateway.registry.limits import mandate_states, usage_limits
from gateway.registry.organizations import changes as organizations
from gateway.registry.records import MandateRecord
from gateway.usage import rollup
from gateway.usage.traffic import HOUR
from tests.gateway.dataplane.conftest import ACTOR, ORG, Gateway, Reply, answer

GRANTOR = "acme"
DAY = 86400 * 10**9
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 100}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 100, "total_tokens": 110},
}
"""An answer whose usage costs 61,500 nano-dollars; a call reserves a little more."""


def bot(gateway: Gateway) -> str:
    return queries.agent(gateway.registry, ORG, "bot").id


def grant(gateway: Gateway, amount: int = 1_000_000, **more: Any) -> MandateRecord:
    """A mandate of acme's agent `buyer` for the test's agent."""
    if GRANTOR not in queries.organizations(gateway.registry):
        organizations.create_organization(gateway.registry, actor=ACTOR, name=GRANTOR)
        registration.register_agent(
            gateway.registry, actor=ACTOR, organization=GRANTOR, name="buyer", owner="ada@acme.example"
        )
    of: dict[str, Any] = {
        "agent": "buyer",
        "to": bot(gateway),
        "actions": ["chat.*"],
        "for_ns": DAY,
        "purpose": "market research",
        **more,
    }
    return mandates.grant(gateway.registry, actor=ACTOR, organization=GRANTOR, amount_microusd=amount, **of)


async def chat(gateway: Gateway, mandate: str | None, **body: Any) -> Reply:
    headers = [] if mandate is None else [f"Gateway-Mandate: {mandate}"]
    return await gateway.send(gateway.request({**CHAT, **body}, *headers))


def reason(reply: Reply) -> str:
    return str(reply.json["error"]["code"]) if "error" in reply.json else "ok"


def entries(gateway: Gateway, organization: str, kind: str = "decided") -> list[dict[str, Any]]:
    return [each for each in gateway.log(organization) if each["kind"] == kind]


def kept(gateway: Gateway, decision: str) -> dict[str, Any]:
    with closing(storage.connect_read_only(gateway.data.audit_db)) as db:
        query = "SELECT p.input FROM private p JOIN entry e ON e.id = p.entry_id WHERE e.event_id = ?"
        document: dict[str, Any] = orjson.loads(db.execute(query, (decision,)).fetchone()[0])
    return document


async def sound(gateway: Gateway) -> None:
    await gateway.entries("decided")
    await asyncio.to_thread(gateway.settle)
    signer.create_key(gateway.data, "test")
    key = signer.load_verifier(signer.public_key_path(gateway.data))
    assert [each.message for each in verify.verify(gateway.data.audit_db, key).findings] == []


async def test_a_call_under_a_mandate_counts_on_both_sides(gateway: Gateway) -> None:
    made = grant(gateway)
    gateway.upstream.handler = answer(ANSWER)
    assert reason(await chat(gateway, made.id)) == "ok"
    assert "gateway-mandate" not in gateway.upstream.seen[0].headers
    [mine], [theirs] = await gateway.entries("decided"), entries(gateway, GRANTOR)
    assert (mine["mandate"], mine["mandate_organization"], mine["mandate_decision"]) == (made.id, GRANTOR, theirs["id"])
    assert (theirs["direction"], theirs["caller_name"], theirs["mandate"]) == ("mandate", "bot", made.id)
    assert (theirs["agent"], theirs["other_decision"]) == (made.agent_id, mine["id"])
    [end] = entries(gateway, GRANTOR, "completed")
    assert end["settled_nanousd"] == 61_500
    await sound(gateway)
    state = mandate_states.state(gateway.data, made)
    assert (state.spent_microusd, state.reserved_microusd, state.left_microusd) == (62, 0, 999_938)


async def test_policies_see_the_mandate(gateway: Gateway) -> None:
    made = grant(gateway)
    gateway.upstream.handler = answer(ANSWER)
    await chat(gateway, made.id)
    await chat(gateway, made.id)
    await chat(gateway, None)
    seen = [kept(gateway, each["id"]).get("mandate") for each in await gateway.entries("decided")]
    assert [each and each["left_microusd"] for each in seen] == [1_000_000, 999_938, None]
    assert (seen[0]["agent"], seen[0]["purpose"]) == ("buyer", "market research")


async def test_no_more_than_its_amount_is_spent(gateway: Gateway) -> None:
    made = grant(gateway, amount=150)
    gateway.upstream.handler = answer(ANSWER)
    assert [reason(await chat(gateway, made.id)) for _ in range(3)] == ["ok", "ok", "mandate_refused"]
    mine, theirs = (await gateway.entries("decided"))[-1], entries(gateway, GRANTOR)[-1]
    assert (mine["reason"], theirs["reason"], theirs["allow"]) == ("mandate_refused", "limit_exceeded", False)
    assert mine["mandate_decision"] == theirs["id"]
    await sound(gateway)


async def test_calls_at_once_never_go_over_it(gateway: Gateway) -> None:
    made = grant(gateway, requests=5)
    gateway.upstream.handler = answer(ANSWER)
    found = [reason(each) for each in await asyncio.gather(*(chat(gateway, made.id) for _ in range(20)))]
    assert (found.count("ok"), len(gateway.upstream.seen)) == (5, 5)
    await sound(gateway)


async def test_limits_of_the_grantor_hold_too(gateway: Gateway) -> None:
    made = grant(gateway)
    gateway.upstream.handler = answer(ANSWER)
    of: dict[str, Any] = {"kind": "agent", "subject": "buyer", "name": "requests_per_day", "value": 1}
    usage_limits.set_limit(gateway.registry, actor=ACTOR, organization=GRANTOR, **of)
    assert [reason(await chat(gateway, made.id)) for _ in range(2)] == ["ok", "mandate_refused"]
    assert reason(await chat(gateway, None)) == "ok"
    await sound(gateway)


async def test_its_own_limits_hold_as_well(gateway: Gateway) -> None:
    made = grant(gateway)
    gateway.upstream.handler = answer(ANSWER)
    of: dict[str, Any] = {"kind": "agent", "subject": "bot", "name": "requests_per_day", "value": 1}
    usage_limits.set_limit(gateway.registry, actor=ACTOR, organization=ORG, **of)
    assert [reason(await chat(gateway, made.id)) for _ in range(2)] == ["ok", "limit_exceeded"]
    assert len(entries(gateway, GRANTOR)) == 1, "the grantor was not asked about the second"
    await sound(gateway)


async def test_a_revoked_mandate_lets_nothing_through(gateway: Gateway) -> None:
    made = grant(gateway)
    gateway.upstream.handler = answer(ANSWER)
    assert reason(await chat(gateway, made.id)) == "ok"
    mandates.revoke(gateway.registry, actor=ACTOR, organization=GRANTOR, mandate=made.id)
    refused = await chat(gateway, made.id)
    assert (refused.status, reason(refused)) == (403, "mandate_refused")
    assert "revoked" in refused.json["error"]["message"]
    assert (await gateway.entries("decided"))[-1]["allow"] is False
    assert reason(await chat(gateway, None)) == "ok", "the agent acts for itself"


@pytest.mark.parametrize("change", ["suspend", "revoke"])
async def test_a_grantor_that_cannot_act_lets_nobody_act(gateway: Gateway, change: str) -> None:
    made = grant(gateway)
    getattr(agent_changes, f"{change}_agent")(gateway.registry, actor=ACTOR, organization=GRANTOR, agent="buyer")
    assert reason(await chat(gateway, made.id)) == "mandate_refused"
    assert gateway.upstream.seen == []


async def test_it_is_for_its_actions_and_models(gateway: Gateway) -> None:
    for more in ({"actions": ["embeddings"]}, {"models": ["gpt-5*"]}):
        assert reason(await chat(gateway, grant(gateway, **more).id)) == "mandate_refused"
    assert gateway.upstream.seen == []


@pytest.mark.parametrize("named", ["mnd_0198f0f5-0000-7000-8000-000000000000", "x", "mnd_" + "a" * 100, "é"])
async def test_a_mandate_that_is_not_there_is_refused(gateway: Gateway, named: str) -> None:
    assert reason(await chat(gateway, named)) == "mandate_refused"


async def test_nobody_else_can_use_it(gateway: Gateway) -> None:
    other = registration.register_agent(
        gateway.registry, actor=ACTOR, organization=ORG, name="other", owner="dana@example.com"
    )
    refused = await chat(gateway, grant(gateway, to=other.id).id)
    assert (reason(refused), "no such mandate" in refused.json["error"]["message"]) == ("mandate_refused", True)


async def test_a_model_without_a_price_is_not_for_a_mandate(gateway: Gateway) -> None:
    made = grant(gateway, actions=["chat.completions"])
    found = await chat(gateway, made.id, model="unknown-model")
    assert reason(found) in ("limit_unenforceable", "policy_denied")
    assert gateway.upstream.seen == []


async def test_both_logs_have_the_grant_and_its_end(gateway: Gateway) -> None:
    made = grant(gateway)
    mandates.revoke(gateway.registry, actor=ACTOR, organization=GRANTOR, mandate=made.id, reason="done")
    with closing(AuditWriter(gateway.data, boot="boot_test", deployment="test")) as writer:
        outbox.drain(gateway.registry, writer)
    for organization, agent in ((GRANTOR, made.agent_id), (ORG, made.to_agent_id)):
        told = [each for each in entries(gateway, organization, "change") if each["what"].startswith("mandate.")]
        assert [each["what"] for each in told] == ["mandate.granted", "mandate.revoked"]
        assert {each["mandate_digest"] for each in told} == {made.digest}
        assert {each["agent"] for each in told} == {agent}


async def test_the_half_of_a_grantor_is_no_call_of_its_agent(gateway: Gateway, tmp_path: Path) -> None:
    """Usage, traffic, past decisions and reports count one call, of the agent that made it; a refused one as well."""
    made = grant(gateway, amount=80)
    gateway.upstream.handler = answer(ANSWER)
    assert [reason(await chat(gateway, made.id)) for _ in range(2)] == ["ok", "mandate_refused"]
    assert len(entries(gateway, GRANTOR)) == 2
    await asyncio.to_thread(gateway.settle)
    with opened_log(gateway.data) as log, rollup.opened(tmp_path, log) as sums:
        assert sums.organizations() == [ORG]
        for organization, calls in ((ORG, 2), (GRANTOR, 0)):
            found = sums.traffic(HOUR, 0, 2**40, organization=organization)
            assert sum(each.requests for each in found) == calls
        rows = search.decided_rows(log, 0, search.last_position(log), 99)
        assert [each.organization for each in rows] == [ORG, ORG]
        report = FrameworkReport("nist-ai-rmf")
        report.add(search.matching(log, 99, Filters(organization=GRANTOR)).found)
    shown = [row for each in report.document([], None, None)["requirements"] for row in each["shows"]]
    assert {row["count"] for row in shown if "calls" in row["says"]} == {0}
