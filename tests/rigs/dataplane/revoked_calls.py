"""Shared parts of the tests in `tests/gateway/dataplane/test_revoked_calls.py`."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.errors import Denied
from gateway.upstream.providers.base import Endpoint
from gateway.upstream.providers.presets import PROVIDERS
from tests.gateway.dataplane.conftest import (
    Gateway,
    Handler,
    stream,
    without_decision,
)
from tests.rigs.upstream.sent import sent_to

OPENAI = b'data: {"choices":[{"index":0,"delta":{"content":"hel"}}]}\n\n'


def endless(event: bytes) -> Handler:
    """A stream of one event after the other, until its reader has gone."""
    return stream(*([event, 0.02] * 30_000))


class Streaming:
    """One streamed call that was answered by its first event and goes on."""

    def __init__(self, gateway: Gateway, body: Any, first: bytes, path: str = "", key: str = "") -> None:
        self._data = gateway.request(body, f"Authorization: Bearer {key or gateway.key}", path=path)
        self._port = gateway.port
        self._first = first
        self.head = b""

    async def begin(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(self._data)
        self.head = await self._reader.readuntil(b"\r\n\r\n")
        assert self._first in await self._reader.readuntil(self._first)

    async def rest_until_done(self) -> bytes:
        """All that still comes, until the answer's end."""
        found = await self._reader.readuntil(b"\r\n0\r\n\r\n")
        self._writer.close()
        return found

    async def rest(self) -> bytes:
        """All that still comes, until the connection ends; a refusal without its decision."""
        found = await self._reader.read()
        self._writer.close()
        return without_decision(found)


def refusal(provider: str, denied: Denied, path: str = "/chat/completions") -> bytes:
    """The event that ends a stream of this provider."""
    found = next(route for route in PROVIDERS[provider].routes if path in route.path)
    return PROVIDERS[provider].error_event(sent_to(Endpoint("x", found, "")), denied)
