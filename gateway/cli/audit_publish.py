"""`gateway audit publish`: the signed part of every log as files that others can check without the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.audit.log_files import log_directory, opened_log
from gateway.cli import output
from gateway.cli.options import DATA, Data, Json


def publish(
    to: Annotated[
        Path, typer.Option("--to", metavar="DIRECTORY", help="Where; what was published there before is continued.")
    ],
    organizations: Annotated[
        list[str] | None,
        typer.Option(
            "--organization",
            "--org",
            metavar="NAME",
            help="Whose logs: a name, or * for all; repeatable. By default `system` alone, which pins all others.",
        ),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Look at every file, and write those again that are missing or differ.")
    ] = False,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Publish the signed entries of logs to a directory, in the form of C2SP's tlog-tiles.

    Leaves, hashes and checkpoints leave the gateway: no private row and no content. A second run adds only what is new.
    A log that does not continue what is published already is refused.
    """
    from gateway.audit import publication, signer

    directory = log_directory(data)
    verifier = signer.load_verifier(signer.public_key_path(directory))
    with opened_log(directory) as log:
        done = publication.publish(log, verifier, to, organizations or ("system",), repair=repair)
    if as_json:
        output.print_json(done)
        return
    for each in done:
        new = f"{each.size - each.before:,} new" if each.size > each.before else "nothing new"
        typer.echo(f"{each.origin}: published to {each.size:,}, {new}")
        typer.echo(f"  in {each.directory}")
        typer.echo(f"  key {each.public_key}")
    if not done:
        output.note("nothing to publish: no log is signed yet")
