"""The composition roots: each of the two kinds of processes is put together here, and only here.

`python -m gateway.processes.app data|control BOOT DESCRIPTOR`, with a bound socket, started by
`gateway/processes/supervisor.py`. The settings are the first line of standard input; the process stops when standard
input ends. It prints one line to standard output, a JSON object: a report once it is ready, or why it cannot start. A
data worker imports no ORM, no git and no command line: without them it needs half the memory, and none of their code is
near an agent's request. So `_data` and `_control` import their own modules.
Specification: docs/architecture.md, section 12.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, TypeAlias

import uvloop
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import logs
from gateway.audit.writer import AuditWriter
from gateway.errors import GatewayError
from gateway.http import listener, refusal, tls
from gateway.processes.background import Background
from gateway.settings import Settings, load_settings

logger = logging.getLogger("gateway.processes.app")

Ready: TypeAlias = Callable[[dict[str, Any]], None]


async def _data(
    settings: Settings,
    boot: str,
    stop: asyncio.Event,
    background: Background,
    ready: Ready,
    descriptor: int,
    replaced: asyncio.Event,
) -> None:
    """A data worker, from its start to its end."""
    from gateway.dataplane.budget import Budget
    from gateway.dataplane.contacts import Contacts
    from gateway.dataplane.content import Contents
    from gateway.dataplane.costs import Costs
    from gateway.dataplane.issuer_keys import IssuerKeys
    from gateway.dataplane.key_uses import KeyUses
    from gateway.dataplane.leak_reports import LeakReports
    from gateway.dataplane.legacy_clients import LegacyClients
    from gateway.dataplane.measures import Measures
    from gateway.dataplane.proxy import DataPlane
    from gateway.dataplane.references import References
    from gateway.dataplane.refusals import Refusals
    from gateway.dataplane.registry_view import RegistryView
    from gateway.dataplane.request_log import RequestLog
    from gateway.dataplane.token_endpoint import TokenEndpoint
    from gateway.dataplane.token_grants import Grants
    from gateway.dataplane.tracing import tracer
    from gateway.http.health import Health
    from gateway.http.last_resort import LastResort
    from gateway.identity.api_keys import ApiKeys
    from gateway.identity.certificates import Certificates
    from gateway.identity.credentials import Peppers
    from gateway.identity.legacy_keys import LegacyKeys
    from gateway.identity.nonces import Nonces
    from gateway.identity.principals import Principals
    from gateway.identity.signatures import Signatures
    from gateway.identity.token_credentials import Tokens
    from gateway.identity.token_keys import TokenKeys
    from gateway.policy.cache import PolicyCache, digests
    from gateway.policy.handover import Follower, Handover
    from gateway.registry.key_source import KeySource
    from gateway.registry.reader import RegistryReader
    from gateway.registry.vault import Vault
    from gateway.storage.liveness import Presence
    from gateway.upstream.client import UpstreamClient
    from gateway.usage.price_book import PriceBook
    from gateway.usage.standing import Standing

    data = settings.data
    async with AsyncExitStack() as stack:
        # Closed in reverse order: the presence last, when every record of this process is durable.
        presence = Presence(data, boot)
        stack.callback(presence.close)
        reader = RegistryReader(data.registry_db)
        stack.callback(reader.close)
        measures = Measures(data.metrics / boot, settings.metrics_agents)
        deployment = await reader.deployment()
        writer = AuditWriter(data, boot=boot, deployment=deployment, observe=measures.committed)
        stack.push_async_callback(asyncio.to_thread, writer.close)
        stack.callback(background.start("writing the audit log", writer.watch()).cancel)
        client = UpstreamClient.of(settings)
        stack.push_async_callback(client.close)
        refusals = Refusals(writer, presence.leave, measures.refused)
        stack.callback(refusals.flush)
        stack.callback(background.start("counting refusals", refusals.run()).cancel)
        policies = PolicyCache(data.bundles, data.cache)
        handover = Handover(data.runtime_db)
        stack.callback(handover.close)
        follower = Follower(handover, reader, policies, boot)
        await follower.begin()
        stack.callback(follower.close)
        stack.callback(background.start("following the policies", follower.run()).cancel)
        contacts = Contacts(data.runtime_db, boot)
        stack.callback(contacts.close)
        stack.callback(background.start("keeping how upstreams answer", contacts.run()).cancel)
        peppers = Peppers.load(data.keys)
        uses = KeyUses(data.runtime_db, peppers)
        stack.callback(uses.close)
        stack.callback(background.start("keeping when keys are used", uses.run()).cancel)
        clients = LegacyClients(data.runtime_db, peppers)
        stack.callback(clients.close)
        stack.callback(background.start("keeping which programs use a provider's key", clients.run()).cancel)
        prices = PriceBook(settings)
        stack.callback(background.start("following the prices", prices.run()).cancel)
        references = References(data.runtime_db)
        stack.callback(references.close)
        nonces = Nonces(data.runtime_db)
        stack.callback(nonces.close)
        if (traces := tracer(settings)) is not None:
            stack.push_async_callback(asyncio.to_thread, traces.close)
        standing = Standing(data.audit_db, lambda: writer.balances)
        stack.callback(standing.close)
        requests = None
        if settings.log_requests == "always" or (settings.log_requests == "auto" and sys.stderr.isatty()):
            requests = RequestLog("data")
            stack.callback(requests.close)
        vault = Vault.load(data.keys, KeySource.of(settings))
        token_keys = TokenKeys(data.keys)
        tokens = Tokens(reader, token_keys, deployment)
        principals = Principals(
            [
                ApiKeys(reader, peppers, uses),
                Signatures(reader, nonces, uses),
                Certificates(reader, uses),
                LegacyKeys(reader, peppers),
                tokens,
            ]
        )
        issuers = IssuerKeys()
        stack.push_async_callback(issuers.close)
        grants = Grants(
            settings,
            deployment,
            principals=principals,
            tokens=tokens,
            keys=token_keys,
            registry=reader,
            issuers=issuers,
            writer=writer,
        )
        plane = DataPlane(
            settings,
            principals=principals,
            registry=RegistryView(reader, vault),
            policies=policies,
            references=references,
            writer=writer,
            refusals=refusals,
            contacts=contacts,
            client=client,
            budget=Budget(standing, prices, default_output=settings.default_output_tokens),
            costs=Costs(prices),
            requests=requests,
            contents=Contents(vault, settings.content_max_bytes),
            measures=measures,
            tracer=traces,
            clients=clients,
        )
        stack.callback(background.start("ending the calls of who was revoked", plane.watch.run()).cancel)
        stack.callback(background.start("measuring the load", measures.run(plane.load)).cancel)

        async def registry_readable() -> bool:
            return (await reader.epochs()).value >= 0

        async def policies_loaded() -> bool:
            return digests(await reader.active_bundles()) <= policies.loaded

        checks = {"registry": registry_readable, "log": writer.check, "policies": policies_loaded}
        opened = socket.socket(fileno=descriptor)
        opened.listen(listener.BACKLOG)
        limits = listener.Limits.of(settings, refusals.add_code)
        behind = TokenEndpoint(plane, grants, token_keys, refusals)
        reports = LeakReports(LastResort(behind), reader, peppers, data.runtime_db)
        stack.callback(background.start("looking at reported keys", reports.run()).cancel)
        app = Health(reports, checks)
        secured = tls.context(settings)
        serving = background.start(
            "serving agents", listener.serve(app, opened, settings, limits, stop, replaced, secured)
        )
        # What exists now stays: the collector need not look at it again, and a request leaves little behind.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)
        ready({})
        await asyncio.wait({serving})


async def _control(
    settings: Settings, boot: str, stop: asyncio.Event, background: Background, ready: Ready, descriptor: int
) -> None:
    """The control process, from its start to its end."""
    from gateway.control.server import ControlApi
    from gateway.http.health import Health
    from gateway.processes.duties import Duties
    from gateway.processes.metrics import MetricsPage
    from gateway.processes.version import version
    from gateway.registry.key_source import KeySource

    opened = socket.socket(fileno=descriptor)
    opened.listen(listener.BACKLOG)
    duties = await asyncio.to_thread(Duties, settings, boot)
    async with AsyncExitStack() as stack:  # closed in reverse order, the duties last
        stack.push_async_callback(asyncio.to_thread, duties.close)
        await asyncio.to_thread(duties.begin)
        limits = listener.Limits.of(settings)
        # Opened after the duties, which have migrated the registry.
        others = _not_here(settings.data_plane)
        source = KeySource.of(settings)
        api = await asyncio.to_thread(ControlApi.open, others, settings.data, version(), source, stop)
        stack.push_async_callback(asyncio.to_thread, api.close)
        pages = MetricsPage(api, duties.metrics.page)
        health = Health(pages, duties.checks())
        serving = background.start("the control listener", listener.serve(health, opened, settings, limits, stop))
        working = background.start("the control process's duties", duties.run(stop))
        ready(await duties.state())
        await asyncio.wait({serving, working})


def _not_here(data_plane: str) -> ASGIApp:
    """The application of the control listener for everything but health, metrics and the API: 404.

    It is for agents whose base URL has the wrong port.
    """
    text = f"this is the gateway's control plane, which serves no agents: their base URL begins with {data_plane}"
    body = refusal.document(text, "unknown_route")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 404, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


async def _lifeline(stop: asyncio.Event) -> None:
    """Set `stop` when standard input ends: the supervisor is gone, or wants this process to end."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(4096):
        pass
    stop.set()


