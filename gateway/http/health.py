"""Answers `GET /healthz` and passes everything else on.

Both listeners have it: the data plane's is healthy while the worker could decide a request, which is for the caller of
this class to say. No details: whoever can reach a port may ask.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Receive, Scope, Send

PATH = "/healthz"


class Health:
    def __init__(self, app: ASGIApp, healthy: Callable[[], Awaitable[bool]]) -> None:
        self._app = app
        self._healthy = healthy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        status, body = (200, b'{"status":"ok"}') if await self._healthy() else (503, b'{"status":"unavailable"}')
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
