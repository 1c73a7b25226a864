"""`gateway audit match`: the logs of two gateways whose agents call each other, compared offline (two-gateways.md)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gateway.audit.log_files import log_directory, opened_log
from gateway.cli import output
from gateway.cli.options import DATA, Data, Json
from gateway.errors import GatewayError

_SHOWN = 20


def match(
    other: Annotated[Path, typer.Argument(metavar="FILE", help="A copy of the other gateway's audit.db.")],
    other_key: Annotated[
        str, typer.Option("--other-key", metavar="FILE|KEY", help="The public key of the other gateway's log.")
    ],
    data: Data = DATA,
    database: Annotated[
        Path | None, typer.Option("--database", metavar="FILE", help="A copy of audit.db, instead of a data directory.")
    ] = None,
    public_key: Annotated[
        str | None,
        typer.Option(
            "--public-key", metavar="FILE|KEY", help="The key of the first log; by default the directory's own."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Match the halves of calls between agents of two gateways, with nothing but both logs and their public keys.

    Both logs are verified first. Exit codes: 0 every half matches, 1 one does not or a log was tampered with, 2 it
    could not be checked.
    """
    from gateway.audit import matching, signer
    from gateway.audit import verify as verification

    try:
        directory = None if database is not None else log_directory(data)
        if public_key is None and directory is None:
            raise GatewayError("bad_key", "a copy needs the key of who signed it", hint="give --public-key FILE")
        own_key = public_key or signer.public_key_path(log_directory(data))
        own = database or directory
        assert own is not None
        for place, key in ((own, own_key), (other, other_key)):
            report = verification.verify(place, signer.load_verifier(key))
            if report.findings:
                first = report.findings[0]
                output.complain(f"the log of {report.public_key} was tampered with: {first.origin} {first.message}")
                raise typer.Exit(1)
        with opened_log(own) as one, opened_log(other) as two:
            found = matching.match(one, two)
    except GatewayError as error:
        output.complain(error.message, error.hint)
        raise typer.Exit(2) from error
    if as_json:
        output.print_json(asdict(found))
    else:
        mark = typer.style("✗", fg="red") if found.findings else typer.style("✓", fg="green")
        typer.echo(
            f"{mark} {found.pairs:,} calls have a half in each log; {found.proven:,} were answered with a receipt; "
            f"{found.alone:,} calls never reached the other side"
        )
        for each in found.findings[:_SHOWN]:
            typer.echo(f"  {output.printable(each)}")
        if len(found.findings) > _SHOWN:
            typer.echo(f"  and {len(found.findings) - _SHOWN:,} more")
    raise typer.Exit(1 if found.findings else 0)
