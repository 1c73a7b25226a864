"""`gateway audit access`: what an agent may do beside what it has done, and a narrower policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import files, output
from gateway.cli.asking import Of
from gateway.cli.audit_list import time_of
from gateway.management import documents

_SECONDS = 3600.0


def access(
    ask: Of,
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="An agent's name or id.")],
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="2026-11-25T14:00:00Z, or an age: 15m, 2h, 90d.")
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option("--write", metavar="DIR", help="Write the suggested bundle into a new directory below this one."),
    ] = None,
) -> None:
    """Review what an agent may do beside what it has done, and suggest a guard that allows just that.

    The guard is tried on the recorded calls before it is suggested. Nothing is changed: commit the bundle and bind it
    to the agent as a guard. Exit codes: 0 reviewed, 1 the guard would deny a call that was allowed.
    """
    with ask.gateway() as gateway:
        found = gateway.send(
            *("GET", "agents", agent, "access"),
            since=documents.time_text(time_of(since, "--since")),
            organization=ask.organization,
            seconds=_SECONDS,
        )
    suggestion = found["suggestion"]
    if write is not None and suggestion is not None:
        _write(write / suggestion["bundle"], suggestion["files"])
    if ask.as_json:
        output.print_json(found)
    else:
        rows = [
            (
                each["action"],
                each["upstream"],
                output.printable(each["tool"] or each["model"]),
                f"{each['allowed']:,}",
                f"{each['refused']:,}",
                {True: "yes", False: "no", None: "?"}[each["granted"]],
                each["last"]["time"] if each["last"] else "-",
            )
            for each in found["used"]
        ]
        heads = ("ACTION", "UPSTREAM", "MODEL OR TOOL", "ALLOWED", "REFUSED", "GRANTED NOW", "LAST")
        output.print_table(heads, rows, "it has made no call of which the log keeps the input")
        for each in found["unused"]:
            typer.echo(output.printable(f"granted, not used: {each['action']} {each['upstream']} {each['model']}"))
        if found["unkept"]:
            output.warn(f"{found['unkept']:,} of its calls are not looked at: their input is not kept")
        if suggestion is not None:
            typer.echo("")
            typer.echo(suggestion["files"]["authz.rego"])
            others = f"{suggestion['others'] - suggestion['others_allowed']:,} of {suggestion['others']:,}"
            output.note(
                f"tried on {suggestion['tried']:,} allowed calls: {suggestion['denied']:,} denied; "
                f"it denies {others} kinds of calls that only other agents made"
            )
    raise typer.Exit(1 if suggestion is not None and suggestion["denied"] else 0)


def _write(target: Path, bundle: dict[str, str]) -> None:
    """Write a bundle into a new directory: one that is there may have been edited since."""
    try:
        target.mkdir(parents=True)
    except OSError as error:
        raise files.unusable(target, error, "remove it, or name another directory with --write") from error
    for name, text in bundle.items():
        files.put(target / name, text)
