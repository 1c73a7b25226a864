"""Answers `GET /healthz` and `GET /readyz`, and passes everything else on. Both listeners have it.

`/healthz` says that the process is alive: if it does not answer, restart it. `/readyz` says whether it could serve a
request now, by trying what a request needs; the composition root supplies the checks. If some fail, the answer names
them and says nothing more, because anybody who can reach the port may ask.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.errors import GatewayError

logger = logging.getLogger("gateway.http.health")

Check: TypeAlias = Callable[[], Awaitable[bool]]
"""A check: true if one thing that requests need works now. It may also raise `GatewayError`, or take too long."""

_PATHS = frozenset({"/healthz", "/readyz"})
# Some monitors ask with HEAD; the listener leaves the body out.
_METHODS = frozenset({"GET", "HEAD"})
# However many ask, each check runs once in this time.
FRESH_SECONDS = 1.0
CHECK_SECONDS = 2.0


class Health:
    """The ASGI application in front of another one. Owned by the event loop's thread."""

    def __init__(self, app: ASGIApp, checks: Mapping[str, Check]) -> None:
        self._app = app
        self._checks = checks
        self._look: asyncio.Task[list[str]] | None = None
        self._looked = 0.0

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["method"] in _METHODS and scope["path"] in _PATHS:
            return self._tell(scope["path"], send)
        return self._app(scope, receive, send)

    async def _tell(self, path: str, send: Send) -> None:
        if path == "/healthz":
            await _answer(send, 200, {"status": "ok"})
        elif failing := await self._failing():
            await _answer(send, 503, {"status": "unavailable", "failing": failing})
        else:
            await _answer(send, 200, {"status": "ready"})

    async def _failing(self) -> list[str]:
        """The names of the checks that fail. Those who ask at the same time share one look."""
        now = asyncio.get_running_loop().time()
        if self._look is None or (self._look.done() and now - self._looked >= FRESH_SECONDS):
            self._looked = now
            self._look = asyncio.create_task(self._run_checks())
        return await asyncio.shield(self._look)

    async def _run_checks(self) -> list[str]:
        passed = await asyncio.gather(*(_passes(name, check) for name, check in self._checks.items()))
        return [name for name, ok in zip(self._checks, passed, strict=True) if not ok]


async def _passes(name: str, check: Check) -> bool:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check()
    except (GatewayError, TimeoutError):
        return False
    except Exception:
        logger.exception("the check of the %s failed", name)
        return False


async def _answer(send: Send, status: int, document: Mapping[str, object]) -> None:
    body = orjson.dumps(document)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
