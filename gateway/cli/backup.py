"""`gateway backup`: a copy of everything that a gateway keeps."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import output
from gateway.cli.asking import Everywhere
from gateway.data_directory import DataDirectory


def backup(
    ask: Everywhere, to: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; it must not exist yet.")]
) -> None:
    """Copy the data directory, also while the gateway runs. `gateway up --data DIR` goes on from a copy.

    A copy holds every secret of the gateway: keep it as you keep the original.
    """
    from gateway.processes import backup

    size = backup.copy(DataDirectory(ask.data), to)
    if ask.as_json:
        output.print_json({"directory": str(to), "bytes": size})
        return
    typer.echo(f"copied the gateway in {ask.data} to {to}: {size / 1e6:.1f} MB, secrets among them")
    output.note(f"next: `gateway audit verify --data {shlex.quote(str(to))}` checks the copy")
