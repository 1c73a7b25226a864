"""The composition root of a data worker: put together here, and only here.

A worker's resources are opened here in order and closed in reverse order: the presence last, when every record of this
process is durable. A data worker imports no ORM, no git and no command line: without them it needs half the memory, and
none of their code is near an agent's request.
Specification: architecture.md, section 12.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, Protocol, TypeVar

from starlette.types import ASGIApp

from gateway.approvals.asking import Askings
from gateway.audit.writer import AuditWriter
from gateway.dataplane.approving import Approvals
from gateway.dataplane.budget import Budget
from gateway.dataplane.card_endpoint import CardEndpoint
from gateway.dataplane.contacts import Contacts
from gateway.dataplane.content import Contents
from gateway.dataplane.costs import Costs
from gateway.dataplane.leak_reports import LeakReports
from gateway.dataplane.measures import Measures
from gateway.dataplane.outages import Outages
from gateway.dataplane.proxy import DataPlane
from gateway.dataplane.refusals import Refusals
from gateway.dataplane.registry_view import RegistryView
from gateway.dataplane.request_log import RequestLog
from gateway.dataplane.sightings import ToolSightings
from gateway.dataplane.tracing import tracer
from gateway.http import listener, tls
from gateway.http.connection import ConnectionLimits
from gateway.http.health import Health
from gateway.identity.api_keys import ApiKeys
from gateway.identity.call_tokens import CallTokens
from gateway.identity.certificates import Certificates
from gateway.identity.credentials import Peppers
from gateway.identity.legacy_keys import LegacyKeys
from gateway.identity.peers import Peers
from gateway.identity.principals import Principals
from gateway.identity.signatures import Signatures
from gateway.identity.token_credentials import Tokens
from gateway.identity.token_keys import TokenKeys
from gateway.outbound.client import UpstreamClient
from gateway.policy.cache import PolicyCache, digests
from gateway.policy.follower import Follower
from gateway.processes import heartbeat
from gateway.processes.background import Background
from gateway.registry.reader import RegistryReader
from gateway.runtime.key_uses import KeyUses
from gateway.runtime.legacy_clients import LegacyClients
from gateway.runtime.nonces import UsedNonces
from gateway.runtime.proposals import Proposals
from gateway.runtime.references import References
from gateway.runtime.store import RuntimeStore
from gateway.secrets.key_source import KeySource
from gateway.secrets.vault import Vault
from gateway.settings import Settings
from gateway.storage.liveness import members
from gateway.tokens.endpoint import TokenEndpoint
from gateway.tokens.grants import Grants
from gateway.tokens.issuer_keys import IssuerKeys
from gateway.tokens.metadata import Metadata
from gateway.usage.price_book import PriceBook
from gateway.usage.standing import StandingBalances


class _Closable(Protocol):
    def close(self) -> object: ...


_Held = TypeVar("_Held", bound=_Closable)


class DataWorker:
    """The resources of one data worker, in the order in which they are opened.

    The parts that several others use are attributes; the rest is known to one method alone.
    """

    def __init__(self, settings: Settings, boot: str, background: Background, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._data = settings.data
        self._boot = boot
        self._background = background
        self._stack = stack

    def _keep(self, held: _Held) -> _Held:
        """Close it when the worker ends."""
        self._stack.callback(held.close)
        return held

    def _keep_beside(self, held: _Held) -> _Held:
        """Close it when the worker ends, in a thread: that writes."""
        self._stack.push_async_callback(asyncio.to_thread, held.close)
        return held

    def _run(self, what: str, work: Coroutine[Any, Any, None]) -> None:
        """Run this in the background until the worker ends."""
        self._stack.callback(self._background.start(what, work).cancel)

    async def open(self) -> None:
        """The log, the registry, the policies, and what is noted about calls."""
        data = self._data
        presence = self._keep(members(data).join(self._boot))
        self._reader = self._keep(RegistryReader(data.registry_db))
        self._measures = Measures(data.metrics / self._boot, self._settings.metrics_agents)
        self._deployment = await self._reader.deployment()
        self.writer = AuditWriter(data, boot=self._boot, deployment=self._deployment, observe=self._measures.committed)
        self._stack.push_async_callback(asyncio.to_thread, self.writer.close)
        self._run("writing the audit log", self.writer.watch())
        self._client = UpstreamClient.of(self._settings)
        self._stack.push_async_callback(self._client.close)
        self._refusals = Refusals(self.writer, presence.leave, self._measures.refused)
        self._stack.callback(self._refusals.flush)
        self._run("counting refusals", self._refusals.run())
        self._policies = PolicyCache(data.bundles, data.cache)
        self._store = self._keep(RuntimeStore(data.runtime_db))
        await asyncio.to_thread(self._store.open)
        follower = Follower(self._store, self._reader, self._policies, self._boot)
        await follower.begin()
        self._keep_beside(follower)
        self._run("following the policies", follower.run())
        self._contacts = self._keep_beside(Contacts(self._store, self._boot))
        self._run("keeping how upstreams answer", self._contacts.run())
        self._sightings = self._keep_beside(ToolSightings(self._store))
        self._run("keeping which tools have changed", self._sightings.run())
        self._outages = self._keep_beside(Outages(self._store, self._boot))
        self._run("telling of refusals of everything", self._outages.run())
        self._peppers = Peppers.load(data.keys)
        self._uses = self._keep_beside(KeyUses(self._store, self._peppers))
        self._run("keeping when keys are used", self._uses.run())
        self._clients = self._keep_beside(LegacyClients(self._store, self._peppers))
        self._run("keeping which programs use a provider's key", self._clients.run())
        self.prices = PriceBook(self._settings)
        self._run("following the prices", self.prices.run())
        self._references = References(self._store)
        self._token_keys = TokenKeys(data.keys)
        self._metadata = Metadata(self._settings.public_data_plane, self._deployment)

    def _authentication(self) -> tuple[Principals, Tokens]:
        """Every kind of credential that agents can have."""
        nonces = UsedNonces(self._store)
        tokens = Tokens(self._reader, self._token_keys, self._deployment)
        principals = Principals(
            [
                ApiKeys(self._reader, self._peppers, self._uses),
                Signatures(self._reader, nonces, self._uses),
                Certificates(self._reader, self._uses),
                LegacyKeys(self._reader, self._peppers),
                Peers(self._reader, nonces, self._settings.public_data_plane),
                tokens,
            ]
        )
        return principals, tokens

    def _grants(self, principals: Principals, tokens: Tokens) -> Grants:
        """The endpoint that gives out the gateway's own tokens."""
        return Grants(
            self._settings,
            self._deployment,
            principals=principals,
            tokens=tokens,
            keys=self._token_keys,
            metadata=self._metadata,
            nonces=UsedNonces(self._store),
            registry=self._reader,
            issuers=IssuerKeys(),
            writer=self.writer,
        )

    def _plane(self, principals: Principals) -> DataPlane:
        settings = self._settings
        if (traces := tracer(settings)) is not None:
            self._stack.push_async_callback(asyncio.to_thread, traces.close)
        standing = self._keep(StandingBalances(self._data, self.writer.balances))
        requests = None
        if settings.log_requests == "always" or (settings.log_requests == "auto" and sys.stderr.isatty()):
            requests = self._keep(RequestLog("data"))
        vault = Vault.load(self._data.keys, KeySource.of(settings))
        self._view = RegistryView(self._reader, vault, settings.public_data_plane)
        plane = DataPlane(
            settings,
            principals=principals,
            registry=self._view,
            policies=self._policies,
            references=self._references,
            writer=self.writer,
            refusals=self._refusals,
            contacts=self._contacts,
            client=self._client,
            budget=Budget(standing, self.prices, default_output=settings.default_output_tokens),
            costs=Costs(self.prices),
            requests=requests,
            contents=Contents(vault, settings.content_max_bytes),
            measures=self._measures,
            tracer=traces,
            clients=self._clients,
            outages=self._outages,
            approvals=Approvals.of_settings(settings, Askings(self._data.registry_db, vault, self._boot)),
            tokens=CallTokens(self._token_keys, self._deployment),
            proposals=Proposals(self._store, self._peppers),
            sighted=self._sightings.note,
        )
        self._stack.push_async_callback(plane.close)
        self._run("ending the calls of who was revoked", plane.watch.run())
        self._run("measuring the load", self._measures.run(plane.load))
        return plane

    def application(self) -> ASGIApp:
        """Everything that agents can ask, from the outside in."""
        principals, tokens = self._authentication()
        grants = self._grants(principals, tokens)
        self.plane = self._plane(principals)
        cards = CardEndpoint(self.plane, self._view, self._data.keys)
        behind = TokenEndpoint(self.plane, grants, self._token_keys, self._refusals, self._metadata, cards)
        reports = LeakReports(behind, self._reader, self._peppers, self._store)
        self._run("looking at reported keys", reports.run())
        self._stack.push_async_callback(reports.finish)
        checks = {
            "registry": self._registry_readable,
            "log": self.writer.check,
            "policies": self._policies_loaded,
            "requests": self._outages.works,
        }
        return Health(reports, checks)

    def beat(self) -> None:
        """Let the supervisor hear that the event loop turns; the settings came by standard input, beats go out."""
        self._run("telling the supervisor that this loop turns", heartbeat.beat(sys.stdout.fileno()))

    def limits(self) -> ConnectionLimits:
        return ConnectionLimits.of(self._settings, self._refusals.add_code)

    async def _registry_readable(self) -> bool:
        return (await self._reader.epochs()).value >= 0

    async def _policies_loaded(self) -> bool:
        return digests(await self._reader.active_bundles()) <= self._policies.loaded


async def run(
    settings: Settings,
    boot: str,
    stop: asyncio.Event,
    background: Background,
    ready: Callable[[dict[str, Any]], None],
    descriptor: int,
    replaced: asyncio.Event,
) -> None:
    """A data worker, from its start to its end."""
    async with AsyncExitStack() as stack:
        worker = DataWorker(settings, boot, background, stack)
        await worker.open()
        app = worker.application()
        opened = socket.socket(fileno=descriptor)
        opened.listen(listener.BACKLOG)
        secured = tls.context(settings)
        serving = background.start(
            "serving agents", listener.serve(app, opened, settings, worker.limits(), stop, replaced, secured)
        )
        # Everything that exists now stays: the collector need not look at it again, and a request leaves little behind.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)
        ready({})
        worker.beat()
        await asyncio.wait({serving})
