"""`gateway up`: run the gateway in the foreground until it is told to stop."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.options import DATA, Data
from gateway.errors import GatewayError
from gateway.logs import json_line


def up(
    data: Data = DATA,
    host: Annotated[str | None, typer.Option("--host", help="Address of the data plane, where agents connect.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port of the data plane; 0 takes a free one.")] = None,
    control_host: Annotated[str | None, typer.Option("--control-host", help="Address of the control plane.")] = None,
    control_port: Annotated[int | None, typer.Option("--control-port", help="Port of the control plane.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", help="How many processes serve agents.")] = None,
    insecure: Annotated[
        bool | None, typer.Option("--insecure", help="Allow plain HTTP on an address that is not loopback.")
    ] = None,
    requests: Annotated[
        bool | None,
        typer.Option("--requests/--quiet", help="Print a line for each request; by default on a terminal only."),
    ] = None,
    create: Annotated[
        bool, typer.Option("--create", help="If there is no gateway yet, create an empty one first (for containers).")
    ] = False,
) -> None:
    """Run the gateway: its control process and its data workers. Ctrl-C lets running requests end, then stops it.

    Everything else is set in gateway.toml in the data directory, or by AIG_… variables. On SIGHUP that file is read
    again and the processes are replaced one by one, without failing a request.
    """
    from gateway import logs

    flags = {
        "data": data,
        "host": host,
        "port": port,
        "control_host": control_host,
        "control_port": control_port,
        "workers": workers,
        "insecure": insecure,
        "log_requests": None if requests is None else "always" if requests else "never",
    }
    try:
        _up(data, flags, create)
    except GatewayError as error:
        if sys.stderr.isatty():
            raise
        # Whoever collects the lines of a service reads JSON, or nothing.
        logs.configure("supervisor")
        logging.getLogger("gateway").error("%s: %s" if error.hint else "%s%s", error.message, error.hint)
        raise typer.Exit(1) from error


def _up(data: Path, flags: dict[str, Any], create: bool) -> None:
    import asyncio

    from gateway import logs
    from gateway.data_directory import DataDirectory
    from gateway.processes import openness
    from gateway.processes.supervisor import Supervisor
    from gateway.settings import load_settings

    settings = load_settings(flags)
    if create and not os.path.lexists(data):
        from gateway.processes.creation import create_empty

        create_empty(data)
        _announce(f"there was no gateway in {data}: created an empty one")
    DataDirectory(data).check()
    logs.configure("supervisor")
    for each in openness.too_open(openness.access(settings.data), data):
        logging.getLogger("gateway").warning("%s: %s", each.message, each.todo)
    asyncio.run(Supervisor(settings, _announce, lambda: load_settings(flags)).run())


def _announce(line: str) -> None:
    """Tell an operator; where standard output is no terminal, as a line of the log."""
    typer.echo(line if sys.stdout.isatty() else json_line("supervisor", line))
