"""One small request beside the hot path: to an issuer, a login provider or a receiver of events.

It has one limit of time for all of it, and one of bytes. It follows no redirect, reads no proxy from the environment,
and connects only to addresses that were checked (`addresses.py`). The connection serves nothing else: what was sent is
not repeated, so it must not go out on a connection that the other side is about to close.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

from gateway.outbound.client import Outgoing, UpstreamClient
from gateway.outbound.connection import UpstreamAnswer

_HEADERS: Final = {"Accept-Encoding": "identity", "User-Agent": "agent-identity-gateway", "Connection": "close"}


async def fetch(
    request: Outgoing, reach: str, *, seconds: float, most: int, tls: ssl.SSLContext | None = None
) -> tuple[int, bytes]:
    """The status and the body of the answer; with `most=0`, no body is read.

    Raises `TimeoutError`, `Denied` with its `detail`, or `ValueError` for a URL that is none and for too large a body.
    """
    request.headers = {**_HEADERS, **request.headers}
    async with asyncio.timeout(seconds):
        client = UpstreamClient(connect_timeout=seconds, idle_timeout=seconds, tls=tls)
        try:
            answer = await client.send(request, lambda: None, reach)
            try:
                return answer.status, await _body(answer, most) if most else b""
            finally:
                answer.close()
        finally:
            await client.close()


async def _body(answer: UpstreamAnswer, most: int) -> bytes:
    found = bytearray()
    while piece := await answer.read():
        found += piece
        if len(found) > most:
            raise ValueError(f"the answer has more than {most} bytes")
    return bytes(found)
