"""One delivery: a POST that was accepted, or why not.

It follows no redirect, reads no proxy from the environment and no body of an answer, and connects only to addresses
that were checked (`addresses.py`), with one limit of time for all of it.
"""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.outbound import addresses, resolution
from gateway.outbound.resolution import RefusedAddressError
from gateway.webhooks import signature

SECONDS: Final = 10.0
_LONGEST: Final = 200


class _Resolver(AbstractResolver):
    """Looks names up, and lets only addresses through that deliveries may go to."""

    def __init__(self, reach: str) -> None:
        self._reach = reach

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await resolution.look_up(host, port, self._reach, family=family)
        results: list[ResolveResult] = []
        for each, _, protocol, _, place in found:
            address = str(place[0])
            results.append(
                ResolveResult(
                    hostname=host,
                    host=address,
                    port=port,
                    family=each,
                    proto=protocol,
                    flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                )
            )
        return results

    async def close(self) -> None:
        """There is nothing to close."""


async def send(url: str, reach: str, secret: str, event_id: str, body: bytes) -> str:
    """Deliver once. Returns why the receiver has not accepted it; empty if it has."""
    host = urlsplit(url).hostname or ""
    if addresses.literal(host) is not None and (why := addresses.refusal(host, reach)):
        return why
    headers = signature.headers(secret, event_id, int(time.time()), body)
    options: dict[str, Any] = {"resolver": _Resolver(reach), "force_close": True, "use_dns_cache": False}
    try:
        async with (
            asyncio.timeout(SECONDS),
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(**options),
                timeout=aiohttp.ClientTimeout(total=SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            ) as session,
            session.post(url, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            status = answer.status
            answer.close()  # whatever it says besides is not read
    except TimeoutError:
        return f"no answer within {SECONDS:.0f} s"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return _why(error, reach)
    if 200 <= status < 300:
        return ""
    return f"it answered with status {status}" + (", and redirects are not followed" if 300 <= status < 400 else "")


def _why(error: Exception, reach: str) -> str:
    cause = getattr(error, "os_error", None) or error
    if isinstance(cause, RefusedAddressError):
        options = "; --allow-private and --insecure let a webhook go elsewhere" if reach == addresses.PUBLIC else ""
        return cause.text + options
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError):
        return "malformed HTTP"  # its text quotes the answer, which may hold anything
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return text.encode("utf-8", "replace").decode()[:_LONGEST]
