"""Agents that are called: who they are as of an epoch, and whether anybody may call them now.

A published agent (`gateway/a2a/cards.py`) presents no credential when it is called. It is looked up by its id, and
counts as its own calls would: a suspended, revoked or stopped one cannot be called.
Specification: docs/how-to/identity/called-agents.md.
"""

from __future__ import annotations

import time
from typing import Any, Final

from gateway.a2a import cards
from gateway.errors import Denied
from gateway.frozen import frozen
from gateway.identity.principals import Found, Principal, principal_of, refusal_of
from gateway.registry.port import RegistryPort
from gateway.upstream.routing import Destination

_MOST: Final = 4096


@frozen()
class Callee:
    """An agent that is called. `document` is what policies see of it, and `refusal` why it cannot be called."""

    principal: Principal
    document: dict[str, Any]
    refusal: Denied | None


class Callees:
    """Those that one worker has looked up; used from its event loop's thread only."""

    def __init__(self, registry: RegistryPort, base: str) -> None:
        """`base` is the URL of the data plane, which cards name."""
        self._registry = registry
        self._base = base
        self._epoch = -1
        self._known: dict[tuple[str, str], tuple[Principal, Found]] = {}

    async def of(self, destination: Destination, epoch: int) -> Callee:
        """The agent behind a destination as of this epoch of authority. Raises `Denied` if there is none any more."""
        published = destination.published
        assert published is not None
        if epoch != self._epoch or len(self._known) >= _MOST:
            self._known, self._epoch = {}, epoch
        key = destination.id, published.agent
        if (known := self._known.get(key)) is None:
            row = await self._registry.named(published.agent)
            if row is None or row.organization != destination.organization:
                raise Denied("callee_unavailable", "the agent that was published is not in the registry")
            known = self._known[key] = principal_of(row, "", epoch), Found(row, None)
        principal, found = known
        refusal = refusal_of(found, now_ns=time.time_ns())
        row = found.row
        state = row.status if refusal is None or row.status != "active" else "unavailable"
        document = {
            "id": principal.agent_id,
            "organization": principal.organization,
            "name": destination.name,
            "owner": principal.owner,
            "state": state,
            "capabilities": list(principal.capabilities),
            "card": self._digest(destination, principal.version),
            "price_microusd": published.price_microusd,
        }
        return Callee(principal, document, refusal)

    def card(self, destination: Destination, version: int) -> dict[str, Any]:
        """The card of the agent behind a destination, unsigned."""
        published, organization, name = destination.published, destination.organization, destination.name
        assert published is not None
        return cards.card(published, organization=organization, name=name, version=version, base=self._base)

    def _digest(self, destination: Destination, version: int) -> str:
        known: dict[int, str] = destination.derived.setdefault("card digests", {})
        if version not in known:
            known.clear()
            known[version] = cards.digest(self.card(destination, version))
        return known[version]
