"""A data worker's view of the registry beside principals: upstreams with their secrets opened, and policies in force.

Each is read again when its part of the epoch has changed. A secret that cannot be opened makes its own upstream
unusable and no other, and is tried again after a while: the key may have been restored. A command that gives keys may
take seconds, so it runs beside the event loop, once for all requests, and only those to such an
upstream wait for it.
Specification: architecture.md, sections 7 (step 2), 9 and 11.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field

import orjson

from gateway.a2a import cards
from gateway.dataplane import pinned_tools
from gateway.dataplane.callees import Callees
from gateway.dataplane.mandates import Mandates
from gateway.errors import Denied, GatewayError
from gateway.identity.peers import PEER, PeerSource
from gateway.mcp.pins import TRUSTS, Pins
from gateway.registry.port import ActiveSet, Epochs, RegistryPort, RouteRow, UpstreamRow
from gateway.secrets.vault import SealedPlace, Vault
from gateway.upstream.providers.base import Provider
from gateway.upstream.providers.http import provider as http
from gateway.upstream.providers.mcp import provider as mcp
from gateway.upstream.providers.presets import PROVIDERS
from gateway.upstream.routing import Choices, Destination, Match, Pool, PoolMember, RouteTable, Target

logger = logging.getLogger("gateway.dataplane.registry_view")

RETRY_SECONDS = 2.0
"""The pause before a secret that cannot be opened is tried again."""
DOUBT_SECONDS = 15.0
"""The time in which the control process takes in a tool that has changed, or is told that it is as before."""

_MOST_DOUBTS = 10_000


@dataclass(frozen=True, slots=True)
class Opened:
    """The secret of an upstream, and why it cannot be used."""

    secret: str | None = field(repr=False)
    fault: str


class RegistryView:
    """One worker's view; used from its event loop's thread only."""

    def __init__(self, registry: RegistryPort, vault: Vault, data_plane: str = "") -> None:
        """`data_plane` is its URL as others know it, which the cards of published agents name."""
        self._registry = registry
        self._vault = vault
        self.callees = Callees(registry, data_plane)
        self.peers: PeerSource = registry
        self.mandates = Mandates(registry)
        self._table_epoch = -1
        self._table = RouteTable([])
        self._active: ActiveSet | None = None
        self._pinned: dict[str, Pins] = {}
        # Until when a tool of an upstream (its id) counts as changed here, whatever the registry says.
        self._doubts: dict[tuple[str, str], float] = {}
        # By row and version: a secret and why it cannot be used. Opening one once is enough.
        self._secrets: dict[tuple[str, int], Opened] = {}
        # The time at which secrets that cannot be used are tried again.
        self._retry = float("inf")
        # Runs the command that gives keys.
        self._asking: asyncio.Task[None] | None = None

    async def epochs(self) -> Epochs:
        """The state of the registry now: what is newer than this was committed later."""
        return await self._registry.epochs()

    async def routes(self, epoch: int) -> RouteTable:
        """The table as of this epoch of upstreams or a later one."""
        if epoch != self._table_epoch or time.monotonic() >= self._retry:
            # Before anything is waited for: while this request reads, others use the table that there is.
            self._retry = time.monotonic() + RETRY_SECONDS
            # These reads are at least as new as the epoch that the caller has seen.
            rows = [row for row in await self._registry.upstreams() if provider_of(row) is not None]
            missed = self._vault.missed(row.secret for row in rows)
            if missed and self._asking is None:
                self._asking = asyncio.create_task(self._ask(missed))
            self._secrets = {(row.id, row.version): self._secret(row, asked_for=missed) for row in rows}
            pools = [_pool(row) for row in await self._registry.upstream_routes()]
            pinned = await self._pins() if any(row.trust for row in rows) else {}
            self._table = RouteTable(
                (destination_of(row, self._secrets[row.id, row.version], pinned.get(row.id)) for row in rows), pools
            )
            self._table_epoch = epoch
            if not any(each.fault for each in self._secrets.values()):
                self._retry = min(self._doubts.values(), default=float("inf"))
        return self._table

    def doubt(self, upstream: str, tool: str) -> None:
        """Refuse a tool that an agent was just told of otherwise: its next call may come before the registry knows."""
        pin = self._pinned[upstream].tools.get(tool) if upstream in self._pinned else None
        if pin is None or pin.state != "pinned" or len(self._doubts) >= _MOST_DOUBTS:
            return
        if (upstream, tool) not in self._doubts:
            self._table_epoch = -1
        self._doubts[upstream, tool] = time.monotonic() + DOUBT_SECONDS

    async def _pins(self) -> dict[str, Pins]:
        """The tools of MCP servers, by the ids of their upstreams."""
        self._pinned = pinned_tools.of(await self._registry.upstream_tools(), self._pinned)
        now = time.monotonic()
        self._doubts = {each: until for each, until in self._doubts.items() if until > now}
        return pinned_tools.without(self._pinned, self._doubts) if self._doubts else self._pinned

    async def resolve_again(self, denied: Denied, epoch: int, organization: str, target: Target) -> Match | Choices:
        """The way of a request that was `denied` a place in the table; raises that again if nothing can change it.

        Only requests to upstreams whose secrets cannot be opened wait for the command that may give their key.
        """
        if self._asking is None or denied.code != "upstream_unavailable":
            raise denied
        await asyncio.shield(self._asking)
        return (await self.routes(epoch)).resolve(organization, target)

    async def _ask(self, missed: set[bytes]) -> None:
        """Run the command for keys that are missed. The next request reads again if it gave one of them."""
        try:
            await asyncio.to_thread(self._vault.look, missed)
        except GatewayError as error:
            logger.error("%s", error.message)
        finally:
            self._asking = None
        if self._vault.holds(missed):
            self._retry = 0.0

    async def active(self, epoch: int) -> ActiveSet:
        """The policy revisions in force as of this epoch of policy or a later one."""
        if self._active is None or self._active.epoch != epoch:
            self._active = await self._registry.active_bundles()
        return self._active

    def _secret(self, row: UpstreamRow, asked_for: set[bytes]) -> Opened:
        known = self._secrets.get((row.id, row.version))
        if known is not None and not known.fault:
            return known
        # With a command, opening must not ask for the key: that would run it on the event loop.
        found = opened(row, self._vault, ask=not asked_for)
        if found.fault and (known is None or known.fault != found.fault):
            logger.error("upstream %s: %s", row.name, found.fault)
        return found


def opened(row: UpstreamRow, vault: Vault, *, ask: bool = True) -> Opened:
    """The secret of an upstream, or why it cannot be opened. `ask` is that of `Vault.open`."""
    try:
        return Opened(secret_of(row, vault, ask=ask), "")
    except GatewayError as error:
        return Opened(None, error.message)


def secret_of(row: UpstreamRow, vault: Vault, *, ask: bool = True) -> str | None:
    """The secret of an upstream, None if it needs none; raises `GatewayError` if it cannot be opened."""
    if row.secret is None:
        return None
    return vault.open(row.secret, SealedPlace(row.organization, row.provider, row.id, row.version), ask=ask)


def destination_of(row: UpstreamRow, secret: Opened, pinned: Pins | None = None) -> Destination:
    """An upstream whose provider is known, with its secret; of an MCP server, with what was approved of its tools."""
    provider = provider_of(row, pinned)
    assert provider is not None
    published = None
    remote = cards.remote(row.base_url) if row.auth == PEER else None
    if row.provider == cards.PROVIDER and remote is None:
        try:
            published = cards.load(row.specification or "")
        except (ValueError, TypeError, LookupError):
            # Whoever called it would have the word of one side only.
            secret = Opened(None, "the registry does not say which agent is behind it")
    if pinned is not None and pinned.fault:
        secret = Opened(None, pinned.fault)
    return Destination(
        id=row.id,
        organization=row.organization,
        name=row.name,
        provider=provider,
        base_url=row.base_url,
        default=row.default,
        secret=secret.secret,
        fault=secret.fault,
        headers=orjson.loads(row.headers),
        preset=row.provider,
        reach=row.reach,
        auth=row.auth,
        published=published,
        remote=remote,
    )


def _pool(row: RouteRow) -> Pool:
    members = [
        PoolMember(each["upstream"], each["weight"], each["tier"], tuple(each["models"].items()))
        for each in orjson.loads(row.members)
    ]
    return Pool(row.organization, row.name, row.default, tuple(members))


def provider_of(row: UpstreamRow, pinned: Pins | None = None) -> Provider | None:
    """The provider of an upstream, with the tools of an MCP server; None if a later version of the gateway added it."""
    if row.provider == cards.PROVIDER:
        return PROVIDERS[cards.PROVIDER]
    if row.specification is not None:
        return http.provider(row.name, row.specification)
    if row.provider == mcp.NAME:
        tools = {} if pinned is None else pinned.tools
        return mcp.Mcp(row.name, tools, TRUSTS.get(row.trust or "", "approve"), row.protocol)
    return PROVIDERS.get(row.provider)
