"""Catches defects: the exception is logged, and the client gets a 500 that does not say what failed.

An exception that gets this far is not one of the refusals in `gateway/errors.py`, so the answer has no reason code. If
an answer had begun, the connection is closed without its end, so that no client can take it for a whole answer.
"""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.http import refusal

logger = logging.getLogger("gateway.fault")

_BODY = refusal.document("the gateway failed", None)


class LastResort:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception:
            logger.exception("a request failed")
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(_BODY)),
                # The provider may have carried the request out, and SDKs send a failed one again.
                (b"x-should-retry", b"false"),
            ]
            try:
                await send({"type": "http.response.start", "status": 500, "headers": headers})
            except RuntimeError:
                return  # an answer has begun, and the server knows: it closes the connection without an end of it
            await send({"type": "http.response.body", "body": _BODY})
