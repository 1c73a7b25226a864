"""The composition roots: what a data worker and what the control process are made of, put together here and only here.

`python -m gateway.processes.app data|control BOOT [DESCRIPTOR]`, started by `gateway/processes/supervisor.py`. The
settings are the first line of standard input; the process stops when standard input ends. It prints one line to
standard output: `ready`, or why it cannot start. A data worker imports no ORM, no git and no command line: without them
it needs half the memory, and none of their code is near an agent's request. So `_control` imports its own modules.
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
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import uvloop

from gateway import logs
from gateway.audit.writer import AuditWriter
from gateway.errors import Denied, GatewayError
from gateway.http import listener
from gateway.settings import Settings, load_settings

logger = logging.getLogger("gateway.processes.app")

Ready = Callable[[dict[str, Any]], None]


async def _data(settings: Settings, boot: str, stop: asyncio.Event, ready: Ready) -> None:
    """A data worker, from nothing to its end."""
    from gateway.dataplane.proxy import DataPlane
    from gateway.dataplane.refusals import Refusals
    from gateway.dataplane.registry_view import RegistryView
    from gateway.http.health import Health
    from gateway.http.last_resort import LastResort
    from gateway.identity.credentials import Peppers
    from gateway.identity.principals import Principals
    from gateway.policy.cache import PolicyCache
    from gateway.policy.handover import Follower, Handover
    from gateway.registry.reader import RegistryReader
    from gateway.registry.vault import Vault
    from gateway.storage.liveness import Presence
    from gateway.upstream.client import UpstreamClient

    data = settings.data
    async with AsyncExitStack() as stack:
        # Ends in reverse order: the presence last, when every record of this process is durable.
        presence = Presence(data, boot)
        stack.callback(presence.close)
        reader = RegistryReader(data.registry_db)
        stack.callback(reader.close)
        writer = AuditWriter(data, boot=boot, deployment=await reader.deployment())
        stack.push_async_callback(asyncio.to_thread, writer.close)
        client = UpstreamClient(settings)
        stack.push_async_callback(client.close)
        refusals = Refusals(writer)
        stack.callback(refusals.flush)
        counting = asyncio.create_task(refusals.run())
        stack.callback(counting.cancel)
        policies = PolicyCache(data.bundles, data.cache)
        handover = Handover(data.runtime_db)
        stack.callback(handover.close)
        follower = Follower(handover, reader, policies, boot)
        await follower.begin()
        stack.callback(follower.close)
        following = asyncio.create_task(follower.run())
        stack.callback(following.cancel)
        plane = DataPlane(
            settings,
            principals=Principals(reader, Peppers.load(data.keys)),
            registry=RegistryView(reader, Vault.load(data.keys)),
            policies=policies,
            writer=writer,
            refusals=refusals,
            client=client,
        )

        async def healthy() -> bool:
            try:
                return (await reader.epochs()).value >= 0
            except Denied:
                return False

        opened = listener.listen(settings.host, settings.port, shared=True)
        limits = listener.Limits.of(settings, refusals.add_code)
        serving = asyncio.create_task(
            listener.serve(Health(LastResort(plane), healthy), opened, settings, limits, stop)
        )
        # What is there now stays: the collector need not look at it again, and what a request leaves behind is little.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)
        ready({})
        await serving


async def _control(settings: Settings, boot: str, stop: asyncio.Event, ready: Ready, descriptor: int) -> None:
    """The control process, from nothing to its end."""
    from gateway.http.health import Health
    from gateway.processes.duties import Duties

    opened = socket.socket(fileno=descriptor)
    opened.listen(listener.BACKLOG)
    duties = await asyncio.to_thread(Duties, settings, boot)
    try:
        await asyncio.to_thread(duties.begin)
        limits = listener.Limits.of(settings)

        async def healthy() -> bool:
            return duties.healthy()

        health = Health(_nothing, healthy)
        serving = asyncio.create_task(listener.serve(health, opened, settings, limits, stop))
        working = asyncio.create_task(duties.run(stop))
        ready(await duties.state())
        await working
        await serving
    finally:
        await asyncio.to_thread(duties.close)


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    """The control plane before it has an API: only health."""
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def _until_stopped(stop: asyncio.Event) -> None:
    """Set `stop` when standard input ends: the supervisor is gone, or wants this process to go."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(4096):
        pass
    stop.set()


async def _main(run: Callable[[asyncio.Event, Ready], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    lifeline = asyncio.create_task(_until_stopped(stop))
    await run(stop, _say)
    lifeline.cancel()
    with suppress(asyncio.CancelledError):
        await lifeline


def _say(document: dict[str, Any]) -> None:
    """One line to the supervisor."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    kind, boot, *rest = arguments
    # Read unbuffered: what follows the first line must stay in the pipe for the loop to see.
    line = bytearray()
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    logs.configure(kind)
    # Every connection is a file, on both sides: take what this user may have.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        # Nothing else counts: the file may have been edited since the gateway was started.
        settings = load_settings(json.loads(line), env={}, file=Path(os.devnull))

        async def run(stop: asyncio.Event, ready: Ready) -> None:
            if kind == "control":
                await _control(settings, boot, stop, ready, int(rest[0]))
            else:
                await _data(settings, boot, stop, ready)

        uvloop.run(_main(run))
    except GatewayError as error:
        _say({"error": error.code, "message": error.message, "hint": error.hint})
        return 1
    except OSError as error:
        logger.error("the process cannot run: %s", error)
        _say({"error": "start_failed", "message": f"the {kind} process cannot run: {error}", "hint": ""})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
