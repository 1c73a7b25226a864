"""The two kinds of processes: how they start, are told to stop, and end; and what a control process is made of.

`python -m gateway.processes.app data|control BOOT DESCRIPTOR`, with a bound socket, started by
`gateway/processes/supervisor.py`. The settings are the first line of standard input; the process stops when standard
input ends. It prints one line to standard output, a JSON object: a report once it is ready, or why it cannot start. The
composition root of a data worker is `data_worker.py`. Neither kind imports what only the other one needs.
Specification: architecture.md, section 12.
"""

from __future__ import annotations

import asyncio
import functools
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
from gateway.errors import GatewayError
from gateway.http import listener, refusal
from gateway.http.connection import ConnectionLimits
from gateway.processes.background import Background
from gateway.settings import Settings, load_settings

logger = logging.getLogger("gateway.processes.app")

Ready: TypeAlias = Callable[[dict[str, Any]], None]


async def _control(
    settings: Settings, boot: str, stop: asyncio.Event, background: Background, ready: Ready, descriptor: int
) -> None:
    """The control process, from its start to its end."""
    from gateway.control.server import ControlApi
    from gateway.http.health import Health
    from gateway.policy.rollout import whereabouts
    from gateway.processes import status_answer
    from gateway.processes.duties import Duties
    from gateway.processes.metrics_page import MetricsPage
    from gateway.processes.version import version
    from gateway.secrets.key_source import KeySource

    opened = socket.socket(fileno=descriptor)
    opened.listen(listener.BACKLOG)
    duties = await asyncio.to_thread(Duties, settings, boot)
    async with AsyncExitStack() as stack:  # closed in reverse order, the duties last
        stack.push_async_callback(asyncio.to_thread, duties.close)
        await asyncio.to_thread(duties.begin)
        limits = ConnectionLimits.of(settings)
        # Opened after the duties, which have migrated the registry.
        others = _not_here(settings.data_plane)
        source = KeySource.of(settings)
        health_of = functools.partial(status_answer.answer, settings)
        followed = functools.partial(whereabouts.is_followed, settings)
        api = await asyncio.to_thread(
            ControlApi.open,
            others,
            settings.data,
            version(),
            source,
            stop,
            duties.writer,
            health_of,
            followed,
            settings,
        )
        stack.push_async_callback(asyncio.to_thread, api.close)
        stack.push_async_callback(api.logins.close)
        names = (settings.control_host, settings.metrics_host, *settings.metrics_hosts)
        metrics = functools.partial(MetricsPage, api=api, page=duties.metrics.page, hosts=names)
        apart = settings.metrics_port != 0
        health = Health(api if apart else metrics(api), duties.checks())
        serving = background.start("the control listener", listener.serve(health, opened, settings, limits, stop))
        if apart:
            own = listener.listen(settings.metrics_host, settings.metrics_port)
            alone = metrics(_not_here(settings.data_plane))
            background.start("the metrics listener", listener.serve(alone, own, settings, limits, stop))
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
        from gateway.processes import data_worker

        await data_worker.run(settings, boot, stop, background, _report, descriptor, replaced)
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
