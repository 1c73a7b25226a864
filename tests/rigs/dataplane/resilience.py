"""Shared parts of the tests in `tests/gateway/dataplane/test_resilience.py`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gateway.registry.upstreams import routes as upstream_routes
from gateway.registry.upstreams.changes import add_upstream
from gateway.registry.upstreams.routes import NewMember
from gateway.secrets.vault import Vault
from tests.gateway.dataplane.conftest import (
    ACTOR,
    ORG,
    Gateway,
    Reply,
    Seen,
    Upstream,
    chat,
)


async def reset(seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


async def hang(seen: Seen, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


@asynccontextmanager
async def route(gateway: Gateway, *tiers: str, models: dict[str, str] | None = None) -> AsyncIterator[Upstream]:
    """A second upstream `backup`, and the route `chat` over both; tiers as on the command line."""
    backup = Upstream()
    port = await backup.start()
    add(gateway, "backup", port)
    weighted = [each.partition(":") for tier in tiers or ("openai", "backup") for each in tier.split(",")]
    numbers = [at for at, tier in enumerate(tiers or ("openai", "backup"), 1) for _ in tier.split(",")]
    members = [
        NewMember(name, int(weight or 1), number, models or {} if name == "backup" else {})
        for (name, _, weight), number in zip(weighted, numbers, strict=True)
    ]
    upstream_routes.set_route(gateway.registry, actor=ACTOR, organization=ORG, name="chat", members=members)
    try:
        yield backup
    finally:
        await backup.stop()


def add(gateway: Gateway, name: str, port: int, provider: str = "openai-compatible") -> None:
    add_upstream(
        gateway.registry,
        Vault.load(gateway.data.keys),
        actor=ACTOR,
        organization=ORG,
        name=name,
        provider=provider,
        base_url=f"http://127.0.0.1:{port}" + ("" if provider == "azure" else "/v1"),
        secret="sk-of-" + name,
    )


async def ask(gateway: Gateway, model: str = "gpt-4o", *lines: str, **members: Any) -> Reply:
    """A chat completion through the route."""
    return await gateway.send(gateway.request(chat(model, **members), *lines, path="/chat/v1/chat/completions"))