async def _run(kind: str, boot: str, descriptor: int, settings: Settings) -> int:
    """One process of either kind until it is told to stop; returns its exit code."""
    stop = asyncio.Event()
    background = Background(stop)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    replaced = asyncio.Event()
    if kind == "data":
        # From the supervisor: another worker has taken over the listening socket.
        loop.add_signal_handler(signal.SIGHUP, _stop_replaced, replaced, stop)
    lifeline = background.start("waiting for the supervisor's end", _lifeline(stop))
    if kind == "data":
        await _data(settings, boot, stop, background, _report, descriptor, replaced)
    else:
        await _control(settings, boot, stop, background, _report, descriptor)
    lifeline.cancel()
    with suppress(asyncio.CancelledError):
        await lifeline
    return 1 if background.failed else 0


def _stop_replaced(replaced: asyncio.Event, stop: asyncio.Event) -> None:
    replaced.set()
    stop.set()


def _report(document: dict[str, Any]) -> None:
    """One line to the supervisor. If it is gone, so is its end of standard input, and this process is about to stop."""
    with suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), json.dumps(document).encode() + b"\n")


def _first_line() -> bytes:
    """The settings. Read unbuffered: what follows the line must stay in the pipe for the event loop to see."""
    line = bytearray()
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return bytes(line)


def main(arguments: list[str]) -> int:
    kind, boot, descriptor = arguments
    logs.configure(kind)
    line = _first_line()
    if not line.endswith(b"\n"):
        return 0  # the supervisor is gone already
    # Every connection is a file, on both sides: take as many as this user may have.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        # Only these count: the settings file may have been edited since the gateway was started.
        settings = load_settings(json.loads(line), env={}, file=Path(os.devnull))
        return uvloop.run(_run(kind, boot, int(descriptor), settings))
    except GatewayError as error:
        _report({"error": error.code, "message": error.message, "hint": error.hint})
    except OSError as error:
        _report({"error": "start_failed", "message": f"the {kind} process cannot run: {error}", "hint": ""})
    except Exception:
        logger.exception("the process failed")
        _report({"error": "start_failed", "message": f"the {kind} process failed", "hint": "see the lines above"})
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
