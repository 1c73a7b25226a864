"""The random walk of `walk.py`: some hundred steps in this process, more on a gateway whose workers are killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from gateway.audit import signer
from gateway.data_directory import DataDirectory
from gateway.policy import bundle as policy_bundle
from gateway.registry.policies import activations
from gateway.registry.records import BundleRecord
from tests.gateway.approvals import walk
from tests.gateway.approvals.walk import POLICY, World
from tests.gateway.dataplane.conftest import ACTOR, MANIFEST, Gateway, Prepared, chat, prepared, running

__all__ = ["prepared"]  # the fixture


@pytest.fixture
async def gateway(prepared: Prepared, tmp_path: Path) -> AsyncIterator[Gateway]:  # it is the fixture
    async with running(prepared, tmp_path, approval_hold=0.0) as made:
        yield made


async def test_some_hundred_steps(gateway: Gateway) -> None:
    signer.create_key(DataDirectory(gateway.data.path), "test")

    async def send(user: str) -> int:
        return (await gateway.send(gateway.request(orjson.dumps(chat("gpt-4o", user=user))))).status

    async def demand(reason: str) -> None:
        commit = f"{len(reason):040}"
        files = {".manifest": MANIFEST, "authz.rego": POLICY.replace("REASON", reason).encode()}
        digest = policy_bundle.publish(gateway.data.bundles, files)
        bundle = BundleRecord(name="bot", commit=commit, digest=digest, author="dana", entrypoint="data.bot.authz")
        activations.activate(gateway.registry, actor=ACTOR, commit=commit, author="dana", bundles=[bundle])
        while (await gateway.send(gateway.request())).status == 503:  # noqa: ASYNC110  # until the worker has it
            await asyncio.sleep(0.02)

    world = World(gateway.data, gateway.registry, gateway.writer, gateway.upstream, send, demand)
    model = await walk.walk(world, 200, 11)
    assert sum(world.ran().values()) > 10
    assert {"ask", "approve", "deny", "revoke", "expire", "crowd", "bundle"} <= set(model.steps)


@pytest.mark.slow
def test_steps_on_processes_that_are_killed(tmp_path: Path) -> None:
    model = asyncio.run(walk._processes(400, 3, tmp_path))
    assert model.steps["kill"] > 0
    with closing(model.world.registry):
        assert sum(model.world.ran().values()) > 20
