"""`gateway audit match`: the logs of two gateways whose agents call each other, compared offline (two-gateways.md)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.audit.errors import AuditError
from gateway.audit.log_files import log_directory, opened_log
from gateway.cli import output
from gateway.cli.options import DATA, Data, Json
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.audit.report import Report

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
        keys = [signer.load_verifier(each) for each in (own_key, other_key)]
        for place, key in zip((own, other), keys, strict=True):
            _check(verification.verify(place, key))
        with opened_log(own) as one, opened_log(other) as two:
            found = matching.match(one, two)
            kept = [matching.checkpoints(two, one), matching.checkpoints(one, two)]
        for place, key, known in zip((own, other), keys, kept, strict=True):
            found.checkpoints += len(known)
            try:
                _check(verification.verify(place, key, known=known))
            except AuditError as error:
                found.findings.append(f"the other side has kept a checkpoint of another log: {error.message}")
    except GatewayError as error:
        output.complain(error.message, error.hint)
        raise typer.Exit(2) from error
    if as_json:
        output.print_json(asdict(found))
    else:
        mark = typer.style("✗", fg="red") if found.findings else typer.style("✓", fg="green")
        typer.echo(
            f"{mark} {found.pairs:,} calls have a half in each log; {found.proven:,} were answered with a receipt; "
            f"{found.alone:,} calls never reached the other side; each log contains what the other has kept of it "
            f"({found.checkpoints:,} checkpoints)"
        )
        for each in found.findings[:_SHOWN]:
            typer.echo(f"  {output.printable(each)}")
        if len(found.findings) > _SHOWN:
            typer.echo(f"  and {len(found.findings) - _SHOWN:,} more")
    raise typer.Exit(1 if found.findings else 0)


def _check(report: Report) -> None:
    if report.findings:
        output.complain(f"the log of {report.public_key} was tampered with: {report.findings[0]}")
        raise typer.Exit(1)
