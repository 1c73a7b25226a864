"""Shared parts of the tests in `tests/gateway/dataplane/test_content.py`."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.registry import outbox
from gateway.registry.agents.changes import AgentUpdate, update_agent
from gateway.secrets.vault import Vault
from tests.gateway.dataplane.conftest import ACTOR, ORG, Gateway


async def keep(gateway: Gateway, **members: Any) -> None:
    """Have the content of the agent kept from the next call on."""
    update = AgentUpdate(**{"keep_content": True, "retention_days": 30} | members)
    await asyncio.to_thread(
        update_agent,
        gateway.registry,
        actor=ACTOR,
        organization=ORG,
        agent="bot",
        update=update,
        vault=Vault.load(gateway.data.keys),
    )
    await asyncio.to_thread(outbox.drain, gateway.registry, gateway.writer)
