"""`gateway status`: the state of everything in one command, whether the gateway is running or not."""

from __future__ import annotations

from typing import Any

import typer

from gateway.cli import output
from gateway.cli.asking import Everywhere

_COLOURS = {"problem": "red", "remark": "yellow"}


def status(ask: Everywhere) -> None:
    """Show whether the gateway is running, the policies in force, the log, the upstreams, and what needs a person.

    Exit codes: 0 nothing needs a person, 1 something does; each such line says what to do.
    """
    found = ask.get("status")
    if ask.as_json:
        output.print_json({name: each for name, each in found.items() if name != "lines"})
    else:
        output.print_fields([(each["name"], output.printable(each["text"])) for each in found["lines"]])
        _print(found["findings"])
    if found["needs_a_person"]:
        raise typer.Exit(1)


def _print(judged: list[dict[str, Any]]) -> None:
    if not judged:
        typer.echo("\nnothing needs a person")
        return
    typer.echo("")
    for each in judged:
        level = typer.style(output.printable(each["level"]), fg=_COLOURS.get(each["level"]), bold=True)
        typer.echo(f"{level}: {output.printable(each['message'])}: {output.printable(each['todo'])}")
