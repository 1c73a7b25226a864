"""`/a2a/ORG/NAME/.well-known/agent-card.json` and `/a2a/ORG/.well-known/jwks.json`: cards of agents, for everybody.

A card says where an agent is reached and who vouches for that; whether somebody may call it is decided with each call.
So a card needs no credential. An agent that cannot be called now, or is not published, has none.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable
from pathlib import Path
from typing import Final

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.a2a import cards
from gateway.dataplane.registry_view import RegistryView
from gateway.errors import Denied, GatewayError
from gateway.identity import organization_keys

_PATH: Final = re.compile(rb"/a2a/([A-Za-z0-9._-]+)(?:/([A-Za-z0-9._-]+))?/\.well-known/(agent-card|jwks)\.json")
_HEADERS: Final = ((b"content-type", b"application/json"), (b"cache-control", b"public, max-age=60"))


class CardEndpoint:
    """The ASGI application for GET in front of another one. Owned by the event loop's thread."""

    def __init__(self, app: ASGIApp, registry: RegistryView, keys: Path) -> None:
        self._app = app
        self._registry = registry
        self._keys = keys

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if (found := _PATH.fullmatch(scope["raw_path"])) is not None:
            return self._show(found, send)
        return self._app(scope, receive, send)

    async def _show(self, found: re.Match[bytes], send: Send) -> None:
        organization, name = found[1].decode(), None if found[2] is None else found[2].decode()
        try:
            if (name is None) is not (found[3] == b"jwks"):
                raise Denied("unknown_route")
            body = await (self._public_keys(organization) if name is None else self._card(organization, name))
            status = 200
        except GatewayError as error:
            status = error.reason.status if isinstance(error, Denied) and error.reason.status > 404 else 404
            body = orjson.dumps({"error": "there is no such card"})
        headers = [*_HEADERS, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _card(self, organization: str, name: str) -> bytes:
        epochs = await self._registry.epochs()
        destination = (await self._registry.routes(epochs.upstreams)).published(cards.path(organization, name))
        if destination is None:
            raise Denied("unknown_route")
        callee = await self._registry.callees.of(destination, epochs.authority)
        if callee.refusal is not None:
            raise Denied("unknown_route")
        [signing, *_] = await asyncio.to_thread(organization_keys.keys_of, self._keys, organization)
        return orjson.dumps(cards.sign(self._registry.callees.card(destination, callee.principal.version), signing))

    async def _public_keys(self, organization: str) -> bytes:
        epochs = await self._registry.epochs()
        if not (await self._registry.routes(epochs.upstreams)).publishes(organization):
            raise Denied("unknown_route")
        return organization_keys.public(await asyncio.to_thread(organization_keys.keys_of, self._keys, organization))
