"""Calls over a limit that people may let run: they ask, run once by the approval, count, and nothing else gets past."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import pytest

from gateway.approvals import reviews
from gateway.approvals.terms import Terms
from gateway.audit import grants, over_limits, signer, verify
from gateway.audit.over_limits import Excess
from gateway.data_directory import DataDirectory
from gateway.policy import bundle as policy_bundle
from gateway.registry.database import Registry
from gateway.registry.limits import usage_limits
from gateway.registry.policies import activations
from gateway.registry.records import BundleRecord
from tests.gateway.dataplane.conftest import ACTOR, COMPLETION, MANIFEST, ORG, POLICY, Gateway, Prepared, Start, until
from tests.gateway.dataplane.test_approvals import act, drain, requests, waiting

OVER = f"""{POLICY}
limits["requests_per_month"] := 3 if input.resource.model in {{"gpt-few", "gpt-both", "gpt-plan"}}

limits["requests_per_month"] := 0 if input.resource.model == "gpt-none"

limits["requests_per_day"] := 5 if input.resource.model == "gpt-few"

limits["tokens_per_month"] := 100 if input.resource.model in {{"gpt-tokens", "gpt-both"}}

limits["concurrent_requests"] := 0 if input.resource.model == "gpt-busy"

over_limit contains {{"reason": "the month is used up"}} if {{
	input.resource.model in {{"gpt-few", "gpt-none", "gpt-tokens", "gpt-busy"}}
}}

over_limit contains {{
	"reason": "an emergency",
	"scope": {{"uses": 3, "seconds": 600, "pattern": "calls of gpt-plan"}},
}} if input.resource.model == "gpt-plan"

require_approval contains {{"reason": "both cost much"}} if input.resource.model == "gpt-both"

