"""The random walk of `walk.py`: some steps in this process, more on a gateway to which things happen."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from gateway.approvals import reviews
from gateway.approvals.reviewers import Reviewer
from gateway.approvals.terms import Terms
from gateway.audit import signer
from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.policy import bundle as policy_bundle
from gateway.registry import outbox
from gateway.registry.operators.operators import add_operator
from gateway.registry.policies import activations
from gateway.registry.records import BundleRecord
from gateway.secrets.vault import Vault
from tests.gateway.approvals import mishaps, walk
from tests.gateway.approvals.rig import REVIEWERS, Reply
from tests.gateway.approvals.walk import Model, World
from tests.gateway.dataplane.conftest import ACTOR, MANIFEST, ORG, Gateway, Prepared, chat, prepared, running

__all__ = ["prepared"]  # the fixture


@pytest.fixture
async def gateway(prepared: Prepared, tmp_path: Path) -> AsyncIterator[Gateway]:  # it is the fixture
    async with running(prepared, tmp_path, approval_hold=0.0) as made:
        yield made


async def test_some_steps(gateway: Gateway) -> None:
    signer.create_key(DataDirectory(gateway.data.path), "test")
    people = {
        name: add_operator(gateway.registry, actor=ACTOR, organization=ORG, name=name, role="admin")
        for name in REVIEWERS
    }

    async def call(_agent: str, model: str, user: str) -> Reply:
        reply = await gateway.send(gateway.request(orjson.dumps(chat(model, user=user))))
        return Reply(reply.status, "" if reply.status == 200 else orjson.loads(reply.body)["error"]["code"])

    async def act(verb: str, request: str, who: str, **terms: int) -> str:
        reviewer = Reviewer(f"operator:{people[who].id}", people[who].id, who)

        def do() -> str:
            more = (Terms(**terms),) if verb == "approve" else ()
            try:
                getattr(reviews, verb)(gateway.registry, reviewer, ORG, request, "no", *more)
            except GatewayError as error:
                return error.code
            outbox.drain(gateway.registry, gateway.writer)
            return ""

        return await asyncio.to_thread(do)

    async def look(request: str) -> str:
        dora = Reviewer(f"operator:{people['dora'].id}", people["dora"].id, "dora")
        vault = Vault.load(gateway.data.keys)
        found = await asyncio.to_thread(reviews.look, gateway.registry, vault, dora, ORG, request)
        return str(orjson.loads(found["body"])["user"])

    async def put_in_force(policy: str) -> None:
        commit = f"{len(policy):040}"
        files = {".manifest": MANIFEST, "authz.rego": policy.encode()}
        digest = policy_bundle.publish(gateway.data.bundles, files)
        bundle = BundleRecord(name="bot", commit=commit, digest=digest, author="dana", entrypoint="data.bot.authz")
        activations.activate(gateway.registry, actor=ACTOR, commit=commit, author="dana", bundles=[bundle])
        while (await gateway.send(gateway.request())).status == 503:  # noqa: ASYNC110  # until the worker has it
            await asyncio.sleep(0.02)

    world = World(gateway.data, gateway.registry, gateway.upstream, call, act, look, put_in_force)
    model = await walk.walk(Model(world, random.Random(11)), 80)
    assert model.answered.total() > 4
    assert {"ask", "approve", "deny", "revoke", "crowd", "alike", "other", "bundle"} <= set(model.steps)


@pytest.mark.slow
def test_steps_on_a_gateway_to_which_things_happen(tmp_path: Path) -> None:
    model = asyncio.run(mishaps.run(300, 3, tmp_path))
    assert model.answered.total() > 20