over_limit contains {{"reason": "the month is used up"}} if input.resource.model == "gpt-both"
"""


@pytest.fixture(scope="module")
def prepared(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    path = tmp_path_factory.mktemp("over-limits") / "data"
    shutil.copytree(prepared.path, path)
    data = DataDirectory(path)
    signer.create_key(data, "test")
    with closing(Registry.open(data)) as registry:
        activate(registry, data, OVER)
    return Prepared(path, prepared.key)


def activate(registry: Registry, data: DataDirectory, policy: str, commit: str = "d" * 40) -> None:
    digest = policy_bundle.publish(data.bundles, {".manifest": MANIFEST, "authz.rego": policy.encode()})
    bundle = BundleRecord(name="bot", commit=commit, digest=digest, author="dana", entrypoint="data.bot.authz")
    activations.activate(registry, actor=ACTOR, commit=commit, author="dana", bundles=[bundle])


@pytest.fixture
async def gateway(start: Start) -> AsyncIterator[Gateway]:
    made = await start(approval_hold=0.0)
    yield made
    await drain(made)
    await asyncio.to_thread(made.settle)
    assert verified(made) == []


def verified(gateway: Gateway) -> list[str]:
    key = signer.load_verifier(signer.public_key_path(gateway.data))
    return [each.message for each in verify.verify(gateway.data.audit_db, key).findings]


async def use_up(gateway: Gateway, model: str, times: int = 3) -> None:
    for _ in range(times):
        assert (await gateway.chat(model)).status == 200


async def excesses(gateway: Gateway) -> list[tuple[str, list[Excess]]]:
    """The decisions that have gone over limits, by the approval that they name."""
    found = [(str(each.get("approval")), list(over_limits.excesses(each))) for each in await gateway.entries("decided")]
    return [each for each in found if each[1]]


async def test_a_call_over_its_limit_asks_and_runs_once(gateway: Gateway) -> None:
    await use_up(gateway, "gpt-few")
    first = await gateway.chat("gpt-few")
    assert (first.status, first.code) == (403, "approval_required")
    request = await waiting(gateway)
    message = first.json["error"]["message"]
    assert "the month is used up" in message
    assert "it goes over a limit: agent:bot has 0 requests left of 3 requests (requests_per_month)" in message
    assert (await gateway.chat("gpt-few")).status == 403
    assert requests(gateway) == [request]
    await act(gateway, reviews.approve, request)
    assert (await gateway.chat("gpt-few")).json == COMPLETION
    assert requests(gateway, "used") == [request]
    assert (await gateway.chat("gpt-few")).code == "approval_required"  # it asks anew
    assert len(gateway.upstream.seen) == 4
    (approval, [excess]), *more = await excesses(gateway)
    assert (approval, excess.counter, excess.value, excess.used, excess.needed) == (request, "requests_month", 3, 3, 1)
    assert more == []
    changes = await gateway.entries("change")
    (named,) = json.loads(next(each for each in changes if each["what"] == grants.REQUESTED)["limits_json"])
    assert (named["limit"], named["value"], named["spent"], named["needed"]) == ("requests_per_month", 3, 3, 1)


async def test_it_counts(gateway: Gateway) -> None:
    await use_up(gateway, "gpt-few")
    for spent in (3, 4):
        await gateway.chat("gpt-few")
        request = await waiting(gateway)
        (named,) = reviews.one(gateway.registry, ORG, request).over_limit
        assert named["spent"] == spent
        await act(gateway, reviews.approve, request)
        assert (await gateway.chat("gpt-few")).status == 200
    # Five are used of the day: that limit is another one, and the next request names both.
    assert (await gateway.chat("gpt-few")).code == "approval_required"
    named = reviews.one(gateway.registry, ORG, await waiting(gateway)).over_limit
    assert {each["limit"] for each in named} == {"requests_per_month", "requests_per_day"}


async def test_a_hundred_at_once_after_one_approval_run_one_more(gateway: Gateway) -> None:
    replies = await asyncio.gather(*(gateway.chat("gpt-few") for _ in range(100)))
    assert sum(each.status == 200 for each in replies) == 3
    assert {each.code for each in replies if each.status != 200} == {"approval_required"}
    await act(gateway, reviews.approve, await waiting(gateway))
    replies = await asyncio.gather(*(gateway.chat("gpt-few") for _ in range(100)))
    assert sum(each.status == 200 for each in replies) == 1
    assert len(gateway.upstream.seen) == 4
    assert len(await excesses(gateway)) == 1


async def test_a_held_client_sees_nothing_of_it(start: Start) -> None:
    gateway = await start(approval_hold=600.0)
    await use_up(gateway, "gpt-few")
    call = asyncio.ensure_future(gateway.chat("gpt-few"))
    request = await waiting(gateway)
    await until(lambda: gateway.plane.load()[0] == 0)
    await act(gateway, reviews.approve, request)
    assert (await call).json == COMPLETION
    assert verified(gateway) == []


async def test_a_limit_that_the_approval_does_not_name_refuses(gateway: Gateway) -> None:
    """It was breached meanwhile: by other calls, or because an operator has set one."""
    await use_up(gateway, "gpt-few")
    await gateway.chat("gpt-few")
    await act(gateway, reviews.approve, request := await waiting(gateway))
    await use_up(gateway, "gpt-4o", 2)  # five of the day
    refused = await gateway.chat("gpt-few")
    assert (refused.status, refused.code) == (429, "limit_exceeded")
    assert "requests_per_day" in refused.json["error"]["message"]
    assert requests(gateway, "approved") == [request]
    assert await excesses(gateway) == []


async def test_limits_of_operators_are_never_gone_over(gateway: Gateway) -> None:
    usage_limits.set_limit(
        gateway.registry, actor=ACTOR, organization=ORG, kind="agent", subject="bot",
        name="requests_per_month", value=3,
    )  # fmt: skip
    await use_up(gateway, "gpt-few")
    for model in ("gpt-few", "gpt-none"):
        refused = await gateway.chat(model)
        assert (refused.status, refused.code) == (429, "limit_exceeded")
    assert requests(gateway) == []


async def test_an_approval_does_not_go_over_a_limit_that_an_operator_sets_meanwhile(gateway: Gateway) -> None:
    await use_up(gateway, "gpt-few")
    await gateway.chat("gpt-few")
    await act(gateway, reviews.approve, request := await waiting(gateway))
    usage_limits.set_limit(
        gateway.registry, actor=ACTOR, organization=ORG, kind="organization", subject=ORG,
        name="requests_per_month", value=3,
    )  # fmt: skip
    assert (await gateway.chat("gpt-few")).code == "limit_exceeded"
    assert requests(gateway, "approved") == [request]


async def test_a_call_that_never_fits_asks(gateway: Gateway) -> None:
    assert (await gateway.chat("gpt-none")).code == "approval_required"
    await act(gateway, reviews.approve, await waiting(gateway))
    assert (await gateway.chat("gpt-none")).status == 200
    large = await gateway.chat("gpt-tokens", max_tokens=500)
    assert large.code == "approval_required"
    await act(gateway, reviews.approve, await waiting(gateway))
    assert (await gateway.chat("gpt-tokens", max_tokens=501)).code == "approval_required"
    assert (await gateway.chat("gpt-tokens", max_tokens=500)).status == 200


async def test_without_an_output_limit_it_runs_as_it_would_otherwise(gateway: Gateway) -> None:
    """The gateway does not cut it down to the nothing that is left."""
    assert (await gateway.chat("gpt-tokens", max_tokens=60)).status == 200
    gateway.upstream.seen.clear()
    long = [{"role": "user", "content": "x" * 400}]
    assert (await gateway.chat("gpt-tokens", messages=long)).code == "approval_required"
    await act(gateway, reviews.approve, await waiting(gateway))
    assert (await gateway.chat("gpt-tokens", messages=long)).status == 200
    (seen,) = gateway.upstream.seen
    assert seen.json.get("max_completion_tokens", seen.json.get("max_tokens")) > 1000


async def test_a_place_among_calls_under_way_is_no_matter_for_people(gateway: Gateway) -> None:
    assert (await gateway.chat("gpt-busy")).code == "limit_exceeded"
    assert requests(gateway) == []


async def test_one_approval_is_for_the_call_and_for_its_limits(gateway: Gateway) -> None:
    for _ in range(3):
        await gateway.chat("gpt-both", max_tokens=9)
        await act(gateway, reviews.approve, await waiting(gateway))
        assert (await gateway.chat("gpt-both", max_tokens=9)).status == 200
    assert (await gateway.chat("gpt-both", max_tokens=9)).code == "approval_required"
    request = await waiting(gateway)
    found = reviews.one(gateway.registry, ORG, request)
    assert [each["reason"] for each in found.requirements] == ["both cost much", "the month is used up"]
    assert [each["limit"] for each in found.over_limit] == ["requests_per_month"]
    await act(gateway, reviews.approve, request)
    assert (await gateway.chat("gpt-both", max_tokens=9)).status == 200
    assert len(gateway.upstream.seen) == 4


async def test_an_approval_of_the_call_alone_goes_over_no_limit(gateway: Gateway) -> None:
    await use_up(gateway, "gpt-4o", 2)
    assert (await gateway.chat("gpt-both", max_tokens=9)).code == "approval_required"
    await act(gateway, reviews.approve, request := await waiting(gateway))
    await use_up(gateway, "gpt-4o", 1)
    assert (await gateway.chat("gpt-both", max_tokens=9)).code == "limit_exceeded"
    assert requests(gateway) == requests(gateway, "approved") == [request]


async def test_an_emergency(gateway: Gateway) -> None:
    """So many uses for calls that are alike, and no other way."""
    await use_up(gateway, "gpt-plan")
    assert (await gateway.chat("gpt-plan", user="a")).code == "approval_required"
    await act(gateway, reviews.approve, request := await waiting(gateway), "", Terms(3, 600, for_pattern=True))
    for user in "bcd":
        assert (await gateway.chat("gpt-plan", user=user)).status == 200
    assert (await gateway.chat("gpt-plan", user="e")).code == "approval_required"
    assert [each for each, _ in await excesses(gateway)] == [request] * 3
    assert [each[0].used for _, each in await excesses(gateway)] == [3, 4, 5]


async def test_a_policy_that_offers_nothing_any_more_has_the_last_word(gateway: Gateway) -> None:
    await use_up(gateway, "gpt-few")
    await gateway.chat("gpt-few")
    await act(gateway, reviews.approve, await waiting(gateway))
    activate(
        gateway.registry, gateway.data, OVER.replace('"gpt-few", "gpt-none", "gpt-tokens"', '"gpt-none"'), "e" * 40
    )
    while (await gateway.send(gateway.request())).status == 503:  # noqa: ASYNC110  # until the worker has it
        await asyncio.sleep(0.02)
    assert (await gateway.chat("gpt-few")).code == "limit_exceeded"


async def test_a_revoked_or_denied_one_lets_nothing_run(gateway: Gateway) -> None:
    await use_up(gateway, "gpt-few")
    await gateway.chat("gpt-few")
    await act(gateway, reviews.approve, request := await waiting(gateway))
    await act(gateway, reviews.revoke, request)
    assert (await gateway.chat("gpt-few")).code == "approval_required"
    await act(gateway, reviews.deny, await waiting(gateway), "no")
    denied = await gateway.chat("gpt-few")
    assert denied.code == "approval_required"
    assert "a person has denied this call" in denied.json["error"]["message"]
    assert len(gateway.upstream.seen) == 3


async def test_what_was_decided_can_be_judged_again(gateway: Gateway) -> None:
    from gateway.policy import reexecution

    await use_up(gateway, "gpt-few")
    await gateway.chat("gpt-few")
    await act(gateway, reviews.approve, await waiting(gateway))
    assert (await gateway.chat("gpt-few")).status == 200
    await gateway.entries()
    found: list[Any] = []
    from gateway.audit import storage

    with closing(storage.connect_read_only(gateway.data.audit_db)) as db:
        rows = db.execute("SELECT leaf, input FROM entry JOIN private ON entry_id = entry.id WHERE kind = 'decided'")
        for leaf, document in rows.fetchall():
            court = reexecution.Court(gateway.data.bundles)
            found.append(court.again(json.loads(leaf), json.loads(document)))
    assert found == [(True, "")] * 5
